"""A second, small VAE over the latents as the prior: p(z) = integral of p(z | u) N(u; 0, I) du.

Source: Dai, Wipf (2019), Diagnosing and Enhancing VAE Models.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nelbo import distributions
from nelbo.config.registry import Count, register
from nelbo.likelihoods import Normal
from nelbo.nets import MLPDecoder
from nelbo.nets.mlp import perceptron
from nelbo.posteriors import DiagonalNormal
from nelbo.priors.base import Prior


@register("prior", "two-stage", cite="dai2019diagnosing")
class TwoStagePrior(Prior):
    """A VAE whose data are z, with as many latents u as z has.

    It is sampled exactly; its density is known as a lower bound only (see `distributions.Marginal`).

    Args:
        hidden: hidden layers of its encoder; its decoder has them in reverse.
        samples: importance samples that estimate its density.
    """

    origin: Tensor

    def __init__(self, dim: int, *, hidden: tuple[Count, ...] = (128, 128), samples: Count = 1) -> None:
        super().__init__()
        self.posterior = DiagonalNormal(perceptron([dim, *hidden, 2 * dim]), 1)
        self.likelihood = Normal(MLPDecoder(dim, (dim,), hidden[::-1]), 1, sigma="learned")
        self.dim, self.samples = dim, samples
        self.register_buffer("origin", torch.zeros(()), persistent=False)

    def forward(self, *context: Tensor | None) -> distributions.Marginal:
        prior = distributions.StandardNormal(self.dim, self.origin)
        return distributions.Marginal(prior, self.likelihood, self.posterior, self.samples)
