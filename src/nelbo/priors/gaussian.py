"""Fixed priors of independent latents: Normal, Laplace, Gamma, and the Dirichlet by Laplace's approximation."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from nelbo import distributions
from nelbo.config.registry import Positive, register
from nelbo.errors import UserError
from nelbo.priors.base import POSITIVE, SIMPLEX, ParameterFreePrior, Prior


@register("prior", "standard-normal")
class StandardNormal(Prior):
    """p(z | c) = N(0, I), independent of the context.

    Args:
        dim: number of latent dimensions.
    """

    origin: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.register_buffer("origin", torch.zeros(()), persistent=False)

    def forward(self, *context: Tensor | None) -> distributions.StandardNormal:
        return distributions.StandardNormal(self.dim, self.origin)


@register("prior", "laplace", cite="barello2018sparse")
class LaplacePrior(ParameterFreePrior):
    """Independent Laplaces at 0: sparse latents.

    Args:
        dim: number of latent dimensions.
        scale: the scale b of each latent dimension.
    """

    def __init__(self, dim: int, *, scale: Positive = 1.0) -> None:
        super().__init__(dim, lambda zeros: distributions.Laplace(zeros, zeros + math.log(scale)))


@register("prior", "gamma", cite="figurnov2018implicit")
class GammaPrior(ParameterFreePrior):
    """Independent Gammas of mean concentration / rate.

    Args:
        dim: number of latent dimensions.
        concentration: the shape parameter.
        rate: the inverse scale.
    """

    def __init__(self, dim: int, *, concentration: Positive = 2.0, rate: Positive = 1.0) -> None:
        super().__init__(dim, lambda zeros: distributions.Gamma(zeros + concentration, zeros + rate))

    @classmethod
    def space(cls, **options: Any) -> str:
        return POSITIVE


@register("prior", "dirichlet", cite="srivastava2017autoencoding")
class DirichletPrior(ParameterFreePrior):
    """Dirichlet(a, ..., a), approximated by a logistic Normal (Laplace's approximation).

    Args:
        dim: number of proportions.
        concentration: a; below 1, the proportions are sparse.
    """

    def __init__(self, dim: int, *, concentration: Positive = 1.0) -> None:
        require_two_latents(dim, SIMPLEX)
        log_scale = 0.5 * math.log((1 - 1 / dim) / concentration)
        super().__init__(dim, lambda zeros: distributions.LogisticNormal(zeros, zeros + log_scale))

    @classmethod
    def space(cls, **options: Any) -> str:
        return SIMPLEX


def require_two_latents(dim: int, space: str) -> None:
    """Raises `UserError` for fewer than 2 latents."""
    if dim < 2:
        raise UserError(f"dim={dim}: {space} takes 2 latents or more")
