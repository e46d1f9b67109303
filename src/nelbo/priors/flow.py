"""A normalizing flow as the prior: z = f(e; c), e ~ N(0, I).

Source: Rezende, Mohamed (2015), Variational Inference with Normalizing Flows; Chen et al. (2017), Variational Lossy
Autoencoder.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nelbo import distributions
from nelbo.config.registry import Component, register
from nelbo.nets.flows import Chain, ElementwiseAffine, Transform
from nelbo.priors.base import Prior


@register("prior", "flow", cite=("rezende2015variational", "chen2017variational"))
class FlowPrior(Prior):
    """p(z | c): N(0, I) pushed through a transform that may depend on c.

    The map ends in a scale and shift of each number, which start as the identity or are set by `init_from_codes`.

    Args:
        dim: number of latent dimensions.
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
