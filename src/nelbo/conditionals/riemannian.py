"""Hamiltonian dynamics on a learned curved latent space, and the prior that the space's volume gives.

The metric is that of `nelbo.distributions.riemannian`: its centroids are the posterior's means of some stored training
rows, its roots L_i the output of a net of those rows. Where data lie the mass is small and moves are long.

Source: Chadebec, Mantoux, Allassonnière (2020), Geometry-Aware Hamiltonian Variational Auto-Encoder; for the prior,
Chadebec, Thibeau-Sutre, Burgos, Allassonnière (2022), Data Augmentation in High Dimensional Low Sample Size Setting
Using a Geometry-Based Variational Autoencoder.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nelbo import distributions
from nelbo.conditionals.base import Conditional, Likelihood
from nelbo.conditionals.hamiltonian import HamiltonianPosterior
from nelbo.conditionals.latent import StandardNormal
from nelbo.conditionals.priors import AggregatePrior, fill
from nelbo.errors import UserError


class RiemannianPosterior(Conditional):
    """A Hamiltonian posterior `flat` in the metric of `count` training rows `(count, *shape)`.

    `net` maps rows to `features(dim)` numbers each: the logarithms of the diagonal of L, then what is below it. The
    rows are saved with the model; for a conditional model they are embedded with a context of zeros.
    """

    rows: Tensor

    def __init__(
        self,
        flat: HamiltonianPosterior,
        net: nn.Module,
        rows: Sequence[int],
        context: int = 0,
        temperature: float = 1.5,
        floor: float = 0.01,
        rounds: int = 3,
    ) -> None:
        super().__init__()
        self.flat, self.net = flat, net
        self.temperature, self.floor, self.rounds = temperature, floor, rounds
        self.register_buffer("rows", torch.rand(tuple(rows)))
        self.register_buffer("contexts", torch.zeros(rows[0], context) if context else None)

    @staticmethod
    def features(dim: int) -> int:
        """How many numbers the net returns for each row."""
        return dim * (dim + 1) // 2

    def start_from(self, rows: Tensor) -> None:
        """Store random training rows `(n, *shape)`; of too few, some are taken again."""
        fill(self.rows, rows)

    def bind(self, prior: Conditional, likelihood: Likelihood) -> None:
        """Move towards p(z | x) of this prior and likelihood, or of N(0, I) where the prior has no density."""
        dim = len(self.flat.raw_step)
        self.flat.bind(StandardNormal(dim) if isinstance(prior, MetricPrior) else prior, likelihood)

    def metric(self) -> distributions.Metric:
        """The metric as it is now."""
        centroids = self.flat.start(self.rows, self.contexts).mean  # type: ignore[arg-type]
        dim = centroids.shape[-1]
        log_diagonal, below = self.net(self.rows).split([dim, dim * (dim - 1) // 2], -1)
        roots = torch.diag_embed(log_diagonal.exp())
        rows, columns = torch.tril_indices(dim, dim, -1, device=roots.device)
        roots[:, rows, columns] = below
        return distributions.Metric(centroids, roots, self.temperature, self.floor)

    def forward(self, *context: Tensor | None) -> distributions.Riemannian:
        return distributions.Riemannian(self.flat(*context), self.metric(), self.rounds)


class MetricPrior(AggregatePrior):
    """p(z) proportional to sqrt(det G^-1(z)) under the metric of the model's Riemannian posterior: it only draws.

    `moves` is the length of the chain of Hamiltonian Monte Carlo moves of which a draw is the end. It has no weights.

    Raises `UserError` on a model whose posterior has no metric.
    """

    def __init__(self, moves: int = 100) -> None:
        super().__init__()
        self.moves = moves

    def start_from(self, rows: Tensor) -> None:
        """Nothing: the posterior has rows of its own."""

    def forward(self, *context: Tensor | None) -> distributions.InverseVolume:
        (posterior,) = self._posterior
        if not isinstance(posterior, RiemannianPosterior):
            name = type(posterior).__name__
            raise UserError(f"prior metric: the posterior {name} has no learned metric: train with --preset rhvae")
        return distributions.InverseVolume(posterior.metric(), self.moves)
