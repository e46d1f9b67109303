"""Posteriors and priors over other spaces than the reals, and other continuous ones over the reals."""

from __future__ import annotations

import math
from abc import ABC
from dataclasses import dataclass
from typing import ClassVar

from nelbo import conditionals, distributions
from nelbo.distributions import Distribution
from nelbo.distributions.robust import Laplace
from nelbo.errors import UserError
from nelbo.registry import register
from nelbo.spec.nets import Net
from nelbo.spec.posteriors import Posterior
from nelbo.spec.priors import Prior

SPHERE, SIMPLEX, POSITIVE = "the unit sphere", "the simplex", "positive numbers"


def _positive(**values: float | None) -> None:
    for name, value in values.items():
        if value is not None and not 0 < value < math.inf:
            raise UserError(f"{name}={value}: give a number above 0")


def _at_least_two(dim: int, space: str) -> None:
    if dim < 2:
        raise UserError(f"dim={dim}: {space} takes 2 latents or more")


@register(Posterior, "full-normal")
@dataclass(frozen=True)
class FullNormal(Posterior):
    """A Normal of full covariance."""

    initial_logvar: float | None = None

    def build(self, net: Net, shape: tuple[int, ...], dim: int, context: int = 0) -> conditionals.Conditional:
        encoder = net.encoder(shape, conditionals.FullNormal.features(dim), context)
        return conditionals.FullNormal(encoder, len(shape), dim, self.initial_logvar)


@register(Posterior, "low-rank-normal")
@dataclass(frozen=True)
class LowRankNormal(Posterior):
    """A Normal whose covariance is diagonal plus a matrix of rank `rank`."""

    rank: int = 2
    initial_logvar: float | None = None

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise UserError(f'rank={self.rank}: give 1 or more, or kind = "diagonal-normal"')

    def build(self, net: Net, shape: tuple[int, ...], dim: int, context: int = 0) -> conditionals.Conditional:
        encoder = net.encoder(shape, (2 + self.rank) * dim, context)
        return conditionals.LowRankNormal(encoder, len(shape), dim, self.rank, self.initial_logvar)


@register(Posterior, "laplace")
@dataclass(frozen=True)
class LaplacePosterior(Posterior):
    """Independent Laplaces of scale b; `initial_logvar` is log b^2 before training."""

    initial_logvar: float | None = None

    def build(self, net: Net, shape: tuple[int, ...], dim: int, context: int = 0) -> conditionals.Conditional:
        encoder = net.encoder(shape, 2 * dim, context)
        return conditionals.LocationScalePosterior(encoder, len(shape), dim, Laplace, self.initial_logvar)


@register(Prior, "laplace")
@dataclass(frozen=True)
class LaplacePrior(Prior):
    """Independent Laplaces at 0 of scale `scale`: sparse latents."""

    scale: float = 1.0

    def __post_init__(self) -> None:
        _positive(scale=self.scale)

    def build(self, dim: int, context: int = 0) -> conditionals.Conditional:
        log_scale = math.log(self.scale)
        return conditionals.Fixed(dim, lambda zeros: Laplace(zeros, zeros + log_scale))


@dataclass(frozen=True)
class Spherical(Posterior, ABC):
    """A family on the sphere; `initial_concentration` is its concentration before training."""

    family: ClassVar[type[Distribution]]
    initial_concentration: float | None = None

    def __post_init__(self) -> None:
        _positive(initial_concentration=self.initial_concentration)

    def space(self) -> str:
        return SPHERE

    def build(self, net: Net, shape: tuple[int, ...], dim: int, context: int = 0) -> conditionals.Conditional:
        encoder = net.encoder(shape, dim + 1, context)
        return conditionals.Spherical(encoder, len(shape), dim, self.family, self.initial_concentration)


@register(Posterior, "von-mises-fisher")
@dataclass(frozen=True)
class VonMisesFisher(Spherical):
    """von Mises-Fisher on the sphere."""

    family = distributions.VonMisesFisher


@register(Posterior, "power-spherical")
@dataclass(frozen=True)
class PowerSpherical(Spherical):
    """Power spherical."""

    family = distributions.PowerSpherical


@register(Prior, "uniform-sphere")
@dataclass(frozen=True)
class UniformSphere(Prior):
    """Uniform on the unit sphere."""

    def space(self) -> str:
        return SPHERE

    def build(self, dim: int, context: int = 0) -> conditionals.Conditional:
        _at_least_two(dim, SPHERE)
        return conditionals.Fixed(dim, lambda zeros: distributions.UniformSphere(dim, zeros))


@register(Posterior, "wrapped-normal")
@dataclass(frozen=True)
class WrappedNormalPosterior(Posterior):
    """A wrapped Normal on the Poincare ball, hyperbolic space of curvature -`curvature`."""

    curvature: float = 1.0
    initial_logvar: float | None = None

    def __post_init__(self) -> None:
        _positive(curvature=self.curvature)

    def space(self) -> str:
        return f"the Poincare ball of curvature -{self.curvature:g}"

    def build(self, net: Net, shape: tuple[int, ...], dim: int, context: int = 0) -> conditionals.Conditional:
        encoder = net.encoder(shape, 2 * dim, context)
        return conditionals.WrappedNormal(encoder, len(shape), dim, self.curvature, self.initial_logvar)


@register(Prior, "wrapped-normal")
@dataclass(frozen=True)
class WrappedNormalPrior(Prior):
    """A wrapped Normal at the centre of the ball; `sigma` is its standard deviation in hyperbolic distance."""

    curvature: float = 1.0
    sigma: float = 1.0

    def __post_init__(self) -> None:
        _positive(curvature=self.curvature, sigma=self.sigma)

    def space(self) -> str:
        return f"the Poincare ball of curvature -{self.curvature:g}"

    def build(self, dim: int, context: int = 0) -> conditionals.Conditional:
        c, log_scale = self.curvature, math.log(self.sigma)
        return conditionals.Fixed(dim, lambda zeros: distributions.WrappedNormal(zeros, zeros + log_scale, c))


@register(Posterior, "logistic-normal")
@dataclass(frozen=True)
class LogisticNormal(Posterior):
    """softmax of a diagonal Normal: proportions."""

    initial_logvar: float | None = None

    def space(self) -> str:
        return SIMPLEX

    def build(self, net: Net, shape: tuple[int, ...], dim: int, context: int = 0) -> conditionals.Conditional:
        encoder = net.encoder(shape, 2 * dim, context)
        return conditionals.LocationScalePosterior(
            encoder, len(shape), dim, distributions.LogisticNormal, self.initial_logvar
        )


@register(Prior, "dirichlet")
@dataclass(frozen=True)
class Dirichlet(Prior):
    """Dirichlet(a, ..., a) of concentration a, by Laplace's approximation a logistic Normal."""

    concentration: float = 1.0

    def __post_init__(self) -> None:
        _positive(concentration=self.concentration)

    def space(self) -> str:
        return SIMPLEX

    def build(self, dim: int, context: int = 0) -> conditionals.Conditional:
        _at_least_two(dim, SIMPLEX)
        log_scale = 0.5 * math.log((1 - 1 / dim) / self.concentration)
        return conditionals.Fixed(dim, lambda zeros: distributions.LogisticNormal(zeros, zeros + log_scale))


@register(Posterior, "gamma")
@dataclass(frozen=True)
class GammaPosterior(Posterior):
    """Independent Gammas."""

    def space(self) -> str:
        return POSITIVE

    def build(self, net: Net, shape: tuple[int, ...], dim: int, context: int = 0) -> conditionals.Conditional:
        return conditionals.Gamma(net.encoder(shape, 2 * dim, context), len(shape), dim)


@register(Prior, "gamma")
@dataclass(frozen=True)
class GammaPrior(Prior):
    """Independent Gammas of mean concentration / rate."""

    concentration: float = 2.0
    rate: float = 1.0

    def __post_init__(self) -> None:
        _positive(concentration=self.concentration, rate=self.rate)

    def space(self) -> str:
        return POSITIVE

    def build(self, dim: int, context: int = 0) -> conditionals.Conditional:
        a, b = self.concentration, self.rate
        return conditionals.Fixed(dim, lambda zeros: distributions.Gamma(zeros + a, zeros + b))


@register(Posterior, "dirac")
@dataclass(frozen=True)
class Dirac(Posterior):
    """A point z = mu(x): a deterministic autoencoder, whose rate is 0 and which has no log_weight."""

    def build(self, net: Net, shape: tuple[int, ...], dim: int, context: int = 0) -> conditionals.Conditional:
        return conditionals.Dirac(net.encoder(shape, dim, context), len(shape), dim)
