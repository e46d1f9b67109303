"""Rows of the zoo: likelihoods of real numbers, pixels, counts and classes, and losses that are no densities."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, constraints

from nelbo import distributions, likelihoods
from nelbo.distributions import Levels, Lines, OneHotAlong
from nelbo.likelihoods import Likelihood

Shape = tuple[int, ...]
Line = list[tuple[Distribution, float, float]]


def _parameter(*shape: int, spread: float = 1.0, seed: int = 0) -> Tensor:
    draw = torch.Generator().manual_seed(math.prod(shape) + 1000 * seed)
    return spread * torch.randn(shape, dtype=torch.float64, generator=draw)


def _one(*values: float) -> list[Tensor]:
    return [torch.tensor([value], dtype=torch.float64) for value in values]


def _laplace_line() -> Line:
    return [
        (distributions.Laplace(*_one(loc, log_scale)), loc - 40 * math.exp(log_scale), loc + 40 * math.exp(log_scale))
        for loc in (0.0, -50.0)
        for log_scale in (0.0, -7.0, 4.0)
    ]


def _student_line() -> Line:
    rows = [(0.0, 0.0, 5.0), (3.0, -7.0, 8.0), (0.0, 4.0, 90.0), (-50.0, 0.0, 110.0), (0.0, 0.0, 1e7)]
    reach = [10.0 ** min(20 / df + 1, 7) + 40 for _, _, df in rows]
    return [
        (distributions.StudentT(*_one(loc, s, df)), loc - r * math.exp(s), loc + r * math.exp(s))
        for (loc, s, df), r in zip(rows, reach, strict=True)
    ]


def _log_cosh_line() -> Line:
    rows = [(0.0, 0.0, 1.0), (3.0, -7.0, 0.01), (0.0, 4.0, 0.5), (-50.0, 0.0, 10.0), (0.0, 0.0, 50.0)]
    return [
        (distributions.LogCosh(a, *_one(loc, s)), loc - r * math.exp(s), loc + r * math.exp(s))
        for loc, s, a in rows
        for r in [40 + 10 / math.sqrt(a)]
    ]


def _beta_line() -> Line:
    rows = [(1, 1), (2, 5), (0.5, 0.5), (0.2, 3), (49, 51), (300, 2), (1e4, 2e4)]
    return [(distributions.Beta(*_one(a, b)), 0.0, 1.0) for a, b in rows]


def _logistics(batch: Shape, levels: int) -> Distribution:
    """Mixtures of 3 whose scales span from below a level to half of the range."""
    loc = 0.5 + _parameter(*batch, 2, 3, spread=0.4)
    return distributions.DiscretisedLogistic(
        _parameter(*batch, 2, 3, seed=1), loc, _parameter(*batch, 2, 3, seed=2, spread=0.5) - 1, levels=levels
    )


def _negative_binomial(batch: Shape, inflated: bool) -> Distribution:
    log_mean, log_size, logit = (_parameter(*batch, 2, spread=0.5, seed=seed) for seed in range(3))
    return distributions.NegativeBinomial(log_mean, log_size + 1, logit if inflated else None)


def _row(make: Callable[[Shape], Distribution], *parameters: str, **more: Any) -> dict[str, Any]:
    return {"make": make, "parameters": parameters, "tempered": False, **more}


DISTRIBUTIONS: dict[str, dict[str, Any]] = {
    "laplace likelihood": {
        **_row(lambda batch: distributions.Laplace(_parameter(*batch, 3), _parameter(3)), "loc", "log_scale"),
        "line": _laplace_line,
        "tempered": True,
    },
    "student-t": _row(
        lambda batch: distributions.StudentT(
            _parameter(*batch, 3), _parameter(3, spread=0.5), 12 + _parameter(3, seed=1)
        ),
        *("loc", "log_scale", "df"),
        line=_student_line,
    ),
    "log-cosh": _row(
        lambda batch: distributions.LogCosh(2.0, _parameter(*batch, 3), _parameter(3, spread=0.5)),
        *("loc", "log_scale"),
        line=_log_cosh_line,
    ),
    "log-cosh, sharp, picture": _row(
        lambda batch: distributions.LogCosh(10.0, _parameter(*batch, 1, 2, 2), _parameter(spread=0.5), 3),
        *("loc", "log_scale"),
    ),
    "beta": _row(
        lambda batch: distributions.Beta(*(1 + 0.4 * _parameter(*batch, 3, seed=seed).exp() for seed in range(2))),
        *("alpha", "beta"),
        line=_beta_line,
        held=False,
    ),
    "discretised logistic mixture": _row(lambda batch: _logistics(batch, 16), "logits", "loc", "log_scale"),
    "level categorical": _row(lambda batch: distributions.LevelCategorical(_parameter(*batch, 1, 3, 4), 2), "logits"),
    "categorical": _row(lambda batch: distributions.Categorical(_parameter(*batch, 4)), "logits"),
    "categorical, along channels": _row(
        lambda batch: distributions.Categorical(_parameter(*batch, 3, 2, 2), 3, -3), "logits"
    ),
    "poisson": _row(lambda batch: distributions.Poisson(_parameter(*batch, 2)), "log_mean"),
    "negative binomial": _row(lambda batch: _negative_binomial(batch, False), "log_mean", "log_size"),
    "zero-inflated negative binomial": _row(
        lambda batch: _negative_binomial(batch, True), "log_mean", "log_size", "zero_logit"
    ),
}
COUNTED = 120  # counts in the tests above are below it


def every(d: Distribution) -> Tensor:
    """All values of a discrete distribution, or all but a negligible mass of them, `(values, *event)`, float64."""
    shape, support = d.event_shape, d.support
    if isinstance(support, OneHotAlong):
        classes, positions = shape[support.dim], math.prod(shape) // shape[support.dim]
        index = torch.tensor([*itertools.product(range(classes), repeat=positions)])
        rows = nn.functional.one_hot(index, classes).double().transpose(-1, -2)  # (values, classes, positions)
        return rows.reshape(-1, *shape) if support.dim == -len(shape) else rows.transpose(-1, -2).reshape(-1, *shape)
    if isinstance(support, Lines):
        rows = torch.cartesian_prod(*[torch.arange(float(support.vocabulary), dtype=torch.float64)] * shape[0])
        return rows[support.check(rows)]
    values = torch.tensor([0.0, 1.0])
    if isinstance(support, Levels):
        values = torch.arange(support.count) / (support.count - 1)
    elif support is constraints.nonnegative_integer:
        values = torch.arange(COUNTED)
    return torch.cartesian_prod(*[values.double()] * math.prod(shape)).view(-1, *shape)


LIKELIHOODS: dict[str, Callable[[nn.Module, int], Likelihood]] = {
    "laplace": likelihoods.Laplace,
    "laplace, fixed sigma": lambda net, dims: likelihoods.Laplace(net, dims, sigma=0.7),
    "student-t": likelihoods.StudentT,
    "student-t, fixed": lambda net, dims: likelihoods.StudentT(net, dims, sigma=0.7, df=6.0),
    "log-cosh": likelihoods.LogCosh,
    "log-cosh, fixed": lambda net, dims: likelihoods.LogCosh(net, dims, sharpness=1.0, sigma=0.7),
    "discretised logistic": likelihoods.DiscretizedLogistic,
    "discretised logistic mixture": lambda net, dims: likelihoods.DiscretizedLogisticMixture(net, dims, components=3),
    "level categorical": lambda net, dims: likelihoods.PixelCategorical(net, dims, 16),
    "beta": likelihoods.Beta,
    "beta, no margin": lambda net, dims: likelihoods.Beta(net, dims, margin=0.0),
    "poisson": likelihoods.Poisson,
    "negative binomial": likelihoods.NegativeBinomial,
    "zero-inflated negative binomial": lambda net, dims: likelihoods.NegativeBinomial(net, dims, zero_inflated=True),
    "one-hot": likelihoods.OneHot,
    "ssim": likelihoods.SSIM,
    "perceptual": lambda net, dims: likelihoods.Perceptual(net, dims, (1,), widths=(4, 6)),
}
OUTPUTS = {
    "discretised logistic mixture": 9,
    "level categorical": 16,
    "beta": 2,
    "beta, no margin": 2,
    "negative binomial": 2,
    "zero-inflated negative binomial": 3,
}
ENERGIES = {"ssim", "perceptual"}  # they compare pictures, and have no draws


def data(support: constraints.Constraint, shape: Shape, draw: torch.Generator) -> Tensor | None:
    """Data that a likelihood with this support admits, float64; None for the supports that the zoo knows itself."""
    uniform = torch.rand(shape, generator=draw, dtype=torch.float64)
    if isinstance(support, Levels):
        return (uniform * (support.count - 1)).round() / (support.count - 1)
    if isinstance(support, OneHotAlong):
        return (uniform == uniform.amax(support.dim, keepdim=True)).double()
    if support is constraints.nonnegative_integer:
        return (uniform * 4).floor()
    return None


def admitted(support: constraints.Constraint, mean: Tensor) -> Tensor:
    """The mean of some data of this support: of one-hot data, means add up to one."""
    if not isinstance(support, OneHotAlong):
        return mean
    return mean.clamp_min(1e-3) / mean.clamp_min(1e-3).sum(support.dim, keepdim=True)


VARIED: dict[str, dict[str, Any]] = {
    "laplace": {"sigma": 0.3},
    "student-t": {"sigma": 0.3, "df": 4.5},
    "log-cosh": {"sharpness": 3.0, "sigma": 0.3},
    "poisson": {},
    "negative-binomial": {"zero_inflated": True},
    "one-hot": {"along": "channels"},
    "discretised-logistic": {},
    "discretised-logistic-mixture": {"components": 3},
    "categorical-256": {},
    "beta": {"margin": 0.0},
    "ssim": {"weight": 7.0, "scales": 1},
    "perceptual": {"weight": 3.0, "pixel_weight": 0.0, "widths": (4, 5), "seed": 3, "weights": "a.safetensors"},
}
