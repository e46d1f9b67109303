"""What a trained model is used for: one module for each use."""
