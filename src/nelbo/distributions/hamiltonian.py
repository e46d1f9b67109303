"""Draws moved by Hamiltonian dynamics, in flat space and under a Riemannian metric.

The theory of the flat case is that of `nelbo.posteriors.hamiltonian`. A metric over the latents bends the dynamics,
and its volume gives a density:

    M(z) = G^-1(z) = sum_i w_i(z) L_i L_i' + lambda I,     w_i(z) = exp(-|z - c_i|^2 / T^2)
    H(z, v) = -log p(x, z) - log det M(z) / 2 + v' M(z) v / 2,     that is v ~ N(0, G(z)) given z

A step e of the generalised leapfrog, in which the first two lines are implicit:

    v' = v - e/2 grad_z H(z, v');     z' = z + e/2 (M(z) + M(z')) v';     v'' = v' - e/2 grad_z H(z', v')

Solved exactly, it preserves volume and is reversible: with -v it goes back. `rounds` fixed-point iterations of each
implicit line leave an error of order e^(rounds + 1) in both, so the weights are unbiased up to that error. Each round
reduces it by a factor; where M is constant it is zero.

Source: Girolami, Calderhead (2011), Riemann Manifold Langevin and Hamiltonian Monte Carlo Methods; and that of
`nelbo.posteriors.hamiltonian`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from nelbo.distributions import noise
from nelbo.distributions.base import Distribution, sample_and_log_prob
from nelbo.distributions.gaussian import StandardNormal
from nelbo.errors import UserError


class Hamiltonian(Distribution):
    """z_K from z_0 ~ base, by K leapfrog steps on U = -log p(x, z), with rescaled momenta.

    z alone has no density: `log_prob` raises, and `sample_and_log_prob` returns the log-density of the path, which
    makes importance weights unbiased. `mean` is that of `base`.

    Args:
        base: the distribution of z_0.
        log_joint: maps z `(*batch, dim)` to log p(x, z), nats `(*batch,)`.
        step: size of a leapfrog step.
        tempering: 1 / sqrt(beta_k) for k = 0..K; the last is 1.
    """

    normalized = False

    def __init__(
        self, base: Distribution, log_joint: Callable[[Tensor], Tensor], step: Tensor, tempering: Tensor
    ) -> None:
        self.base, self.log_joint = base, log_joint
        self.step, self.tempering = step, tempering
        super().__init__(base.batch_shape + base.event_shape, len(base.event_shape))

    @property
    def mean(self) -> Tensor:
        return self.base.mean

    def log_prob(self, value: Tensor) -> Tensor:
        raise NotImplementedError("a Hamiltonian posterior has a density of its path only: use sample_and_log_prob")

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:  # type: ignore[override]
        return sample_and_log_prob(self, sample_shape)[0]

    def force(self, z: Tensor) -> Tensor:
        """The gradient of log p(x, z) in z; it can be differentiated again where gradients are recorded."""
        recorded = torch.is_grad_enabled()
        with torch.enable_grad():
            z = z if z.requires_grad else z.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self.log_joint(z).sum(), z, create_graph=recorded)
        return slope

    def path(self, z: Tensor, momentum: Tensor) -> tuple[Tensor, Tensor]:
        """(z_K, r_K) from (z_0, r_0)."""
        for before, after in zip(self.tempering, self.tempering[1:], strict=False):
            momentum = momentum + self.step / 2 * self.force(z)
            z = z + self.step * momentum
            momentum = (momentum + self.step / 2 * self.force(z)) * (after / before)
        return z, momentum


@sample_and_log_prob.register
def _(d: Hamiltonian, shape: Sequence[int] = ()) -> tuple[Tensor, Tensor]:
    z, log_q = sample_and_log_prob(d.base, shape)
    kick = noise.normal(torch.Size(shape), d.batch_shape, d.event_shape, z)
    z, momentum = d.path(z, kick * d.tempering[0])
    return z, log_q + 0.5 * d.sum_event(momentum.square() - kick.square())


class Metric:
    """The inverse metric M(z) of latents z, `(*batch, dim)`.

    Args:
        centroids: c, `(n, dim)`.
        roots: L, lower triangular, `(n, dim, dim)`.
        temperature: T, the width of a centroid's weight.
        floor: lambda, added to the diagonal of M.
    """

    def __init__(self, centroids: Tensor, roots: Tensor, temperature: float, floor: float) -> None:
        self.centroids = centroids
        self.squares = (roots @ roots.mT).flatten(1)
        self.temperature, self.floor = temperature, floor

    def distances(self, z: Tensor) -> Tensor:
        """|z - c_i|^2 / T^2, `(*batch, n)`."""
        c = self.centroids
        apart = z.square().sum(-1, keepdim=True) - 2 * z @ c.mT + c.square().sum(-1)
        return apart.clamp_min(0) / self.temperature**2

    def inverse(self, z: Tensor) -> Tensor:
        """M(z), symmetric positive definite, `(*batch, dim, dim)`."""
        learned = (torch.exp(-self.distances(z)) @ self.squares).unflatten(-1, (z.shape[-1], -1))
        return learned + self.floor * torch.eye(z.shape[-1], dtype=z.dtype, device=z.device)

    def root(self, z: Tensor) -> Tensor:
        """The Cholesky factor of M(z); NaN if M(z) is not positive definite.

        The NaN loss then stops training with an error.
        """
        root, failed = torch.linalg.cholesky_ex(self.inverse(z))
        return torch.where(failed[..., None, None] > 0, math.nan, root)

    def quadratic_gradient(self, z: Tensor, matrices: Tensor) -> Tensor:
        """grad_z of tr(M(z) A) / 2 for constant matrices A, `(*batch, dim, dim)`."""
        weights = torch.exp(-self.distances(z)) * (matrices.flatten(-2) @ self.squares.mT)
        return (weights @ self.centroids - weights.sum(-1, keepdim=True) * z) / self.temperature**2

    def volume_gradient(self, z: Tensor) -> Tensor:
        """grad_z of log det M(z) / 2, which points towards small volumes."""
        return self.quadratic_gradient(z, torch.cholesky_inverse(self.root(z)))

    def log_density(self, z: Tensor) -> Tensor:
        """log sqrt(det M(z)), `(*batch,)`."""
        return self.root(z).diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def velocity(self, z: Tensor, v: Tensor) -> Tensor:
        """M(z) v."""
        return (self.inverse(z) @ v.unsqueeze(-1)).squeeze(-1)

    def momentum(self, z: Tensor, momentum_noise: Tensor) -> Tensor:
        """v ~ N(0, G(z)) from noise ~ N(0, I)."""
        return torch.linalg.solve_triangular(self.root(z).mT, momentum_noise.unsqueeze(-1), upper=True).squeeze(-1)

    def log_momentum(self, z: Tensor, v: Tensor) -> Tensor:
        """log N(v; 0, G(z)) up to the constant."""
        return self.log_density(z) - (v * self.velocity(z, v)).sum(-1) / 2


class Riemannian(Distribution):
    """A Hamiltonian posterior whose inverse mass matrix is M(z).

    Its weights are unbiased up to the error of the fixed-point iterations; where M is constant, exactly.

    Args:
        flat: base, log-joint, step size and tempering.
        metric: M(z).
        rounds: fixed-point iterations of each implicit line of a leapfrog step.
    """

    normalized = False

    def __init__(self, flat: Hamiltonian, metric: Metric, rounds: int) -> None:
        self.flat, self.metric, self.rounds = flat, metric, rounds
        super().__init__(flat.batch_shape + flat.event_shape, 1)

    @property
    def mean(self) -> Tensor:
        return self.flat.mean

    def log_prob(self, value: Tensor) -> Tensor:
        return self.flat.log_prob(value)  # raises: only the path has a density

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:  # type: ignore[override]
        return sample_and_log_prob(self, sample_shape)[0]

    def path(self, z: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """(z_K, v_K) from (z_0, v_0)."""
        half = self.flat.step / 2
        fall = self.flat.force(z) + self.metric.volume_gradient(z)
        for before, after in itertools.pairwise(self.flat.tempering):
            v0 = v + half * fall
            for _ in range(self.rounds):
                v = v0 - half * self.metric.quadratic_gradient(z, _outer(v))
            z0 = z + half * self.metric.velocity(z, v)
            for _ in range(self.rounds):
                z = z0 + half * self.metric.velocity(z, v)
            fall = self.flat.force(z) + self.metric.volume_gradient(z)
            v = (v + half * (fall - self.metric.quadratic_gradient(z, _outer(v)))) * (after / before)
        return z, v


def _outer(v: Tensor) -> Tensor:
    return v.unsqueeze(-1) * v.unsqueeze(-2)


@sample_and_log_prob.register
def _(d: Riemannian, shape: Sequence[int] = ()) -> tuple[Tensor, Tensor]:
    z, log_q = sample_and_log_prob(d.flat.base, shape)
    kick = noise.normal(torch.Size(shape), d.batch_shape, d.event_shape, z)
    v = d.metric.momentum(z, kick)
    moved, momentum = d.path(z, v * d.flat.tempering[0])
    return moved, log_q + d.metric.log_momentum(z, v) - d.metric.log_momentum(moved, momentum)


class MetricVolumePrior(Distribution):
    """p(z) proportional to sqrt(det M(z)) within 2 T of a centroid of M, T its temperature, and 0 elsewhere.

    Farther from all centroids, M was not learned from data.

    Its normaliser is unknown: it can be sampled, and has no log p(z). Each draw is the end of its own Hamiltonian
    Monte Carlo chain from a random centroid. Groups of centroids farther than 4 T apart are therefore drawn in
    proportion to their number of centroids, not to their mass.

    Args:
        metric: M(z).
        moves: number of Hamiltonian Monte Carlo moves of a chain.
    """

    normalized = False
    reach, leaps, stride = 2.0, 5, 0.3  # the stride in T / sqrt(dim), the width of sqrt(det M) around one centroid

    def __init__(self, metric: Metric, moves: int) -> None:
        self.metric, self.moves = metric, moves
        super().__init__(metric.centroids.shape[1:], 1)

    def log_prob(self, value: Tensor) -> Tensor:
        raise UserError(
            "the metric prior has no normaliser and so no log p(z), it only draws: to train or to score a model, "
            "--set model.latent.prior=standard-normal"
        )

    def log_density(self, z: Tensor) -> Tensor:
        """log sqrt(det M(z)), and minus infinity farther than 2 T from every centroid."""
        near = self.metric.distances(z).amin(-1) <= self.reach**2
        return torch.where(near, self.metric.log_density(z), -math.inf)

    @torch.no_grad()
    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:  # type: ignore[override]
        size, c = torch.Size(sample_shape), self.metric.centroids
        step = c.new_tensor(self.stride * self.metric.temperature / math.sqrt(c.shape[1]))
        heats = c.new_ones(self.leaps + 1)
        move = Hamiltonian(StandardNormal(c.shape[1], c), self.metric.log_density, step, heats).path
        z = c[(noise.uniform(size, self.batch_shape, torch.Size(), c) * len(c)).long().clamp_max(len(c) - 1)]
        for _ in range(self.moves):
            kick = noise.normal(size, self.batch_shape, self.event_shape, c)
            moved, v = move(z, kick)
            gain = self.log_density(moved) - self.log_density(z) + (kick.square() - v.square()).sum(-1) / 2
            accepted = noise.uniform(size, self.batch_shape, torch.Size(), c).log() < gain
            z = torch.where(accepted.unsqueeze(-1), moved, z)
        return z
