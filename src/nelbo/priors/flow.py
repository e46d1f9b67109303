"""Priors that are models of their own: a normalizing flow, and a second VAE.

    flow        z = f(e; c), e ~ N(0, I)
    two-stage   p(z) = integral of p(z | u) N(u; 0, I) du, p(z | u) of a second, small VAE over the latents

Source: Rezende, Mohamed (2015), Variational Inference with Normalizing Flows; Chen et al. (2017), Variational Lossy
Autoencoder; Dai, Wipf (2019), Diagnosing and Enhancing VAE Models.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nelbo import distributions
from nelbo.config.registry import Component, Count, register
from nelbo.likelihoods import Normal
from nelbo.nets import MLPDecoder
from nelbo.nets.flows import Chain, ElementwiseAffine, Transform
from nelbo.nets.mlp import perceptron
from nelbo.priors.base import Prior
from nelbo.priors.gaussian import StandardNormal


@register("prior", "flow", cite=("rezende2015variational", "chen2017variational"))
class FlowPrior(Prior):
    """p(z | c): N(0, I) pushed through a transform that may depend on c.

    The map ends in a scale and shift of each number, which start as the identity or are set by `init_from_codes`.

    Args:
        dim: number of latents.
        context: length of the context vector; 0 for none.
        transform: the invertible map.
    """

    origin: Tensor

    def __init__(
        self, dim: int, context: int = 0, *, transform: Component[Transform] = Component("transform", "maf")
    ) -> None:
        super().__init__()
        self.transform = Chain([transform.build(dim=dim, context=context), ElementwiseAffine(dim)])
        self.context = context
        self.register_buffer("origin", torch.zeros(dim), persistent=False)

    @torch.no_grad()
    def init_from_codes(self, codes: Tensor) -> None:
        """Start with the means and standard deviations of embeddings `(n, dim)`."""
        affine = self.transform.transforms[-1]
        assert isinstance(affine, ElementwiseAffine)
        affine.loc.copy_(codes.mean(0))
        affine.log_scale.copy_(codes.std(0).clamp_min(1e-6).log())

    def forward(self, *context: Tensor | None) -> distributions.Flow:
        (c,) = context if self.context and context else (None,)
        if c is None:
            return distributions.Flow(distributions.StandardNormal(len(self.origin), self.origin), self.transform)
        loc = self.origin.expand(*c.shape[:-1], -1)
        return distributions.Flow(distributions.DiagonalNormal(loc, self.origin), self.transform, c)


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
        from nelbo.posteriors import DiagonalNormal
        from nelbo.vae import VAE

        super().__init__()
        posterior = DiagonalNormal(perceptron([dim, *hidden, 2 * dim]), 1)
        likelihood = Normal(MLPDecoder(dim, (dim,), hidden[::-1]), 1, sigma="learned")
        self.vae = VAE(SingleLevelLatent(StandardNormal(dim), posterior, dim), likelihood)
        self.samples = samples

    def forward(self, *context: Tensor | None) -> distributions.Marginal:
        latent: Any = self.vae.latent
        return distributions.Marginal(latent.prior(), self.vae.likelihood, latent.posterior, self.samples)
