"""Densities of real numbers with heavier tails than a Normal's: x = mu + sigma e, e of a standard shape.

    Laplace     log p(e) = -|e| - log 2
    Student-t   log p(e) = log Gamma((n+1)/2) - log Gamma(n/2) - log(n pi)/2 - (n+1)/2 log(1 + e^2/n)
    log-cosh    log p(e) = -(1/a) log cosh(a e) - log Z,   Z = (1/a) sqrt(pi) Gamma(1/2a) / Gamma(1/2a + 1/2)

Z is the integral of cosh(a e)^(-1/a), so that the log-cosh loss is the logarithm of a density: a = 1 is the
hyperbolic secant 1 / (pi cosh e), a -> 0 a Normal of variance 1/a, a -> infinity the Laplace. With n = 1/a,
u = a e = asinh(T / sqrt n) for T of a Student-t with n degrees of freedom, from which it is drawn.

Source: Bailey (1994), Polar Generation of Random Variates with the t-Distribution; Chen, Chen, Zhang (2019), Log
Hyperbolic Cosine Loss Improves Variational Auto-Encoder; Takahashi, Iwata, Yamanaka, Yamada, Yagi (2018), Student-t
Variational Autoencoder for Robust Density Estimation.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import softplus

from nelbo.distributions import noise
from nelbo.distributions.base import Distribution, detach, detached, log_pochhammer, register_kl, scaled, temper


class LocationScale(Distribution, ABC):
    """mu + sigma e for independent e of a standard shape.

    Args:
        loc: mu, `(*batch, *event)`.
        log_scale: log sigma; broadcasts to `loc`.
        event_dims: number of last dimensions that form one event, over which `log_prob` sums.
    """

    def __init__(self, loc: Tensor, log_scale: Tensor, event_dims: int = 1) -> None:
        self.loc, self.log_scale = loc, log_scale
        super().__init__(loc.shape, event_dims)

    @property
    def variance(self) -> Tensor:
        return (torch.exp(2 * self.log_scale) * self.shape_variance()).expand_as(self.loc)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:  # type: ignore[override]
        return self.loc + self.log_scale.exp() * self.draw_shape(torch.Size(sample_shape))

    def element_log_prob(self, value: Tensor) -> Tensor:
        e = (value - self.loc) * torch.exp(-self.log_scale)
        return self.shape_log_prob(e) - self.log_scale

    def uniform(self, sample_shape: torch.Size) -> Tensor:
        """Uniform noise on (0, 1), both ends excluded, for a draw."""
        u = noise.uniform(sample_shape, self.batch_shape, self.event_shape, self.loc)
        return u.clamp_min(torch.finfo(u.dtype).eps / 2)

    @abstractmethod
    def shape_variance(self) -> float | Tensor:
        """The variance of the standardised noise e, where x = mu + sigma e."""

    @abstractmethod
    def draw_shape(self, sample_shape: torch.Size) -> Tensor:
        """A draw of the standardised noise e."""

    @abstractmethod
    def shape_log_prob(self, e: Tensor) -> Tensor:
        """log p(e), nats per element."""


class Laplace(LocationScale):
    """Independent Laplace densities exp(-|x - mu| / sigma) / (2 sigma), of variance 2 sigma^2.

    Args:
        loc: mu, `(*batch, *event)`.
        log_scale: log sigma; broadcasts to `loc`.
        event_dims: number of last dimensions that form one event, over which `log_prob` sums.

    >>> Laplace(torch.zeros(1), torch.zeros(())).log_prob(torch.zeros(1)).exp().item()
    0.5
    """

    def shape_variance(self) -> float:
        return 2.0

    def draw_shape(self, sample_shape: torch.Size) -> Tensor:
        u = self.uniform(sample_shape) - 0.5
        return -u.sign() * torch.log1p(-2 * u.abs())

    def shape_log_prob(self, e: Tensor) -> Tensor:
        return -e.abs() - math.log(2)


class StudentT(LocationScale):
    """Independent Student-t densities.

    `mean` is mu at any df (it is the mean for df > 1); the variance is sigma^2 df / (df - 2), infinite for df <= 2.

    Args:
        loc: mu, `(*batch, *event)`.
        log_scale: log sigma; broadcasts to `loc`.
        df: degrees of freedom n > 0; broadcasts to `loc`.
        event_dims: number of last dimensions that form one event, over which `log_prob` sums.

    >>> StudentT(torch.zeros(2), torch.zeros(()), torch.tensor(4.0)).variance.tolist()
    [2.0, 2.0]
    """

    def __init__(self, loc: Tensor, log_scale: Tensor, df: Tensor, event_dims: int = 1) -> None:
        self.df = df
        super().__init__(loc, log_scale, event_dims)

    def shape_variance(self) -> Tensor:
        return torch.where(self.df > 2, self.df / (self.df - 2), torch.inf)

    def draw_shape(self, sample_shape: torch.Size) -> Tensor:
        u, v = self.uniform(sample_shape), self.uniform(sample_shape)
        squared_radius = self.df * torch.expm1(-2 / self.df * torch.log1p(-u))
        return squared_radius.sqrt() * torch.cos(2 * math.pi * v)

    def shape_log_prob(self, e: Tensor) -> Tensor:
        norm = log_pochhammer(self.df / 2, torch.full_like(self.df, 0.5)) - 0.5 * torch.log(math.pi * self.df)
        return norm - (self.df + 1) / 2 * torch.log1p(e.square() / self.df)


class LogCosh(LocationScale):
    """Independent densities proportional to cosh(a (x - mu) / sigma)^(-1/a).

    Args:
        sharpness: a > 0; towards 0 the density approaches a Normal, towards infinity a Laplace.
        loc: mu, `(*batch, *event)`.
        log_scale: log sigma; broadcasts to `loc`.
        event_dims: number of last dimensions that form one event, over which `log_prob` sums.

    >>> d = LogCosh(1.0, torch.zeros(1), torch.zeros(()))
    >>> round(math.pi * d.log_prob(torch.zeros(1)).exp().item(), 5)
    1.0
    """

    def __init__(self, sharpness: float, loc: Tensor, log_scale: Tensor, event_dims: int = 1) -> None:
        self.sharpness = sharpness
        super().__init__(loc, log_scale, event_dims)

    def shape_variance(self) -> Tensor:
        half = self.loc.new_tensor(0.5 / self.sharpness)
        return torch.special.polygamma(1, half) / (2 * self.sharpness**2)

    def draw_shape(self, sample_shape: torch.Size) -> Tensor:
        """asinh(T / sqrt n) / a, from the logarithm w / 2 of the radius of T, which itself overflows for small n."""
        u, cosine = self.uniform(sample_shape), torch.cos(2 * math.pi * self.uniform(sample_shape))
        w = -2 * self.sharpness * torch.log1p(-u)
        legs = cosine.abs() * torch.sqrt(-torch.expm1(-w)) + torch.hypot(
            cosine, torch.exp(-w / 2) * (1 - cosine**2).sqrt()
        )
        return cosine.sign() * (w / 2 + legs.log()) / self.sharpness

    def shape_log_prob(self, e: Tensor) -> Tensor:
        a, half = self.sharpness, 0.5 / self.sharpness
        log_z = 0.5 * math.log(math.pi) - math.log(a) + math.lgamma(half) - math.lgamma(half + 0.5)
        return -(a * e + softplus(-2 * a * e) - math.log(2)) / a - log_z


@register_kl(Laplace, Laplace)
def _(q: Laplace, p: Laplace) -> Tensor:
    """Gil, Alajaji, Linder (2013), Rényi divergence measures for commonly used univariate continuous distributions."""
    shift, spread = (q.loc - p.loc).abs(), q.log_scale - p.log_scale
    overlap = torch.exp(spread - shift * torch.exp(-q.log_scale))
    return q.sum_event(shift * torch.exp(-p.log_scale) + overlap - spread - 1)


temper.register(Laplace, scaled)
detach.register(Laplace, detached)
