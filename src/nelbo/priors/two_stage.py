"""A second, small VAE over the latents as the prior: p(z) = integral of p(z | u) N(u; 0, I) du.

Source: Dai, Wipf (2019), Diagnosing and Enhancing VAE Models.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from nelbo import distributions
from nelbo.config.registry import Count, register
from nelbo.likelihoods import Normal
from nelbo.nets import MLPDecoder
from nelbo.nets.mlp import perceptron
from nelbo.posteriors import DiagonalNormal
from nelbo.priors.base import Prior
from nelbo.priors.gaussian import StandardNormal


@register("prior", "two-stage", cite="dai2019diagnosing")
class TwoStagePrior(Prior):
    """A VAE whose data are z, with as many latents u as z has.

    It is sampled exactly; of its density only a lower bound is known (see `distributions.Marginal`).

    Args:
        dim: number of latents.
        hidden: hidden layers of its encoder; its decoder has them in reverse.
        samples: importance samples of the bound on its density; more make it tighter.
    """

    def __init__(self, dim: int, *, hidden: tuple[Count, ...] = (128, 128), samples: Count = 1) -> None:
        from nelbo.latents import SingleLevelLatent  # latents import priors, so this import must be late
        from nelbo.vae import VAE

        super().__init__()
        posterior = DiagonalNormal(perceptron([dim, *hidden, 2 * dim]), 1)
        likelihood = Normal(MLPDecoder(dim, (dim,), hidden[::-1]), 1, sigma="learned")
        self.vae = VAE(SingleLevelLatent(StandardNormal(dim), posterior, dim), likelihood)
        self.samples = samples

    def forward(self, *context: Tensor | None) -> distributions.Marginal:
        latent: Any = self.vae.latent
        return distributions.Marginal(latent.prior(), self.vae.likelihood, latent.posterior, self.samples)
