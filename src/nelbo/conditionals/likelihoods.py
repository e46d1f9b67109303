"""Likelihoods p(x | h, c): the decoder's net says what the parameters are, these say of which density."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.distributions import constraints

from nelbo import distributions
from nelbo.conditionals.base import Likelihood
from nelbo.errors import UserError


def logit(mean: Tensor) -> Tensor:
    """log(m / (1 - m)) of a mean m held between 0.001 and 0.999."""
    return torch.logit(mean, eps=1e-3)


def slope(mean: Tensor) -> Tensor:
    """About the l for which the density proportional to exp(l x) on [0, 1] has this mean.

    Near 0 or 1 it is an exponential's (|l| = 1 / distance); between, a line of slope 12.
    """
    centred = 12 * (mean - 0.5)
    edge = torch.minimum(mean, 1 - mean).clamp_min(1e-2)
    return torch.where(edge < 0.25, torch.sign(centred) / edge, centred)


class Bernoulli(Likelihood):
    """p(x | h) = prod_i Bernoulli(x_i; sigmoid(l_i(h))).

    With `grey`, values between 0 and 1 are admitted as targets: the loss is then a cross-entropy (BCE) and
    no density, so `normalized` is False.
    """

    link = staticmethod(logit)

    def __init__(self, net: nn.Module, event_dims: int, grey: bool = False) -> None:
        super().__init__(net, event_dims)
        self.normalized = not grey
        self.support = constraints.unit_interval if grey else constraints.boolean

    def forward(self, *context: Tensor | None) -> distributions.Bernoulli:
        (logits,) = self.outputs(*context)
        return distributions.Bernoulli(logits, self.event_dims, grey=not self.normalized)


class ContinuousBernoulli(Likelihood):
    """p(x | h) = prod_i CB(x_i; l_i(h)): the density on [0, 1] proportional to exp(l x).

    Source: Loaiza-Ganem, Cunningham (2019), The continuous Bernoulli.
    """

    support = constraints.unit_interval
    link = staticmethod(slope)

    def forward(self, *context: Tensor | None) -> distributions.ContinuousBernoulli:
        (logits,) = self.outputs(*context)
        return distributions.ContinuousBernoulli(logits, self.event_dims)


class Normal(Likelihood):
    """p(x | h) = N(x; mu(h), sigma^2): `sigma` is one fixed number, or learned as one number (`None`)."""

    support = constraints.real
    log_scale: Tensor

    def __init__(self, net: nn.Module, event_dims: int, sigma: float | None = None) -> None:
        super().__init__(net, event_dims)
        if sigma is None:
            self.log_scale = nn.Parameter(torch.zeros(()))
        elif sigma > 0:
            self.register_buffer("log_scale", torch.tensor(math.log(sigma)))
        else:
            raise ValueError(f"sigma={sigma}: give a positive number, or None to learn it")

    def forward(self, *context: Tensor | None) -> distributions.DiagonalNormal:
        (loc,) = self.outputs(*context)
        return distributions.DiagonalNormal(loc, self.log_scale, self.event_dims)


class OptimalNormal(Likelihood):
    """p(x | h) = N(x; mu(h), sigma^2), sigma^2 being the best for each training batch.

    Outside training sigma^2 is a running mean over the batches seen, with weight `momentum` on the past.

    Source: Rybkin, Daniilidis, Levine (2021), Simple and Effective VAE Training with Calibrated Decoders.
    """

    support = constraints.real
    variance: Tensor
    batches: Tensor

    def __init__(self, net: nn.Module, event_dims: int, momentum: float = 0.99) -> None:
        super().__init__(net, event_dims)
        self.momentum = momentum
        self.register_buffer("variance", torch.zeros(()))
        self.register_buffer("batches", torch.zeros(()))

    def forward(self, *context: Tensor | None) -> distributions.OptimalNormal | distributions.DiagonalNormal:
        (loc,) = self.outputs(*context)
        if self.training:
            return distributions.OptimalNormal(loc, self.event_dims, self._observe)
        variance = torch.where(self.batches > 0, self.variance, torch.ones_like(self.variance))
        return distributions.DiagonalNormal(loc, 0.5 * variance.log(), self.event_dims)

    def _observe(self, squares: Tensor, count: Tensor) -> Tensor:
        """The mean of `count` squared residuals, over all processes; the running variance takes it in."""
        sums = torch.stack([squares.sum(), count])
        if torch.distributed.is_initialized():
            torch.distributed.all_reduce(sums)
        variance = (sums[0] / sums[1]).clamp_min(1e-6)
        self.batches += 1
        self.variance.lerp_(variance, (1 / self.batches).clamp_min(1 - self.momentum))
        return variance


class PictureLoss(Likelihood):
    """exp(-energy(x, y(h))) up to an unknown constant, y = sigmoid(l); `energy` (nats) compares two `(n, *shape)`.

    Raises `UserError` for data that are no pictures. Source: Hou, Shen, Sun, Qiu (2017), Deep Feature Consistent
    Variational Autoencoder; Snell et al. (2017), Learning to Generate Images with Perceptual Similarity Metrics.
    """

    support = constraints.unit_interval
    normalized = False
    link = staticmethod(logit)

    def __init__(self, net: nn.Module, event_dims: int, energy: nn.Module) -> None:
        super().__init__(net, event_dims)
        self.energy = energy
        if event_dims != 3:
            raise UserError(f"this likelihood compares pictures, the data have {event_dims} dimension: use normal")

    def forward(self, *context: Tensor | None) -> distributions.Energy:
        (logits,) = self.outputs(*context)
        return distributions.Energy(logits.sigmoid(), self.energy, self.event_dims)
