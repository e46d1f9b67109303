"""Likelihoods of counts and of classes.

Counts are raw: whole numbers from 0, neither scaled nor centred (a schema of shift 0 and scale 1).

Source: Lopez, Regier, Cole, Jordan, Yosef (2018), Deep generative modeling for single-cell transcriptomics.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.distributions import constraints

from nelbo import distributions
from nelbo.config.registry import register
from nelbo.likelihoods.base import BINARY, Likelihood

ZERO_LOGIT = -2.0  # logit of the probability of an extra zero, before training
COUNTS = ("binary", "real")


def log_rate(mean: Tensor) -> Tensor:
    """The logarithm of a mean count, clamped to 0.001 or more."""
    return mean.clamp_min(1e-3).log()


@register("likelihood", "poisson")
class Poisson(Likelihood):
    """p(x | h) = prod_i Poisson(x_i; exp(l_i(h))), x in raw counts."""

    support = constraints.nonnegative_integer
    accepts = COUNTS
    raw_counts = True
    link = staticmethod(log_rate)

    def forward(self, *context: Tensor | None) -> distributions.Poisson:
        (log_mean,) = self.outputs(*context)
        return distributions.Poisson(log_mean, self.event_dims)


@register("likelihood", "negative-binomial", cite="lopez2018deep")
class NegativeBinomial(Likelihood):
    """p(x | h) = prod_i NB(x_i; mean exp(l_i(h)), inverse dispersion exp(r_i(h))), x in raw counts.

    Args:
        zero_inflated: add extra zeros; the decoder's third output is the logit of their probability.
    """

    support = constraints.nonnegative_integer
    accepts = COUNTS
    raw_counts = True
    link = staticmethod(log_rate)

    def __init__(self, decoder: nn.Module, event_dims: int, *, zero_inflated: bool = False) -> None:
        super().__init__(decoder, event_dims)
        self.zero_inflated = zero_inflated

    @classmethod
    def n_outputs(cls, **options: Any) -> int:
        return 3 if options["zero_inflated"] else 2

    def forward(self, *context: Tensor | None) -> distributions.NegativeBinomial:
        log_mean, log_size, *zero_logit = self.outputs(*context)
        return distributions.NegativeBinomial(
            log_mean, log_size, zero_logit[0] if self.zero_inflated else None, self.event_dims
        )

    def init_output_bias(self, mean: Tensor) -> None:
        if self.zero_inflated:
            self.set_bias(2, mean, lambda m: torch.full_like(m, ZERO_LOGIT))
            mean = mean * (1 + torch.exp(torch.tensor(ZERO_LOGIT)))
        super().init_output_bias(mean)


@register("likelihood", "one-hot")
class OneHot(Likelihood):
    """p(x | h) = prod over positions of softmax(l(h)) at the class, for one-hot vectors x.

    Args:
        along: the dimension of the classes: "last", or "channels" for pictures.
    """

    accepts = BINARY
    link = staticmethod(log_rate)

    def __init__(self, decoder: nn.Module, event_dims: int, *, along: Literal["last", "channels"] = "last") -> None:
        super().__init__(decoder, event_dims)
        self.dim = -1 if along == "last" else -event_dims
        self.support = distributions.OneHotAlong(self.dim)

    def forward(self, *context: Tensor | None) -> distributions.Categorical:
        (logits,) = self.outputs(*context)
        return distributions.Categorical(logits, self.event_dims, self.dim)
