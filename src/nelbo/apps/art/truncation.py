"""Draws of a model's prior from noise that is cut off at some standard deviations: more typical, less varied.

Source: Brock, Donahue, Simonyan (2019), Large Scale GAN Training for High Fidelity Natural Image Synthesis.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from nelbo import distributions as d
from nelbo.distributions.noise import seeded, truncated
from nelbo.errors import UserError
from nelbo.model import Model


@contextmanager
def truncation_of(model: Model, truncation: float | None) -> Iterator[None]:
    """Within it, noise is truncated; raises `UserError` for a prior that is not made of Normal noise."""
    if truncation is not None:
        if not 0 < truncation < np.inf:
            raise UserError(f"truncation={truncation}: give a number of standard deviations above 0")
        with torch.no_grad():
            has_normal_noise = model.vae.latent.has_normal_noise(model.shown(1))
        if not has_normal_noise:
            name = type(getattr(model.vae.latent, "prior", model.vae.latent)).__name__
            raise UserError(f"truncation: the model's prior ({name}) is not made of Normal noise: use temperature")
    with truncated(truncation):
        yield


@torch.no_grad()
def codes_drawn(model: Model, n: int, temperature: float, truncation: float | None, seed: int) -> np.ndarray:
    """Codes of draws of the prior, `(n, features)`."""
    d.check_temperature(temperature)
    with seeded(seed), truncation_of(model, truncation):
        codes: np.ndarray = model.vae.latent.draw(n, model.shown(n), temperature).cpu().numpy()
    return codes
