"""Figures and image files of data, samples and latent spaces."""
