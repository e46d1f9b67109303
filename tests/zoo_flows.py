"""Rows of the zoo: flows, learned priors, the Hamiltonian posterior. `zoo` merges them into its own."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from nelbo.conditionals import AggregatePrior, Conditional
from torch import Tensor

from nelbo import conditionals, distributions, nets, spec
from nelbo.config.registry import Component
from nelbo.distributions import DiagonalNormal, Mixture
from nelbo.latents import Flat
from nelbo.nets import flows
from nelbo.vae import VAE

LATENT, SHAPE, FEATURES = 3, (1, 4, 4), 4
TRANSFORMS: dict[str, spec.Transform] = {
    "iaf": Component("transform", "iaf", steps=2, hidden=(16,)),
    "maf": Component("transform", "maf", steps=2, hidden=(16, 12)),
    "realnvp": Component("transform", "realnvp", steps=2, hidden=(16,)),
    "planar": Component("transform", "planar", steps=3),
    "sylvester": Component("transform", "sylvester", steps=2, reflections=2),
    "zuko nsf": Component("transform", "zuko", flow="NSF", steps=1, hidden=(16,)),
}


def _parameter(*shape: int, spread: float = 1.0) -> Tensor:
    return spread * torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(math.prod(shape)))


def mixture(dim: int = LATENT) -> Mixture:
    """Four Normals of their own weights."""
    return Mixture(DiagonalNormal(_parameter(4, dim), _parameter(4, dim, spread=0.4)), _parameter(4))


def bound(prior: AggregatePrior, context: int = 0) -> AggregatePrior:
    """The prior with a posterior of its own, in float64."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        prior.bind(encoder(SHAPE, context).double())
    return prior


def encoder(shape: tuple[int, ...], context: int) -> Conditional:
    return conditionals.DiagonalNormal(nets.MLPEncoder(shape, 2 * LATENT, [16], context), len(shape))


def flow_posterior(transform: spec.Transform, shape: tuple[int, ...], context: int) -> Conditional:
    net = nets.MLPEncoder(shape, 2 * LATENT + FEATURES, [16], context)
    return conditionals.FlowPosterior(net, len(shape), transform.build(LATENT, FEATURES), LATENT)


def _vae(prior: Conditional, posterior: Conditional, context: int) -> VAE:
    likelihood = conditionals.Bernoulli(nets.MLPDecoder(LATENT, SHAPE, [12, 16], context=context), len(SHAPE))
    return VAE(Flat(prior, posterior), likelihood)


def hamiltonian(context: int) -> VAE:
    posterior = conditionals.HamiltonianPosterior(encoder(SHAPE, context), LATENT, 2, 0.2, 0.6)
    return _vae(conditionals.StandardNormal(LATENT), posterior, context)


DISTRIBUTIONS = {
    "mixture": {
        "make": lambda batch: mixture(),
        "parameters": ("logits",),
        "line": lambda: [(mixture(1), -20.0, 20.0)],
    },
}

PRIORS: dict[str, Callable[[], Conditional]] = {
    "mixture": lambda: conditionals.Mixture(LATENT, 4),
    "mixture, full covariance": lambda: conditionals.Mixture(LATENT, 4, full=True),
    "vamp": lambda: bound(conditionals.VampPrior(SHAPE, 5)),
    "exemplar": lambda: bound(conditionals.ExemplarPrior(SHAPE, 5)),
    **{
        f"flow: {name}": lambda transform=transform: conditionals.FlowPrior(LATENT, transform.build(LATENT))  # type: ignore[misc]
        for name, transform in TRANSFORMS.items()
    },
}

POSTERIORS: dict[str, Callable[[tuple[int, ...], int], Conditional]] = {
    f"flow: {name}": lambda shape, context, transform=transform: flow_posterior(transform, shape, context)  # type: ignore[misc]
    for name, transform in TRANSFORMS.items()
}

VAES: dict[str, Callable[[int], VAE]] = {
    "prior: vamp": lambda c: _vae(conditionals.VampPrior(SHAPE, 5, c), encoder(SHAPE, c), c),
    "prior: exemplar": lambda c: _vae(conditionals.ExemplarPrior(SHAPE, 5, c), encoder(SHAPE, c), c),
    "prior: flow, conditional": lambda c: _vae(
        conditionals.FlowPrior(LATENT, TRANSFORMS["maf"].build(LATENT, c), c), encoder(SHAPE, c), c
    ),
    "posterior: hamiltonian": hamiltonian,
}

# Whose `mean` is the image of the base's mean, not the expectation, which has no closed form.
CENTRED = (distributions.Flow, distributions.Hamiltonian, distributions.Riemannian)


def stirred(module: flows.Transform, spread: float = 0.3) -> flows.Transform:
    """In float64, parameters well away from their start: maps that bend."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(spread * torch.randn_like(parameter))
    return module.double()


def linear_vae(steps: int, step: float, heat: float = 0.6) -> tuple[VAE, Tensor, Tensor]:
    """pPCA with a wrong Normal start of a Hamiltonian posterior; data, and log p(x) of each."""
    posterior = conditionals.DiagonalNormal(nets.MLPEncoder((4,), 4, []), 1)
    moved = conditionals.HamiltonianPosterior(posterior, 2, steps, step, heat)
    likelihood = conditionals.Normal(nets.MLPDecoder(2, (4,), []), 1, 0.8)
    vae = VAE(Flat(conditionals.StandardNormal(2), moved), likelihood).double()
    layer = likelihood.net.layers[0]  # type: ignore[index, union-attr]
    cov = layer.weight @ layer.weight.T + likelihood.log_scale.exp() ** 2 * torch.eye(4).double()
    x = 0.5 * torch.randn(3, 4).double()
    return vae, x, torch.distributions.MultivariateNormal(layer.bias, cov).log_prob(x).detach()
