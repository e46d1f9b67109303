"""Modules whose `forward(*context)` returns a distribution: priors, posteriors and likelihoods."""

from nelbo.conditionals.base import Conditional, Likelihood
from nelbo.conditionals.latent import DiagonalNormal, StandardNormal
from nelbo.conditionals.likelihoods import Bernoulli, ContinuousBernoulli, Normal, OptimalNormal

__all__ = [
    "Bernoulli",
    "Conditional",
    "ContinuousBernoulli",
    "DiagonalNormal",
    "Likelihood",
    "Normal",
    "OptimalNormal",
    "StandardNormal",
]
