"""The Normal likelihood: a squared error, with one standard deviation.

Source: Rybkin, Daniilidis, Levine (2021), Simple and Effective VAE Training with Calibrated Decoders.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributions import constraints

from nelbo import distributions
from nelbo.config.registry import Learned, Positive, register
from nelbo.likelihoods.base import Likelihood

MOMENTUM = 0.99  # of the past, in the running mean of the best variance


@register("likelihood", "normal", cite_if={"rybkin2021simple": lambda options: options["sigma"] == "optimal"})
class Normal(Likelihood):
    """p(x | h) = N(x; mu(h), sigma^2).

    Args:
        sigma: the standard deviation: a number, "learned" (one number), or "optimal". Optimal is the best for each
            training batch, sigma^2 = mean (x - mu)^2; outside training it is a running mean over the batches.
    """

    support = constraints.real
    log_scale: Tensor
    variance: Tensor
    batches: Tensor

    def __init__(
        self,
        decoder: nn.Module,
        event_dims: int,
        *,
        sigma: Positive | Learned | Literal["optimal"] = "optimal",
    ) -> None:
        super().__init__(decoder, event_dims)
        self.optimal = sigma == "optimal"
        if self.optimal:
            self.register_buffer("variance", torch.zeros(()))
            self.register_buffer("batches", torch.zeros(()))
        elif isinstance(sigma, str):
            self.log_scale = nn.Parameter(torch.zeros(()))
        else:
            self.register_buffer("log_scale", torch.tensor(math.log(sigma)))

    def forward(self, *context: Tensor | None) -> distributions.OptimalNormal | distributions.DiagonalNormal:
        (loc,) = self.outputs(*context)
        if not self.optimal:
            return distributions.DiagonalNormal(loc, self.log_scale, self.event_dims)
        if self.training:
            return distributions.OptimalNormal(loc, self.event_dims, self._observe)
        variance = torch.where(self.batches > 0, self.variance, torch.ones_like(self.variance))
        return distributions.DiagonalNormal(loc, 0.5 * variance.log(), self.event_dims)

    def _observe(self, squares: Tensor, count: Tensor) -> Tensor:
        """The mean of `count` squared residuals, over all processes; the running variance is updated with it."""
        sums = torch.stack([squares.sum(), count])
        if torch.distributed.is_initialized():
            torch.distributed.all_reduce(sums)
        variance = (sums[0] / sums[1]).clamp_min(1e-6)
        self.batches += 1
        self.variance.lerp_(variance, (1 / self.batches).clamp_min(1 - MOMENTUM))
        return variance
