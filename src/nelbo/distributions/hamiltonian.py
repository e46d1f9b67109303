"""The draw of a distribution, moved by Hamiltonian dynamics; see `nelbo.posteriors.hamiltonian` for the theory."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from nelbo.distributions import noise
from nelbo.distributions.base import Distribution, sample_and_log_prob


class Hamiltonian(Distribution):
    """z_K from z_0 ~ `start`, by leapfrog steps of size `step` on U = -`log_joint`, with momenta rescaled.

    `heats` are the 1 / sqrt(beta_k), k = 0..K, the last being 1. It has no density of z alone: `log_prob` is refused,
    and `sample_and_log_prob` returns the log-density of the path, which makes importance weights unbiased.
    `mean` is that of `start`.
    """

    normalized = False

    def __init__(self, start: Distribution, log_joint: Callable[[Tensor], Tensor], step: Tensor, heats: Tensor) -> None:
        self.start, self.log_joint = start, log_joint
        self.step, self.heats = step, heats
        super().__init__(start.batch_shape + start.event_shape, len(start.event_shape))

    @property
    def mean(self) -> Tensor:
        return self.start.mean

    def log_prob(self, value: Tensor) -> Tensor:
        raise NotImplementedError("a Hamiltonian posterior has a density of its path only: use sample_and_log_prob")

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:  # type: ignore[override]
        return sample_and_log_prob(self, sample_shape)[0]

    def force(self, z: Tensor) -> Tensor:
        """grad log p(x, z) in z; differentiable itself where gradients are recorded."""
        recorded = torch.is_grad_enabled()
        with torch.enable_grad():
            z = z if z.requires_grad else z.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self.log_joint(z).sum(), z, create_graph=recorded)
        return slope

    def path(self, z: Tensor, momentum: Tensor) -> tuple[Tensor, Tensor]:
        """(z_K, r_K) from (z_0, r_0)."""
        for before, after in zip(self.heats, self.heats[1:], strict=False):
            momentum = momentum + self.step / 2 * self.force(z)
            z = z + self.step * momentum
            momentum = (momentum + self.step / 2 * self.force(z)) * (after / before)
        return z, momentum


@sample_and_log_prob.register
def _(d: Hamiltonian, shape: Sequence[int] = ()) -> tuple[Tensor, Tensor]:
    z, log_q = sample_and_log_prob(d.start, shape)
    kick = noise.normal(torch.Size(shape), d.batch_shape, d.event_shape, z)
    z, momentum = d.path(z, kick * d.heats[0])
    return z, log_q + 0.5 * d.sum_event(momentum.square() - kick.square())
