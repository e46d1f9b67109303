"""Posteriors q(z | x, c): modules whose `forward(x, c)` returns a distribution over the latents."""

from nelbo.posteriors.base import Posterior
from nelbo.posteriors.curved import PowerSpherical, SphericalPosterior, VonMisesFisher, WrappedNormalPosterior
from nelbo.posteriors.discrete import RelaxedBernoulli, RelaxedOneHot
from nelbo.posteriors.flow import FlowPosterior
from nelbo.posteriors.gaussian import DiagonalNormal, FullNormal, LowRankNormal, PointMass
from nelbo.posteriors.hamiltonian import HamiltonianPosterior, RiemannianPosterior
from nelbo.posteriors.location_scale import (
    GammaPosterior,
    LaplacePosterior,
    LocationScalePosterior,
    LogisticNormalPosterior,
)
