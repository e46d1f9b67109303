"""Distributions without a density: the point mass, and a loss in place of a likelihood.

A point mass is the posterior of a deterministic autoencoder, z = mu(x). Its KL to any continuous prior is infinite. By
convention its rate is 0, so that the negative ELBO is the distortion alone, and a term of the objective (a penalty on
z, MMD, a critic) pulls z towards the prior. Importance weights do not exist, and `Trace.log_weight` raises.

An energy is a loss that is not a density: log p(x) = -E(x, y) + an unknown constant, y the reconstruction.

Source: Ghosh, Sajjadi, Vergari, Black, Schölkopf (2020), From Variational to Deterministic Autoencoders.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.distributions import Distribution as TorchDistribution

from nelbo.distributions.base import Distribution, detach, detached, register_kl
from nelbo.errors import UserError


class PointMass(Distribution):
    """All mass at one point; `log_prob` is 0 by convention.

    Args:
        loc: the point, `(*batch, *event)`.
        event_dims: number of last dimensions that form one event, over which `log_prob` sums.

    >>> PointMass(torch.ones(3, 2)).rsample((5,)).shape
    torch.Size([5, 3, 2])
    """

    normalized = False
    has_density = False

    def __init__(self, loc: Tensor, event_dims: int = 1) -> None:
        self.loc = loc
        super().__init__(loc.shape, event_dims)

    @property
    def variance(self) -> Tensor:
        return torch.zeros_like(self.loc)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:  # type: ignore[override]
        return self.loc.expand(*sample_shape, *self.loc.shape)

    def element_log_prob(self, value: Tensor) -> Tensor:
        return torch.zeros_like(value)


@register_kl(PointMass, TorchDistribution)
def _(q: PointMass, p: TorchDistribution) -> Tensor:
    return q.loc.new_zeros(q.batch_shape)


detach.register(PointMass, detached)


class UnnormalizedEnergy(Distribution):
    """exp(-energy(x, loc)) up to an unknown constant.

    It scores data and has `mean` = loc, but it cannot be sampled: `sample` raises `UserError`.

    Args:
        loc: the reconstruction y, `(*batch, *event)`.
        energy: maps two tensors `(n, *event)` to losses `(n,)`.
        event_dims: number of last dimensions that form one event, over which `log_prob` sums.
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
