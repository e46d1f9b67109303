"""Normalizing flows: a transform, and the prior or the posterior it makes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Literal

from nelbo import conditionals
from nelbo.errors import UserError
from nelbo.nets import flows
from nelbo.registry import register
from nelbo.spec.nets import Net
from nelbo.spec.posteriors import Posterior
from nelbo.spec.priors import Prior


class Transform(ABC):
    """An invertible map over vectors."""

    @abstractmethod
    def build(self, dim: int, context: int = 0) -> flows.Transform:
        """The map over `dim` numbers, given a context of so many."""


def _require(fields: dict[str, int | tuple[int, ...]]) -> None:
    for name, value in fields.items():
        if not value or min(value if isinstance(value, tuple) else (value,)) < 1:
            raise UserError(f"{name}={value}: give 1 or more")


@register(Transform, "iaf")
@dataclass(frozen=True)
class IAF(Transform):
    """Inverse autoregressive: draws in one pass; the natural flow of a posterior."""

    steps: int = 2
    hidden: tuple[int, ...] = (64, 64)

    def __post_init__(self) -> None:
        _require({"steps": self.steps, "hidden": self.hidden})

    def build(self, dim: int, context: int = 0) -> flows.Transform:
        return flows.Chain(flows.steps(dim, self.steps, self.hidden, dim, context))


@register(Transform, "maf")
@dataclass(frozen=True)
class MAF(Transform):
    """Masked autoregressive: a density in one pass; the natural flow of a prior."""

    steps: int = 4
    hidden: tuple[int, ...] = (64, 64)

    def __post_init__(self) -> None:
        _require({"steps": self.steps, "hidden": self.hidden})

    def build(self, dim: int, context: int = 0) -> flows.Transform:
        return flows.Chain([*map(flows.Inverse, flows.steps(dim, self.steps, self.hidden, dim, context))])


@register(Transform, "realnvp")
@dataclass(frozen=True)
class RealNVP(Transform):
    """Affine coupling: a draw and a density in two passes."""

    steps: int = 6
    hidden: tuple[int, ...] = (64, 64)

    def __post_init__(self) -> None:
        _require({"steps": self.steps, "hidden": self.hidden})

    def build(self, dim: int, context: int = 0) -> flows.Transform:
        return flows.Chain(flows.steps(dim, self.steps, self.hidden, 2, context))


@register(Transform, "planar")
@dataclass(frozen=True)
class Planar(Transform):
    """Planar steps, z + u tanh(w.z + b); a "linear flow"."""

    steps: int = 4

    def __post_init__(self) -> None:
        _require({"steps": self.steps})

    def build(self, dim: int, context: int = 0) -> flows.Transform:
        return flows.Chain([flows.Planar(dim, context) for _ in range(self.steps)])


@register(Transform, "sylvester")
@dataclass(frozen=True)
class Sylvester(Transform):
    """Sylvester steps with Householder reflections."""

    steps: int = 4
    reflections: int = 4

    def __post_init__(self) -> None:
        _require({"steps": self.steps, "reflections": self.reflections})

    def build(self, dim: int, context: int = 0) -> flows.Transform:
        return flows.Chain([flows.Sylvester(dim, self.reflections, context) for _ in range(self.steps)])


@register(Transform, "zuko")
@dataclass(frozen=True)
class Zuko(Transform):
    """A flow of the zuko library with an exact inverse; `inverse` makes its density fast, not its draw: for a prior."""

    flow: Literal["MAF", "NSF", "NICE"] = "NSF"
    steps: int = 3
    hidden: tuple[int, ...] = (64, 64)
    inverse: bool = False

    def __post_init__(self) -> None:
        _require({"steps": self.steps, "hidden": self.hidden})

    def build(self, dim: int, context: int = 0) -> flows.Transform:
        made = flows.Zuko(self.flow, dim, self.steps, self.hidden, context)
        return flows.Inverse(made) if self.inverse else made


@register(Posterior, "flow")
@dataclass(frozen=True)
class FlowPosterior(Posterior):
    """A diagonal Normal pushed through a transform that is given `features` numbers by the encoder."""

    transform: Transform = field(default_factory=IAF)
    features: int = 32

    def __post_init__(self) -> None:
        _require({"features": self.features})

    def build(self, net: Net, shape: tuple[int, ...], dim: int, context: int = 0) -> conditionals.Conditional:
        encoder = net.encoder(shape, 2 * dim + self.features, context)
        return conditionals.FlowPosterior(encoder, len(shape), self.transform.build(dim, self.features), dim)


@register(Prior, "flow")
@dataclass(frozen=True)
class FlowPrior(Prior):
    """N(0, I) pushed through a transform."""

    transform: Transform = field(default_factory=MAF)

    def build(self, dim: int, context: int = 0) -> conditionals.Conditional:
        return conditionals.FlowPrior(dim, self.transform.build(dim, context), context)


@register(Posterior, "hamiltonian")
@dataclass(frozen=True)
class HamiltonianPosterior(Posterior):
    """A diagonal Normal moved by leapfrog steps towards the true posterior."""

    steps: int = 3
    step: float = 0.05
    temper: float = 0.3

    def __post_init__(self) -> None:
        _require({"steps": self.steps})
        if self.step <= 0 or not 0 < self.temper < 1:
            raise UserError(f"step={self.step}, temper={self.temper}: give step > 0 and 0 < temper < 1")

    def build(self, net: Net, shape: tuple[int, ...], dim: int, context: int = 0) -> conditionals.Conditional:
        start = conditionals.DiagonalNormal(net.encoder(shape, 2 * dim, context), len(shape))
        return conditionals.HamiltonianPosterior(start, dim, self.steps, self.step, self.temper)
