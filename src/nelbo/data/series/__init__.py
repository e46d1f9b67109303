"""Series: arrays and recordings, whole or cut into windows."""
