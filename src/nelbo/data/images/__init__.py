"""Pictures: folders and Hugging Face datasets of them, decoded, cached and changed in training."""
