"""Posteriors of independent latents beside the Normal: Laplace, logistic Normal, Gamma.

Source: Barello, Charles, Pillow (2018), Sparse-Coding Variational Auto-Encoders; Srivastava, Sutton (2017),
Autoencoding Variational Inference for Topic Models; Figurnov, Mohamed, Mnih (2018), Implicit Reparameterization
Gradients.
"""

from __future__ import annotations

from abc import ABC
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn.functional import softplus

from nelbo import distributions
from nelbo.config.registry import register
from nelbo.distributions import Distribution
from nelbo.posteriors.base import Posterior
from nelbo.priors.base import POSITIVE, SIMPLEX

LEAST = 1e-3  # lower limit of the Gamma's parameters


class LocationScalePosterior(Posterior, ABC):
    """A family with a location and a scale s for each latent; the encoder returns the location and 2 log s.

    Args:
        encoder: maps x `(batch, *shape)` and a context to the parameters.
        event_dims: number of dimensions of a datum.
        dim: number of latent dimensions.
        initial_logvar: log s^2 before training; None leaves the encoder's initial bias.
    """

    distribution: ClassVar[type[Distribution]]

    def __init__(self, encoder: nn.Module, event_dims: int, dim: int, *, initial_logvar: float | None = None) -> None:
        super().__init__(encoder, event_dims, [dim, dim], initial_logvar)

    def forward(self, *context: Tensor | None) -> Distribution:
        loc, logvar = self.params(*context)
        return self.distribution(loc, 0.5 * logvar)  # type: ignore[arg-type]


@register("posterior", "laplace")
class LaplacePosterior(LocationScalePosterior):
    """Independent Laplaces of scale s.

    Args:
        initial_logvar: log s^2 before training; None leaves the encoder's initial bias.
    """

    distribution = distributions.Laplace


@register("posterior", "logistic-normal", cite=("aitchison1980logistic", "srivastava2017autoencoding"))
class LogisticNormalPosterior(LocationScalePosterior):
    """softmax of a diagonal Normal: proportions.

    Args:
        initial_logvar: log s^2 of the Normal before training; None leaves the encoder's initial bias.
    """

    distribution = distributions.LogisticNormal

    @classmethod
    def space(cls, **options: Any) -> str:
        return SIMPLEX


@register("posterior", "gamma", cite="figurnov2018implicit")
class GammaPosterior(Posterior):
    """Independent Gammas of concentration and rate softplus(.) + 0.001."""

    def __init__(self, encoder: nn.Module, event_dims: int, dim: int) -> None:
        super().__init__(encoder, event_dims, [dim, dim])

    @classmethod
    def space(cls, **options: Any) -> str:
        return POSITIVE

    def forward(self, *context: Tensor | None) -> distributions.Gamma:
        concentration, rate = (softplus(values) + LEAST for values in self.params(*context))
        return distributions.Gamma(concentration, rate)
