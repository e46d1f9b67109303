"""One-hot data: along one dimension of the event exactly one number is 1 and the others are 0.

log p(x) = sum over positions of <x, log softmax(l)>
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import constraints

from nelbo.distributions import noise
from nelbo.distributions.base import Distribution


class OneHotAlong(constraints.Constraint):
    """One 1 and otherwise 0 along dimension `dim` (negative: counted from the end)."""

    is_discrete = True

    def __init__(self, dim: int) -> None:
        self.dim = dim

    def check(self, value: Tensor) -> Tensor:
        return ((value == 0) | (value == 1)).all(self.dim) & (value.sum(self.dim) == 1)


class Categorical(Distribution):
    """Independent categoricals of `logits`, `(*batch, *event)`, whose classes lie along event dimension `dim` < 0.

    >>> Categorical(torch.zeros(4)).log_prob(torch.tensor([0.0, 0.0, 1.0, 0.0])).exp().item()
    0.25
    """

    def __init__(self, logits: Tensor, event_dims: int = 1, dim: int = -1) -> None:
        self.logits, self.dim = logits, dim
        self.support = OneHotAlong(dim)
        super().__init__(logits.shape, event_dims)

    @property
    def mean(self) -> Tensor:
        return self.logits.softmax(self.dim)

    @property
    def variance(self) -> Tensor:
        return self.mean * (1 - self.mean)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:  # type: ignore[override]
        with torch.no_grad():
            dim, event = self.dim, list(self.event_shape)
            event[dim] = 1
            u = noise.uniform(torch.Size(sample_shape), self.batch_shape, torch.Size(event), self.logits)
            steps = self.mean.cumsum(dim).narrow(dim, 0, self.event_shape[dim] - 1)
            index = (u >= steps).sum(dim, keepdim=True)
            return u.new_zeros(*sample_shape, *self.logits.shape).scatter_(dim, index, 1.0)

    def element_log_prob(self, value: Tensor) -> Tensor:
        return value * self.logits.log_softmax(self.dim)
