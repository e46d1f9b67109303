"""Objectives beyond the weighted ELBO: constraints, importance-weighted bounds, decompositions, critics."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from nelbo import objectives, schedules
from nelbo.errors import UserError
from nelbo.objectives import Sum, Term, distortion, rate
from nelbo.registry import register
from nelbo.schedules import Schedule
from nelbo.spec.objectives import Objective

register(Schedule, "cyclical")(schedules.Cyclical)

GRADIENTS = {"plain": objectives.iwae, "stl": objectives.stl, "dreg": objectives.dreg}
WEIGHTS = {"stratified": objectives.stratified, "weighted": objectives.weighted}
COVARIANCES = {"I": objectives.covariance_of_means, "II": objectives.covariance}
KERNELS = {"rbf": objectives.rbf, "imq": objectives.imq}


def _not_below(least: float, **values: float) -> None:
    """`UserError` for the first value below `least`."""
    for name, value in values.items():
        if value < least:
            raise UserError(f"{name}={value}: give {least:g} or more")


def _weighted(terms: dict[Term, float]) -> Sum:
    """The sum of the terms whose weight is not 0."""
    return Sum({term: weight for term, weight in terms.items() if weight})


@register(Objective, "capacity")
@dataclass(frozen=True)
class Capacity(Objective):
    """Distortion + weight * |rate - C|, with a capacity C in nats (Burgess 2018)."""

    weight: float = 1000.0
    capacity: float | Schedule = field(default_factory=lambda: schedules.Linear(0.0, 25.0, 0.0, 0.8))

    def __post_init__(self) -> None:
        _not_below(0, weight=self.weight)

    def build(self) -> objectives.Objective:
        return Sum({distortion: 1.0, objectives.Capacity(self.capacity): self.weight})


@register(Objective, "free-bits")
@dataclass(frozen=True)
class FreeBits(Objective):
    """Distortion + beta * rate, the first `floor` nats of each latent (or level) being free (Kingma 2016)."""

    floor: float = 0.1
    per_level: bool = False
    beta: float | Schedule = 1.0

    def __post_init__(self) -> None:
        _not_below(0, floor=self.floor)

    def build(self) -> objectives.Objective:
        return Sum({distortion: 1.0, objectives.free_bits(self.floor, self.per_level): self.beta})


@register(Objective, "constrained")
@dataclass(frozen=True)
class Constrained(Objective):
    """The least rate at which the distortion is at most `target` nats per datum (GECO, Rezende 2018)."""

    target: float = 100.0
    step: float = 0.01
    momentum: float = 0.9

    def __post_init__(self) -> None:
        _not_below(0, step=self.step, momentum=self.momentum)
        if self.momentum >= 1:
            raise UserError(f"momentum={self.momentum}: give a weight on the past below 1")

    def build(self) -> objectives.Objective:
        return objectives.Constrained(self.target, self.step, self.momentum)


@register(Objective, "iwae")
@dataclass(frozen=True)
class IWAE(Objective):
    """Bounds of k draws, the mean of m of them (MIWAE); `gradient`: plain, stl or dreg (Burda 2016, Tucker 2019)."""

    k: int = 5
    m: int = 1
    gradient: Literal["plain", "stl", "dreg"] = "plain"

    def __post_init__(self) -> None:
        _not_below(1, k=self.k, m=self.m)

    def build(self) -> objectives.Objective:
        return objectives.importance_weighted(self.k, self.m, GRADIENTS[self.gradient])


@register(Objective, "ciwae")
@dataclass(frozen=True)
class CIWAE(Objective):
    """beta * ELBO + (1 - beta) * IWAE of k draws (Rainforth 2018)."""

    k: int = 5
    beta: float = 0.5

    def __post_init__(self) -> None:
        _not_below(1, k=self.k)
        if not 0 <= self.beta <= 1:
            raise UserError(f"beta={self.beta}: give 0 <= beta <= 1")

    def build(self) -> objectives.Objective:
        return objectives.Bounds({"vae": objectives.ciwae(self.beta)}, (self.k,))


@register(Objective, "piwae")
@dataclass(frozen=True)
class PIWAE(Objective):
    """The encoder learns from m bounds of k draws, the decoder from one of all of them (Rainforth 2018)."""

    k: int = 5
    m: int = 5

    def __post_init__(self) -> None:
        _not_below(1, k=self.k, m=self.m)

    def build(self) -> objectives.Objective:
        return objectives.piwae(self.k, self.m)


@register(Objective, "renyi")
@dataclass(frozen=True)
class Renyi(Objective):
    """The Renyi bound of order alpha from k draws: 0 is IWAE, towards 1 the ELBO (Li 2016)."""

    alpha: float = 0.5
    k: int = 5

    def __post_init__(self) -> None:
        _not_below(1, k=self.k)
        if self.alpha == 1:
            raise UserError('alpha=1.0: that is the ELBO, kind = "elbo"')

    def build(self) -> objectives.Objective:
        return objectives.Bounds({"vae": objectives.renyi(self.alpha)}, (self.k,))


@register(Objective, "chi")
@dataclass(frozen=True)
class Chi(Objective):
    """The encoder lowers the chi upper bound of this order, the decoder raises IWAE (Dieng 2017)."""

    order: float = 2.0
    k: int = 5

    def __post_init__(self) -> None:
        _not_below(1, k=self.k, order=self.order)

    def build(self) -> objectives.Objective:
        return objectives.chi(self.k, self.order)


@register(Objective, "wake-wake")
@dataclass(frozen=True)
class WakeWake(Objective):
    """Reweighted wake-sleep without its sleep phase (Bornschein 2015, Le 2019)."""

    k: int = 5

    def __post_init__(self) -> None:
        _not_below(1, k=self.k)

    def build(self) -> objectives.Objective:
        return objectives.wake_wake(self.k)


@register(Objective, "beta-tc")
@dataclass(frozen=True)
class BetaTC(Objective):
    """Mutual information, total correlation and the latents' own divergences, weighted alpha, beta, gamma (Chen 2018).

    As the three sum to the rate, it is distortion + gamma rate + (alpha - gamma) information + (beta - gamma) TC.
    """

    beta: float = 6.0
    alpha: float = 1.0
    gamma: float = 1.0
    weights: Literal["stratified", "weighted"] = "stratified"

    def __post_init__(self) -> None:
        _not_below(0, alpha=self.alpha, beta=self.beta, gamma=self.gamma)

    def build(self) -> objectives.Objective:
        weights = WEIGHTS[self.weights]
        information, correlation = objectives.MutualInformation(weights), objectives.TotalCorrelation(weights)
        alpha, beta, gamma = self.alpha, self.beta, self.gamma
        return _weighted({distortion: 1.0, rate: gamma, information: alpha - gamma, correlation: beta - gamma})


@register(Objective, "dip")
@dataclass(frozen=True)
class DIP(Objective):
    """ELBO + the distance of the latents' covariance from the identity, DIP-VAE "I" or "II" (Kumar 2018)."""

    version: Literal["I", "II"] = "I"
    off_diagonal: float = 10.0
    diagonal: float = 100.0

    def __post_init__(self) -> None:
        _not_below(0, off_diagonal=self.off_diagonal, diagonal=self.diagonal)

    def build(self) -> objectives.Objective:
        term = objectives.dip(self.off_diagonal, self.diagonal, COVARIANCES[self.version])
        return Sum({distortion: 1.0, rate: 1.0, term: 1.0})


@register(Objective, "info")
@dataclass(frozen=True)
class Info(Objective):
    """Distortion + (1 - alpha) rate + (alpha + weight - 1) MMD^2 to the prior (InfoVAE, Zhao 2019)."""

    alpha: float = 0.5
    weight: float = 1000.0
    kernel: Literal["rbf", "imq"] = "rbf"
    biased: bool = False

    def __post_init__(self) -> None:
        if self.alpha > 1 or self.alpha + self.weight < 1:
            raise UserError(f"alpha={self.alpha}, weight={self.weight}: give alpha <= 1 and alpha + weight >= 1")

    def build(self) -> objectives.Objective:
        term = objectives.mmd(KERNELS[self.kernel](), self.biased)
        return _weighted({distortion: 1.0, rate: 1 - self.alpha, term: self.alpha + self.weight - 1})


@register(Objective, "wae-mmd")
@dataclass(frozen=True)
class WAE(Objective):
    """Distortion + weight * MMD^2 to the prior (Tolstikhin 2018)."""

    weight: float = 100.0
    kernel: Literal["rbf", "imq"] = "imq"
    biased: bool = False

    def __post_init__(self) -> None:
        _not_below(0, weight=self.weight)

    def build(self) -> objectives.Objective:
        return Sum({distortion: 1.0, objectives.mmd(KERNELS[self.kernel](), self.biased): self.weight})


@register(Objective, "swae")
@dataclass(frozen=True)
class SWAE(Objective):
    """Distortion + weight * sliced Wasserstein distance, squared, to the prior (Kolouri 2019)."""

    weight: float = 100.0
    projections: int = 50

    def __post_init__(self) -> None:
        _not_below(0, weight=self.weight)
        _not_below(1, projections=self.projections)

    def build(self) -> objectives.Objective:
        return Sum({distortion: 1.0, objectives.sliced_wasserstein(self.projections): self.weight})


@register(Objective, "hsic")
@dataclass(frozen=True)
class HSIC(Objective):
    """ELBO + weight * dependence of blocks of latents; no `sizes`: each latent by itself (Lopez 2018)."""

    weight: float = 1000.0
    sizes: tuple[int, ...] = ()
    kernel: Literal["rbf", "imq"] = "rbf"

    def __post_init__(self) -> None:
        _not_below(0, weight=self.weight)

    def build(self) -> objectives.Objective:
        return Sum({distortion: 1.0, rate: 1.0, objectives.hsic(self.sizes, KERNELS[self.kernel]()): self.weight})
