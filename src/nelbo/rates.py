"""How much each number of a code carries.

For one level of diagonal Normals under N(0, I) that is the mean KL of each latent,

    (mu^2 + sigma^2 - 1 - log sigma^2) / 2,  averaged over the data

For other latents it is log(1 + v) / 2, v being the variance of the number over the data: what a channel of that
variance carries under unit noise. Nats, 0 for a number that carries nothing.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from nelbo.distributions import DiagonalNormal, StandardNormal
from nelbo.vae import VAE


def moments(vae: VAE, x: Tensor, c: Tensor | None = None) -> Tensor:
    """The mean and standard deviation of each number of the code, `(batch, features, 2)`; NaN where not Normal."""
    level, *below = vae.latent.infer(x, c)[1]
    if not below and isinstance(level.q, DiagonalNormal) and isinstance(level.p, StandardNormal):
        return torch.stack([level.q.mean, level.q.stddev], -1)
    code = vae.latent.embed(x, c)
    return torch.stack([code, torch.full_like(code, torch.nan)], -1)


def carried(values: np.ndarray) -> np.ndarray:
    """Nats `(features,)` from the moments `(n, features, 2)` of all data."""
    mean, deviation = values[..., 0], values[..., 1]
    if np.isnan(deviation).any():
        return 0.5 * np.log1p(mean.var(0))
    return 0.5 * (mean**2 + deviation**2 - 1 - 2 * np.log(deviation)).mean(0)
