"""VAEs over data of shape `SHAPE`: each part is in one of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from nelbo import likelihoods, nets, posteriors, priors
from nelbo.latents import SingleLevelLatent
from nelbo.nets import Conv, Net
from nelbo.vae import VAE
from zoo.latents import LATENTS, LatentRow
from zoo.likelihoods import DECODER, LIKELIHOODS, LikelihoodRow
from zoo.posteriors import POSTERIORS, PosteriorRow
from zoo.priors import PRIORS, PriorRow
from zoo.rows import LATENT, SHAPE, Shape, table


@dataclass(frozen=True)
class VaeRow:
    """A VAE: `build(context)`; `penalty`: whether its levels charge one."""

    name: str
    build: Callable[[int], VAE]
    penalty: bool = False


def single_level_vae(
    shape: Shape = SHAPE,
    context: int = 0,
    prior: PriorRow | str = "standard-normal",
    posterior: PosteriorRow | str = "diagonal-normal",
    likelihood: LikelihoodRow | str = "bernoulli",
    decoder: Net = DECODER,
) -> VAE:
    """A VAE of one level from rows, or their names."""
    p = PRIORS[prior] if isinstance(prior, str) else prior
    q = POSTERIORS[posterior] if isinstance(posterior, str) else posterior
    x = LIKELIHOODS[likelihood] if isinstance(likelihood, str) else likelihood
    latent = SingleLevelLatent(p.build(context), q.build(shape, context), LATENT)
    return VAE(latent, x.build(shape, context, decoder))


def vae_of(row: PriorRow | PosteriorRow | LikelihoodRow | LatentRow) -> VaeRow:
    """A VAE with that part."""

    def build(context: int) -> VAE:
        if isinstance(row, LatentRow):
            return row.build(SHAPE, context)
        if isinstance(row, PriorRow):
            return single_level_vae(context=context, prior=row, posterior=row.posterior)
        if isinstance(row, PosteriorRow):
            return single_level_vae(context=context, prior=row.prior, posterior=row)
        return single_level_vae(context=context, likelihood=row)

    return VaeRow(f"{row.family}: {row.name}", build, isinstance(row, LatentRow) and row.penalty)


VAES = table(
    *(vae_of(row) for row in LIKELIHOODS.values() if not row.elsewhere),
    *(vae_of(row) for row in PRIORS.values() if not row.elsewhere and not row.over_codes),
    *(vae_of(row) for row in POSTERIORS.values() if not row.elsewhere),
    *(vae_of(row) for row in LATENTS.values()),
    VaeRow(
        "decoder: conv",
        lambda context: single_level_vae(context=context, decoder=Conv(4), likelihood="normal, learned sigma"),
    ),
)


def linear_vae(steps: int, step: float, temper: float = 0.6) -> tuple[VAE, Tensor, Tensor]:
    """pPCA with a wrong Normal start of a Hamiltonian posterior; data, and log p(x) of each."""
    encoder = nets.MLPEncoder((4,), 4, [])
    posterior = posteriors.HamiltonianPosterior(encoder, 1, 2, steps=steps, step=step, temper=temper)
    decoder = nets.MLPDecoder(2, (4,), [])
    likelihood = likelihoods.Normal(decoder, 1, sigma=0.8)
    vae = VAE(SingleLevelLatent(priors.StandardNormal(2), posterior, 2), likelihood).double()
    layer = decoder.layers[0]
    assert isinstance(layer, torch.nn.Linear)
    cov = layer.weight @ layer.weight.T + likelihood.log_scale.exp() ** 2 * torch.eye(4).double()
    x = 0.5 * torch.randn(3, 4).double()
    return vae, x, torch.distributions.MultivariateNormal(layer.bias, cov).log_prob(x).detach()
