"""Likelihoods p(x | h, c): modules whose `forward(h, c)` returns a distribution over the data."""

from nelbo.likelihoods.autoregressive import TableLikelihood, TextLikelihood
from nelbo.likelihoods.base import Likelihood
from nelbo.likelihoods.bernoulli import Bernoulli, ContinuousBernoulli
from nelbo.likelihoods.counts import NegativeBinomial, OneHot, Poisson
from nelbo.likelihoods.missing import MissingDataLikelihood
from nelbo.likelihoods.perceptual import SSIM, Perceptual, PerceptualLikelihood
from nelbo.likelihoods.pixels import Beta, DiscretizedLogistic, DiscretizedLogisticMixture, PixelCategorical
from nelbo.likelihoods.real import Laplace, LocationScaleLikelihood, LogCosh, Normal, StudentT
