"""Posteriors whose samples are moved towards the true posterior by Hamiltonian dynamics.

    z_0 ~ q(z | x),  g ~ N(0, I),  r_0 = g / sqrt(beta_0)
    K times:  r -= e/2 grad U(z);  z += e r;  r -= e/2 grad U(z);  r *= sqrt(beta_{k-1} / beta_k)
    U(z) = -log p(x | z) - log p(z),   1 / sqrt(beta_k) = 1 + (1 / sqrt(beta_0) - 1) (1 - k^2 / K^2)

Leapfrog steps preserve volume, and the factors of beta_0 of the tempering and of the start cancel, so that

    p(x, z_K) N(r_K; 0, I) / ( q(z_0 | x) N(g; 0, I) )

is an unbiased estimate of p(x): log q(z_0 | x) + log N(g) - log N(r_K) takes the place of log q(z_K | x).

The dynamics can also follow a learned metric of the latent space.

The metric is that of `nelbo.distributions.hamiltonian`: its centroids are the posterior means of stored training rows,
its roots L_i the outputs of a net for those rows. Near the data the mass is small and moves are long.

Source: Caterini, Doucet, Sejdinovic (2018), Hamiltonian Variational Auto-Encoder; Chadebec, Mantoux, Allassonnière
(2020), Geometry-Aware Hamiltonian Variational Auto-Encoder.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor, nn

from nelbo import distributions
from nelbo.config.registry import Count, Depth, Positive, Range, register
from nelbo.distributions.base import ConditionalDistribution
from nelbo.nets import MLP, InitializedFromData, Net
from nelbo.posteriors.base import Posterior
from nelbo.posteriors.gaussian import DiagonalNormal
from nelbo.priors.base import Prior, copy_cyclic
from nelbo.priors.gaussian import StandardNormal

Temper = Annotated[float, Range(above=0, below=1)]


@register("posterior", "hamiltonian", cite="caterini2018hamiltonian")
class HamiltonianPosterior(Posterior):
    """q(z | x, c): samples of a diagonal Normal, moved towards p(z | x, c) by leapfrog steps with tempering.

    It uses the model's prior and likelihood but does not own them: `bind` sets them.

    Args:
        steps: number of leapfrog steps.
        step: step size before training; the sizes, one for each latent dimension, are learned up to four times this.
        temper: sqrt(beta_0) before training, a learned number; near 1 there is no tempering.
    """

    _model: tuple[ConditionalDistribution, ...] = ()

    def __init__(
        self,
        encoder: nn.Module,
        event_dims: int,
        dim: int,
        *,
        steps: Depth = 3,
        step: Positive = 0.05,
        temper: Temper = 0.3,
    ) -> None:
        nn.Module.__init__(self)  # the encoder belongs to the start, and is saved once
        self.start, self.steps = DiagonalNormal(encoder, event_dims), steps
        self.longest = 4 * step
        self.raw_step = nn.Parameter(torch.full((dim,), -math.log(3.0)))
        self.raw_temper = nn.Parameter(torch.tensor(math.log(temper / (1 - temper))))

    def bind(self, prior: Prior, likelihood: ConditionalDistribution) -> None:
        self._model = (prior, likelihood)

    def forward(self, *context: Tensor | None) -> distributions.Hamiltonian:
        assert self._model, "bind the prior and the likelihood first"
        x, *rest = context
        prior, likelihood = self._model

        def log_joint(z: Tensor) -> Tensor:
            return likelihood(z, *rest).log_prob(x) + prior(*rest).log_prob(z)

        cold = self.raw_temper.sigmoid()  # sqrt(beta_0)
        fractions = torch.arange(self.steps + 1, device=cold.device, dtype=cold.dtype) / max(self.steps, 1)
        tempering = 1 + (1 / cold - 1) * (1 - fractions.square())  # 1 / sqrt(beta_k): from 1 / sqrt(beta_0) to 1
        return distributions.Hamiltonian(
            self.start(*context),
            log_joint,
            self.longest * self.raw_step.sigmoid(),
            tempering,  # type: ignore[arg-type]
        )


@register("posterior", "riemannian", cite="chadebec2020geometry")
class RiemannianPosterior(Posterior, InitializedFromData):
    """A Hamiltonian posterior in a metric that a net learns from stored training rows.

    The net maps rows to dim (dim + 1) / 2 numbers: the logarithms of the diagonal of L, then the entries below
    it. The rows are saved with the model; in a conditional model they are embedded with a context of zeros.

    Args:
        encoder: maps x `(batch, *shape)` and a context to the parameters of the diagonal Normal.
        event_dims: number of dimensions of a datum.
        dim: number of latent dimensions.
        shape: shape of a datum.
        context: length of the context vector; 0 for none.
        steps: number of leapfrog steps.
        step: step size before training.
        temper: sqrt(beta_0) before training; near 1 there is no tempering.
        metric: architecture of the metric's net.
        rows: number of training rows that define the metric.
        temperature: the width T around each row's embedding.
        floor: lambda, the inverse metric far from all rows.
        rounds: fixed-point iterations of an implicit leapfrog step.
    """

    learns_metric = True

    rows: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        event_dims: int,
        dim: int,
        shape: Sequence[int],
        context: int = 0,
        *,
        steps: Depth = 3,
        step: Positive = 0.01,
        temper: Temper = 0.3,
        metric: Net = MLP((100,)),
        rows: Count = 100,
        temperature: Positive = 1.5,
        floor: Positive = 0.01,
        rounds: Depth = 3,
    ) -> None:
        nn.Module.__init__(self)  # the encoder belongs to the flat posterior, and is saved once
        self.flat = HamiltonianPosterior(encoder, event_dims, dim, steps=steps, step=step, temper=temper)
        self.net = metric.encoder(tuple(shape), dim * (dim + 1) // 2)
        self.temperature, self.floor, self.rounds = temperature, floor, rounds
        self.register_buffer("rows", torch.rand(rows, *shape))
        self.register_buffer("contexts", torch.zeros(rows, context) if context else None)

    def init_from_data(self, x: Tensor) -> None:
        """Store random training rows `(n, *shape)`; if there are too few, some repeat."""
        copy_cyclic(self.rows, x)

    def bind(self, prior: Prior, likelihood: ConditionalDistribution) -> None:
        """Move samples towards p(z | x) of this prior and likelihood, or of N(0, I) if the prior has no density."""
        self.flat.bind(prior if prior.has_density else StandardNormal(len(self.flat.raw_step)), likelihood)

    def metric(self) -> distributions.Metric:
        """The metric with the current weights."""
        centroids = self.flat.start(self.rows, self.contexts).mean  # type: ignore[arg-type]
        dim = centroids.shape[-1]
        log_diagonal, below = self.net(self.rows).split([dim, dim * (dim - 1) // 2], -1)
        roots = torch.diag_embed(log_diagonal.exp())
        rows, columns = torch.tril_indices(dim, dim, -1, device=roots.device)
        roots[:, rows, columns] = below
        return distributions.Metric(centroids, roots, self.temperature, self.floor)

    def forward(self, *context: Tensor | None) -> distributions.Riemannian:
        return distributions.Riemannian(self.flat(*context), self.metric(), self.rounds)
