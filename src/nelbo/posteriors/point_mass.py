"""A deterministic encoder: the posterior is a point."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from nelbo import distributions
from nelbo.config.registry import register
from nelbo.posteriors.base import Posterior


@register("posterior", "dirac")
class PointMass(Posterior):
    """z = mu(x, c): a deterministic autoencoder. Its KL counts as 0, and it has no importance weights."""

    def __init__(self, encoder: nn.Module, event_dims: int, dim: int) -> None:
        super().__init__(encoder, event_dims, [dim])

    @classmethod
    def n_params(cls, dim: int, **options: Any) -> int:
        return dim

    def forward(self, *context: Tensor | None) -> distributions.Dirac:
        (loc,) = self.params(*context)
        return distributions.Dirac(loc)
