"""Masses on the K grey levels 0, 1/(K-1), ..., 1 of a pixel (K = 256 for bytes).

    categorical           P(x = k / (K-1)) = softmax(l)_k
    discretised logistic  P(x) = F((x + h - mu) / s) - F((x - h - mu) / s),   F = sigmoid, h = 1 / (2 (K-1))
    their mixture         P(x) = sum_j softmax(l)_j P_j(x)

The bins of the first and the last level are open: they reach to minus and plus infinity, so that the mass is one.
With b, a = (x +- h - mu) / s, a difference of sigmoids is F(b) F(-a) (1 - exp(a - b)), in which nothing cancels.

Source: Kingma, Salimans, Jozefowicz, Chen, Sutskever, Welling (2016), Improved Variational Inference with Inverse
Autoregressive Flow; Salimans, Karpathy, Chen, Kingma (2017), PixelCNN++.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.nn.functional import logsigmoid, softplus

from nelbo.distributions import noise
from nelbo.distributions.base import Distribution


class Levels(constraints.Constraint):
    """The `count` numbers 0, 1/(count-1), ..., 1."""

    is_discrete = True

    def __init__(self, count: int) -> None:
        self.count = count

    def check(self, value: Tensor) -> Tensor:
        steps = value * (self.count - 1)
        return (value >= 0) & (value <= 1) & ((steps - steps.round()).abs() < 1e-3)


class DiscretizedPixels(Distribution, ABC):
    """Independent masses on grey levels.

    Args:
        parameter: a parameter, `(*batch, *event, n)`: the last dimension is not one of the data.
        count: number of grey levels K.
        event_dims: number of last dimensions that form one event, over which `log_prob` sums.
    """

    def __init__(self, parameter: Tensor, count: int, event_dims: int) -> None:
        self.count = count
        self.support = Levels(count)
        super().__init__(parameter.shape[:-1], event_dims)

    @abstractmethod
    def log_mass(self, value: Tensor) -> Tensor:
        """log P(x_i), nats per element; x is rounded to the nearest level."""

    def element_log_prob(self, value: Tensor) -> Tensor:
        return self.log_mass(value)

    @property
    def variance(self) -> Tensor:
        """The variance, summed over the levels."""
        ones = self.mean.new_ones(self.batch_shape + self.event_shape)
        levels = torch.linspace(0, 1, self.count, dtype=ones.dtype, device=ones.device)
        moments = [torch.stack([p * x, p * x * x]) for x in levels for p in [self.log_mass(x * ones).exp()]]
        first, second = torch.stack(moments).sum(0)
        return second - first.square()

    def choose(self, logits: Tensor, sample_shape: Sequence[int]) -> Tensor:
        """Draws of an index into the last dimension of `logits`, by inversion."""
        u = noise.uniform(torch.Size(sample_shape), self.batch_shape, self.event_shape, logits)
        return noise.categorical(logits.softmax(-1), u, normalized=True)


class PixelCategorical(DiscretizedPixels):
    """Arbitrary masses on the levels.

    Args:
        logits: masses are their softmax, `(*batch, *event, levels)`.
        event_dims: number of last dimensions that form one event, over which `log_prob` sums.

    >>> round(PixelCategorical(torch.zeros(3, 256)).log_prob(torch.ones(3)).exp().item() * 256**3, 5)
    1.0
    """

    def __init__(self, logits: Tensor, event_dims: int = 1) -> None:
        self.logits = logits
        super().__init__(logits, logits.shape[-1], event_dims)

    @property
    def mean(self) -> Tensor:
        levels = torch.linspace(0, 1, self.count, dtype=self.logits.dtype, device=self.logits.device)
        return self.logits.softmax(-1) @ levels

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:  # type: ignore[override]
        with torch.no_grad():
            return self.choose(self.logits, sample_shape).to(self.logits.dtype) / (self.count - 1)

    def log_mass(self, value: Tensor) -> Tensor:
        index = (value * (self.count - 1)).round().long().unsqueeze(-1)
        log_mass = self.logits.log_softmax(-1)
        lead = torch.broadcast_shapes(index.shape[:-1], log_mass.shape[:-1])
        return log_mass.expand(*lead, -1).gather(-1, index.expand(*lead, 1)).squeeze(-1)


class DiscretizedLogistic(DiscretizedPixels):
    """Mixtures of discretised logistics.

    mu and s are in units of the data, where black is 0 and white 1. `mean` is that of the logistics clipped to
    [0, 1], before rounding: within 1e-4 of the exact mean at s > 1/510, and never half a level from it.

    Args:
        logits: the weights of the components are their softmax, `(*batch, *event, components)`.
        loc: mu, `(*batch, *event, components)`.
        log_scale: log s, `(*batch, *event, components)`.
        event_dims: number of last dimensions that form one event, over which `log_prob` sums.
        levels: number of grey levels K.

    >>> zero = torch.zeros(1)  # a logistic around black, far narrower than a level
    >>> DiscretizedLogistic(zero, zero, zero - 20, event_dims=0).log_prob(torch.tensor(0.0)).item()
    0.0
    """

    def __init__(self, logits: Tensor, loc: Tensor, log_scale: Tensor, event_dims: int = 1, levels: int = 256) -> None:
        self.logits, self.loc, self.log_scale = logits, loc, log_scale
        super().__init__(loc, levels, event_dims)

    @property
    def mean(self) -> Tensor:
        s = self.log_scale.exp()
        clipped = s * (softplus(self.loc / s) - softplus((self.loc - 1) / s))
        return (self.logits.softmax(-1) * clipped).sum(-1)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:  # type: ignore[override]
        with torch.no_grad():
            index = self.choose(self.logits.expand_as(self.loc), sample_shape).unsqueeze(-1)
            lead = index.shape[:-1]
            loc, log_scale = (
                p.expand_as(self.loc).expand(*lead, -1).gather(-1, index).squeeze(-1)
                for p in (self.loc, self.log_scale)
            )
            u = noise.uniform(torch.Size(sample_shape), self.batch_shape, self.event_shape, self.loc)
            x = loc + log_scale.exp() * torch.logit(u, eps=torch.finfo(u.dtype).eps / 2)
            return (x * (self.count - 1)).round().clamp(0, self.count - 1) / (self.count - 1)

    def log_mass(self, value: Tensor) -> Tensor:
        half, x, precision = 0.5 / (self.count - 1), value.unsqueeze(-1), torch.exp(-self.log_scale)
        below, above = logsigmoid((x + half - self.loc) * precision), logsigmoid((self.loc - x + half) * precision)
        inside = below + above + torch.log(-torch.expm1(-2 * half * precision))
        log_mass = torch.where(x < half, below, torch.where(x > 1 - half, above, inside))
        return torch.logsumexp(self.logits.log_softmax(-1) + log_mass, -1)
