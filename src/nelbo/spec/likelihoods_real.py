"""Likelihoods of real numbers with outliers, of counts and of classes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

from torch import nn

from nelbo import conditionals, distributions
from nelbo.errors import UserError
from nelbo.registry import register
from nelbo.spec.likelihoods import Likelihood

Learned = Literal["learned"]


def given(name: str, value: float | Learned, above: float = 0.0) -> None:
    """Raise `UserError` for a number that is not above the bound."""
    if not isinstance(value, str) and value <= above:
        raise UserError(f'{name}={value}: give a number above {above:g}, or "learned"')


def number(value: float | Learned) -> float | None:
    """The number, or None where it is learned."""
    return None if isinstance(value, str) else value


@register(Likelihood, "laplace")
@dataclass(frozen=True)
class Laplace(Likelihood):
    """Laplace: the absolute error, with one scale."""

    sigma: float | Learned = "learned"

    def __post_init__(self) -> None:
        given("sigma", self.sigma)

    def build(self, net: nn.Module, event_dims: int) -> conditionals.Likelihood:
        return conditionals.Robust(net, event_dims, distributions.Laplace, number(self.sigma))


@register(Likelihood, "student-t")
@dataclass(frozen=True)
class StudentT(Likelihood):
    """Student-t with one scale and one number of degrees of freedom, above 1."""

    sigma: float | Learned = "learned"
    df: float | Learned = "learned"

    def __post_init__(self) -> None:
        given("sigma", self.sigma)
        given("df", self.df, 1.0)

    def build(self, net: nn.Module, event_dims: int) -> conditionals.Likelihood:
        return conditionals.StudentT(net, event_dims, number(self.sigma), number(self.df))


@register(Likelihood, "log-cosh")
@dataclass(frozen=True)
class LogCosh(Likelihood):
    """The loss log cosh(sharpness * t / sigma) / sharpness as a density: a Normal near its centre, a Laplace beyond.

    Source: Chen, Chen, Zhang (2019), Log Hyperbolic Cosine Loss Improves Variational Auto-Encoder.
    """

    sharpness: float = 10.0
    sigma: float | Learned = "learned"

    def __post_init__(self) -> None:
        given("sigma", self.sigma)
        if not 1e-3 <= self.sharpness <= 1e3:
            raise UserError(f"sharpness={self.sharpness}: give a number from 0.001 to 1000")

    def build(self, net: nn.Module, event_dims: int) -> conditionals.Likelihood:
        family = partial(distributions.LogCosh, self.sharpness)
        return conditionals.Robust(net, event_dims, family, number(self.sigma))


@register(Likelihood, "poisson")
@dataclass(frozen=True)
class Poisson(Likelihood):
    """Poisson, of raw counts."""

    def build(self, net: nn.Module, event_dims: int) -> conditionals.Likelihood:
        return conditionals.Poisson(net, event_dims)


@register(Likelihood, "negative-binomial")
@dataclass(frozen=True)
class NegativeBinomial(Likelihood):
    """Negative binomial, of raw counts; with `zero_inflated`, more zeros than it has."""

    zero_inflated: bool = False

    @property
    def outputs(self) -> int:
        return 3 if self.zero_inflated else 2

    def build(self, net: nn.Module, event_dims: int) -> conditionals.Likelihood:
        return conditionals.NegativeBinomial(net, event_dims, self.zero_inflated)


@register(Likelihood, "one-hot")
@dataclass(frozen=True)
class OneHot(Likelihood):
    """Categorical, of one-hot vectors: along the last dimension, or a picture's "channels"."""

    along: Literal["last", "channels"] = "last"

    def build(self, net: nn.Module, event_dims: int) -> conditionals.Likelihood:
        return conditionals.OneHot(net, event_dims, -1 if self.along == "last" else -event_dims)
