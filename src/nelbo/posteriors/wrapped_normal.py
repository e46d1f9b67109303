"""A wrapped Normal on hyperbolic space as the posterior.

Source: Nagano, Yamaguchi, Fujita, Koyama (2019), A Wrapped Normal Distribution on Hyperbolic Space; Mathieu, Le Lan,
Maddison, Tomioka, Teh (2019), Continuous Hierarchical Representations with Poincaré Variational Auto-Encoders.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from nelbo import distributions
from nelbo.config.registry import Positive, register
from nelbo.distributions.hyperbolic import exponential
from nelbo.posteriors.base import Posterior
from nelbo.priors.curved import poincare_ball


@register("posterior", "wrapped-normal", cite=("nagano2019wrapped", "mathieu2019continuous"))
class WrappedNormalPosterior(Posterior):
    """A wrapped Normal on the Poincare ball; the encoder returns its mean in the tangent space at 0.

    Args:
        curvature: c, where the space has curvature -c.
        initial_logvar: log sigma^2 before training; None leaves the encoder's own start.
    """

    def __init__(
        self,
        encoder: nn.Module,
        event_dims: int,
        dim: int,
        *,
        curvature: Positive = 1.0,
        initial_logvar: float | None = None,
    ) -> None:
        super().__init__(encoder, event_dims, [dim, dim], initial_logvar)
        self.curvature = curvature

    @classmethod
    def space(cls, **options: Any) -> str:
        return poincare_ball(options["curvature"])

    def forward(self, *context: Tensor | None) -> distributions.WrappedNormal:
        tangent, logvar = self.params(*context)
        return distributions.WrappedNormal(exponential(tangent, self.curvature), 0.5 * logvar, self.curvature)
