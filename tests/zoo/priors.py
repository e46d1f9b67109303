"""Priors over `LATENT` latents, and over as many codes."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import torch

from nelbo.priors import Prior
from zoo.posteriors import POSTERIORS
from zoo.rows import LATENT, SHAPE, Row, table
from zoo.transforms import TRANSFORMS


@dataclass(frozen=True)
class PriorRow(Row):
    """A prior.

    Args:
        posterior: the row of a posterior over the same space.
    """

    family: ClassVar[str] = "prior"

    _: KW_ONLY
    posterior: str = "diagonal-normal"

    @property
    def over_codes(self) -> bool:
        """Whether z are indices of a codebook: the rows of quantized latents have it."""
        return "codebook_size" in self.component.options

    def build(self, context: int = 0) -> Prior:
        """The prior by itself."""
        return self.component.build(dim=LATENT, shape=SHAPE, context=context)  # type: ignore[no-any-return]

    def build_bound(self, context: int = 0) -> Prior:
        """The prior with a posterior, in float64, that it is made of if it is made of one."""
        prior = self.build(context)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            prior.bind(POSTERIORS[self.posterior].build(SHAPE, context).double())
        return prior


PRIORS = table(
    PriorRow("standard-normal"),
    PriorRow("laplace", {"scale": 1.35}, posterior="laplace"),
    PriorRow("gamma", {"concentration": 2.5, "rate": 1.5}, posterior="gamma"),
    PriorRow("dirichlet", {"concentration": 0.8}, posterior="logistic-normal"),
    PriorRow("uniform-sphere", posterior="von-mises-fisher"),
    PriorRow("wrapped-normal", {"curvature": 0.7, "sigma": 0.8}, posterior="wrapped-normal"),
    PriorRow("mixture", {"components": 4}),
    PriorRow("mixture", {"components": 4, "covariance": "full"}, "full"),
    PriorRow("vamp", {"components": 5}),
    PriorRow("exemplar", {"components": 5}),
    *(PriorRow("flow", {"transform": row.plain}, row.name, elsewhere=row.elsewhere) for row in TRANSFORMS.values()),
    PriorRow("transformer", {"codebook_size": 5, "width": 8, "layers": 1, "heads": 2}),
    PriorRow("pixelcnn", {"codebook_size": 5, "channels": 6, "blocks": 1, "row": 3}),
    PriorRow("two-stage", {"hidden": (5,), "samples": 3}, elsewhere="test_priors"),
    PriorRow("metric", {"moves": 7}, elsewhere="test_riemannian"),
)
