"""The Beta density on (0, 1), and what to do with data that touch its ends.

    log p(x) = sum_i [ (a_i - 1) log x_i + (b_i - 1) log(1 - x_i) - log B(a_i, b_i) ]

At 0 and 1 the density is 0 or infinite. With a `margin` m > 0 the data are therefore drawn inwards,
x' = m + (1 - 2m) x, and scored as p(x') (1 - 2m): m = 1/512 puts byte k at (k + 1/2) / 256, the middle of its bin.
That integrates over [0, 1] to P(m < x' < 1 - m), less than one, and so says `normalized = False`.

Source: Smithson, Verkuilen (2006), A better lemon squeezer? Maximum-likelihood regression with beta-distributed
dependent variables.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from nelbo.distributions.base import Distribution, log_rising
from nelbo.distributions.gamma import standard_gamma


class Beta(Distribution):
    """Independent Betas of `alpha` a and `beta` b, `(*batch, *event)`.

    With a margin, draws and the mean are those of x', mapped back and clipped to [0, 1].

    >>> one = torch.ones(2)
    >>> Beta(one, one).log_prob(torch.rand(2)).item()
    0.0
    """

    support = torch.distributions.constraints.unit_interval

    def __init__(self, alpha: Tensor, beta: Tensor, event_dims: int = 1, margin: float = 0.0) -> None:
        self.alpha, self.beta, self.margin = alpha, beta, margin
        self.normalized = margin == 0
        super().__init__(alpha.shape, event_dims)

    @property
    def mean(self) -> Tensor:
        return self._outwards(self.alpha / (self.alpha + self.beta))

    @property
    def variance(self) -> Tensor:
        total = self.alpha + self.beta
        return self.alpha * self.beta / (total.square() * (total + 1)) / (1 - 2 * self.margin) ** 2

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:  # type: ignore[override]
        shapes = torch.Size(sample_shape), self.batch_shape, self.event_shape
        a, b = standard_gamma(self.alpha, *shapes), standard_gamma(self.beta, *shapes)
        return self._outwards(a / (a + b))

    def element_log_prob(self, value: Tensor) -> Tensor:
        x = self.margin + (1 - 2 * self.margin) * value
        norm = log_rising(self.beta, self.alpha) - torch.lgamma(self.alpha) + math.log1p(-2 * self.margin)
        return (self.alpha - 1) * x.log() + (self.beta - 1) * torch.log1p(-x) + norm

    def _outwards(self, x: Tensor) -> Tensor:
        return ((x - self.margin) / (1 - 2 * self.margin)).clamp(0, 1)
