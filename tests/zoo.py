"""Every part of nelbo, by kind and name: a part that is entered here gets every law of its kind.

Sizes are tiny and numbers are float64 wherever a law is exact. The statistical laws share `assert_mean`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal, Uniform, constraints

import zoo_codes
import zoo_flows
import zoo_geometry
import zoo_hierarchy
import zoo_likelihoods
import zoo_objectives
import zoo_riemannian
import zoo_series
import zoo_tables
import zoo_text
from nelbo import distributions, likelihoods, nets, objectives, posteriors, priors, schedules
from nelbo.latents import SingleLevelLatent
from nelbo.likelihoods import Likelihood
from nelbo.objectives import Objective
from nelbo.posteriors import Posterior
from nelbo.priors import Prior
from nelbo.schedules import Schedule
from nelbo.vae import VAE

Shape = tuple[int, ...]
M = TypeVar("M", bound=nn.Module)
LATENT, CONTEXT = 3, 2
SHAPES: list[Shape] = [(1, 1, 1), (3, 5, 9), (1, 28, 28), (4, 17, 3), (7,)]


def _parameter(*shape: int, spread: float = 1.0) -> Tensor:
    """The same parameters at every call: a distribution made twice is the same distribution."""
    return spread * torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(math.prod(shape)))


def narrower(q: Distribution) -> Distribution:
    """A density that lies well inside q, with the support of q or a part of it.

    On a space of its own, `zoo_geometry`'s. On the reals a Normal with q's own mean and 0.6 of its standard deviation,
    on [0, 1] the uniform on [0.2, 0.8].
    """
    if (own := zoo_geometry.reference(q)) is not None:
        return own
    if q.support is constraints.unit_interval:
        low = torch.full_like(q.mean, 0.2)
        return Independent(Uniform(low, low + 0.6, validate_args=False), len(q.event_shape))
    draws = q.sample((20_000,))
    return Independent(Normal(draws.mean(0), 0.6 * draws.std(0), validate_args=False), len(q.event_shape))


@dataclass(frozen=True)
class Family:
    """A family of distributions.

    `make(batch)` is one member for each index of the batch shape, over a small event; `parameters` are the names of
    the tensors it is differentiated in. `line` lists members over one number (event shape `(1,)`), extreme ones
    included, each with the interval outside which its mass is negligible; for a discrete family `line` is empty.
    `tempered` tells whether `temper` is defined for it, `moments` whether its mean and variance have a closed form.
    `held` tells whether a draw with its noise held still is a smooth function of the parameters, whose derivative is
    the gradient (not so with rejection).
    """

    make: Callable[[Shape], Distribution]
    parameters: tuple[str, ...] = ()
    line: Callable[[], list[tuple[Distribution, float, float]]] = list
    reference: Callable[[Distribution], Distribution] = narrower
    tempered: bool = True
    moments: bool = True
    held: bool = True


def _normal_line() -> list[tuple[Distribution, float, float]]:
    grid = [(loc, log_scale) for loc in (0.0, -50.0, 3.0) for log_scale in (0.0, -7.0, 4.0)]
    return [
        (distributions.DiagonalNormal(*torch.tensor([[m], [s]]).double()), m - 12 * math.exp(s), m + 12 * math.exp(s))
        for m, s in grid
    ]


def _continuous_bernoulli_line() -> list[tuple[Distribution, float, float]]:
    sizes = [0.0, 1e-9, 1e-4, 9.9e-4, 1.1e-3, 0.049, 0.051, 0.29, 0.31, 1.0, 5.0, 30.0, 100.0, 800.0, 1e4]
    logits = [sign * size for size in sizes for sign in (1, -1)]
    return [(distributions.ContinuousBernoulli(torch.tensor([logit]).double()), 0.0, 1.0) for logit in logits]


DISTRIBUTIONS: dict[str, Family] = {
    "diagonal normal": Family(
        lambda batch: distributions.DiagonalNormal(_parameter(*batch, LATENT), _parameter(LATENT, spread=0.5)),
        ("loc", "log_scale"),
        _normal_line,
    ),
    "diagonal normal, picture, one scale": Family(
        lambda batch: distributions.DiagonalNormal(_parameter(*batch, 1, 2, 2), _parameter(spread=0.5), 3),
        ("loc", "log_scale"),
    ),
    "standard normal": Family(
        lambda batch: distributions.StandardNormal(LATENT, torch.zeros((), dtype=torch.float64)),
        line=lambda: [(distributions.StandardNormal(1, torch.zeros((), dtype=torch.float64)), -12.0, 12.0)],
    ),
    "continuous bernoulli": Family(
        lambda batch: distributions.ContinuousBernoulli(_parameter(*batch, LATENT, spread=1.5)),
        ("logits",),
        _continuous_bernoulli_line,
        tempered=False,
    ),
    "bernoulli": Family(
        lambda batch: distributions.Bernoulli(_parameter(*batch, LATENT, spread=2.0)),
        ("logits",),
        tempered=False,
    ),
    "bernoulli, picture": Family(
        lambda batch: distributions.Bernoulli(_parameter(*batch, 1, 2, 2, spread=2.0), 3),
        ("logits",),
        tempered=False,
    ),
    **{name: Family(**row) for name, row in zoo_flows.DISTRIBUTIONS.items()},  # type: ignore[arg-type]
    **{name: Family(**row) for name, row in zoo_codes.DISTRIBUTIONS.items()},
    **{name: Family(**row) for name, row in zoo_likelihoods.DISTRIBUTIONS.items()},
    **{name: Family(**row) for name, row in zoo_geometry.DISTRIBUTIONS.items()},
    **{name: Family(**row) for name, row in zoo_tables.DISTRIBUTIONS.items()},
    **{name: Family(**row) for name, row in zoo_series.DISTRIBUTIONS.items()},
    **{name: Family(**row) for name, row in zoo_text.DISTRIBUTIONS.items()},
}

PRIORS: dict[str, Callable[[], Prior]] = {
    "standard normal": lambda: priors.StandardNormal(LATENT),
    **zoo_flows.PRIORS,
    **zoo_geometry.PRIORS,
}

POSTERIORS: dict[str, Callable[[Shape, int], Posterior]] = {
    "diagonal normal": lambda shape, context: posteriors.DiagonalNormal(
        nets.MLPEncoder(shape, 2 * LATENT, [16], context), len(shape)
    ),
    **zoo_flows.POSTERIORS,
    **zoo_geometry.POSTERIORS,
}

LIKELIHOODS: dict[str, Callable[[nn.Module, int], Likelihood]] = {
    "bernoulli": likelihoods.Bernoulli,
    "bernoulli, grey": lambda net, event_dims: likelihoods.Bernoulli(net, event_dims, grey=True),
    "continuous bernoulli": likelihoods.ContinuousBernoulli,
    "normal, learned sigma": lambda net, event_dims: likelihoods.Normal(net, event_dims, sigma="learned"),
    "normal, fixed sigma": lambda net, event_dims: likelihoods.Normal(net, event_dims, sigma=0.7),
    "optimal normal": likelihoods.Normal,
    **zoo_likelihoods.LIKELIHOODS,
    **zoo_series.LIKELIHOODS,
}


@dataclass(frozen=True)
class Net:
    """`make(shape, features, context)`, an encoder or a decoder, and the shapes of data it takes.

    A decoder that likelihoods are tried on also takes the number of outputs.
    """

    make: Callable[..., nn.Module]
    shapes: Sequence[Shape] = field(default_factory=lambda: list(SHAPES))


_PICTURES = [shape for shape in SHAPES if len(shape) == 3]


def _to_one_place(shape: Shape, patch: int) -> int:
    """The halvings after which a grid has one place, which any number of features fills."""
    return math.ceil(math.log2(-(-max(shape[1:]) // patch)))


ENCODERS: dict[str, Net] = {
    "mlp": Net(lambda shape, features, context: nets.MLPEncoder(shape, features, [16, 12], context)),
    "linear": Net(lambda shape, features, context: nets.MLPEncoder(shape, features, [], context)),
    "conv": Net(lambda shape, features, context: nets.ConvEncoder(shape, features, 4, 1, context), _PICTURES),
    "conv, patches": Net(
        lambda shape, features, context: nets.ConvEncoder(shape, features, 4, 1, context, patch=3), _PICTURES
    ),
    "grid": Net(
        lambda shape, features, context: nets.GridEncoder(shape, features, 4, 1, 3, _to_one_place(shape, 3), context),
        _PICTURES,
    ),
    "conv, no blocks": Net(
        lambda shape, features, context: nets.ConvEncoder(shape, features, 4, 0, context), _PICTURES
    ),
    **{name: Net(make, [(7,)]) for name, make in zoo_tables.ENCODERS.items()},
    **{name: Net(make, zoo_series.SHAPES) for name, make in zoo_series.ENCODERS.items()},
}

DECODERS: dict[str, Net] = {
    "mlp": Net(
        lambda shape, features, context, outputs=1: nets.MLPDecoder(features, shape, [12, 16], outputs, context)
    ),
    "mlp, two outputs": Net(lambda shape, features, context: nets.MLPDecoder(features, shape, [12], 2, context)),
    "linear": Net(lambda shape, features, context, outputs=1: nets.MLPDecoder(features, shape, [], outputs, context)),
    "conv": Net(
        lambda shape, features, context, outputs=1: nets.ConvDecoder(features, shape, 4, 1, outputs, context), _PICTURES
    ),
    "conv, patches": Net(
        lambda shape, features, context, outputs=1: nets.ConvDecoder(features, shape, 4, 1, outputs, context, 3),
        _PICTURES,
    ),
    "grid": Net(
        lambda shape, features, context, outputs=1: nets.GridDecoder(
            features, shape, 4, 1, 2, _to_one_place(shape, 2), outputs, context
        ),
        _PICTURES,
    ),
    "conv, two outputs": Net(
        lambda shape, features, context: nets.ConvDecoder(features, shape, 4, 2, 2, context), _PICTURES
    ),
    **{name: Net(make, zoo_hierarchy.HEAD_SHAPES) for name, make in zoo_hierarchy.HEADS.items()},
    **{name: Net(make, zoo_series.SHAPES) for name, make in zoo_series.DECODERS.items()},
}

SCHEDULES: dict[str, Schedule] = {
    "constant": schedules.Constant(),
    "linear": schedules.Linear(0.0, 4.0, 0.1, 0.5),
    "cosine": schedules.Cosine(),
    "cosine, warm-up": schedules.Cosine(warmup=0.1, end=0.01),
    "one cycle": schedules.OneCycle(),
    "one cycle, no warm-up": schedules.OneCycle(warmup=0.0),
}


def make_likelihood(name: str, shape: Shape, context: int = 0, decoder: str = "mlp") -> Likelihood:
    """A likelihood on top of a decoder with as many outputs as it asks for."""
    net = DECODERS[decoder].make(shape, LATENT, context, zoo_likelihoods.OUTPUTS.get(name, 1))
    return LIKELIHOODS[name](net, len(shape))


def flat_vae(
    shape: Shape = (1, 4, 4),
    context: int = 0,
    prior: str = "standard normal",
    posterior: str = "diagonal normal",
    likelihood: str = "bernoulli",
    decoder: str = "mlp",
) -> VAE:
    """A VAE of one level from named parts."""
    latent = SingleLevelLatent(PRIORS[prior](), POSTERIORS[posterior](shape, context), LATENT)
    return VAE(latent, make_likelihood(likelihood, shape, context, decoder))


def _with(**parts: str) -> Callable[[int], VAE]:
    return lambda context: flat_vae((1, 4, 4), context, **parts)


# VAEs over data of shape (1, 4, 4), by the size of their context; each part in one VAE at least.
VAES: dict[str, Callable[[int], VAE]] = {
    **{f"likelihood: {name}": _with(likelihood=name) for name in LIKELIHOODS},
    **{f"prior: {name}": _with(prior=name, **zoo_geometry.with_prior(name)) for name in PRIORS},
    **{f"posterior: {name}": _with(posterior=name, **zoo_geometry.with_posterior(name)) for name in POSTERIORS},
    "decoder: conv": _with(decoder="conv", likelihood="normal, learned sigma"),
    **zoo_flows.VAES,
    **zoo_codes.VAES,
    **zoo_hierarchy.VAES,
    **zoo_riemannian.VAES,
}

OBJECTIVES: dict[str, Callable[[], Objective]] = {
    "elbo": objectives.elbo,
    "elbo, sticking the landing": lambda: objectives.elbo(stl=True),
    "elbo, beta 4": lambda: objectives.elbo(beta=4.0),
    "elbo, warm-up": lambda: objectives.elbo(beta=schedules.Linear(0.0, 1.0, 0.0, 0.5)),
    "distortion": lambda: objectives.WeightedTerms({objectives.distortion: 1.0}),
    **zoo_objectives.OBJECTIVES,
}


def data(support: constraints.Constraint, batch: int, shape: Shape, seed: int = 0) -> Tensor:
    """Data that a likelihood with this support admits, float64."""
    draw = torch.Generator().manual_seed(seed)
    if (own := zoo_likelihoods.data(support, (batch, *shape), draw)) is not None:
        return own
    if support is constraints.boolean:
        return (torch.rand(batch, *shape, generator=draw) < 0.4).double()
    if support is constraints.unit_interval:
        return torch.rand(batch, *shape, generator=draw, dtype=torch.float64)
    return torch.randn(batch, *shape, generator=draw, dtype=torch.float64)


def context(batch: int, seed: int = 0) -> Tensor:
    """A context of `CONTEXT` numbers a datum, float64."""
    return torch.randn(batch, CONTEXT, generator=torch.Generator().manual_seed(seed + 100), dtype=torch.float64)


def awake(module: M) -> M:
    """The module in float64 with every parameter moved off its start, so that no zero weight hides a path."""
    draw = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=draw))
    return module.double()


def assert_mean(draws: Tensor, expected: Tensor | float, standard_errors: float = 4.0) -> None:
    """The mean over dimension 0 is `expected` within so many standard errors, each number for itself.

    Of many numbers, some err by more than 4: the bound is widened as for a Bonferroni correction.
    """
    mean, error = draws.mean(0), draws.std(0) / len(draws) ** 0.5
    expected = torch.as_tensor(expected, dtype=mean.dtype).expand_as(mean)
    bound = (standard_errors + 0.5 * math.log10(max(mean.numel(), 1))) * error + 1e-12 * (1 + expected.abs())
    worst = ((mean - expected).abs() / bound).max().item()
    assert worst <= 1, f"{worst * standard_errors:.1f} standard errors off: {mean.tolist()} for {expected.tolist()}"
