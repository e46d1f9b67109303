"""Modules whose `forward(*context)` returns a distribution: priors, posteriors and likelihoods."""

from nelbo.conditionals.base import Conditional, Likelihood, Posterior
from nelbo.conditionals.concrete import RelaxedBernoulli, RelaxedOneHot
from nelbo.conditionals.counts import NegativeBinomial, OneHot, Poisson
from nelbo.conditionals.flows import FlowPosterior, FlowPrior
from nelbo.conditionals.hamiltonian import HamiltonianPosterior
from nelbo.conditionals.latent import DiagonalNormal, Fixed, StandardNormal
from nelbo.conditionals.likelihoods import Bernoulli, ContinuousBernoulli, Normal, OptimalNormal, PictureLoss
from nelbo.conditionals.observed import Observed
from nelbo.conditionals.pixels import Beta, DiscretisedLogistic, DiscretisedLogisticMixture, LevelCategorical
from nelbo.conditionals.posteriors_continuous import (
    Dirac,
    FullNormal,
    Gamma,
    LocationScalePosterior,
    LowRankNormal,
    Spherical,
    WrappedNormal,
)
from nelbo.conditionals.priors import AggregatePrior, AutoregressiveCodes, ExemplarPrior, Mixture, TwoStage, VampPrior
from nelbo.conditionals.real import Robust, StudentT
from nelbo.conditionals.riemannian import MetricPrior, RiemannianPosterior
from nelbo.conditionals.table import Table
from nelbo.conditionals.text import Text
