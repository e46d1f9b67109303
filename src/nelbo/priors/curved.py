"""Priors on curved spaces: the sphere, the hyperbolic ball, and the latent space of a learned metric.

Source: Davidson, Falorsi, De Cao, Kipf, Tomczak (2018), Hyperspherical Variational Auto-Encoders; Nagano et al. (2019),
A Wrapped Normal Distribution on Hyperbolic Space; Chadebec, Thibeau-Sutre, Burgos, Allassonnière (2022), Data
Augmentation in High Dimensional Low Sample Size Setting Using a Geometry-Based Variational Autoencoder.
"""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from nelbo import distributions
from nelbo.config.registry import Count, Positive, register
from nelbo.distributions.base import ConditionalDistribution
from nelbo.errors import UserError
from nelbo.priors.base import SPHERE, ParameterFreePrior, Prior
from nelbo.priors.gaussian import require_two_latents


def poincare_ball(curvature: float) -> str:
    """The name of the hyperbolic space of curvature -`curvature`."""
    return f"the Poincare ball of curvature -{curvature:g}"


@register("prior", "uniform-sphere", cite="davidson2018hyperspherical")
class UniformSphere(ParameterFreePrior):
    """Uniform on the unit sphere.

    Args:
        dim: number of latent dimensions.
    """

    def __init__(self, dim: int) -> None:
        require_two_latents(dim, SPHERE)
        super().__init__(dim, lambda zeros: distributions.UniformSphere(dim, zeros))

    @classmethod
    def space(cls, **options: Any) -> str:
        return SPHERE


@register("prior", "wrapped-normal", cite=("nagano2019wrapped", "mathieu2019continuous"))
class WrappedNormalPrior(ParameterFreePrior):
    """A wrapped Normal at the centre of the Poincaré ball.

    Args:
        dim: number of latent dimensions.
        curvature: c; the space has curvature -c.
        sigma: standard deviation, in hyperbolic distance.
    """

    def __init__(self, dim: int, *, curvature: Positive = 1.0, sigma: Positive = 1.0) -> None:
        log_scale = math.log(sigma)
        super().__init__(dim, lambda zeros: distributions.WrappedNormal(zeros, zeros + log_scale, curvature))

    @classmethod
    def space(cls, **options: Any) -> str:
        return poincare_ball(options["curvature"])


@register("prior", "metric", cite="chadebec2022data")
class MetricVolumePrior(Prior):
    """p(z) proportional to sqrt(det G^-1(z)) under the metric of the model's Riemannian posterior.

    It can be sampled, and has no density, so it is set after training. It has no weights.

    Args:
        moves: number of Hamiltonian Monte Carlo moves for each sample; more are closer to p(z), and slower.
    """

    has_density = False

    def __init__(self, *, moves: Count = 100) -> None:
        super().__init__()
        self.moves = moves
        self._posterior: tuple[Any, ...] = ()

    def bind(self, posterior: ConditionalDistribution) -> None:
        if not getattr(posterior, "learns_metric", False):
            name = type(posterior).__name__
            raise UserError(
                f"prior 'metric' needs a posterior that learns a metric, and {name} does not: train with --preset rhvae"
            )
        self._posterior = (posterior,)  # in a tuple it is not a submodule, so no weight is saved twice

    def forward(self, *context: Tensor | None) -> distributions.MetricVolumePrior:
        if not self._posterior:
            raise UserError(
                "prior 'metric' needs a posterior that learns a metric: set model.latent.posterior=riemannian"
            )
        return distributions.MetricVolumePrior(self._posterior[0].metric(), self.moves)
