"""Recipes: the parts of a model as plain values, and the model built from them.

    registry    parts by family and kind: `register`, `Component`, `parse`, `dump`
    recipe      a training run as one TOML file, and how its fields are replaced
    build       defaults for a model's parts from the data, and the VAE built from them
    citations   the sources of the parts that a recipe uses

This package does not import the parts: they register themselves with `nelbo.config.registry`.
"""
