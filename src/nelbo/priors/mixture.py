"""Mixtures as priors: of learned Normals, or of the posterior at several data (VampPrior, exemplar prior).

    VampPrior  p(z) = (1/K) sum_k q(z | u_k),            pseudo-inputs u_k learned
    exemplar   p(z) = (1/N) sum_n N(z; mu(x_n), s^2 I),  exemplars x_n data, one learned s

The best prior of a VAE is the aggregate posterior, (1/N) sum_n q(z | x_n); both approximate it. In a conditional
model they do not depend on the context.

Source: Dilokthanakul et al. (2016), Deep Unsupervised Clustering with Gaussian Mixture Variational Autoencoders;
Tomczak, Welling (2018), VAE with a VampPrior; Norouzi, Fleet, Norouzi (2020), Exemplar VAE: Linking Generative Models,
Nearest Neighbor Retrieval, and Data Augmentation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, MultivariateNormal

from nelbo import distributions
from nelbo.config.registry import Count, register
from nelbo.priors.base import PosteriorMixturePrior, Prior, copy_cyclic


@register("prior", "mixture", cite="dilokthanakul2016deep")
class MixturePrior(Prior):
    """p(z) = sum_k w_k N(z; mu_k, Sigma_k), all learned.

    Args:
        dim: number of latent dimensions.
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


@register("prior", "vamp", cite="tomczak2018vae")
class VampPrior(PosteriorMixturePrior):
    """p(z) = (1/K) sum_k q(z | u_k, c_k), where the pseudo-inputs u_k `(K, *shape)` are learned.

    In a conditional model each pseudo-input has a learned pseudo-context c_k.

    Args:
        shape: shape of a datum.
        context: length of the context vector; 0 for none.
        components: the number K of pseudo-inputs.
    """

    def __init__(self, shape: Sequence[int], context: int = 0, *, components: Count = 500) -> None:
        super().__init__()
        self.pseudo_inputs = nn.Parameter(torch.rand(components, *shape))
        self.pseudo_contexts = nn.Parameter(torch.randn(components, context)) if context else None
        self.register_buffer("logits", torch.zeros(components), persistent=False)

    def init_from_data(self, x: Tensor) -> None:
        typical = x.nanmedian(0).values.nan_to_num()  # for missing elements, since a parameter is a number
        copy_cyclic(self.pseudo_inputs, x.where(~x.isnan(), typical))

    def forward(self, *context: Tensor | None) -> distributions.Mixture:
        return distributions.Mixture(self.posterior(self.pseudo_inputs, self.pseudo_contexts), self.logits)  # type: ignore[arg-type]


@register("prior", "exemplar", cite="norouzi2020exemplar")
class ExemplarPrior(PosteriorMixturePrior):
    """p(z) = (1/N) sum_n N(z; mu(x_n), s^2 I) over N fixed exemplars of the training data, with a single learned s.

    mu is the mean of the posterior. The exemplars are saved with the model. Unlike in the paper, the training datum is
    not excluded from the mixture, since the exemplars are only a sample of the data.

    Args:
        shape: shape of a datum.
        context: length of the context vector; 0 for none.
        components: the number N of exemplars.
    """

    exemplars: Tensor
    logits: Tensor

    def __init__(self, shape: Sequence[int], context: int = 0, *, components: Count = 500) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(()))
        self.register_buffer("exemplars", torch.rand(components, *shape))
        self.register_buffer("contexts", torch.zeros(components, context) if context else None)
        self.register_buffer("logits", torch.zeros(components), persistent=False)

    def init_from_data(self, x: Tensor) -> None:
        copy_cyclic(self.exemplars, x)

    def forward(self, *context: Tensor | None) -> distributions.Mixture:
        loc = self.posterior(self.exemplars, self.contexts).mean  # type: ignore[arg-type]
        return distributions.Mixture(distributions.DiagonalNormal(loc, self.log_scale), self.logits)
