"""Normal posteriors of diagonal, full and low-rank covariance, and the point mass of a deterministic encoder.

Source: Kingma, Welling (2014), Auto-Encoding Variational Bayes; Rezende, Mohamed, Wierstra (2014), Stochastic
Backpropagation and Approximate Inference in Deep Generative Models; Kingma, Welling (2019), An Introduction to
Variational Autoencoders.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from nelbo import distributions
from nelbo.config.registry import Count, register
from nelbo.posteriors.base import Posterior


@register("posterior", "diagonal-normal", cite=("kingma2014auto", "rezende2014stochastic"))
class DiagonalNormal(Posterior):
    """q(z | x, c) = N(mu(x, c), diag(sigma^2(x, c))); the encoder returns mu and log sigma^2 side by side.

    Args:
        initial_logvar: log sigma^2 before training. Well below 0, the first samples of z already depend on x. None
            leaves the encoder's initial bias.
    """

    def __init__(self, encoder: nn.Module, event_dims: int, *, initial_logvar: float | None = None) -> None:
        super().__init__(encoder, event_dims)
        if initial_logvar is not None:
            bias: Tensor = encoder.output_bias  # type: ignore[assignment]
            with torch.no_grad():
                bias.chunk(2)[1].fill_(initial_logvar)

    def forward(self, *context: Tensor | None) -> distributions.DiagonalNormal:
        loc, logvar = self.encode(*context).chunk(2, -1)
        return distributions.DiagonalNormal(loc, 0.5 * logvar)


@register("posterior", "full-normal", cite=("rezende2014stochastic", "kingma2019introduction"))
class FullNormal(Posterior):
    """N(mu, L L'), L = diag(sigma) (I + B) with B strictly lower triangular.

    Args:
        initial_logvar: log sigma^2 before training; None leaves the encoder's initial bias.
    """

    def __init__(self, encoder: nn.Module, event_dims: int, dim: int, *, initial_logvar: float | None = None) -> None:
        super().__init__(encoder, event_dims, [dim, dim, dim * (dim - 1) // 2], initial_logvar)
        self.rows, self.columns = torch.tril_indices(dim, dim, -1, device="cpu").tolist()

    @classmethod
    def n_params(cls, dim: int, **options: Any) -> int:
        """The number of outputs of the encoder for `dim` latents.

        >>> FullNormal.n_params(3)
        9
        """
        return 2 * dim + dim * (dim - 1) // 2

    def forward(self, *context: Tensor | None) -> distributions.FullNormal:
        loc, logvar, below = self.params(*context)
        unit = torch.diag_embed(torch.ones_like(loc))
        unit[..., self.rows, self.columns] = below
        return distributions.FullNormal(loc, torch.exp(0.5 * logvar).unsqueeze(-1) * unit)


@register("posterior", "low-rank-normal", cite="rezende2014stochastic")
class LowRankNormal(Posterior):
    """N(mu, D (I + B B') D), D = diag(sigma), with a matrix B of `rank` columns.

    Args:
        rank: columns of B.
        initial_logvar: log sigma^2 before training; None leaves the encoder's initial bias.
    """

    def __init__(
        self, encoder: nn.Module, event_dims: int, dim: int, *, rank: Count = 2, initial_logvar: float | None = None
    ) -> None:
        super().__init__(encoder, event_dims, [dim, dim, dim * rank], initial_logvar)
        self.rank = rank

    @classmethod
    def n_params(cls, dim: int, **options: Any) -> int:
        return int((2 + options["rank"]) * dim)

    def forward(self, *context: Tensor | None) -> distributions.LowRankNormal:
        loc, logvar, factor = self.params(*context)
        factor = factor.unflatten(-1, (-1, self.rank)) * torch.exp(0.5 * logvar).unsqueeze(-1)
        return distributions.LowRankNormal(loc, 0.5 * logvar, factor)


@register("posterior", "point-mass")
class PointMass(Posterior):
    """z = mu(x, c): a deterministic autoencoder. Its KL is 0 by convention, and it has no importance weights."""

    def __init__(self, encoder: nn.Module, event_dims: int, dim: int) -> None:
        super().__init__(encoder, event_dims, [dim])

    @classmethod
    def n_params(cls, dim: int, **options: Any) -> int:
        return dim

    def forward(self, *context: Tensor | None) -> distributions.PointMass:
        (loc,) = self.params(*context)
        return distributions.PointMass(loc)
