"""The distributions whose draws use only Normal noise, which can be truncated (`noise.truncated`)."""

from __future__ import annotations

from torch.distributions import Distribution, MultivariateNormal

from nelbo.distributions.flow import Flow
from nelbo.distributions.gaussian import DiagonalNormal, FullNormal, LogisticNormal, LowRankNormal, StandardNormal
from nelbo.distributions.hyperbolic import WrappedNormal
from nelbo.distributions.mixture import Mixture

OF_NORMAL_NOISE = (StandardNormal, DiagonalNormal, FullNormal, LowRankNormal, LogisticNormal, WrappedNormal)
OF_MIXTURES = (*OF_NORMAL_NOISE, MultivariateNormal)  # drawn by the mixture, from the same noise


def has_normal_noise(d: Distribution) -> bool:
    """Whether draws of d use only Normal noise.

    >>> import torch
    >>> has_normal_noise(StandardNormal(2, torch.zeros(())))
    True
    """
    if isinstance(d, Mixture):
        return isinstance(d.components, OF_MIXTURES)
    return has_normal_noise(d.base) if isinstance(d, Flow) else isinstance(d, OF_NORMAL_NOISE)
