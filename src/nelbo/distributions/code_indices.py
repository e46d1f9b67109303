"""Distributions of codes: `positions` whole numbers below `codes`, as chosen by vector quantisation.

    point       q(k | x) = 1 at the chosen codes                       (its entropy is 0, so log q = 0)
    uniform     log p(k) = -positions * log(codes)                     (the rate of any choice is this constant)
    sequence    log p(k) = sum_i log softmax(l_i(k_1 ... k_{i-1}))_{k_i}   (the rate is a real number)

Source: van den Oord, Vinyals, Kavukcuoglu (2017), Neural Discrete Representation Learning.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.distributions import constraints

from nelbo.distributions import noise
from nelbo.distributions.base import Distribution, temper


class PointMassCodes(Distribution):
    """All mass on one sequence of codes.

    Args:
        chosen: the codes, whole numbers `(*batch, positions)`.
        like: a tensor with the dtype of log-probabilities.
    """

    support = constraints.nonnegative_integer

    def __init__(self, chosen: Tensor, like: Tensor) -> None:
        self.chosen, self.like = chosen, like
        super().__init__(chosen.shape, 1)

    @property
    def mean(self) -> Tensor:
        return self.chosen

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:  # type: ignore[override]
        return self.chosen.expand(*sample_shape, *self.chosen.shape)

    def log_prob(self, value: Tensor) -> Tensor:
        same = (value == self.chosen).all(-1)
        return torch.zeros(same.shape, dtype=self.like.dtype, device=same.device).masked_fill(~same, -math.inf)


class UniformCodes(Distribution):
    """The uniform distribution over all sequences of codes, with an empty batch shape.

    Args:
        codes: size of the codebook.
        like: a tensor `(positions,)` with the dtype and device of log-probabilities.

    >>> UniformCodes(8, torch.zeros(2)).log_prob(torch.tensor([0, 7])).exp().item() * 64
    1.0
    """

    def __init__(self, codes: int, like: Tensor) -> None:
        self.codes, self.like = codes, like
        self.support = constraints.integer_interval(0, codes - 1)
        super().__init__(like.shape, 1)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:  # type: ignore[override]
        u = noise.uniform(torch.Size(sample_shape), self.batch_shape, self.event_shape, self.like)
        return (u * self.codes).long().clamp_max(self.codes - 1)

    def log_prob(self, value: Tensor) -> Tensor:
        return self.like.new_full(value.shape[:-1], -value.shape[-1] * math.log(self.codes))


class AutoregressiveCodes(Distribution):
    """An autoregressive distribution of sequences of codes. A draw calls `logits` once for each position.

    Args:
        logits: maps codes `(*lead, positions)` to logits `(*lead, positions, codes)`, where `lead` is any leading
            shape; row i of the result may depend only on codes before i.
        shape: `(*batch, positions)`.
        codes: size of the codebook.
        like: a tensor with the dtype and device of log-probabilities.
        temperature: divides the logits, in draws and in `log_prob`.
    """

    def __init__(
        self, logits: Callable[[Tensor], Tensor], shape: torch.Size, codes: int, like: Tensor, temperature: float = 1.0
    ) -> None:
        self.logits, self.codes = logits, codes
        self.like, self.temperature = like, temperature
        self.support = constraints.integer_interval(0, codes - 1)
        super().__init__(shape, 1)

    def log_probs(self, value: Tensor) -> Tensor:
        """log p(k_i = . | codes before i), `(*lead, positions, codes)`."""
        return (self.logits(value) / self.temperature).log_softmax(-1)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:  # type: ignore[override]
        with torch.no_grad():
            u = noise.uniform(torch.Size(sample_shape), self.batch_shape, self.event_shape, self.like)
            value = torch.zeros_like(u, dtype=torch.long)
            for i in range(u.shape[-1]):
                masses = self.log_probs(value)[..., i, :].exp()
                value[..., i] = noise.categorical(masses, u[..., i], normalized=True)
            return value

    def log_prob(self, value: Tensor) -> Tensor:
        value = value.expand(*torch.broadcast_shapes(value.shape[:-1], self.batch_shape), value.shape[-1])
        return self.log_probs(value).gather(-1, value.unsqueeze(-1)).squeeze(-1).sum(-1)


@temper.register
def _(d: UniformCodes, temperature: float) -> UniformCodes:
    return d


@temper.register
def _(d: AutoregressiveCodes, temperature: float) -> AutoregressiveCodes:
    """Codes have no standard deviation: the logits are divided; below 1, likely codes become likelier."""
    shape = torch.Size((*d.batch_shape, *d.event_shape))
    return AutoregressiveCodes(d.logits, shape, d.codes, d.like, d.temperature * temperature)
