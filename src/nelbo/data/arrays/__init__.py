"""Arrays: NumPy files, named data sets, and what their values are inferred to be."""
