"""Hierarchies and their decoder, for the zoo."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from nelbo import likelihoods, nets
from nelbo.config.registry import Component
from nelbo.latents import Latent, TopDown
from nelbo.vae import VAE

Shape = tuple[int, ...]

# Hierarchies by name: every merge and both kinds of state.
HIERARCHIES: dict[str, Component[Latent]] = {
    "ladder": Component("latent", "ladder", dims=(2, 3, 4), width=8),
    "ladder, two-level": Component("latent", "ladder", dims=(2, 3), width=8, posterior="direct", skip=True),
    "ladder, residual": Component("latent", "ladder", dims=(2, 3), width=8, posterior="residual"),
    "topdown-conv, vdvae": Component(
        "latent", "topdown-conv", depth=(2, 1, 1), channels=2, width=4, blocks=1, posterior="direct"
    ),
    "topdown-conv, nvae": Component(
        "latent", "topdown-conv", depth=(1, 2), channels=1, width=4, blocks=0, posterior="residual"
    ),
    "topdown-conv, precision": Component(
        "latent", "topdown-conv", depth=(2,), channels=2, width=4, blocks=1, posterior="precision"
    ),
}


def hierarchy(name: str, shape: Shape = (1, 4, 4), context: int = 0) -> VAE:
    """A VAE of several levels over values in {0, 1}."""
    net = nets.MLP((16,))
    latent = HIERARCHIES[name].build(net=net, shape=shape, context=context)
    decoder = (nets.Head() if HIERARCHIES[name].kind == "topdown-conv" else net).decoder(
        latent.features, shape, 1, context
    )
    return VAE(latent, likelihoods.Bernoulli(decoder, len(shape)))


def latent_of(vae: VAE) -> TopDown:
    """The hierarchy of a VAE."""
    assert isinstance(vae.latent, TopDown)
    return vae.latent


VAES: dict[str, Callable[[int], VAE]] = {
    f"latent: {name}": lambda context, name=name: hierarchy(name, context=context)  # type: ignore[misc]
    for name in HIERARCHIES
}

# The head reads a flat picture of the data's size: its five features are one pixel of five, or five of one.
HEADS: dict[str, Callable[[Shape, int, int], nn.Module]] = {
    "head": lambda shape, features, context: nets.ConvHead(features, shape, context=context),
    "head, two outputs": lambda shape, features, context: nets.ConvHead(features, shape, 2, context),
}
HEAD_SHAPES: list[Shape] = [(1, 1, 1), (3, 5, 1), (2, 1, 5)]

# Kind -> fields that are not the defaults, for the round trips of specs.
VARIED: dict[str, dict[str, Any]] = {
    "ladder": {"dims": (3, 5, 7), "width": 9, "posterior": "residual", "skip": True},
    "topdown-conv": {"depth": (1, 3), "channels": 2, "width": 4, "blocks": 2, "posterior": "precision"},
    "head": {},
}
