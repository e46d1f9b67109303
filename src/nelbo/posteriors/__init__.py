"""Posteriors q(z | x, c): modules whose `forward(x, c)` returns a distribution over the latents."""

from nelbo.posteriors.base import Posterior
from nelbo.posteriors.discrete import RelaxedBernoulli, RelaxedOneHot
from nelbo.posteriors.flow import FlowPosterior
from nelbo.posteriors.gaussian import DiagonalNormal, FullNormal, LowRankNormal
from nelbo.posteriors.hamiltonian import HamiltonianPosterior
from nelbo.posteriors.location_scale import (
    GammaPosterior,
    LaplacePosterior,
    LocationScalePosterior,
    LogisticNormalPosterior,
)
from nelbo.posteriors.point_mass import PointMass
from nelbo.posteriors.riemannian import RiemannianPosterior
from nelbo.posteriors.sphere import PowerSpherical, SphericalPosterior, VonMisesFisher
from nelbo.posteriors.wrapped_normal import WrappedNormalPosterior
