"""Families of distributions, each as a function of the batch shape."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Dirichlet, Distribution, Independent, Uniform, constraints

from fixtures import cells, tokens
from nelbo import distributions
from nelbo.distributions import DiagonalNormal, Mixture, OneHot, RelaxedBernoulli, RelaxedOneHot, StandardNormal
from nelbo.distributions.categorical import blocks
from nelbo.distributions.curved import Ball
from zoo.rows import LATENT, Shape, table
from zoo.spaces import narrower, points

CLASSES = 3
Line = list[tuple[Distribution, float, float]]


@dataclass(frozen=True)
class Family:
    """A family of distributions.

    Args:
        name: what it is called.
        make: of a batch shape, one member for each index, over a small event; made twice it is the same.
        parameters: the names of the tensors that it is differentiated in.
        line: members over one number (event shape `(1,)`), extreme ones included, each with the interval outside
            which its mass is negligible; empty for a discrete family.
        reference: a density that lies well inside a member.
        tempered: whether `temper` is defined for it.
        moments: whether its mean and variance have a closed form.
        smooth: whether a draw with its noise held still is a smooth function of the parameters, whose derivative is
            the gradient (not so with rejection).
    """

    name: str
    make: Callable[[Shape], Distribution]
    parameters: tuple[str, ...] = ()
    line: Callable[[], Line] = list
    reference: Callable[[Distribution], Any] = narrower
    tempered: bool = True
    moments: bool = True
    smooth: bool = True


def parameter(*shape: int, spread: float = 1.0, seed: int = 0) -> Tensor:
    """Random numbers, the same at every call: a distribution made twice is the same distribution."""
    generator = torch.Generator().manual_seed(math.prod(shape) + 1000 * seed)
    return spread * torch.randn(shape, dtype=torch.float64, generator=generator)


def tril(batch: Shape) -> Tensor:
    """Cholesky factors."""
    lower = parameter(*batch, LATENT, LATENT, spread=0.5).tril(-1)
    return lower + torch.diag_embed(torch.exp(parameter(*batch, LATENT, spread=0.4)))


def mixture(dim: int = LATENT) -> Mixture:
    """Four Normals of their own weights."""
    return Mixture(DiagonalNormal(parameter(4, dim), parameter(4, dim, spread=0.4)), parameter(4))


def metric(dim: int = 2, centroids: int = 5, temperature: float = 1.2, floor: float = 0.05) -> distributions.Metric:
    """A metric of random centroids and roots, float64."""
    generator = torch.Generator().manual_seed(dim)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, dtype=torch.float64, generator=generator)

    return distributions.Metric(normal(centroids, dim), normal(centroids, dim, dim).tril(), temperature, floor)


class Simplices(Distribution):
    """Dirichlets of concentration 2 in every block of a relaxed one-hot."""

    def __init__(self, q: RelaxedOneHot) -> None:
        self.inner = Dirichlet(torch.full_like(blocks(q), 2.0), validate_args=False)
        self.classes = q.classes
        self.within = q.support
        super().__init__(q.batch_shape, q.event_shape, validate_args=False)

    @property
    def support(self) -> constraints.Constraint:  # type: ignore[override]
        return self.within

    def log_prob(self, value: Tensor) -> Tensor:
        return self.inner.log_prob(value.unflatten(-1, (-1, self.classes))).sum(-1)


def _middle_of_bits(q: Distribution) -> Distribution:
    assert isinstance(q, RelaxedBernoulli)
    low = torch.full_like(q.logits, 0.2)
    return Independent(Uniform(low, low + 0.6, validate_args=False), len(q.event_shape))


def _simplices(q: Distribution) -> Distribution:
    assert isinstance(q, RelaxedOneHot)
    return Simplices(q)


NUMBERS = cells.decoder([0, 0])
READERS = {kind: tokens.decoder(kind).requires_grad_(False) for kind in tokens.READERS}


def _middle_of_columns(q: Distribution) -> Distribution:
    """Uniform on the middle of each column's range."""
    low, high = NUMBERS.cells.low[:, 0], NUMBERS.cells.high[:, -1]
    low, high = (torch.lerp(low, high, share).expand(*q.batch_shape, 2) for share in (0.2, 0.8))
    return Independent(Uniform(low, high, validate_args=False), 1)


def _one(value: float) -> Tensor:
    return torch.tensor([value], dtype=torch.float64)


def _normal_line() -> Line:
    grid = [(loc, log_scale) for loc in (0.0, -50.0, 3.0) for log_scale in (0.0, -7.0, 4.0)]
    return [(DiagonalNormal(_one(m), _one(s)), m - 12 * math.exp(s), m + 12 * math.exp(s)) for m, s in grid]


def _continuous_bernoulli_line() -> Line:
    sizes = [0.0, 1e-9, 1e-4, 9.9e-4, 1.1e-3, 0.049, 0.051, 0.29, 0.31, 1.0, 5.0, 30.0, 100.0, 800.0, 1e4]
    logits = [sign * size for size in sizes for sign in (1, -1)]
    return [(distributions.ContinuousBernoulli(_one(logit)), 0.0, 1.0) for logit in logits]


def _gamma_line() -> Line:
    grid = [(1.0, 1.0), (1.7, 0.1), (4.0, 30.0), (300.0, 2.0)]
    members = [distributions.Gamma(_one(a), _one(b)) for a, b in grid]
    return [(d, 1e-300, d.mean.item() + 45 * d.stddev.item()) for d in members]


def _laplace_line() -> Line:
    grid = [(loc, log_scale) for loc in (0.0, -50.0) for log_scale in (0.0, -7.0, 4.0)]
    return [(distributions.Laplace(_one(m), _one(s)), m - 40 * math.exp(s), m + 40 * math.exp(s)) for m, s in grid]


def _student_line() -> Line:
    rows = [(0.0, 0.0, 5.0), (3.0, -7.0, 8.0), (0.0, 4.0, 90.0), (-50.0, 0.0, 110.0), (0.0, 0.0, 1e7)]
    reach = [10.0 ** min(20 / df + 1, 7) + 40 for _, _, df in rows]
    return [
        (distributions.StudentT(_one(loc), _one(s), _one(df)), loc - r * math.exp(s), loc + r * math.exp(s))
        for (loc, s, df), r in zip(rows, reach, strict=True)
    ]


def _log_cosh_line() -> Line:
    rows = [(0.0, 0.0, 1.0), (3.0, -7.0, 0.01), (0.0, 4.0, 0.5), (-50.0, 0.0, 10.0), (0.0, 0.0, 50.0)]
    return [
        (distributions.LogCosh(a, _one(loc), _one(s)), loc - r * math.exp(s), loc + r * math.exp(s))
        for loc, s, a in rows
        for r in [40 + 10 / math.sqrt(a)]
    ]


def _beta_line() -> Line:
    rows = [(1, 1), (2, 5), (0.5, 0.5), (0.2, 3), (49, 51), (300, 2), (1e4, 2e4)]
    return [(distributions.Beta(_one(a), _one(b)), 0.0, 1.0) for a, b in rows]


def _rotational(name: str, family: Any, dim: int, concentration: float) -> Family:
    def make(batch: Shape) -> Distribution:
        spread = torch.exp(parameter(*batch, 1, spread=0.2))
        return family(parameter(*batch, dim, seed=3), concentration * spread)  # type: ignore[no-any-return]

    return Family(name, make, ("loc", "concentration"), tempered=False, smooth=False)


def _logistics(batch: Shape) -> Distribution:
    """Mixtures of 3 whose scales span from below a level to half of the range."""
    loc = 0.5 + parameter(*batch, 2, 3, spread=0.4)
    log_scale = parameter(*batch, 2, 3, seed=2, spread=0.5) - 1
    return distributions.DiscretizedLogistic(parameter(*batch, 2, 3, seed=1), loc, log_scale, levels=16)


def _negative_binomial(batch: Shape, inflated: bool) -> Distribution:
    log_mean, log_size, logit = (parameter(*batch, 2, spread=0.5, seed=seed) for seed in range(3))
    return distributions.NegativeBinomial(log_mean, log_size + 1, logit if inflated else None)


_LOC = torch.randn((3, 2), dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def _observed(batch: Shape, base: Callable[..., distributions.Distribution], *parameters: Tensor) -> Distribution:
    """The same member at each index of the batch."""
    return distributions.Masked(base(parameters[0].expand(*batch, *parameters[0].shape), *parameters[1:], 2))


DISTRIBUTIONS = table(
    Family(
        "diagonal normal",
        lambda batch: DiagonalNormal(parameter(*batch, LATENT), parameter(LATENT, spread=0.5)),
        ("loc", "log_scale"),
        _normal_line,
    ),
    Family(
        "diagonal normal, picture, one scale",
        lambda batch: DiagonalNormal(parameter(*batch, 1, 2, 2), parameter(spread=0.5), 3),
        ("loc", "log_scale"),
    ),
    Family(
        "standard normal",
        lambda batch: StandardNormal(LATENT, torch.zeros((), dtype=torch.float64)),
        line=lambda: [(StandardNormal(1, torch.zeros((), dtype=torch.float64)), -12.0, 12.0)],
    ),
    Family(
        "full normal",
        lambda batch: distributions.FullNormal(parameter(*batch, LATENT), tril(batch)),
        ("loc", "scale_tril"),
    ),
    Family(
        "low-rank normal",
        lambda batch: distributions.LowRankNormal(
            parameter(*batch, LATENT), parameter(*batch, LATENT, spread=0.3), parameter(*batch, LATENT, 2, spread=0.8)
        ),
        ("loc", "log_scale", "factor"),
    ),
    Family("mixture", lambda batch: mixture(), ("logits",), lambda: [(mixture(1), -20.0, 20.0)]),
    _rotational("von mises-fisher", distributions.VonMisesFisher, LATENT, 4.0),
    _rotational("von mises-fisher, circle", distributions.VonMisesFisher, 2, 1.5),
    _rotational("von mises-fisher, 6 dimensions", distributions.VonMisesFisher, 6, 20.0),
    _rotational("power spherical", distributions.PowerSpherical, LATENT, 4.0),
    _rotational("power spherical, 6 dimensions", distributions.PowerSpherical, 6, 20.0),
    Family(
        "uniform sphere",
        lambda batch: distributions.UniformSphere(LATENT, torch.zeros(LATENT, dtype=torch.float64)),
        tempered=False,
    ),
    Family(
        "wrapped normal",
        lambda batch: distributions.WrappedNormal(
            points(Ball(1.3), parameter(*batch, LATENT)), parameter(LATENT, spread=0.3) - 0.5, 1.3
        ),
        ("loc", "log_scale"),
    ),
    Family(
        "logistic normal",
        lambda batch: distributions.LogisticNormal(parameter(*batch, 4, spread=0.4), parameter(*batch, 4, spread=0.3)),
        ("loc", "log_scale"),
    ),
    Family(
        "gamma",
        lambda batch: distributions.Gamma(
            torch.exp(parameter(*batch, LATENT, spread=0.7)), torch.exp(parameter(*batch, LATENT, spread=0.5, seed=1))
        ),
        ("concentration", "rate"),
        _gamma_line,
        tempered=False,
        smooth=False,
    ),
    Family(
        "laplace",
        lambda batch: distributions.Laplace(parameter(*batch, 3), parameter(3)),
        ("loc", "log_scale"),
        _laplace_line,
    ),
    Family(
        "student-t",
        lambda batch: distributions.StudentT(parameter(*batch, 3), parameter(3, spread=0.5), 12 + parameter(3, seed=1)),
        ("loc", "log_scale", "df"),
        _student_line,
        tempered=False,
    ),
    Family(
        "log-cosh",
        lambda batch: distributions.LogCosh(2.0, parameter(*batch, 3), parameter(3, spread=0.5)),
        ("loc", "log_scale"),
        _log_cosh_line,
        tempered=False,
    ),
    Family(
        "log-cosh, sharp, picture",
        lambda batch: distributions.LogCosh(10.0, parameter(*batch, 1, 2, 2), parameter(spread=0.5), 3),
        ("loc", "log_scale"),
        tempered=False,
    ),
    Family(
        "continuous bernoulli",
        lambda batch: distributions.ContinuousBernoulli(parameter(*batch, LATENT, spread=1.5)),
        ("logits",),
        _continuous_bernoulli_line,
        tempered=False,
    ),
    Family(
        "beta",
        lambda batch: distributions.Beta(
            1 + 0.4 * parameter(*batch, 3).exp(), 1 + 0.4 * parameter(*batch, 3, seed=1).exp()
        ),
        ("alpha", "beta"),
        _beta_line,
        tempered=False,
        smooth=False,
    ),
    Family(
        "bernoulli",
        lambda batch: distributions.Bernoulli(parameter(*batch, LATENT, spread=2.0)),
        ("logits",),
        tempered=False,
    ),
    Family(
        "bernoulli, picture",
        lambda batch: distributions.Bernoulli(parameter(*batch, 1, 2, 2, spread=2.0), 3),
        ("logits",),
        tempered=False,
    ),
    Family(
        "relaxed bernoulli",
        lambda batch: RelaxedBernoulli(parameter(*batch, 3), 0.6),
        ("logits",),
        reference=_middle_of_bits,
        tempered=False,
        moments=False,
    ),
    Family(
        "one-hot",
        lambda batch: OneHot(parameter(*batch, 2 * CLASSES, spread=1.5), CLASSES),
        ("logits",),
        tempered=False,
    ),
    Family(
        "relaxed one-hot",
        lambda batch: RelaxedOneHot(parameter(*batch, 2 * CLASSES, spread=0.7), CLASSES, 0.8),
        ("logits",),
        reference=_simplices,
        tempered=False,
        moments=False,
    ),
    Family("discretised logistic mixture", _logistics, ("logits", "loc", "log_scale"), tempered=False),
    Family(
        "level categorical",
        lambda batch: distributions.PixelCategorical(parameter(*batch, 1, 3, 4), 2),
        ("logits",),
        tempered=False,
    ),
    Family("categorical", lambda batch: distributions.Categorical(parameter(*batch, 4)), ("logits",), tempered=False),
    Family(
        "categorical, along channels",
        lambda batch: distributions.Categorical(parameter(*batch, 3, 2, 2), 3, -3),
        ("logits",),
        tempered=False,
    ),
    Family("poisson", lambda batch: distributions.Poisson(parameter(*batch, 2)), ("log_mean",), tempered=False),
    Family(
        "negative binomial",
        lambda batch: _negative_binomial(batch, False),
        ("log_mean", "log_size"),
        tempered=False,
    ),
    Family(
        "zero-inflated negative binomial",
        lambda batch: _negative_binomial(batch, True),
        ("log_mean", "log_size", "zero_logit"),
        tempered=False,
    ),
    Family("observed normal", lambda batch: _observed(batch, DiagonalNormal, _LOC, 0.3 * _LOC[0]), tempered=False),
    Family("observed bernoulli", lambda batch: _observed(batch, distributions.Bernoulli, _LOC), tempered=False),
    Family(
        "cells, numbers",
        lambda batch: cells.distribution(NUMBERS, *batch),
        ("state",),
        reference=_middle_of_columns,
        tempered=False,
        moments=False,
    ),
    *(
        Family(
            f"tokens, {kind}",
            lambda batch, net=net: tokens.distribution(net, *batch),  # type: ignore[misc]
            ("line_state",),
            tempered=False,
            moments=False,
        )
        for kind, net in READERS.items()
    ),
)
