"""Data with unobserved elements, marked by NaN.

    log p(x_o) = sum over the observed elements i of log p(x_i),

the marginal over the others if elements are independent. Draws have no missing elements.

Source: Little, Rubin (1987), Statistical Analysis with Missing Data; Mattei, Frellsen (2019), MIWAE: Deep Generative
Modelling and Imputation of Incomplete Data Sets.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nelbo.distributions.base import Distribution
from nelbo.distributions.gaussian import OptimalNormal


class Masked(Distribution):
    """A density of independent elements on data with missing elements (NaN), which add 0 to `log_prob`.

    Args:
        base: the density of complete data.

    >>> d = Masked(OptimalNormal(torch.zeros(2, 3), 1, lambda squares, n: squares.sum() / n))
    >>> d.element_log_prob(torch.tensor([1.0, torch.nan, -1.0]))[0, 1].item()
    0.0
    """

    def __init__(self, base: Distribution) -> None:
        self.base = base
        self.normalized, self.support = base.normalized, base.support
        super().__init__(base.batch_shape + base.event_shape, len(base.event_shape))

    @property
    def mean(self) -> Tensor:
        return self.base.mean

    @property
    def variance(self) -> Tensor:
        return self.base.variance

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        return bool(self.base.has_rsample)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:  # type: ignore[override]
        return self.base.rsample(torch.Size(sample_shape))

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:  # type: ignore[override]
        return self.base.sample(torch.Size(sample_shape))

    def element_log_prob(self, value: Tensor) -> Tensor:
        """log p(x_i), nats of the shape of `value`, broadcast; 0 where x_i is NaN."""
        gaps = value.isnan()
        # The mean lies where the density is smooth: a gap's gradient, times 0, is then 0 and not NaN.
        whole = torch.where(gaps, self.base.mean.detach(), value)
        if isinstance(self.base, OptimalNormal):
            return self.base.observed_log_prob(whole, gaps).masked_fill(gaps, 0.0)
        return self.base.element_log_prob(whole).masked_fill(gaps, 0.0)
