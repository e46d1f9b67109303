"""Rows of the zoo: nets over series, and what series with gaps are scored by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from nelbo import distributions, likelihoods, nets
from nelbo.likelihoods import Likelihood, MissingDataLikelihood

Shape = tuple[int, ...]
SHAPES: list[Shape] = [(2, 1), (17, 3), (5, 2)]

ENCODERS: dict[str, Callable[..., nn.Module]] = {
    "conv1d": lambda shape, features, context: nets.ConvEncoder(shape, features, 4, 1, context),
    "conv1d, patches": lambda shape, features, context: nets.ConvEncoder(shape, features, 4, 1, context, 3),
    "recurrent": lambda shape, features, context: nets.RecurrentEncoder(shape, features, 4, context),
}

DECODERS: dict[str, Callable[..., nn.Module]] = {
    "conv1d": lambda shape, features, context, outputs=1: nets.ConvDecoder(features, shape, 4, 1, outputs, context),
    "conv1d, patches": lambda shape, features, context: nets.ConvDecoder(features, shape, 4, 1, 1, context, 3),
    "conv1d, two outputs": lambda shape, features, context: nets.ConvDecoder(features, shape, 4, 0, 2, context),
    "recurrent": lambda shape, features, context, outputs=1: nets.RecurrentDecoder(
        features, shape, 4, outputs, context
    ),
    "recurrent, two outputs": lambda shape, features, context: nets.RecurrentDecoder(features, shape, 4, 2, context),
}


def _of(batch: Shape, base: Callable[..., distributions.Distribution], *parameters: torch.Tensor) -> Any:
    """The same member at each index of the batch."""
    return distributions.Observed(base(parameters[0].expand(*batch, *parameters[0].shape), *parameters[1:], 2))


_LOC = torch.randn((3, 2), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
DISTRIBUTIONS: dict[str, dict[str, Any]] = {
    "observed normal": {
        "make": lambda batch: _of(batch, distributions.DiagonalNormal, _LOC, 0.3 * _LOC[0]),
        "tempered": False,
    },
    "observed bernoulli": {"make": lambda batch: _of(batch, distributions.Bernoulli, _LOC), "tempered": False},
}

LIKELIHOODS: dict[str, Callable[[nn.Module, int], Likelihood]] = {
    "observed normal": lambda net, dims: MissingDataLikelihood(likelihoods.Normal(net, dims, sigma="learned")),
    "observed optimal normal": lambda net, dims: MissingDataLikelihood(likelihoods.Normal(net, dims)),
    "observed bernoulli": lambda net, dims: MissingDataLikelihood(likelihoods.Bernoulli(net, dims)),
}

VARIED: dict[str, dict[str, Any]] = {"conv1d": {"width": 3, "blocks": 2, "patch": 3}, "recurrent": {"width": 5}}
