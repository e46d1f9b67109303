"""Recipes: what a model is made of as plain values, and how it is built from them.

    registry    parts by family and kind: `register`, `Component`, `parse`, `dump`
    recipe      a training run as one TOML file, and how its fields are replaced
    build       a model's parts chosen from the data where they are left open, and the VAE they make
    citations   the sources of the parts that a recipe uses

This package imports none of them: the parts register themselves with `nelbo.config.registry`, below all of them.
"""
