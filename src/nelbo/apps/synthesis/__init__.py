"""Synthetic data: rows, pictures and text, new ones near real ones, and labels for the unlabelled."""
