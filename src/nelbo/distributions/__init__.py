"""Distributions without parameters of their own; the KL table; `sample_and_log_prob`; `temper`."""

from nelbo.distributions.base import Distribution, detach, sample_and_log_prob, temper
from nelbo.distributions.bernoulli import Bernoulli, ContinuousBernoulli
from nelbo.distributions.kl import KL_TABLE, has_kl, kl_divergence, register_kl
from nelbo.distributions.normal import DiagonalNormal, OptimalNormal, StandardNormal

__all__ = [
    "KL_TABLE",
    "Bernoulli",
    "ContinuousBernoulli",
    "DiagonalNormal",
    "Distribution",
    "OptimalNormal",
    "StandardNormal",
    "detach",
    "has_kl",
    "kl_divergence",
    "register_kl",
    "sample_and_log_prob",
    "temper",
]
