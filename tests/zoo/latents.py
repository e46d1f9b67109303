"""Latents: bits, one-hot vectors, codes, hierarchies, and several side by side."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

from nelbo.config.build import ModelSpec, build
from nelbo.config.registry import Component
from nelbo.latents import Latent, TopDown
from nelbo.nets import MLP, Head, Net
from nelbo.vae import VAE
from zoo.rows import HIDDEN, SHAPE, Row, Shape, table

NET = MLP(HIDDEN)


def vae_with_latent(latent: Component[Latent], shape: Shape = SHAPE, context: int = 0, decoder: Net = NET) -> VAE:
    """A VAE of values in {0, 1} on a small perceptron."""
    return build(ModelSpec(latent, Component("likelihood", "bernoulli"), NET, decoder), shape, context)


@dataclass(frozen=True)
class LatentRow(Row):
    """A latent.

    Args:
        penalty: whether its levels charge a penalty.
        head: whether its features are a picture, of which the decoder is a head.
    """

    family: ClassVar[str] = "latent"

    _: KW_ONLY
    penalty: bool = False
    head: bool = False

    def build(self, shape: Shape = SHAPE, context: int = 0) -> VAE:
        """A VAE of values in {0, 1} with these latents."""
        return vae_with_latent(self.component, shape, context, Head() if self.head else NET)


TRANSFORMER = {"kind": "transformer", "width": 8, "layers": 1, "heads": 2}
VQ = {"groups": 3, "codebook_size": 5, "dim": 2}

HIERARCHIES = table(  # every parametrization of the posterior, and both kinds of state
    LatentRow("ladder", {"dims": (2, 3, 4), "width": 8}),
    LatentRow("ladder", {"dims": (2, 3), "width": 8, "posterior": "direct", "skip": True}, "two-level"),
    LatentRow("ladder", {"dims": (2, 3), "width": 8, "posterior": "residual"}, "residual"),
    LatentRow("topdown-conv", {"depth": (2, 1, 1), "channels": 2, "width": 4, "blocks": 1}, "vdvae", head=True),
    LatentRow(
        "topdown-conv",
        {"depth": (1, 2), "channels": 1, "width": 4, "blocks": 0, "posterior": "residual"},
        "nvae",
        head=True,
    ),
    LatentRow(
        "topdown-conv", {"depth": (2,), "channels": 2, "width": 4, "posterior": "precision"}, "precision", head=True
    ),
)
DISCRETE = table(
    LatentRow("binary", {"dim": 5, "temperature": 0.5}),
    LatentRow(
        "categorical",
        {"variables": 3, "classes": 4, "temperature": {"kind": "linear", "start_value": 1.0, "end_value": 0.5}},
    ),
    LatentRow(
        "product",
        {
            "parts": {
                "style": {"kind": "flat", "dim": 2},
                "digit": {"kind": "categorical", "variables": 1, "classes": 3},
            }
        },
    ),
    LatentRow("vq", VQ, penalty=True),
    LatentRow("vq", {**VQ, "decay": "gradient", "commitment": 0.5, "restart_threshold": 0.0}, "gradient", penalty=True),
    LatentRow("vq", {"groups": 2, "codebook_size": 5, "dim": 3, "depth": 2}, "residual", penalty=True),
    LatentRow("vq", {**VQ, "prior": {**TRANSFORMER, "codebook_size": 5}}, "transformer prior", penalty=True),
    LatentRow(
        "vq",
        {**VQ, "groups": 4, "prior": {"kind": "pixelcnn", "codebook_size": 5, "channels": 6, "blocks": 1}},
        "pixelcnn prior",
        penalty=True,
    ),
    LatentRow("fsq", {"groups": 2, "levels": (3, 4)}),
    LatentRow(
        "fsq", {"groups": 3, "levels": (3, 4), "prior": {**TRANSFORMER, "codebook_size": 12}}, "transformer prior"
    ),
    LatentRow("lfq", {"groups": 2, "bits": 3}, penalty=True),
    LatentRow(
        "lfq",
        {"groups": 2, "bits": 3, "entropy": 0.2, "commitment": 0.5, "prior": {**TRANSFORMER, "codebook_size": 8}},
        "transformer prior",
        penalty=True,
    ),
    LatentRow(
        "product",
        {"parts": {"a b": {"kind": "flat", "dim": 2}, "digit": {"kind": "fsq", "groups": 1, "levels": (3, 3)}}},
        "codes",
    ),
)
LATENTS = table(
    LatentRow("flat", {"dim": 4, "posterior": "full-normal", "prior": {"kind": "mixture", "components": 2}}, "mixture"),
    *DISCRETE.values(),
    *HIERARCHIES.values(),
)


def top_down(vae: VAE) -> TopDown:
    """The hierarchy of a VAE."""
    assert isinstance(vae.latent, TopDown)
    return vae.latent
