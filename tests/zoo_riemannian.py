"""Rows of the zoo: the Hamiltonian posterior in a learned metric. `zoo` merges them into its own."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

import zoo_flows
from nelbo import distributions, likelihoods, nets, posteriors, priors
from nelbo.latents import SingleLevelLatent
from nelbo.vae import VAE

LATENT, SHAPE = zoo_flows.LATENT, zoo_flows.SHAPE
VARIED = {
    "riemannian": {
        "steps": 2,
        "step": 0.02,
        "temper": 0.5,
        "metric": nets.MLP((7,)),
        "rows": 9,
        "temperature": 0.7,
        "floor": 0.1,
        "rounds": 2,
    },
    "metric": {"moves": 7},
}


def riemannian(context: int) -> VAE:
    """A posterior in the metric of five rows, near enough to each other for all to be felt."""
    posterior = posteriors.RiemannianPosterior(
        nets.MLPEncoder(SHAPE, 2 * LATENT, [16], context),
        *(len(SHAPE), LATENT, SHAPE, context),
        steps=2,
        step=0.1,
        temper=0.6,
        metric=nets.MLP((8,)),
        rows=5,
    )
    posterior.init_from_data(torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(5)))
    likelihood = likelihoods.Bernoulli(nets.MLPDecoder(LATENT, SHAPE, [12, 16], context=context), len(SHAPE))
    return VAE(SingleLevelLatent(priors.StandardNormal(LATENT), posterior, LATENT), likelihood)


VAES: dict[str, Callable[[int], VAE]] = {"posterior: riemannian": riemannian}


def metric(dim: int = 2, centroids: int = 5, temperature: float = 1.2, floor: float = 0.05) -> distributions.Metric:
    """A metric of random centroids and roots, float64."""
    draw = torch.Generator().manual_seed(dim)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, dtype=torch.float64, generator=draw)

    return distributions.Metric(normal(centroids, dim), normal(centroids, dim, dim).tril(), temperature, floor)
