"""Distributions without parameters of their own; the KL table; `sample_and_log_prob`; `temper`; `typical_point`."""

from nelbo.distributions.autoregressive_table import AutoregressiveTable
from nelbo.distributions.autoregressive_text import AutoregressiveText, Lines
from nelbo.distributions.base import (
    KL_TABLE,
    Distribution,
    check_temperature,
    detach,
    draw,
    has_kl,
    kl_divergence,
    register_kl,
    sample_and_log_prob,
    temper,
    typical_point,
)
from nelbo.distributions.bernoulli import Bernoulli, Beta, ContinuousBernoulli
from nelbo.distributions.categorical import Categorical, OneHot, OneHotAlong, RelaxedBernoulli, RelaxedOneHot
from nelbo.distributions.code_indices import AutoregressiveCodes, PointMassCodes, UniformCodes
from nelbo.distributions.counts import NegativeBinomial, Poisson
from nelbo.distributions.curved import PowerSpherical, UniformSphere, VonMisesFisher, WrappedNormal
from nelbo.distributions.flow import Flow
from nelbo.distributions.gamma import Gamma
from nelbo.distributions.gaussian import (
    DiagonalNormal,
    FullNormal,
    LogisticNormal,
    LowRankNormal,
    OptimalNormal,
    StandardNormal,
)
from nelbo.distributions.hamiltonian import Hamiltonian, Metric, MetricVolumePrior, Riemannian
from nelbo.distributions.location_scale import Laplace, LogCosh, StudentT
from nelbo.distributions.missing import Masked
from nelbo.distributions.mixture import Marginal, Mixture, has_normal_noise
from nelbo.distributions.pixel_levels import DiscretizedLogistic, Levels, PixelCategorical
from nelbo.distributions.point_mass import PointMass, UnnormalizedEnergy
