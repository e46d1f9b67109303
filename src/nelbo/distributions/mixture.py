"""Mixtures, and the marginal density of a second latent-variable model.

mixture    log p(z) = logsumexp_k [ log w_k + log q_k(z) ],   sum_k w_k = 1
marginal   log p(z) = log E_{u ~ q(u|z)} [ p(z | u) p(u) / q(u | z) ]
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import singledispatch

import torch
from torch import Tensor
from torch.distributions import Distribution as TorchDistribution
from torch.distributions import MultivariateNormal

from nelbo.distributions import noise
from nelbo.distributions.base import Distribution, sample_and_log_prob, temper
from nelbo.distributions.curved import WrappedNormal
from nelbo.distributions.flow import Flow
from nelbo.distributions.gaussian import DiagonalNormal, FullNormal, LogisticNormal, LowRankNormal, StandardNormal


class Mixture(Distribution):
    """sum_k w_k q_k(z).

    A draw has a gradient in the components, and none in the weights.

    Args:
        components: the q_k, with batch shape `(K,)`.
        logits: w = softmax(logits), `(K,)`.

    >>> d = Mixture(DiagonalNormal(torch.zeros(4, 2), torch.zeros(())), torch.zeros(4))
    >>> round(d.log_prob(torch.zeros(2)).exp().item() * 2 * math.pi, 5)  # four times the same component
    1.0
    """

    has_rsample = False

    def __init__(self, components: TorchDistribution, logits: Tensor) -> None:
        self.components, self.logits = components, logits
        self.support = components.support  # type: ignore[assignment]
        super().__init__(components.event_shape, len(components.event_shape))

    def _average(self, values: Tensor) -> Tensor:
        return torch.tensordot(self.logits.softmax(-1), values, 1)

    @property
    def mean(self) -> Tensor:
        return self._average(self.components.mean)

    @property
    def variance(self) -> Tensor:
        return self._average(self.components.variance + (self.components.mean - self.mean).square())

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:  # type: ignore[override]
        u = noise.uniform(torch.Size(sample_shape), self.batch_shape, torch.Size(), self.logits)
        chosen = noise.categorical(self.logits.softmax(-1), u, normalized=True)
        with noise.no_sharding():
            return draw_of(self.components, chosen)

    def log_prob(self, value: Tensor) -> Tensor:
        each = self.components.log_prob(value.unsqueeze(-1 - len(self.event_shape)))
        return (each + self.logits.log_softmax(-1)).logsumexp(-1)


@singledispatch
def draw_of(components: TorchDistribution, chosen: Tensor) -> Tensor:
    """A draw of component k for each k in `chosen`: `(*chosen, *event)`. It draws from all components."""
    with noise.inner(len(components.batch_shape)):
        draws = components.rsample(chosen.shape)
    lead = chosen.dim()
    index = chosen.reshape(*chosen.shape, 1, *[1] * len(components.event_shape))
    return draws.gather(lead, index.expand(*chosen.shape, 1, *components.event_shape)).squeeze(lead)


@draw_of.register
def _(components: DiagonalNormal, chosen: Tensor) -> Tensor:
    """Draw only from the chosen components."""
    log_scale = components.log_scale.expand_as(components.loc)
    return DiagonalNormal(components.loc[chosen], log_scale[chosen], len(components.event_shape)).rsample()


@draw_of.register
def _(components: MultivariateNormal, chosen: Tensor) -> Tensor:
    """Draw only from the chosen components."""
    return FullNormal(components.loc[chosen], components.scale_tril[chosen]).rsample()


@temper.register
def _(d: MultivariateNormal, temperature: float) -> MultivariateNormal:
    return MultivariateNormal(d.loc, scale_tril=d.scale_tril * temperature, validate_args=False)


@temper.register
def _(d: Mixture, temperature: float) -> Mixture:
    """Temper each component; weights and means stay as they are."""
    return Mixture(temper(d.components, temperature), d.logits)


class Marginal(Distribution):
    """p(z) = integral of p(z | u) p(u) du, known through q(u | z).

    `log_prob` is the log of a mean of importance weights: a random lower bound, whose exponential has mean p(z).
    `normalized` is therefore False; draws are exact.

    Args:
        prior: p(u).
        decode: maps u to p(z | u).
        infer: maps z to q(u | z).
        samples: importance weights for each z; more make `log_prob` tighter.
    """

    normalized = False
    has_rsample = False

    def __init__(
        self,
        prior: Distribution,
        decode: Callable[[Tensor], TorchDistribution],
        infer: Callable[[Tensor], TorchDistribution],
        samples: int = 1,
    ) -> None:
        self.prior, self.decode = prior, decode
        self.infer, self.samples = infer, samples
        super().__init__(decode(prior.mean.unsqueeze(0)).event_shape, 1)

    @property
    def mean(self) -> Tensor:
        """The mean of p(z | E[u]): a central point, not the expectation."""
        return self.decode(self.prior.mean.unsqueeze(0)).mean.squeeze(0)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:  # type: ignore[override]
        flat = self.prior.rsample((math.prod(sample_shape),))
        with noise.no_sharding():
            return self.decode(flat).rsample().view(*sample_shape, *self.event_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        flat = value.reshape(-1, value.shape[-1])
        with noise.no_sharding():
            u, log_q = sample_and_log_prob(self.infer(flat), (self.samples,))
        weight = self.decode(u).log_prob(flat) + self.prior.log_prob(u) - log_q
        return (weight.logsumexp(0) - math.log(self.samples)).view(value.shape[:-1])


OF_NORMAL_NOISE = (StandardNormal, DiagonalNormal, FullNormal, LowRankNormal, LogisticNormal, WrappedNormal)
OF_MIXTURES = (*OF_NORMAL_NOISE, MultivariateNormal)  # drawn by the mixture, from the same noise


def has_normal_noise(d: TorchDistribution) -> bool:
    """Whether draws of d use only Normal noise.

    >>> import torch
    >>> has_normal_noise(StandardNormal(2, torch.zeros(())))
    True
    """
    if isinstance(d, Mixture):
        return isinstance(d.components, OF_MIXTURES)
    return has_normal_noise(d.base) if isinstance(d, Flow) else isinstance(d, OF_NORMAL_NOISE)
