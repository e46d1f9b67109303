"""Distributions without parameters of their own; the KL table; `sample_and_log_prob`; `temper`; `typical`."""

from nelbo.distributions.autoregressive_table import CellByCell
from nelbo.distributions.autoregressive_text import Lines, TokenByToken
from nelbo.distributions.base import Distribution, check_temperature, detach, draw, sample_and_log_prob, temper, typical
from nelbo.distributions.bernoulli import Bernoulli, Beta, ContinuousBernoulli
from nelbo.distributions.categorical import Categorical, OneHot, OneHotAlong, RelaxedBernoulli, RelaxedOneHot
from nelbo.distributions.code_indices import AutoregressiveCodes, CodePoint, UniformCodes
from nelbo.distributions.counts import NegativeBinomial, Poisson
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
from nelbo.distributions.hamiltonian import Hamiltonian, InverseVolume, Metric, Riemannian
from nelbo.distributions.hyperbolic import WrappedNormal
from nelbo.distributions.kl import KL_TABLE, has_kl, kl_divergence, register_kl
from nelbo.distributions.location_scale import Laplace, LogCosh, StudentT
from nelbo.distributions.missing import Observed
from nelbo.distributions.mixture import Marginal, Mixture
from nelbo.distributions.normal_noise import has_normal_noise
from nelbo.distributions.pixel_levels import DiscretisedLogistic, LevelCategorical, Levels
from nelbo.distributions.point_mass import Dirac, Energy
from nelbo.distributions.sphere import PowerSpherical, UniformSphere, VonMisesFisher
