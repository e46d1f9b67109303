"""Pairs of distributions whose KL divergence has a closed form, each with the divergence by torch or by scipy."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import scipy.special
import torch
from torch import Tensor
from torch.distributions import Bernoulli as TorchBernoulli
from torch.distributions import Distribution, MultivariateNormal, Normal, OneHotCategorical
from torch.distributions import kl_divergence as torch_kl

from nelbo import distributions
from nelbo.distributions import (
    Bernoulli,
    DiagonalNormal,
    Laplace,
    OneHot,
    RelaxedBernoulli,
    RelaxedOneHot,
    StandardNormal,
)
from nelbo.distributions.categorical import blocks
from zoo.distributions import DISTRIBUTIONS, parameter
from zoo.rows import LATENT, table

ZERO = torch.zeros(LATENT, dtype=torch.float64)
STANDARD = StandardNormal(LATENT, torch.zeros((), dtype=torch.float64))
# These rows of the table are the divergence of what q relaxes, and tested as that.
RELAXED = {(RelaxedBernoulli, Bernoulli), (RelaxedOneHot, OneHot)}


@dataclass(frozen=True)
class Pair:
    """Two distributions: `make()` is (q, p)."""

    name: str
    make: Callable[[], tuple[Distribution, Distribution]]


def _normal(seed: int, *shape: int, scale: tuple[int, ...] | None = None) -> DiagonalNormal:
    return DiagonalNormal(parameter(*shape, seed=seed), parameter(*(scale or shape), spread=0.5, seed=seed + 50))


def _laplace(seed: int) -> Laplace:
    return Laplace(parameter(4, LATENT, seed=seed), parameter(4, LATENT, spread=0.5, seed=seed + 1))


def _logistic(seed: int, *batch: int) -> distributions.LogisticNormal:
    return distributions.LogisticNormal(
        parameter(*batch, 4, seed=seed), parameter(*batch, 4, spread=0.4, seed=seed + 1)
    )


def _gamma(seed: int, *batch: int) -> distributions.Gamma:
    a, b = (torch.exp(parameter(*batch, LATENT, spread=0.4, seed=seed + i)) for i in (0, 1))
    return distributions.Gamma(1 + a, b)


def _on_sphere(family: Any, dim: int) -> Distribution:
    return family(parameter(2, dim), torch.tensor([[0.7], [30.0]], dtype=torch.float64))  # type: ignore[no-any-return]


def _uniform(dim: int) -> Distribution:
    return distributions.UniformSphere(dim, ZERO)


PAIRS = table(
    Pair("diagonal, standard", lambda: (_normal(0, 4, 3), STANDARD)),
    Pair("diagonal of one scale, standard", lambda: (_normal(1, 4, 3, scale=(1,)), STANDARD)),
    Pair("diagonal without batch, standard", lambda: (_normal(2, 3), STANDARD)),
    Pair("standard, standard", lambda: (STANDARD, StandardNormal(LATENT, STANDARD.like))),
    Pair("diagonal, diagonal", lambda: (_normal(3, 4, 3), _normal(4, 4, 3))),
    Pair("diagonal, one diagonal for all", lambda: (_normal(5, 4, 3), _normal(6, 3))),
    Pair("diagonals of one scale", lambda: (_normal(7, 4, 3, scale=(1,)), _normal(8, 4, 3, scale=(1,)))),
    Pair("full, standard", lambda: (DISTRIBUTIONS["full normal"].make((4,)), STANDARD)),
    Pair("low rank, standard", lambda: (DISTRIBUTIONS["low-rank normal"].make((4,)), STANDARD)),
    Pair("laplace, laplace", lambda: (_laplace(0), _laplace(5))),
    Pair("laplace, one laplace for all", lambda: (_laplace(0), Laplace(ZERO.clone(), ZERO.clone()))),
    Pair("logistic normals", lambda: (_logistic(0, 4), _logistic(5, 4))),
    Pair("logistic normal, one for all", lambda: (_logistic(0, 4), _logistic(7))),
    Pair("gammas", lambda: (_gamma(0, 2), _gamma(5, 2))),
    Pair("gamma, one for all", lambda: (_gamma(0, 1), _gamma(9))),
    Pair("von mises-fisher, uniform", lambda: (_on_sphere(distributions.VonMisesFisher, 3), _uniform(3))),
    Pair("power spherical, uniform", lambda: (_on_sphere(distributions.PowerSpherical, 5), _uniform(5))),
    Pair("uniform spheres", lambda: (_uniform(3), _uniform(3))),
    Pair("bernoulli, bernoulli", lambda: (Bernoulli(parameter(4, 3)), Bernoulli(parameter(3)))),
    Pair("bernoulli, uniform", lambda: (Bernoulli(parameter(4, 3)), Bernoulli(torch.zeros(3).double()))),
    Pair("one-hot, one-hot", lambda: (OneHot(parameter(4, 6), 3), OneHot(parameter(6), 3))),
    Pair("one-hot, uniform", lambda: (OneHot(parameter(4, 6), 3), OneHot(torch.zeros(6).double(), 3))),
)


def log_norm_vmf(dim: int, k: float) -> float:
    """log C of a von Mises-Fisher density C exp(k mu'z), by scipy's Bessel function; k > 0."""
    nu = dim / 2 - 1
    log_bessel = math.log(scipy.special.ive(nu, k)) + k
    return nu * math.log(k) - dim / 2 * math.log(2 * math.pi) - log_bessel


def log_norm_power(dim: int, k: float) -> float:
    """log C of a power spherical density C (1 + mu'z)^k: De Cao, Aziz (2020), equation 4."""
    a, b = (dim - 1) / 2 + k, (dim - 1) / 2
    return float(
        -(a + b) * math.log(2) - b * math.log(math.pi) + scipy.special.gammaln(a + b) - scipy.special.gammaln(a)
    )


def negative_entropy(q: Any, k: float) -> float:
    """E[log q] of a density on the sphere, from the literature's closed forms."""
    dim = q.event_shape[0]
    if isinstance(q, distributions.VonMisesFisher):
        nu = dim / 2 - 1
        return log_norm_vmf(dim, k) + k * float(scipy.special.ive(nu + 1, k) / scipy.special.ive(nu, k))
    a, b = (dim - 1) / 2 + k, (dim - 1) / 2
    return log_norm_power(dim, k) + k * float(math.log(2) + scipy.special.psi(a) - scipy.special.psi(a + b))


def gaussian(d: Any) -> MultivariateNormal:
    """The Normal of torch that d is; of a logistic Normal, that of log z_i - log z_K."""
    if isinstance(d, distributions.FullNormal):
        return MultivariateNormal(d.loc, d.scale_tril @ d.scale_tril.mT)
    if isinstance(d, distributions.LowRankNormal):
        return MultivariateNormal(d.loc, d.factor @ d.factor.mT + torch.diag_embed(torch.exp(2 * d.log_scale)))
    if isinstance(d, distributions.LogisticNormal):
        contrast = torch.cat([torch.eye(3), -torch.ones(3, 1)], 1).double()
        return MultivariateNormal(
            d.loc @ contrast.T, contrast @ torch.diag_embed(torch.exp(2 * d.log_scale)) @ contrast.T
        )
    return MultivariateNormal(d.mean, torch.diag_embed(d.variance))


def oracle_kl(q: Any, p: Any) -> Tensor:
    """KL(q || p) by torch, or by scipy."""
    if isinstance(q, OneHot):
        return torch_kl(OneHotCategorical(logits=blocks(q)), OneHotCategorical(logits=blocks(p))).sum(-1)
    if isinstance(q, Bernoulli):
        return torch_kl(*(TorchBernoulli(logits=d.logits.expand(4, 3)) for d in (q, p))).sum(-1)
    if isinstance(q, DiagonalNormal | StandardNormal):
        return torch_kl(*(Normal(d.mean, d.stddev) for d in (q, p))).sum(-1)
    if isinstance(q, Laplace):
        return torch_kl(*(torch.distributions.Laplace(d.loc, d.log_scale.exp()) for d in (q, p))).sum(-1)
    if isinstance(q, distributions.Gamma):
        return torch_kl(*(torch.distributions.Gamma(d.concentration, d.rate) for d in (q, p))).sum(-1)
    if isinstance(q, distributions.UniformSphere):
        return torch.zeros((), dtype=torch.float64)
    if isinstance(p, distributions.UniformSphere):
        dim = q.event_shape[0]
        log_area = math.log(2) + dim / 2 * math.log(math.pi) - math.lgamma(dim / 2)
        concentrations = q.concentration.detach().flatten().tolist()
        return torch.tensor([negative_entropy(q, k) + log_area for k in concentrations], dtype=torch.float64)
    return torch_kl(gaussian(q), gaussian(p))
