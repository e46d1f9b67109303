"""Likelihoods of real numbers that forgive outliers: the net gives the location, the scale is one number."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.distributions import constraints

from nelbo import distributions
from nelbo.conditionals.base import Likelihood


class Logarithm(nn.Module):
    """The log of a given number, or one learned from `start` (None)."""

    value: Tensor

    def __init__(self, number: float | None, start: float = 1.0) -> None:
        super().__init__()
        log = torch.tensor(math.log(start if number is None else number))
        if number is None:
            self.value = nn.Parameter(log)
        else:
            self.register_buffer("value", log)


class Robust(Likelihood):
    """p(x | h) = prod_i family(x_i; mu_i(h), sigma), `family` called as (loc, log_scale, event_dims): Laplace, say."""

    support = constraints.real

    def __init__(
        self,
        net: nn.Module,
        event_dims: int,
        family: Callable[[Tensor, Tensor, int], distributions.Distribution],
        sigma: float | None = None,
    ) -> None:
        super().__init__(net, event_dims)
        self.family = family
        self.log_scale = Logarithm(sigma)

    def forward(self, *context: Tensor | None) -> distributions.Distribution:
        (loc,) = self.outputs(*context)
        return self.family(loc, self.log_scale.value, self.event_dims)


class StudentT(Likelihood):
    """p(x | h) = prod_i Student-t of location mu_i(h), scale sigma and df degrees of freedom.

    df = 1 + exp(a) > 1, so that the mean exists; a is learned from df = 10 where df is None.

    Source: Takahashi, Iwata, Yamanaka, Yamada, Yagi (2018), Student-t Variational Autoencoder for Robust Density
    Estimation.
    """

    support = constraints.real

    def __init__(self, net: nn.Module, event_dims: int, sigma: float | None = None, df: float | None = None) -> None:
        super().__init__(net, event_dims)
        self.log_scale = Logarithm(sigma)
        self.log_excess = Logarithm(None if df is None else df - 1, 9.0)

    def forward(self, *context: Tensor | None) -> distributions.StudentT:
        (loc,) = self.outputs(*context)
        return distributions.StudentT(loc, self.log_scale.value, 1 + self.log_excess.value.exp(), self.event_dims)
