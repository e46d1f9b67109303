"""A learned mixture of Normals as the prior.

Source: Dilokthanakul et al. (2016), Deep Unsupervised Clustering with Gaussian Mixture Variational Autoencoders.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, MultivariateNormal

from nelbo import distributions
from nelbo.config.registry import Count, register
from nelbo.priors.base import Prior


@register("prior", "mixture", cite="dilokthanakul2016deep")
class MixturePrior(Prior):
    """p(z) = sum_k w_k N(z; mu_k, Sigma_k), all learned.

    Args:
        components: number of Normals.
        covariance: "diagonal" or "full".
    """

    def __init__(
        self, dim: int, *, components: Count = 10, covariance: Literal["diagonal", "full"] = "diagonal"
    ) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(components))
        self.loc = nn.Parameter(torch.randn(components, dim))
        self.log_scale = nn.Parameter(torch.zeros(components, dim))
        self.lower = nn.Parameter(torch.zeros(components, dim, dim)) if covariance == "full" else None

    def forward(self, *context: Tensor | None) -> distributions.Mixture:
        components: Distribution = distributions.DiagonalNormal(self.loc, self.log_scale)
        if self.lower is not None:
            root = self.lower.tril(-1) + torch.diag_embed(self.log_scale.exp())
            components = MultivariateNormal(self.loc, scale_tril=root, validate_args=False)
        return distributions.Mixture(components, self.logits)
