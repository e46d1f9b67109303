"""Diagonal Normal distributions: the posterior, the standard prior, and the likelihood of real-valued data.

    log N(x; mu, sigma) = sum_i [ -(x_i - mu_i)^2 / (2 sigma_i^2) - log sigma_i - log(2 pi) / 2 ]

Reparameterised as x = mu + sigma * eps, eps ~ N(0, I).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from nelbo.distributions import noise
from nelbo.distributions.base import Distribution, detach, detached, on_shell, scaled, temper, typical

LOG_2PI = math.log(2 * math.pi)


class DiagonalNormal(Distribution):
    """Independent Normals over an event of `event_dims` dimensions.

    `loc` has shape `(*batch, *event)`; `log_scale` broadcasts to it.

    >>> d = DiagonalNormal(torch.zeros(3, 2), torch.zeros(()))
    >>> round(d.log_prob(torch.zeros(3, 2))[0].item() + LOG_2PI, 5)
    0.0
    """

    def __init__(self, loc: Tensor, log_scale: Tensor, event_dims: int = 1) -> None:
        self.loc, self.log_scale = loc, log_scale
        super().__init__(loc.shape, event_dims)

    @property
    def stddev(self) -> Tensor:
        return self.log_scale.exp().expand_as(self.loc)

    @property
    def variance(self) -> Tensor:
        return self.stddev.square()

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:  # type: ignore[override]
        eps = noise.normal(torch.Size(sample_shape), self.batch_shape, self.event_shape, self.loc)
        return torch.addcmul(self.loc, self.log_scale.exp(), eps)

    def element_log_prob(self, value: Tensor) -> Tensor:
        standard = (value - self.loc) * torch.exp(-self.log_scale)
        return -0.5 * (standard.square() + LOG_2PI) - self.log_scale

    def entropy(self) -> Tensor:
        return self.sum_event((self.log_scale + 0.5 * (LOG_2PI + 1)).expand_as(self.loc))


class StandardNormal(Distribution):
    """N(0, I) over vectors of `dim` numbers, with an empty batch shape; `like` names dtype and device.

    >>> StandardNormal(2, torch.zeros(())).log_prob(torch.zeros(5, 2)).shape
    torch.Size([5])
    """

    def __init__(self, dim: int, like: Tensor) -> None:
        self.like = like
        self.loc = like.new_zeros(dim)
        super().__init__(self.loc.shape, 1)

    @property
    def variance(self) -> Tensor:
        return torch.ones_like(self.loc)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:  # type: ignore[override]
        return noise.normal(torch.Size(sample_shape), self.batch_shape, self.event_shape, self.like)

    def element_log_prob(self, value: Tensor) -> Tensor:
        return -0.5 * (value.square() + LOG_2PI)


class OptimalNormal(Distribution):
    """A Normal likelihood whose one variance is, in training, the best for the batch it scores.

        sigma^2 = mean over batch and elements of (x - mu)^2

    By the envelope theorem its gradient in mu is that of the profile likelihood, so sigma is held fixed in
    the backward pass. `observe` is given the squared residuals and their number, and returns sigma^2.

    Source: Rybkin, Daniilidis, Levine (2021), Simple and Effective VAE Training with Calibrated Decoders.
    """

    def __init__(self, loc: Tensor, event_dims: int, observe: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.loc, self.observe = loc, observe
        super().__init__(loc.shape, event_dims)

    def element_log_prob(self, value: Tensor) -> Tensor:
        squares = (value - self.loc).detach().square()
        return self._fitted(squares, squares.new_tensor(squares.numel())).element_log_prob(value)

    def observed_log_prob(self, value: Tensor, gaps: Tensor) -> Tensor:
        """`element_log_prob` of values of which sigma^2 leaves those in `gaps` out."""
        squares = (value - self.loc).detach().square().masked_fill(gaps, 0.0)
        return self._fitted(squares, (~gaps).expand_as(squares).sum().to(squares)).element_log_prob(value)

    def _fitted(self, squares: Tensor, count: Tensor) -> DiagonalNormal:
        return DiagonalNormal(self.loc, 0.5 * self.observe(squares, count).log(), len(self.event_shape))


@temper.register
def _(d: StandardNormal, temperature: float) -> DiagonalNormal:
    return DiagonalNormal(d.mean, d.mean + math.log(temperature))


temper.register(DiagonalNormal, scaled)
detach.register(DiagonalNormal, detached)
typical.register(DiagonalNormal, on_shell)
