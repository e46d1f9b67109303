"""Losses that are no densities: log p(x) = -E(x, y) + a constant that nobody knows, y the reconstruction."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from nelbo.distributions.base import Distribution
from nelbo.errors import UserError


class Energy(Distribution):
    """exp(-energy(x, loc)) up to an unknown constant: `energy` maps two `(n, *event)` to `(n,)`.

    It scores data and has a point to show, `mean` = loc, but no draws: `sample` raises `UserError`.
    """

    support = torch.distributions.constraints.unit_interval
    normalized = False

    def __init__(self, loc: Tensor, energy: Callable[[Tensor, Tensor], Tensor], event_dims: int) -> None:
        self.loc, self.energy = loc, energy
        super().__init__(loc.shape, event_dims)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:  # type: ignore[override]
        raise UserError("this likelihood is not a density and has no draws: use its mean")

    def log_prob(self, value: Tensor) -> Tensor:
        x, loc = torch.broadcast_tensors(value, self.loc)
        lead = x.shape[: x.dim() - len(self.event_shape)]
        return -self.energy(x.reshape(-1, *self.event_shape), loc.reshape(-1, *self.event_shape)).view(lead)
