"""Hamiltonian dynamics on a learned curved latent space.

The metric is that of `nelbo.distributions.hamiltonian`: its centroids are the posterior's means of some stored training
rows, its roots L_i the output of a net of those rows. Where data lie the mass is small and moves are long.

Source: Chadebec, Mantoux, Allassonnière (2020), Geometry-Aware Hamiltonian Variational Auto-Encoder.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nelbo import distributions
from nelbo.config.registry import Count, Positive, register
from nelbo.distributions.conditional import ConditionalDistribution
from nelbo.nets import MLP, InitializedFromData, Net
from nelbo.posteriors.base import Posterior
from nelbo.posteriors.hamiltonian import HamiltonianPosterior, Temper
from nelbo.priors.base import Prior, copy_cyclic
from nelbo.priors.gaussian import StandardNormal


@register("posterior", "riemannian", cite="chadebec2020geometry")
class RiemannianPosterior(Posterior, InitializedFromData):
    """A Hamiltonian posterior in the metric that a net learns of some training rows.

    The net maps rows to dim (dim + 1) / 2 numbers: the logarithms of the diagonal of L, then what is below it. The
    rows are saved with the model; in a conditional model they are embedded with a context of zeros.

    Args:
        steps: leapfrog steps.
        step: size of a step before training.
        temper: sqrt(beta_0) before training; near 1 there is no tempering.
        metric: architecture of the metric's net.
        rows: number of training rows that the metric is made of.
        temperature: the width T around each row's embedding.
        floor: lambda, the inverse metric far from all rows.
        rounds: fixed-point iterations of an implicit leapfrog step.
    """

    rows: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        event_dims: int,
        dim: int,
        shape: Sequence[int],
        context: int = 0,
        *,
        steps: Count = 3,
        step: Positive = 0.01,
        temper: Temper = 0.3,
        metric: Net = MLP((100,)),
        rows: Count = 100,
        temperature: Positive = 1.5,
        floor: Positive = 0.01,
        rounds: Count = 3,
    ) -> None:
        nn.Module.__init__(self)  # the encoder is the flat posterior's, and saved once
        self.flat = HamiltonianPosterior(encoder, event_dims, dim, steps=steps, step=step, temper=temper)
        self.net = metric.encoder(tuple(shape), dim * (dim + 1) // 2)
        self.temperature, self.floor, self.rounds = temperature, floor, rounds
        self.register_buffer("rows", torch.rand(rows, *shape))
        self.register_buffer("contexts", torch.zeros(rows, context) if context else None)

    def init_from_data(self, x: Tensor) -> None:
        """Store random training rows `(n, *shape)`; of too few, some repeat."""
        copy_cyclic(self.rows, x)

    def bind(self, prior: Prior, likelihood: ConditionalDistribution) -> None:
        """Move towards p(z | x) of this prior and likelihood, or of N(0, I) where the prior has no density."""
        self.flat.bind(prior if prior.has_density else StandardNormal(len(self.flat.raw_step)), likelihood)

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
