"""Masses on the counts 0, 1, 2, ...

    Poisson                 log P(x) = x log m - m - log x!
    negative binomial       log P(x) = log Gamma(x + r) / (Gamma(r) x!) + r log(r / (r + m)) + x log(m / (r + m))
    zero-inflated           P(x) = pi [x = 0] + (1 - pi) NB(x)

m is the mean; r, the inverse dispersion, adds the variance m^2 / r, and r -> infinity is the Poisson. A negative
binomial is a Poisson whose rate is Gamma(r, r/m), from which it is drawn. A value that is not a count has mass 0
and log-mass -infinity, so that rescaled counts are not scored by mistake.

Source: Lopez, Regier, Cole, Jordan, Yosef (2018), Deep generative modeling for single-cell transcriptomics.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from nelbo.distributions import noise
from nelbo.distributions.base import Distribution, log_pochhammer
from nelbo.distributions.gamma import standard_gamma


def poisson_quantile(rate: Tensor, u: Tensor) -> Tensor:
    """The least k with P(X <= k) > u, X Poisson, by bisection of P(X <= k) = Gamma(k + 1, rate) / k!.

    >>> poisson_quantile(torch.full((3,), 2.0), torch.tensor([0.1, 0.5, 0.99])).tolist()
    [0.0, 2.0, 6.0]
    """
    low, high = torch.full_like(u, -1), (rate + 12 * rate.sqrt() + 40).ceil().expand_as(u)
    for _ in range(math.ceil(math.log2(high.max().item() + 2))):
        middle = ((low + high) / 2).floor()
        reached = torch.special.gammaincc(middle + 1, rate) > u
        low, high = torch.where(reached, low, middle), torch.where(reached, middle, high)
    return high


class Counts(Distribution, ABC):
    """Independent masses on counts.

    Args:
        log_mean: log of the mean before any zero inflation, `(*batch, *event)`.
        event_dims: number of last dimensions that form one event, over which `log_prob` sums.
    """

    support = torch.distributions.constraints.nonnegative_integer

    def __init__(self, log_mean: Tensor, event_dims: int = 1) -> None:
        self.log_mean = log_mean
        super().__init__(log_mean.shape, event_dims)

    @property
    def mean(self) -> Tensor:
        return self.log_mean.exp()

    def uniform(self, sample_shape: Sequence[int]) -> Tensor:
        """Uniform noise on [0, 1) for a draw, `(*sample_shape, *batch, *event)`."""
        return noise.uniform(torch.Size(sample_shape), self.batch_shape, self.event_shape, self.log_mean)

    def element_log_prob(self, value: Tensor) -> Tensor:
        count = value.clamp_min(0).round()
        return self.log_mass(count).masked_fill(count != value, -torch.inf)

    @abstractmethod
    def log_mass(self, count: Tensor) -> Tensor:
        """log P(x_i), nats per element."""


class Poisson(Counts):
    """Independent Poissons.

    Args:
        log_mean: log m, `(*batch, *event)`.
        event_dims: number of last dimensions that form one event, over which `log_prob` sums.

    >>> Poisson(torch.zeros(1)).log_prob(torch.ones(1)).item()
    -1.0
    """

    @property
    def variance(self) -> Tensor:
        return self.mean

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:  # type: ignore[override]
        with torch.no_grad():
            return poisson_quantile(self.mean, self.uniform(sample_shape))

    def log_mass(self, count: Tensor) -> Tensor:
        return count * self.log_mean - self.mean - torch.lgamma(count + 1)


class NegativeBinomial(Counts):
    """Independent negative binomials, zero-inflated if `zero_logit` is set.

    Args:
        log_mean: log m, the mean before zero inflation, `(*batch, *event)`.
        log_size: log r, the log inverse dispersion; broadcasts to `log_mean`.
        zero_logit: logit of pi, the probability of an extra zero; None for no zero inflation.
        event_dims: number of last dimensions that form one event, over which `log_prob` sums.

    >>> d = NegativeBinomial(torch.zeros(2), torch.zeros(2))  # r = 1 is geometric
    >>> round(d.log_prob(torch.tensor([0.0, 2.0])).exp().item(), 6)
    0.0625
    """

    def __init__(
        self, log_mean: Tensor, log_size: Tensor, zero_logit: Tensor | None = None, event_dims: int = 1
    ) -> None:
        self.log_size, self.zero_logit = log_size, zero_logit
        super().__init__(log_mean, event_dims)

    @property
    def kept(self) -> Tensor:
        """1 - pi."""
        return torch.ones_like(self.log_mean) if self.zero_logit is None else torch.sigmoid(-self.zero_logit)

    @property
    def mean(self) -> Tensor:
        return self.kept * self.log_mean.exp()

    @property
    def variance(self) -> Tensor:
        m = self.log_mean.exp()
        return self.kept * m * (1 + m * torch.exp(-self.log_size) + m * (1 - self.kept))

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:  # type: ignore[override]
        with torch.no_grad():
            size = self.log_size.expand_as(self.log_mean).exp()
            gamma = standard_gamma(size, torch.Size(sample_shape), self.batch_shape, self.event_shape)
            draw = poisson_quantile(gamma * self.log_mean.exp() / size, self.uniform(sample_shape))
            return draw if self.zero_logit is None else draw * (self.uniform(sample_shape) < self.kept)

    def log_mass(self, count: Tensor) -> Tensor:
        size, gap = self.log_size.exp(), self.log_mean - self.log_size
        log_mass = log_pochhammer(size, count) - torch.lgamma(count + 1)
        log_mass = log_mass + size * logsigmoid(-gap) + count * logsigmoid(gap)
        if self.zero_logit is None:
            return log_mass
        kept = log_mass + logsigmoid(-self.zero_logit)
        return torch.where(count == 0, torch.logaddexp(logsigmoid(self.zero_logit), kept), kept)
