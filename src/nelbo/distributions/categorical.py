"""Discrete data and latents: one-hot vectors, bits, and their continuous relaxations.

    one-hot          log p(x) = sum over positions of <x, log softmax(l)>
    binary concrete  y = sigmoid((l + L) / T),   L = logit(u) logistic
    concrete         y = softmax((l + G) / T),   G = -log(-log u) Gumbel;   u uniform on (0, 1)

As the temperature T falls to 0, the concrete distributions become a Bernoulli of logits l and a one-hot draw of
softmax(l); above 0 they are reparameterised, with the densities

    log p(y) = log T + log sigmoid(s) + log sigmoid(-s) - log y - log(1 - y),   s = l - T logit(y)
    log p(y) = log (n-1)! + (n-1) log T + sum_k [l_k - (T + 1) log y_k] - n log sum_k exp(l_k - T log y_k).

Where several one-hot vectors of `classes` entries are one latent, they lie side by side in one event.

The rows of the KL table for a relaxed q and a discrete p are the KL of the discrete q (Jang's choice): exact, free
of noise, and the KL of the model in eval() mode. They are not the KL of the relaxed density, which has no KL to a mass.

Source: Maddison, Mnih, Teh (2017), The Concrete Distribution; Jang, Gu, Poole (2017), Categorical Reparameterization
with Gumbel-Softmax.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.nn.functional import logsigmoid, one_hot, softplus

from nelbo.distributions import noise
from nelbo.distributions.base import Distribution, register_kl, sample_and_log_prob
from nelbo.distributions.bernoulli import Bernoulli


class OneHotAlong(constraints.Constraint):
    """Exactly one 1, and 0 elsewhere, along dimension `dim` (negative: counted from the end)."""

    is_discrete = True

    def __init__(self, dim: int) -> None:
        self.dim = dim

    def check(self, value: Tensor) -> Tensor:
        return ((value == 0) | (value == 1)).all(self.dim) & (value.sum(self.dim) == 1)


class Categorical(Distribution):
    """Independent categorical variables as one-hot vectors.

    Args:
        logits: log-masses up to a constant, `(*batch, *event)`.
        event_dims: number of last dimensions that form one event, over which `log_prob` sums.
        dim: the dimension along which the classes lie, negative: counted from the end.

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


class Blocks(constraints.Constraint):
    """Vectors of several blocks of `classes` numbers, each of which satisfies the constraint `each`."""

    event_dim = 1

    def __init__(self, each: constraints.Constraint, classes: int) -> None:
        self.each, self.classes = each, classes
        self.is_discrete = each.is_discrete
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        return self.each.check(value.unflatten(-1, (-1, self.classes))).all(-1)


class RelaxedBernoulli(Distribution):
    """Independent binary concretes: a density on (0, 1).

    Args:
        logits: l of each element, `(*batch, *event)`.
        temperature: T > 0; towards 0, draws approach 0 and 1.
        event_dims: number of last dimensions that form one event, over which `log_prob` sums.

    >>> d = RelaxedBernoulli(torch.zeros(1), 1.0)
    >>> round(d.log_prob(torch.tensor([0.3])).exp().item(), 5)  # uniform at this temperature
    1.0
    """

    support = constraints.unit_interval

    def __init__(self, logits: Tensor, temperature: float | Tensor, event_dims: int = 1) -> None:
        self.logits, self.temperature = logits, temperature
        super().__init__(logits.shape, event_dims)

    def rsample_logits(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """logit(y) of a draw, which stays finite where y rounds to 0 or 1.

        Args:
            sample_shape: shape of independent draws; () for one draw.
        """
        u = noise.uniform(torch.Size(sample_shape), self.batch_shape, self.event_shape, self.logits)
        return (self.logits + torch.logit(u, torch.finfo(u.dtype).eps)) / self.temperature

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:  # type: ignore[override]
        return self.rsample_logits(sample_shape).sigmoid()

    def element_log_prob(self, value: Tensor) -> Tensor:
        return self.element_log_prob_logits(torch.logit(value, torch.finfo(value.dtype).eps))

    def element_log_prob_logits(self, x: Tensor) -> Tensor:
        """log p(y_i) at y = sigmoid(x)."""
        s = self.logits - self.temperature * x
        values = logsigmoid(s) + logsigmoid(-s) - logsigmoid(x) - logsigmoid(-x)
        return _log(self.temperature) + values


class OneHot(Distribution):
    """Several one-hot vectors side by side.

    Args:
        logits: log-masses up to a constant, `(*batch, variables * classes)`.
        classes: number of entries of each one-hot vector.

    >>> OneHot(torch.zeros(4), 2).log_prob(torch.tensor([0.0, 1.0, 1.0, 0.0])).exp().item()
    0.25
    """

    def __init__(self, logits: Tensor, classes: int) -> None:
        self.logits, self.classes = logits, classes
        self.support = Blocks(constraints.one_hot, classes)
        super().__init__(logits.shape, 1)

    @property
    def mean(self) -> Tensor:
        return blocks(self).softmax(-1).flatten(-2)

    @property
    def variance(self) -> Tensor:
        return self.mean * (1 - self.mean)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:  # type: ignore[override]
        with torch.no_grad():
            return one_hot(_gumbel(self, sample_shape).argmax(-1), self.classes).to(self.logits.dtype).flatten(-2)

    def element_log_prob(self, value: Tensor) -> Tensor:
        return value * blocks(self).log_softmax(-1).flatten(-2)


class RelaxedOneHot(Distribution):
    """Several concrete vectors side by side: a density on simplices.

    Args:
        logits: log-masses up to a constant, `(*batch, variables * classes)`.
        classes: number of entries of each vector.
        temperature: T > 0; towards 0, draws approach one-hot vectors.
    """

    def __init__(self, logits: Tensor, classes: int, temperature: float | Tensor) -> None:
        self.logits, self.classes, self.temperature = logits, classes, temperature
        self.support = Blocks(constraints.simplex, classes)
        super().__init__(logits.shape, 1)

    def rsample_logs(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """log y of a draw, `(*sample, *batch, variables, classes)`, which stays finite where y rounds to 0.

        Args:
            sample_shape: shape of independent draws; () for one draw.
        """
        return (_gumbel(self, sample_shape) / self.temperature).log_softmax(-1)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:  # type: ignore[override]
        return self.rsample_logs(sample_shape).exp().flatten(-2)

    def log_prob(self, value: Tensor) -> Tensor:
        positive = value.clamp_min(torch.finfo(value.dtype).tiny)
        return self.log_prob_logs(positive.log().unflatten(-1, (-1, self.classes)))

    def log_prob_logs(self, log_y: Tensor) -> Tensor:
        """log p(y) from log y."""
        n, t, logits = self.classes, self.temperature, blocks(self)
        s = logits - t * log_y
        values = (s - log_y).sum(-1) - n * s.logsumexp(-1) + math.lgamma(n) + (n - 1) * _log(t)
        return values.sum(-1)


def _log(temperature: float | Tensor) -> float | Tensor:
    return temperature.log() if isinstance(temperature, Tensor) else math.log(temperature)


def blocks(d: OneHot | RelaxedOneHot) -> Tensor:
    """The logits as `(*batch, variables, classes)`."""
    return d.logits.unflatten(-1, (-1, d.classes))


def _gumbel(d: OneHot | RelaxedOneHot, sample_shape: Sequence[int]) -> Tensor:
    """The logits plus Gumbel noise, `(*sample, *batch, variables, classes)`: its argmax is a draw of softmax(l)."""
    logits = blocks(d)
    u = noise.uniform(torch.Size(sample_shape), d.batch_shape, logits.shape[-2:], logits)
    return logits - torch.log(-torch.log(u.clamp_min(torch.finfo(u.dtype).tiny)))


@sample_and_log_prob.register
def _(d: RelaxedBernoulli, shape: Sequence[int] = ()) -> tuple[Tensor, Tensor]:
    x = d.rsample_logits(shape)
    return x.sigmoid(), d.sum_event(d.element_log_prob_logits(x))


@sample_and_log_prob.register
def _(d: RelaxedOneHot, shape: Sequence[int] = ()) -> tuple[Tensor, Tensor]:
    log_y = d.rsample_logs(shape)
    return log_y.exp().flatten(-2), d.log_prob_logs(log_y)


@register_kl(RelaxedBernoulli, Bernoulli)
@register_kl(Bernoulli, Bernoulli)
def _(q: Bernoulli | RelaxedBernoulli, p: Bernoulli) -> Tensor:
    return q.sum_event(q.logits.sigmoid() * (q.logits - p.logits) - softplus(q.logits) + softplus(p.logits))


@register_kl(RelaxedOneHot, OneHot)
@register_kl(OneHot, OneHot)
def _(q: OneHot | RelaxedOneHot, p: OneHot) -> Tensor:
    log_q, log_p = blocks(q).log_softmax(-1), blocks(p).log_softmax(-1)
    return (log_q.exp() * (log_q - log_p)).sum((-2, -1))
