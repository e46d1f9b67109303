"""Distributions without parameters of their own; the KL table; `sample_and_log_prob`; `temper`; `typical`."""

from nelbo.distributions.base import Distribution, check_temperature, detach, draw, sample_and_log_prob, temper, typical
from nelbo.distributions.bernoulli import Bernoulli, ContinuousBernoulli
from nelbo.distributions.beta import Beta
from nelbo.distributions.categorical import Categorical, OneHotAlong
from nelbo.distributions.cells import CellByCell
from nelbo.distributions.codes import AutoregressiveCodes, CodePoint, UniformCodes
from nelbo.distributions.concrete import OneHot, RelaxedBernoulli, RelaxedOneHot
from nelbo.distributions.counts import NegativeBinomial, Poisson
from nelbo.distributions.dirac import Dirac
from nelbo.distributions.energy import Energy
from nelbo.distributions.flow import Flow
from nelbo.distributions.gamma import Gamma
from nelbo.distributions.hamiltonian import Hamiltonian
from nelbo.distributions.kl import KL_TABLE, has_kl, kl_divergence, register_kl
from nelbo.distributions.levels import DiscretisedLogistic, LevelCategorical, Levels
from nelbo.distributions.mixture import Marginal, Mixture
from nelbo.distributions.multivariate import FullNormal, LowRankNormal
from nelbo.distributions.normal import DiagonalNormal, OptimalNormal, StandardNormal
from nelbo.distributions.observed import Observed
from nelbo.distributions.poincare import WrappedNormal
from nelbo.distributions.riemannian import InverseVolume, Metric, Riemannian
from nelbo.distributions.robust import Laplace, LogCosh, StudentT
from nelbo.distributions.simplex import LogisticNormal
from nelbo.distributions.sphere import PowerSpherical, UniformSphere, VonMisesFisher
from nelbo.distributions.tokens import Lines, TokenByToken
