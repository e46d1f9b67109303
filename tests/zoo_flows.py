"""Rows of the zoo: flows, learned priors, the Hamiltonian posterior. `zoo` merges them into its own."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from nelbo import distributions, likelihoods, nets, posteriors, priors
from nelbo.config.registry import Component
from nelbo.distributions import DiagonalNormal, Mixture
from nelbo.latents import SingleLevelLatent
from nelbo.nets import flows
from nelbo.posteriors import Posterior
from nelbo.priors import Prior
from nelbo.priors.base import PosteriorMixturePrior
from nelbo.vae import VAE

LATENT, SHAPE, FEATURES = 3, (1, 4, 4), 4
TRANSFORMS: dict[str, Component[flows.Transform]] = {
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


def bound(prior: PosteriorMixturePrior, context: int = 0) -> PosteriorMixturePrior:
    """The prior with a posterior of its own, in float64."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        prior.bind(encoder(SHAPE, context).double())
    return prior


def encoder(shape: tuple[int, ...], context: int) -> posteriors.DiagonalNormal:
    return posteriors.DiagonalNormal(nets.MLPEncoder(shape, 2 * LATENT, [16], context), len(shape))


def flow_posterior(transform: Component[flows.Transform], shape: tuple[int, ...], context: int) -> Posterior:
    net = nets.MLPEncoder(shape, 2 * LATENT + FEATURES, [16], context)
    return posteriors.FlowPosterior(net, len(shape), LATENT, transform=transform, features=FEATURES)


def _vae(prior: Prior, posterior: Posterior, context: int) -> VAE:
    likelihood = likelihoods.Bernoulli(nets.MLPDecoder(LATENT, SHAPE, [12, 16], context=context), len(SHAPE))
    return VAE(SingleLevelLatent(prior, posterior, LATENT), likelihood)


def hamiltonian(context: int) -> VAE:
    net = nets.MLPEncoder(SHAPE, 2 * LATENT, [16], context)
    posterior = posteriors.HamiltonianPosterior(net, len(SHAPE), LATENT, steps=2, step=0.2, temper=0.6)
    return _vae(priors.StandardNormal(LATENT), posterior, context)


DISTRIBUTIONS = {
    "mixture": {
        "make": lambda batch: mixture(),
        "parameters": ("logits",),
        "line": lambda: [(mixture(1), -20.0, 20.0)],
    },
}

PRIORS: dict[str, Callable[[], Prior]] = {
    "mixture": lambda: priors.MixturePrior(LATENT, components=4),
    "mixture, full covariance": lambda: priors.MixturePrior(LATENT, components=4, covariance="full"),
    "vamp": lambda: bound(priors.VampPrior(SHAPE, components=5)),
    "exemplar": lambda: bound(priors.ExemplarPrior(SHAPE, components=5)),
    **{
        f"flow: {name}": lambda transform=transform: priors.FlowPrior(LATENT, transform=transform)  # type: ignore[misc]
        for name, transform in TRANSFORMS.items()
    },
}

POSTERIORS: dict[str, Callable[[tuple[int, ...], int], Posterior]] = {
    f"flow: {name}": lambda shape, context, transform=transform: flow_posterior(transform, shape, context)  # type: ignore[misc]
    for name, transform in TRANSFORMS.items()
}

VAES: dict[str, Callable[[int], VAE]] = {
    "prior: vamp": lambda c: _vae(priors.VampPrior(SHAPE, c, components=5), encoder(SHAPE, c), c),
    "prior: exemplar": lambda c: _vae(priors.ExemplarPrior(SHAPE, c, components=5), encoder(SHAPE, c), c),
    "prior: flow, conditional": lambda c: _vae(
        priors.FlowPrior(LATENT, c, transform=TRANSFORMS["maf"]), encoder(SHAPE, c), c
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
    encoder = nets.MLPEncoder((4,), 4, [])
    moved = posteriors.HamiltonianPosterior(encoder, 1, 2, steps=steps, step=step, temper=heat)
    likelihood = likelihoods.Normal(nets.MLPDecoder(2, (4,), []), 1, sigma=0.8)
    vae = VAE(SingleLevelLatent(priors.StandardNormal(2), moved, 2), likelihood).double()
    layer = likelihood.net.layers[0]  # type: ignore[index, union-attr]
    cov = layer.weight @ layer.weight.T + likelihood.log_scale.exp() ** 2 * torch.eye(4).double()
    x = 0.5 * torch.randn(3, 4).double()
    return vae, x, torch.distributions.MultivariateNormal(layer.bias, cov).log_prob(x).detach()
