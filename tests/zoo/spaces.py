"""The sets that distributions live on: points of them, data in them, densities on them, all values of a finite one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Dirichlet, Distribution, Independent, LogNormal, Normal, Uniform, constraints

from nelbo import distributions
from nelbo.distributions import Levels, Lines, OneHot, OneHotAlong
from nelbo.distributions.curved import Ball, sphere
from zoo.rows import CONTEXT, Shape

CURVED = (distributions.WrappedNormal, distributions.LogisticNormal)
"""The distributions whose mean and variance are those of a chart."""
UNIFORM = (distributions.StandardNormal, distributions.UniformSphere)
CENTERED = (distributions.Flow, distributions.Hamiltonian, distributions.Riemannian)
"""Those whose `mean` is the image of the base's mean, not the expectation, which has no closed form."""
COUNTED = 120  # counts in the zoo are below it


def context(batch: int, seed: int = 0) -> Tensor:
    """A context of `CONTEXT` numbers for each datum, float64."""
    return torch.randn(batch, CONTEXT, generator=torch.Generator().manual_seed(seed + 100), dtype=torch.float64)


def data(support: constraints.Constraint, batch: int, shape: Shape, seed: int = 0) -> Tensor:
    """Data that a likelihood with this support admits, float64."""
    generator = torch.Generator().manual_seed(seed)
    if support is constraints.boolean:
        return (torch.rand(batch, *shape, generator=generator) < 0.4).double()
    if support is constraints.real:
        return torch.randn(batch, *shape, generator=generator, dtype=torch.float64)
    uniform = torch.rand((batch, *shape), generator=generator, dtype=torch.float64)
    if isinstance(support, Levels):
        return (uniform * (support.count - 1)).round() / (support.count - 1)
    if isinstance(support, OneHotAlong):
        return (uniform == uniform.amax(support.dim, keepdim=True)).double()
    if support is constraints.nonnegative_integer:
        return (uniform * 4).floor()
    return uniform


def possible_mean(support: constraints.Constraint, mean: Tensor) -> Tensor:
    """The mean of some data of this support: of one-hot data, means add up to one."""
    if not isinstance(support, OneHotAlong):
        return mean
    return mean.clamp_min(1e-3) / mean.clamp_min(1e-3).sum(support.dim, keepdim=True)


def points(support: Any, values: Tensor) -> Tensor:
    """Points of a space, from any numbers."""
    if isinstance(support, Ball):
        return 0.9 * values / (1 + values.norm(dim=-1, keepdim=True)) / math.sqrt(support.curvature)
    if isinstance(support, constraints.integer_interval):
        return (values.abs() * 7).long() % (support.upper_bound + 1)
    maps: dict[Any, Callable[[Tensor], Tensor]] = {
        sphere: lambda v: v / v.norm(dim=-1, keepdim=True),
        constraints.positive: torch.exp,
        constraints.simplex: lambda v: v.softmax(-1),
    }
    return maps.get(support, lambda v: v)(values)


def chart(d: Distribution, z: Tensor) -> Tensor:
    """Coordinates about the mean of d, in which a distribution on a curved space has its mean and variance."""
    if isinstance(d, distributions.WrappedNormal):
        return d.tangent(z)
    if isinstance(d, distributions.LogisticNormal):
        logs = z.log() - d.mean.log()
        return logs - logs.mean(-1, keepdim=True)
    return z - d.mean


def values(d: Distribution) -> Tensor:
    """All values of a discrete distribution, or all but a negligible mass of them, `(values, *event)`, float64."""
    shape, support = d.event_shape, d.support
    if isinstance(d, OneHot):
        index = torch.tensor(list(itertools.product(range(d.classes), repeat=shape[0] // d.classes)))
        return nn.functional.one_hot(index, d.classes).double().flatten(-2)
    if isinstance(support, OneHotAlong):
        classes, positions = shape[support.dim], math.prod(shape) // shape[support.dim]
        index = torch.tensor([*itertools.product(range(classes), repeat=positions)])
        rows = nn.functional.one_hot(index, classes).double().transpose(-1, -2)  # (values, classes, positions)
        return rows.reshape(-1, *shape) if support.dim == -len(shape) else rows.transpose(-1, -2).reshape(-1, *shape)
    if isinstance(support, Lines):
        rows = torch.cartesian_prod(*[torch.arange(float(support.vocabulary), dtype=torch.float64)] * shape[0])
        return rows[support.check(rows)]
    if isinstance(support, constraints.integer_interval):
        return torch.cartesian_prod(*[torch.arange(int(support.upper_bound) + 1)] * shape[0]).view(-1, *shape)
    single = torch.tensor([0.0, 1.0])
    if isinstance(support, Levels):
        single = torch.arange(support.count) / (support.count - 1)
    elif support is constraints.nonnegative_integer:
        single = torch.arange(COUNTED)
    return torch.cartesian_prod(*[single.double()] * math.prod(shape)).view(-1, *shape)


class Cap:
    """A density on the sphere around the mean direction of q, made of nothing that is under test.

    A Normal in the tangent plane, projected: z = (mu + t) / |mu + t|, whose area element is cos(theta)^d dt.
    """

    support = constraints.real

    def __init__(self, q: Distribution) -> None:
        draws = q.sample((2_000,))
        self.mu = nn.functional.normalize(draws.mean(0), dim=-1)
        spread = (1 - (draws * self.mu).sum(-1)).mean(0)
        self.scale = 0.4 * torch.where(spread < 0.5, spread.sqrt(), torch.full_like(spread, 0.7))

    def log_prob(self, z: Tensor) -> Tensor:
        cosine, free = (z * self.mu).sum(-1), z.shape[-1] - 1
        squares = (1 / cosine.square() - 1) / self.scale**2
        log_density = -0.5 * squares - free * (self.scale.log() + 0.5 * math.log(2 * math.pi))
        return torch.where(cosine > 1e-3, log_density - (free + 1) * cosine.clamp_min(1e-3).log(), -torch.inf)


class InBall:
    """A Normal of the ambient coordinates, whose mass is inside the ball, against hyperbolic volume."""

    support = constraints.real

    def __init__(self, q: Distribution, ball: Ball) -> None:
        draws = q.sample((20_000,))
        self.c = ball.curvature
        room = 1 / math.sqrt(self.c) - draws.mean(0).norm(dim=-1, keepdim=True)
        self.normal = Normal(draws.mean(0), torch.minimum(0.5 * draws.std(0), room / 6))

    def log_prob(self, z: Tensor) -> Tensor:
        conformal = torch.log(2 / (1 - self.c * z.square().sum(-1)))
        return self.normal.log_prob(z).sum(-1) - z.shape[-1] * conformal


def narrower(q: Distribution) -> Any:
    """A density that lies well inside q, with the support of q or a part of it.

    On the reals a Normal with q's own mean and 0.6 of its standard deviation, on [0, 1] the uniform on [0.2, 0.8].
    """
    support = q.support
    if isinstance(support, Ball):
        return InBall(q, support)
    if support is sphere:
        return Cap(q)
    if support is constraints.unit_interval:
        low = torch.full_like(q.mean, 0.2)
        return Independent(Uniform(low, low + 0.6, validate_args=False), len(q.event_shape))
    draws = q.sample((20_000,))
    if support is constraints.positive:
        return Independent(LogNormal(draws.log().mean(0), 0.6 * draws.log().std(0)), 1)
    if support is constraints.simplex:
        center = draws.log().mean(0).softmax(-1)
        return Dirichlet(4 * center / center.amin(-1, keepdim=True))
    return Independent(Normal(draws.mean(0), 0.6 * draws.std(0), validate_args=False), len(q.event_shape))
