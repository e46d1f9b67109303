"""Moments of the aggregate posterior held to those of the standard prior.

    Cov[z] = Cov_x[E[z | x]] + E_x[Cov[z | x]] = I

Source: Kumar, Sattigeri, Balakrishnan (2018), Variational Inference of Disentangled Latent Concepts from Unlabeled
Observations.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from nelbo.latents import Level
from nelbo.objectives.base import Term, only
from nelbo.objectives.terms import factors
from nelbo.vae import Trace


def covariance_of_means(level: Level) -> Tensor:
    """Cov_x[E[z | x]] over the batch, divided by its size: `(latents, latents)`. DIP-VAE I."""
    mean = level.q.mean
    centred = mean - mean.mean(0)
    return centred.T @ centred / len(mean)


def covariance(level: Level) -> Tensor:
    """Cov[z] of the batch's aggregate posterior, `(latents, latents)`. DIP-VAE II."""
    return covariance_of_means(level) + torch.diag(factors(level.q).variance.squeeze(-1).mean(0))


def dip(off_diagonal: float, diagonal: float, of: Callable[[Level], Tensor] = covariance_of_means) -> Term:
    """The squared distance of a covariance C from the identity.

        off_diagonal * sum_{i != j} C_ij^2 + diagonal * sum_i (C_ii - 1)^2

    With `covariance` it is DIP-VAE II, else I. Raises `UserError` for a hierarchy.
    """

    def dip(trace: Trace) -> Tensor:
        c = of(only(trace, "dip"))
        d = c.diagonal()
        return off_diagonal * (c.square().sum() - d.square().sum()) + diagonal * (d - 1).square().sum()

    return dip
