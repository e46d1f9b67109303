"""Posteriors q(z | x, c) beside the diagonal Normal: correlated, heavy-tailed, positive, on curved spaces, or a point.

One net returns the numbers that a family asks for, side by side, and a posterior says what they are. `dim` is the
number of latents, `event_dims` that of the dimensions of a datum; `initial_logvar` is log sigma^2 before training, as
of the diagonal Normal (None: as the net starts).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from nelbo import distributions
from nelbo.conditionals.base import Posterior
from nelbo.distributions import Distribution
from nelbo.distributions.poincare import exponential

LEAST = 1e-3  # of what must stay above 0
Family = Callable[[Tensor, Tensor], Distribution]


class FullNormal(Posterior):
    """N(mu, L L'), L = diag(sigma) (I + B) with B strictly lower triangular: `features(dim)` numbers."""

    def __init__(self, net: nn.Module, event_dims: int, dim: int, initial_logvar: float | None = None) -> None:
        super().__init__(net, event_dims, [dim, dim, dim * (dim - 1) // 2], initial_logvar)
        self.rows, self.columns = torch.tril_indices(dim, dim, -1).tolist()

    @staticmethod
    def features(dim: int) -> int:
        """How many numbers the net returns.

        >>> FullNormal.features(3)
        9
        """
        return 2 * dim + dim * (dim - 1) // 2

    def forward(self, *context: Tensor | None) -> distributions.FullNormal:
        loc, logvar, below = self.numbers(*context)
        unit = torch.diag_embed(torch.ones_like(loc))
        unit[..., self.rows, self.columns] = below
        return distributions.FullNormal(loc, torch.exp(0.5 * logvar).unsqueeze(-1) * unit)


class LowRankNormal(Posterior):
    """N(mu, D (I + B B') D), D = diag(sigma), B of `rank` columns: `(2 + rank) dim` numbers."""

    def __init__(
        self, net: nn.Module, event_dims: int, dim: int, rank: int, initial_logvar: float | None = None
    ) -> None:
        super().__init__(net, event_dims, [dim, dim, dim * rank], initial_logvar)
        self.rank = rank

    def forward(self, *context: Tensor | None) -> distributions.LowRankNormal:
        loc, logvar, factor = self.numbers(*context)
        factor = factor.unflatten(-1, (-1, self.rank)) * torch.exp(0.5 * logvar).unsqueeze(-1)
        return distributions.LowRankNormal(loc, 0.5 * logvar, factor)


class LocationScalePosterior(Posterior):
    """A family made from a location and the logarithm of a scale s, elementwise; `initial_logvar` is that of s^2."""

    def __init__(
        self, net: nn.Module, event_dims: int, dim: int, family: Family, initial_logvar: float | None = None
    ) -> None:
        super().__init__(net, event_dims, [dim, dim], initial_logvar)
        self.family = family

    def forward(self, *context: Tensor | None) -> Distribution:
        loc, logvar = self.numbers(*context)
        return self.family(loc, 0.5 * logvar)


class WrappedNormal(Posterior):
    """A wrapped Normal on the ball of a curvature; the net returns its mean in the tangent space at 0."""

    def __init__(
        self, net: nn.Module, event_dims: int, dim: int, curvature: float = 1.0, initial_logvar: float | None = None
    ) -> None:
        super().__init__(net, event_dims, [dim, dim], initial_logvar)
        self.curvature = curvature

    def forward(self, *context: Tensor | None) -> distributions.WrappedNormal:
        tangent, logvar = self.numbers(*context)
        return distributions.WrappedNormal(exponential(tangent, self.curvature), 0.5 * logvar, self.curvature)


class Spherical(Posterior):
    """A family on the sphere, made from a direction and a concentration softplus(.): `dim` + 1 numbers."""

    def __init__(
        self, net: nn.Module, event_dims: int, dim: int, family: Family, initial_concentration: float | None = None
    ) -> None:
        k = initial_concentration
        super().__init__(net, event_dims, [dim, 1], None if k is None else k + math.log(-math.expm1(-k)))
        self.family = family

    def forward(self, *context: Tensor | None) -> Distribution:
        loc, concentration = self.numbers(*context)
        return self.family(loc, softplus(concentration))


class Gamma(Posterior):
    """Independent Gammas of concentration and rate softplus(.) + 0.001."""

    def __init__(self, net: nn.Module, event_dims: int, dim: int) -> None:
        super().__init__(net, event_dims, [dim, dim])

    def forward(self, *context: Tensor | None) -> distributions.Gamma:
        concentration, rate = (softplus(values) + LEAST for values in self.numbers(*context))
        return distributions.Gamma(concentration, rate)


class Dirac(Posterior):
    """z = mu(x, c): a deterministic autoencoder."""

    def __init__(self, net: nn.Module, event_dims: int, dim: int) -> None:
        super().__init__(net, event_dims, [dim])

    def forward(self, *context: Tensor | None) -> distributions.Dirac:
        (loc,) = self.numbers(*context)
        return distributions.Dirac(loc)
