"""A run: training by a recipe into a folder, with a report and progress on the console."""
