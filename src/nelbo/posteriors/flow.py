"""A normalizing flow as the posterior: a Normal pushed through an invertible map.

    z = f(e; h(x)),  e ~ N(mu(x), diag(sigma^2(x))),   log q(z | x) = log N(e) - log |det df/de|

Source: Rezende, Mohamed (2015), Variational Inference with Normalizing Flows; Kingma et al. (2016), Improved
Variational Inference with Inverse Autoregressive Flow.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from nelbo import distributions
from nelbo.config.registry import Component, Count, register
from nelbo.nets.flows import Transform
from nelbo.posteriors.base import Posterior


@register("posterior", "flow", cite="rezende2015variational")
class FlowPosterior(Posterior):
    """q(z | x, c): a diagonal Normal given x, pushed through a transform given a context vector h(x, c).

    The encoder returns mu, log sigma^2 (`dim` numbers each) and h.

    Args:
        transform: the invertible map.
        features: length of the context vector h of the transform.
    """

    def __init__(
        self,
        encoder: nn.Module,
        event_dims: int,
        dim: int,
        *,
        transform: Component[Transform] = Component("transform", "iaf"),
        features: Count = 32,
    ) -> None:
        super().__init__(encoder, event_dims)
        self.transform, self.dim = transform.build(dim=dim, context=features), dim

    @classmethod
    def n_params(cls, dim: int, **options: Any) -> int:
        return int(2 * dim + options["features"])

    def forward(self, *context: Tensor | None) -> distributions.Flow:
        loc, logvar, h = self.encode(*context).tensor_split((self.dim, 2 * self.dim), -1)
        return distributions.Flow(distributions.DiagonalNormal(loc, 0.5 * logvar), self.transform, h)
