"""A run: train from a recipe into a folder, with its report and its progress on the console."""
