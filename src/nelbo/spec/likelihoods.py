"""Likelihoods."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

from torch import nn

from nelbo import conditionals
from nelbo.errors import UserError
from nelbo.registry import register


class Likelihood(ABC):
    """A density of the data; `outputs` is how many numbers it asks of the decoder for each element."""

    @property
    def outputs(self) -> int:
        """Numbers of the decoder for each element of the data."""
        return 1

    @abstractmethod
    def build(self, net: nn.Module, event_dims: int) -> conditionals.Likelihood:
        """The conditional on top of a decoder."""


@register(Likelihood, "bernoulli")
@dataclass(frozen=True)
class Bernoulli(Likelihood):
    """Bernoulli; with `grey` the cross-entropy of values between 0 and 1, which is no density."""

    grey: bool = False

    def build(self, net: nn.Module, event_dims: int) -> conditionals.Likelihood:
        return conditionals.Bernoulli(net, event_dims, self.grey)


@register(Likelihood, "continuous-bernoulli")
@dataclass(frozen=True)
class ContinuousBernoulli(Likelihood):
    """The density on [0, 1] that grey-valued cross-entropy lacks."""

    def build(self, net: nn.Module, event_dims: int) -> conditionals.Likelihood:
        return conditionals.ContinuousBernoulli(net, event_dims)


@register(Likelihood, "normal")
@dataclass(frozen=True)
class Normal(Likelihood):
    """Normal with one standard deviation: a fixed number, "learned", or "optimal" (the best for each batch)."""

    sigma: float | Literal["learned", "optimal"] = "optimal"

    def __post_init__(self) -> None:
        if not isinstance(self.sigma, str) and self.sigma <= 0:
            raise UserError(f'sigma={self.sigma}: give a number above 0, "learned" or "optimal"')

    def build(self, net: nn.Module, event_dims: int) -> conditionals.Likelihood:
        if self.sigma == "optimal":
            return conditionals.OptimalNormal(net, event_dims)
        return conditionals.Normal(net, event_dims, None if isinstance(self.sigma, str) else self.sigma)


@register(Likelihood, "table")
@dataclass(frozen=True)
class Table(Likelihood):
    """The cells of a table's row, one after the other: masses of categories, densities of numbers."""

    def build(self, net: nn.Module, event_dims: int) -> conditionals.Likelihood:
        return conditionals.Table(net, event_dims)


@register(Likelihood, "text")
@dataclass(frozen=True)
class Text(Likelihood):
    """The tokens of a line of text, one after the other: their masses, and that of its end."""

    def build(self, net: nn.Module, event_dims: int) -> conditionals.Likelihood:
        return conditionals.Text(net, event_dims)
