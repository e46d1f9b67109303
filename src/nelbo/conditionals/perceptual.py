"""Losses on pictures in [0, 1] that are no densities."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import constraints

from nelbo import distributions
from nelbo.conditionals.base import Likelihood
from nelbo.errors import UserError


class PictureLoss(Likelihood):
    """exp(-energy(x, y(h))) up to an unknown constant, y = sigmoid(l); `energy` (nats) compares two `(n, *shape)`.

    Raises `UserError` for data that are no pictures. Source: Hou, Shen, Sun, Qiu (2017), Deep Feature Consistent
    Variational Autoencoder; Snell et al. (2017), Learning to Generate Images with Perceptual Similarity Metrics.
    """

    support = constraints.unit_interval
    normalized = False

    def __init__(self, net: nn.Module, event_dims: int, energy: nn.Module) -> None:
        super().__init__(net, event_dims)
        self.energy = energy
        if event_dims != 3:
            raise UserError(f"this likelihood compares pictures, the data have {event_dims} dimension: use normal")

    def forward(self, *context: Tensor | None) -> distributions.Energy:
        (logits,) = self.outputs(*context)
        return distributions.Energy(logits.sigmoid(), self.energy, self.event_dims)

    def start_at(self, mean: Tensor) -> None:
        self.set_bias(0, mean, lambda m: torch.logit(m, eps=1e-3))
