"""Likelihoods of counts and of classes.

Counts are raw: whole numbers from 0, neither scaled nor centred (a schema of shift 0 and scale 1).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import constraints

from nelbo import distributions
from nelbo.conditionals.base import Likelihood

ZERO_LOGIT = -2.0  # of more zeros, before training


def log_rate(mean: Tensor) -> Tensor:
    """The logarithm of a mean count, of 0.001 at least."""
    return mean.clamp_min(1e-3).log()


class Poisson(Likelihood):
    """p(x | h) = prod_i Poisson(x_i; exp(l_i(h))), x in raw counts."""

    support = constraints.nonnegative_integer
    link = staticmethod(log_rate)

    def forward(self, *context: Tensor | None) -> distributions.Poisson:
        (log_mean,) = self.outputs(*context)
        return distributions.Poisson(log_mean, self.event_dims)


class NegativeBinomial(Likelihood):
    """p(x | h) = prod_i NB(x_i; mean exp(l_i(h)), inverse dispersion exp(r_i(h))), x in raw counts.

    With `zero_inflated`, the net's third output is the logit of the probability of a zero that counts nothing.

    Source: Lopez, Regier, Cole, Jordan, Yosef (2018), Deep generative modeling for single-cell transcriptomics.
    """

    support = constraints.nonnegative_integer
    link = staticmethod(log_rate)

    def __init__(self, net: nn.Module, event_dims: int, zero_inflated: bool = False) -> None:
        super().__init__(net, event_dims)
        self.zero_inflated = zero_inflated

    def forward(self, *context: Tensor | None) -> distributions.NegativeBinomial:
        log_mean, log_size, *zero_logit = self.outputs(*context)
        return distributions.NegativeBinomial(
            log_mean, log_size, zero_logit[0] if self.zero_inflated else None, self.event_dims
        )

    def start_at(self, mean: Tensor) -> None:
        if self.zero_inflated:
            self.set_bias(2, mean, lambda m: torch.full_like(m, ZERO_LOGIT))
            mean = mean * (1 + torch.exp(torch.tensor(ZERO_LOGIT)))
        super().start_at(mean)


class OneHot(Likelihood):
    """p(x | h) = prod over positions of softmax(l(h)) at the class, x one-hot along event dimension `dim`.

    dim = -1 is the last dimension, -event_dims the first (a picture's channels).
    """

    link = staticmethod(log_rate)

    def __init__(self, net: nn.Module, event_dims: int, dim: int = -1) -> None:
        super().__init__(net, event_dims)
        self.dim = dim
        self.support = distributions.OneHotAlong(dim)

    def forward(self, *context: Tensor | None) -> distributions.Categorical:
        (logits,) = self.outputs(*context)
        return distributions.Categorical(logits, self.event_dims, self.dim)
