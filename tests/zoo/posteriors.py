"""Posteriors over `LATENT` latents."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

from nelbo.nets import MLP
from nelbo.posteriors import Posterior
from zoo.rows import HIDDEN, LATENT, SHAPE, Row, Shape, table
from zoo.transforms import TRANSFORMS


@dataclass(frozen=True)
class PosteriorRow(Row):
    """A posterior.

    Args:
        prior: the row of a prior over the same space.
        density: whether log q(z | x) is known at every z; else only at the draw, and only in a VAE.
    """

    family: ClassVar[str] = "posterior"

    _: KW_ONLY
    prior: str = "standard-normal"
    density: bool = True

    def build(self, shape: Shape = SHAPE, context: int = 0) -> Posterior:
        """The posterior on a small perceptron."""
        n_params = self.entry.make.n_params(LATENT, **self.component.options)  # type: ignore[attr-defined]
        encoder = MLP(HIDDEN).encoder(shape, n_params, context)
        return self.component.build(  # type: ignore[no-any-return]
            encoder=encoder, event_dims=len(shape), dim=LATENT, shape=shape, context=context
        )


POSTERIORS = table(
    PosteriorRow("diagonal-normal"),
    PosteriorRow("diagonal-normal", {"initial_logvar": -2.0}, "narrow"),
    PosteriorRow("full-normal", {"initial_logvar": -0.5}),
    PosteriorRow("low-rank-normal", {"rank": 1, "initial_logvar": -0.5}),
    PosteriorRow("laplace", {"initial_logvar": -0.5}, prior="laplace"),
    PosteriorRow("logistic-normal", {"initial_logvar": -0.5}, prior="dirichlet"),
    PosteriorRow("gamma", prior="gamma"),
    PosteriorRow("von-mises-fisher", {"initial_concentration": 5.0}, prior="uniform-sphere"),
    PosteriorRow("power-spherical", {"initial_concentration": 5.0}, prior="uniform-sphere"),
    PosteriorRow("wrapped-normal", {"curvature": 0.7, "initial_logvar": -1.0}, prior="wrapped-normal"),
    *(
        PosteriorRow("flow", {"transform": row.plain, "features": 4}, row.name, elsewhere=row.elsewhere)
        for row in TRANSFORMS.values()
    ),
    PosteriorRow("hamiltonian", {"steps": 2, "step": 0.2, "temper": 0.6}, density=False),
    PosteriorRow(
        "riemannian",
        {
            **{"steps": 2, "step": 0.1, "temper": 0.6, "rounds": 4},
            **{"metric": {"kind": "mlp", "hidden": (8,)}, "rows": 5, "temperature": 1.4, "floor": 0.02},
        },
        density=False,
    ),
    PosteriorRow("point-mass", elsewhere="test_geometry"),
)
