"""Outliers of a table, by an ensemble of small VAEs."""
