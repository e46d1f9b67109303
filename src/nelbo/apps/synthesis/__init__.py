"""Synthetic data: rows, pictures and text, variations of real data, and label propagation."""
