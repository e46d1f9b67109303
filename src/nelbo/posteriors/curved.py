"""Posteriors on curved spaces: the unit sphere and the hyperbolic ball.

Source: Davidson, Falorsi, De Cao, Kipf, Tomczak (2018), Hyperspherical Variational Auto-Encoders; De Cao, Aziz (2020),
The Power Spherical Distribution; Nagano, Yamaguchi, Fujita, Koyama (2019), A Wrapped Normal Distribution on Hyperbolic
Space; Mathieu, Le Lan, Maddison, Tomioka, Teh (2019), Continuous Hierarchical Representations with Poincaré Variational
Auto-Encoders.
"""

from __future__ import annotations

import math
from abc import ABC
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn.functional import softplus

from nelbo import distributions
from nelbo.config.registry import Positive, register
from nelbo.distributions import Distribution
from nelbo.distributions.curved import exponential
from nelbo.posteriors.base import Posterior
from nelbo.priors.base import SPHERE
from nelbo.priors.curved import poincare_ball


class SphericalPosterior(Posterior, ABC):
    """A family on the sphere, with a direction and a concentration softplus(.).

    Args:
        encoder: maps x `(batch, *shape)` and a context to the parameters.
        event_dims: number of dimensions of a datum.
        dim: number of latent dimensions.
        initial_concentration: concentration before training; None leaves the encoder's initial bias.
    """

    distribution: ClassVar[type[Distribution]]

    def __init__(
        self, encoder: nn.Module, event_dims: int, dim: int, *, initial_concentration: Positive | None = None
    ) -> None:
        k = initial_concentration
        super().__init__(encoder, event_dims, [dim, 1], None if k is None else k + math.log(-math.expm1(-k)))

    @classmethod
    def n_params(cls, dim: int, **options: Any) -> int:
        return dim + 1

    @classmethod
    def space(cls, **options: Any) -> str:
        return SPHERE

    def forward(self, *context: Tensor | None) -> Distribution:
        loc, concentration = self.params(*context)
        return self.distribution(loc, softplus(concentration))  # type: ignore[arg-type]


@register("posterior", "von-mises-fisher", cite="davidson2018hyperspherical")
class VonMisesFisher(SphericalPosterior):
    """von Mises-Fisher on the sphere.

    Args:
        initial_concentration: concentration before training; None leaves the encoder's initial bias.
    """

    distribution = distributions.VonMisesFisher


@register("posterior", "power-spherical", cite="cao2020power")
class PowerSpherical(SphericalPosterior):
    """Power spherical distribution on the sphere.

    Args:
        initial_concentration: concentration before training; None leaves the encoder's initial bias.
    """

    distribution = distributions.PowerSpherical


@register("posterior", "wrapped-normal", cite=("nagano2019wrapped", "mathieu2019continuous"))
class WrappedNormalPosterior(Posterior):
    """A wrapped Normal on the Poincaré ball; the encoder returns its mean in the tangent space at 0.

    Args:
        curvature: c; the space has curvature -c.
        initial_logvar: log sigma^2 before training; None leaves the encoder's initial bias.
    """

    def __init__(
        self,
        encoder: nn.Module,
        event_dims: int,
        dim: int,
        *,
        curvature: Positive = 1.0,
        initial_logvar: float | None = None,
    ) -> None:
        super().__init__(encoder, event_dims, [dim, dim], initial_logvar)
        self.curvature = curvature

    @classmethod
    def space(cls, **options: Any) -> str:
        return poincare_ball(options["curvature"])

    def forward(self, *context: Tensor | None) -> distributions.WrappedNormal:
        tangent, logvar = self.params(*context)
        return distributions.WrappedNormal(exponential(tangent, self.curvature), 0.5 * logvar, self.curvature)
