"""Likelihoods of real numbers: the decoder returns the location; the scale is a single number.

The Normal is a squared error with one standard deviation; the others have heavier tails, so that outliers cost less.

Source: Takahashi, Iwata, Yamanaka, Yamada, Yagi (2018), Student-t Variational Autoencoder for Robust Density
Estimation; Chen, Chen, Zhang (2019), Log Hyperbolic Cosine Loss Improves Variational Auto-Encoder; Rybkin, Daniilidis,
Levine (2021), Simple and Effective VAE Training with Calibrated Decoders.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.distributions import constraints

from nelbo import distributions
from nelbo.config.registry import Learned, Positive, Range, register
from nelbo.likelihoods.base import Likelihood


class LogParameter(nn.Module):
    """The logarithm of a positive number, fixed or learned.

    Args:
        number: the number, or "learned".
        init_value: start of a learned number.
    """

    value: Tensor

    def __init__(self, number: float | Learned, init_value: float = 1.0) -> None:
        super().__init__()
        log = torch.tensor(math.log(init_value if isinstance(number, str) else number))
        if isinstance(number, str):
            self.value = nn.Parameter(log)
        else:
            self.register_buffer("value", log)


class LocationScaleLikelihood(Likelihood, ABC):
    """p(x | h) = prod_i family(x_i; mu_i(h), sigma).

    Args:
        decoder: maps h `(batch, features)` and a context to `(batch, n_outputs, *shape)`.
        event_dims: number of dimensions of a datum.
        sigma: the scale, in the units of x: a number, or "learned".
    """

    support = constraints.real

    def __init__(self, decoder: nn.Module, event_dims: int, *, sigma: Positive | Learned = "learned") -> None:
        super().__init__(decoder, event_dims)
        self.log_scale = LogParameter(sigma)

    @abstractmethod
    def distribution(self, loc: Tensor, log_scale: Tensor) -> distributions.Distribution:
        """The distribution with this location and log-scale."""

    def forward(self, *context: Tensor | None) -> distributions.Distribution:
        (loc,) = self.outputs(*context)
        return self.distribution(loc, self.log_scale.value)


@register("likelihood", "laplace")
class Laplace(LocationScaleLikelihood):
    """p(x | h) = prod_i Laplace(x_i; mu_i(h), sigma): the absolute error.

    Args:
        sigma: the scale, in the units of x; a number, or "learned".
    """

    def distribution(self, loc: Tensor, log_scale: Tensor) -> distributions.Distribution:
        return distributions.Laplace(loc, log_scale, self.event_dims)


@register("likelihood", "student-t", cite="takahashi2018student")
class StudentT(LocationScaleLikelihood):
    """p(x | h) = prod_i StudentT(x_i; mu_i(h), sigma, df): heavy tails, so that outliers cost less.

    A learned df is 1 + exp(a) > 1, so that the mean exists; it starts at 10.

    Args:
        sigma: the scale, in the units of x; a number, or "learned".
        df: degrees of freedom; a number above 1, or "learned".
    """

    def __init__(
        self,
        decoder: nn.Module,
        event_dims: int,
        *,
        sigma: Positive | Learned = "learned",
        df: Annotated[float, Range(above=1)] | Learned = "learned",
    ) -> None:
        super().__init__(decoder, event_dims, sigma=sigma)
        self.log_excess = LogParameter(df if isinstance(df, str) else df - 1, 9.0)

    def distribution(self, loc: Tensor, log_scale: Tensor) -> distributions.Distribution:
        return distributions.StudentT(loc, log_scale, 1 + self.log_excess.value.exp(), self.event_dims)


@register("likelihood", "log-cosh", cite="chen2019log")
class LogCosh(LocationScaleLikelihood):
    """The loss log cosh(sharpness * t / sigma) / sharpness as a density: a Normal near its centre, a Laplace beyond.

    Args:
        sharpness: larger values have a narrower Normal centre.
        sigma: the scale, in the units of x; a number, or "learned".
    """

    def __init__(
        self,
        decoder: nn.Module,
        event_dims: int,
        *,
        sharpness: Annotated[float, Range(1e-3, 1e3)] = 10.0,
        sigma: Positive | Learned = "learned",
    ) -> None:
        super().__init__(decoder, event_dims, sigma=sigma)
        self.sharpness = sharpness

    def distribution(self, loc: Tensor, log_scale: Tensor) -> distributions.Distribution:
        return distributions.LogCosh(self.sharpness, loc, log_scale, self.event_dims)


MOMENTUM = 0.99  # weight of the past in the running mean of the optimal variance


@register("likelihood", "normal", cite_if={"rybkin2021simple": lambda options: options["sigma"] == "optimal"})
class Normal(Likelihood):
    """p(x | h) = N(x; mu(h), sigma^2).

    Args:
        sigma: the standard deviation, in the units of x: a number, "learned" (one number), or "optimal". The optimal
            one for each training batch is sigma^2 = mean (x - mu)^2; in evaluation it is a running mean over the
            batches.
    """

    support = constraints.real
    log_scale: Tensor
    variance: Tensor
    batches: Tensor

    def __init__(
        self, decoder: nn.Module, event_dims: int, *, sigma: Positive | Learned | Literal["optimal"] = "optimal"
    ) -> None:
        super().__init__(decoder, event_dims)
        self.optimal = sigma == "optimal"
        if self.optimal:
            self.register_buffer("variance", torch.zeros(()))
            self.register_buffer("batches", torch.zeros(()))
        elif isinstance(sigma, str):
            self.log_scale = nn.Parameter(torch.zeros(()))
        else:
            self.register_buffer("log_scale", torch.tensor(math.log(sigma)))

    def forward(self, *context: Tensor | None) -> distributions.OptimalNormal | distributions.DiagonalNormal:
        (loc,) = self.outputs(*context)
        if not self.optimal:
            return distributions.DiagonalNormal(loc, self.log_scale, self.event_dims)
        if self.training:
            return distributions.OptimalNormal(loc, self.event_dims, self._observe)
        variance = torch.where(self.batches > 0, self.variance, torch.ones_like(self.variance))
        return distributions.DiagonalNormal(loc, 0.5 * variance.log(), self.event_dims)

    def _observe(self, squares: Tensor, count: Tensor) -> Tensor:
        """The mean of `count` squared residuals, over all processes; the running variance is updated with it."""
        sums = torch.stack([squares.sum(), count])
        if torch.distributed.is_initialized():
            torch.distributed.all_reduce(sums)
        variance = (sums[0] / sums[1]).clamp_min(1e-6)
        self.batches += 1
        self.variance.lerp_(variance, (1 / self.batches).clamp_min(1 - MOMENTUM))
        return variance
