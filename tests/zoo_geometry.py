"""The continuous posteriors and priors of the zoo beside the diagonal Normal, and references on their spaces.

A row of `DISTRIBUTIONS` holds the arguments of `zoo.Family`. Of the distributions in `CURVED`, mean and
variance are those of a chart.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import scipy.special
import torch
from torch import Tensor
from torch.distributions import Distribution, MultivariateNormal, constraints

from nelbo import distributions, nets, posteriors
from nelbo.distributions.hyperbolic import Ball
from nelbo.distributions.location_scale import Laplace
from nelbo.distributions.sphere import sphere
from nelbo.posteriors import Posterior
from nelbo.priors import ParameterFreePrior, Prior

LATENT = 3
ZERO = torch.zeros(LATENT, dtype=torch.float64)
CURVED = (distributions.WrappedNormal, distributions.LogisticNormal)
UNIFORM = (distributions.StandardNormal, distributions.UniformSphere)


def _value(*shape: int, spread: float = 1.0, seed: int = 0) -> Tensor:
    draw = torch.Generator().manual_seed(seed + math.prod(shape))
    return spread * torch.randn(shape, dtype=torch.float64, generator=draw)


class Cap:
    """A density on the sphere around the mean direction of q, made of nothing that is under test.

    A Normal in the tangent plane, projected: z = (mu + t) / |mu + t|, whose area element is cos(theta)^d dt.
    """

    support = constraints.real

    def __init__(self, q: Distribution) -> None:
        draws = q.sample((2_000,))
        self.mu = torch.nn.functional.normalize(draws.mean(0), dim=-1)
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

    def __init__(self, q: Distribution) -> None:
        draws = q.sample((20_000,))
        room = 1 / math.sqrt(q.support.curvature) - draws.mean(0).norm(dim=-1, keepdim=True)  # type: ignore[union-attr]
        self.normal = torch.distributions.Normal(draws.mean(0), torch.minimum(0.5 * draws.std(0), room / 6))
        self.c = q.support.curvature  # type: ignore[union-attr]

    def log_prob(self, z: Tensor) -> Tensor:
        conformal = torch.log(2 / (1 - self.c * z.square().sum(-1)))
        return self.normal.log_prob(z).sum(-1) - z.shape[-1] * conformal


def _log_normal(q: Distribution) -> Distribution:
    logs = q.sample((20_000,)).log()
    return torch.distributions.Independent(torch.distributions.LogNormal(logs.mean(0), 0.6 * logs.std(0)), 1)


def _dirichlet(q: Distribution) -> Distribution:
    centre = q.sample((20_000,)).log().mean(0).softmax(-1)
    return torch.distributions.Dirichlet(4 * centre / centre.amin(-1, keepdim=True))


def reference(q: Distribution) -> Any:
    """A density well inside q on a space of its own; None on the reals."""
    if isinstance(q.support, Ball):
        return InBall(q)
    references: dict[Any, Callable[[Distribution], Any]] = {
        sphere: Cap,
        constraints.positive: _log_normal,
        constraints.simplex: _dirichlet,
    }
    return references.get(q.support, lambda _: None)(q)


def points(support: Any, values: Tensor) -> Tensor:
    """Points of a space, from any numbers."""
    if isinstance(support, Ball):
        return 0.9 * values / (1 + values.norm(dim=-1, keepdim=True)) / math.sqrt(support.curvature)
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


def _tril(batch: tuple[int, ...]) -> Tensor:
    lower = _value(*batch, LATENT, LATENT, spread=0.5).tril(-1)
    return lower + torch.diag_embed(torch.exp(_value(*batch, LATENT, spread=0.4)))


def _rotational(family: Any, dim: int, concentration: float) -> dict[str, Any]:
    return {
        "make": lambda batch: family(
            _value(*batch, dim, seed=3), concentration * torch.exp(_value(*batch, 1, spread=0.2))
        ),
        "parameters": ("loc", "concentration"),
        "tempered": False,
        "held": False,
    }


def _laplace_line() -> list[tuple[Distribution, float, float]]:
    grid = [(loc, log_scale) for loc in (0.0, -50.0) for log_scale in (0.0, -5.0, 3.0)]
    made = [(Laplace(*torch.tensor([[m], [s]]).double()), m, math.exp(s)) for m, s in grid]
    return [(d, m - 40 * b, m + 40 * b) for d, m, b in made]


def _gamma_line() -> list[tuple[Distribution, float, float]]:
    grid = [(1.0, 1.0), (1.7, 0.1), (4.0, 30.0), (300.0, 2.0)]
    made = [distributions.Gamma(*torch.tensor([[a], [b]]).double()) for a, b in grid]
    return [(d, 1e-300, d.mean.item() + 45 * d.stddev.item()) for d in made]


DISTRIBUTIONS: dict[str, dict[str, Any]] = {
    "full normal": {
        "make": lambda batch: distributions.FullNormal(_value(*batch, LATENT), _tril(batch)),
        "parameters": ("loc", "scale_tril"),
    },
    "low-rank normal": {
        "make": lambda batch: distributions.LowRankNormal(
            _value(*batch, LATENT), _value(*batch, LATENT, spread=0.3), _value(*batch, LATENT, 2, spread=0.8)
        ),
        "parameters": ("loc", "log_scale", "factor"),
    },
    "von mises-fisher": _rotational(distributions.VonMisesFisher, LATENT, 4.0),
    "von mises-fisher, circle": _rotational(distributions.VonMisesFisher, 2, 1.5),
    "von mises-fisher, 6 dimensions": _rotational(distributions.VonMisesFisher, 6, 20.0),
    "power spherical": _rotational(distributions.PowerSpherical, LATENT, 4.0),
    "power spherical, 6 dimensions": _rotational(distributions.PowerSpherical, 6, 20.0),
    "uniform sphere": {"make": lambda batch: distributions.UniformSphere(LATENT, ZERO), "tempered": False},
    "wrapped normal": {
        "make": lambda batch: distributions.WrappedNormal(
            points(Ball(1.3), _value(*batch, LATENT)), _value(LATENT, spread=0.3) - 0.5, 1.3
        ),
        "parameters": ("loc", "log_scale"),
    },
    "logistic normal": {
        "make": lambda batch: distributions.LogisticNormal(
            _value(*batch, 4, spread=0.4), _value(*batch, 4, spread=0.3)
        ),
        "parameters": ("loc", "log_scale"),
    },
    "gamma": {
        "make": lambda batch: distributions.Gamma(
            torch.exp(_value(*batch, LATENT, spread=0.7)), torch.exp(_value(*batch, LATENT, spread=0.5, seed=1))
        ),
        "parameters": ("concentration", "rate"),
        "line": _gamma_line,
        "tempered": False,
        "held": False,
    },
}

PRIORS: dict[str, Callable[[], Prior]] = {
    "laplace": lambda: ParameterFreePrior(LATENT, lambda zeros: Laplace(zeros, zeros + 0.3)),
    "uniform sphere": lambda: ParameterFreePrior(LATENT, lambda zeros: distributions.UniformSphere(LATENT, zeros)),
    "wrapped normal": lambda: ParameterFreePrior(
        LATENT, lambda zeros: distributions.WrappedNormal(zeros, zeros - 0.2, 0.7)
    ),
    "dirichlet": lambda: ParameterFreePrior(LATENT, lambda zeros: distributions.LogisticNormal(zeros, zeros - 0.1)),
    "gamma": lambda: ParameterFreePrior(LATENT, lambda zeros: distributions.Gamma(zeros + 2, zeros + 1)),
}

Make = Callable[[Any, int, int], Posterior]
MAKERS: dict[str, tuple[int, Make]] = {
    "full normal": (posteriors.FullNormal.n_params(LATENT), lambda *a: posteriors.FullNormal(*a)),
    "low-rank normal": (4 * LATENT, lambda *a: posteriors.LowRankNormal(*a, rank=2)),
    "laplace": (2 * LATENT, lambda *a: posteriors.LaplacePosterior(*a)),
    "von mises-fisher": (LATENT + 1, lambda *a: posteriors.VonMisesFisher(*a, initial_concentration=5.0)),
    "power spherical": (LATENT + 1, lambda *a: posteriors.PowerSpherical(*a, initial_concentration=5.0)),
    "wrapped normal": (
        2 * LATENT,
        lambda *a: posteriors.WrappedNormalPosterior(*a, curvature=0.7, initial_logvar=-1.0),
    ),
    "logistic normal": (2 * LATENT, lambda *a: posteriors.LogisticNormalPosterior(*a)),
    "gamma": (2 * LATENT, lambda *a: posteriors.GammaPosterior(*a)),
}


def posterior(name: str) -> Callable[[tuple[int, ...], int], Posterior]:
    """A posterior over `LATENT` latents on a small perceptron."""
    features, make = MAKERS[name]
    return lambda shape, context: make(nets.MLPEncoder(shape, features, [16], context), len(shape), LATENT)


POSTERIORS = {name: posterior(name) for name in MAKERS}

# Which prior lives where a posterior does, if that is not the standard Normal, and the other way round.
SAME_SPACE = {
    "von mises-fisher": "uniform sphere",
    "power spherical": "uniform sphere",
    "wrapped normal": "wrapped normal",
    "logistic normal": "dirichlet",
    "gamma": "gamma",
    "laplace": "laplace",
}


def with_posterior(name: str) -> dict[str, str]:
    return {"prior": SAME_SPACE[name]} if name in SAME_SPACE else {}


def with_prior(name: str) -> dict[str, str]:
    return {"posterior": next(q for q, p in SAME_SPACE.items() if p == name)} if name in SAME_SPACE.values() else {}


def _laplace(seed: int) -> Laplace:
    return Laplace(_value(4, LATENT, seed=seed), _value(4, LATENT, spread=0.5, seed=seed + 1))


def _logistic(seed: int, *batch: int) -> distributions.LogisticNormal:
    return distributions.LogisticNormal(_value(*batch, 4, seed=seed), _value(*batch, 4, spread=0.4, seed=seed + 1))


def _gamma(seed: int, *batch: int) -> distributions.Gamma:
    a, b = (torch.exp(_value(*batch, LATENT, spread=0.4, seed=seed + i)) for i in (0, 1))
    return distributions.Gamma(1 + a, b)


def _on_sphere(family: Any, dim: int) -> Distribution:
    return family(_value(2, dim), torch.tensor([[0.7], [30.0]], dtype=torch.float64))


STANDARD = distributions.StandardNormal(LATENT, torch.zeros((), dtype=torch.float64))

# name -> (q, p): each row of the KL table.
PAIRS: dict[str, Callable[[], tuple[Distribution, Distribution]]] = {
    "full, standard": lambda: (distributions.FullNormal(_value(4, LATENT), _tril((4,))), STANDARD),
    "low rank, standard": lambda: (DISTRIBUTIONS["low-rank normal"]["make"]((4,)), STANDARD),
    "laplace, laplace": lambda: (_laplace(0), _laplace(5)),
    "laplace, one laplace for all": lambda: (_laplace(0), Laplace(ZERO.clone(), ZERO.clone())),
    "logistic normals": lambda: (_logistic(0, 4), _logistic(5, 4)),
    "logistic normal, one for all": lambda: (_logistic(0, 4), _logistic(7)),
    "gammas": lambda: (_gamma(0, 2), _gamma(5, 2)),
    "gamma, one for all": lambda: (_gamma(0, 1), _gamma(9)),
    "von mises-fisher, uniform": lambda: (
        _on_sphere(distributions.VonMisesFisher, 3),
        distributions.UniformSphere(3, ZERO),
    ),
    "power spherical, uniform": lambda: (
        _on_sphere(distributions.PowerSpherical, 5),
        distributions.UniformSphere(5, ZERO),
    ),
    "uniform spheres": lambda: (distributions.UniformSphere(3, ZERO), distributions.UniformSphere(3, ZERO)),
}


def log_norm_vmf(dim: int, k: float) -> float:
    """log C of a von Mises-Fisher density C exp(k mu'z), by scipy's Bessel function; k > 0."""
    nu = dim / 2 - 1
    log_bessel = math.log(scipy.special.ive(nu, k)) + k
    return nu * math.log(k) - dim / 2 * math.log(2 * math.pi) - log_bessel


def log_norm_power(dim: int, k: float) -> float:
    """log C of a power spherical density C (1 + mu'z)^k: De Cao, Aziz (2020), equation 4."""
    a, b = (dim - 1) / 2 + k, (dim - 1) / 2
    return -(a + b) * math.log(2) - b * math.log(math.pi) + scipy.special.gammaln(a + b) - scipy.special.gammaln(a)


def negative_entropy(q: Any, k: float) -> float:
    """E[log q] of a density on the sphere, from the literature's closed forms."""
    dim = q.event_shape[0]
    if isinstance(q, distributions.VonMisesFisher):
        nu = dim / 2 - 1
        return log_norm_vmf(dim, k) + k * scipy.special.ive(nu + 1, k) / scipy.special.ive(nu, k)
    a, b = (dim - 1) / 2 + k, (dim - 1) / 2
    return log_norm_power(dim, k) + k * (math.log(2) + scipy.special.psi(a) - scipy.special.psi(a + b))


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
    kl = torch.distributions.kl_divergence
    if isinstance(q, Laplace):
        return kl(*(torch.distributions.Laplace(d.loc, d.log_scale.exp()) for d in (q, p))).sum(-1)
    if isinstance(q, distributions.Gamma):
        return kl(*(torch.distributions.Gamma(d.concentration, d.rate) for d in (q, p))).sum(-1)
    if isinstance(q, distributions.UniformSphere):
        return torch.zeros((), dtype=torch.float64)
    if isinstance(p, distributions.UniformSphere):
        dim = q.event_shape[0]
        log_area = math.log(2) + dim / 2 * math.log(math.pi) - math.lgamma(dim / 2)
        concentrations = q.concentration.detach().flatten().tolist()
        return torch.tensor([negative_entropy(q, k) + log_area for k in concentrations], dtype=torch.float64)
    return kl(gaussian(q), gaussian(p))


# Fields unlike their defaults, of each spec; a kind of the same name in two families is told apart by its family.
VARIED: dict[Any, dict[str, Any]] = {
    "full-normal": {"initial_logvar": -2.0},
    "low-rank-normal": {"rank": 3, "initial_logvar": -2.0},
    "von-mises-fisher": {"initial_concentration": 20.0},
    "power-spherical": {"initial_concentration": 20.0},
    "logistic-normal": {"initial_logvar": -1.0},
    "dirac": {},
    "uniform-sphere": {},
    "dirichlet": {"concentration": 0.3},
    ("posterior", "laplace"): {"initial_logvar": -2.0},
    ("prior", "laplace"): {"scale": 0.5},
    ("posterior", "wrapped-normal"): {"curvature": 0.4, "initial_logvar": -1.0},
    ("prior", "wrapped-normal"): {"curvature": 0.4, "sigma": 0.9},
    ("posterior", "gamma"): {},
    ("prior", "gamma"): {"concentration": 4.0, "rate": 0.5},
}
