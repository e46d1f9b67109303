"""The Gamma distribution, and the rejection sampler behind it.

    log p(x) = sum_i [ a_i log b_i - log Gamma(a_i) + (a_i - 1) log x_i - b_i x_i ],   x_i > 0

A draw of Gamma(a + 1, 1) is v (a + 2/3) with v a cube of a Normal, accepted with probability 0.98 or more; times
u^(1/a) it is one of Gamma(a, 1). All proposals are drawn at once, so that every process takes the same noise. The
gradient in a is implicit: dx/da = -(dH/da) / p(x), where H is the distribution function.

Source: Marsaglia, Tsang (2000), A Simple Method for Generating Gamma Variables; Figurnov, Mohamed, Mnih (2018),
Implicit Reparameterization Gradients; Joo, Lee, Park, Moon (2020), Dirichlet Variational Autoencoder.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nelbo.distributions import noise
from nelbo.distributions.base import Distribution, detach, detached, register_kl

PROPOSALS = 8  # all fail once in 10^13 draws


def first_accepted(values: Tensor, accepted: Tensor) -> Tensor:
    """The first accepted proposal along the last dimension, `(..., 1)`; the last proposal if none is accepted.

    >>> first_accepted(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([False, True, True])).tolist()
    [2.0]
    """
    last = values.shape[-1] - 1
    order = torch.arange(last + 1, device=values.device)
    return values.gather(-1, torch.where(accepted, order, last).amin(-1, keepdim=True))


def standard_gamma(concentration: Tensor, sample_shape: torch.Size, batch: torch.Size, event: torch.Size) -> Tensor:
    """A draw of Gamma(concentration, 1) of shape `(*sample, *batch, *event)`, with the implicit gradient."""
    a = concentration.detach().unsqueeze(-1)
    x = noise.normal(sample_shape, batch, torch.Size((*event, PROPOSALS)), a)
    u = noise.uniform(sample_shape, batch, torch.Size((*event, PROPOSALS)), a)
    boost = noise.uniform(sample_shape, batch, torch.Size((*event, 1)), a)
    third = a + 2 / 3
    cube = (1 + x / (9 * third).sqrt()) ** 3
    log_cube = cube.clamp_min(torch.finfo(a.dtype).tiny).log()
    accepted = (cube > 0) & (u.log() < 0.5 * x.square() + third * (1 - cube + log_cube))
    draw = first_accepted(third * cube, accepted) * torch.exp(torch.log1p(-boost) / a)
    draw = draw.squeeze(-1).clamp_min(torch.finfo(a.dtype).tiny)
    if concentration.requires_grad and torch.is_grad_enabled():
        slope = torch._standard_gamma_grad(concentration.detach().expand_as(draw), draw)
        draw = draw + (concentration - concentration.detach()) * slope
    return draw


class Gamma(Distribution):
    """Independent Gammas, of mean a / b and variance a / b^2.

    Args:
        concentration: a > 0, `(*batch, d)`.
        rate: b > 0, `(*batch, d)`.

    >>> Gamma(torch.full((2,), 3.0), torch.ones(2)).mean.tolist()
    [3.0, 3.0]
    """

    support = torch.distributions.constraints.positive

    def __init__(self, concentration: Tensor, rate: Tensor) -> None:
        self.concentration, self.rate = concentration, rate
        super().__init__(concentration.shape, 1)

    @property
    def mean(self) -> Tensor:
        return self.concentration / self.rate

    @property
    def variance(self) -> Tensor:
        return self.concentration / self.rate.square()

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:  # type: ignore[override]
        draw = standard_gamma(self.concentration, torch.Size(sample_shape), self.batch_shape, self.event_shape)
        return (draw / self.rate).clamp_min(torch.finfo(draw.dtype).tiny)

    def element_log_prob(self, value: Tensor) -> Tensor:
        a, b = self.concentration, self.rate
        return a * b.log() - torch.lgamma(a) + (a - 1) * value.log() - b * value


@register_kl(Gamma, Gamma)
def _(q: Gamma, p: Gamma) -> Tensor:
    shape = (q.concentration - p.concentration) * torch.digamma(q.concentration)
    norm = torch.lgamma(p.concentration) - torch.lgamma(q.concentration)
    scale = p.concentration * (q.rate / p.rate).log() + q.concentration * (p.rate / q.rate - 1)
    return q.sum_event(shape + norm + scale)


detach.register(Gamma, detached)
