"""Likelihoods of values in {0, 1} and in [0, 1].

Source: Loaiza-Ganem, Cunningham (2019), The continuous Bernoulli: fixing a pervasive error in variational autoencoders.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import constraints

from nelbo import distributions
from nelbo.config.registry import register
from nelbo.likelihoods.base import BINARY, UNIT, Likelihood


def logit(mean: Tensor) -> Tensor:
    """log(m / (1 - m)) of a mean m clamped to [0.001, 0.999]."""
    return torch.logit(mean, eps=1e-3)


def slope(mean: Tensor) -> Tensor:
    """Approximate the l for which the density proportional to exp(l x) on [0, 1] has this mean.

    Near 0 or 1 it is that of an exponential (|l| = 1 / distance); between, a line of slope 12.
    """
    centred = 12 * (mean - 0.5)
    edge = torch.minimum(mean, 1 - mean).clamp_min(1e-2)
    return torch.where(edge < 0.25, torch.sign(centred) / edge, centred)


@register("likelihood", "bernoulli")
class Bernoulli(Likelihood):
    """p(x | h) = prod_i Bernoulli(x_i; sigmoid(l_i(h))).

    Args:
        allow_soft_targets: accept values between 0 and 1. The loss is then a cross-entropy (BCE), and the likelihood is
            not a density.
    """

    link = staticmethod(logit)

    def __init__(self, decoder: nn.Module, event_dims: int, *, allow_soft_targets: bool = False) -> None:
        super().__init__(decoder, event_dims)
        self.normalized = not allow_soft_targets
        self.support = constraints.unit_interval if allow_soft_targets else constraints.boolean
        self.accepts = UNIT if allow_soft_targets else BINARY

    def forward(self, *context: Tensor | None) -> distributions.Bernoulli:
        (logits,) = self.outputs(*context)
        return distributions.Bernoulli(logits, self.event_dims, allow_soft_targets=not self.normalized)


@register("likelihood", "continuous-bernoulli", cite="loaiza2019continuous")
class ContinuousBernoulli(Likelihood):
    """p(x | h) = prod_i CB(x_i; l_i(h)): the density on [0, 1] proportional to exp(l x)."""

    support = constraints.unit_interval
    accepts = UNIT
    link = staticmethod(slope)

    def forward(self, *context: Tensor | None) -> distributions.ContinuousBernoulli:
        (logits,) = self.outputs(*context)
        return distributions.ContinuousBernoulli(logits, self.event_dims)
