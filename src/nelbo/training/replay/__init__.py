"""Record the operations of a training step once, and replay them without Python's overhead."""
