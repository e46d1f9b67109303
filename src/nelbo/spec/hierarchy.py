"""Hierarchical latents, and the decoder that a convolutional one needs.

ladder VAE            Ladder(dims=(8, 16, 32))                      with a perceptron as decoder
two-level HVAE        Ladder(dims=(40, 40), posterior="direct", skip=True)
VDVAE-style           TopDownConv(posterior="direct")               with decoder = {kind = "head"}
NVAE-style            TopDownConv(posterior="residual")             with decoder = {kind = "head"}
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import nn

from nelbo import latents, nets
from nelbo.errors import UserError
from nelbo.latents.rungs import DIRECT, PRECISION, RESIDUAL, Merge, Rung
from nelbo.nets import topdown
from nelbo.nets.conv import channels_at, pyramid
from nelbo.nets.mlp import perceptron
from nelbo.registry import register
from nelbo.spec.latents import Latent
from nelbo.spec.nets import Net

How = Literal["direct", "residual", "precision"]
MERGES: dict[str, Merge] = {"direct": DIRECT, "residual": RESIDUAL, "precision": PRECISION}


@register(Latent, "ladder")
@dataclass(frozen=True)
class Ladder(Latent):
    """Levels of vectors: `dims` latents each, top first, on nets of `width`; `posterior` says how q is made from p.

    With `skip` the state that comes down gathers every z, and the likelihood sees them all; without, each level is
    told only of the one above it, and the likelihood of the lowest. The encoder makes the first features of x.
    """

    dims: tuple[int, ...] = (8, 16)
    width: int = 128
    posterior: How = "precision"
    skip: bool = False

    def __post_init__(self) -> None:
        if not self.dims or any(dim < 1 for dim in self.dims):
            raise UserError(f"dims={list(self.dims)}: give 1 level or more, of 1 latent or more each")
        if self.width < 1:
            raise UserError(f"width={self.width}: give 1 or more")

    def build(self, net: Net, shape: tuple[int, ...], context: int = 0) -> latents.Latent:
        merge, w = MERGES[self.posterior], self.width
        told = w * (1 + merge.reads_state) + context
        rungs = [
            Rung(
                (dim,),
                topdown.mlp_block(w + context, w, 2 * dim, silent=True),
                topdown.mlp_block(told, w, 2 * dim),
                perceptron([dim, w, w]),
                nn.Identity(),
                merge,
                markov=not self.skip,
            )
            for dim in self.dims
        ]
        bottom_up = topdown.LadderBottomUp(net.encoder(shape, w, context), w, len(rungs))
        return latents.TopDown(bottom_up, rungs, (w,))

    @property
    def features(self) -> int:
        return self.width


@register(Latent, "topdown-conv")
@dataclass(frozen=True)
class TopDownConv(Latent):
    """Levels of pictures at the sizes that halving the data gives, for any height and width.

    `depth` is the number of rungs at each size, smallest first: sizes past its end have none, and numbers past the
    last size are not used. Each level has `channels` latents a pixel; nets have `width` channels at full size, up to
    four times as many at smaller ones, and `blocks` residual blocks a size in the bottom-up pass. It has its own
    bottom-up net, so `model.encoder` is not used, and it takes `decoder = {kind = "head"}`.
    """

    depth: tuple[int, ...] = (2, 2, 1)
    channels: int = 8
    width: int = 16
    blocks: int = 1
    posterior: How = "direct"

    def __post_init__(self) -> None:
        if not self.depth or any(rungs < 1 for rungs in self.depth):
            raise UserError(f"depth={list(self.depth)}: give the rungs at each size, smallest first, 1 or more each")
        if self.channels < 1 or self.width < 1 or self.blocks < 0:
            raise UserError(
                f"channels={self.channels}, width={self.width}, blocks={self.blocks}: give channels >= 1, "
                "width >= 1 and blocks >= 0"
            )

    def build(self, net: Net, shape: tuple[int, ...], context: int = 0) -> latents.Latent:
        _require_picture(shape, "model.latent", "ladder")
        sizes = pyramid(shape[1], shape[2])
        widths = channels_at(self.width, len(sizes))
        bottom_up = topdown.ConvBottomUp(shape, widths, self.blocks, self.depth, context)
        sizes, widths = sizes[::-1], widths[::-1]  # top first, as the rungs
        depth = self.depth[: len(sizes)]
        rungs = []
        for level, n in enumerate(depth):
            until = len(sizes) if level == len(depth) - 1 else level + 2
            below = topdown.Descend(widths[level], sizes[level + 1 : until], widths[level + 1 : until])
            blocks = [*(topdown.Descend(widths[level]) for _ in range(n - 1)), below]
            rungs += [self._rung(sizes[level], widths[level], block, context) for block in blocks]
        return latents.TopDown(bottom_up, rungs, (widths[0], *sizes[0]))

    def _rung(self, size: tuple[int, ...], width: int, block: nn.Module, context: int) -> Rung:
        merge, k = MERGES[self.posterior], self.channels
        prior = topdown.conv_block(width + context, width, 2 * k, silent=True)
        posterior = topdown.conv_block(width * (1 + merge.reads_state) + context, width, 2 * k)
        return Rung((k, *size), prior, posterior, nn.Conv2d(k, width, 1), block, merge)

    @property
    def features(self) -> int:
        """Channels a pixel: the head multiplies them by the pixels."""
        return self.width


@register(Net, "head")
@dataclass(frozen=True)
class Head(Net):
    """One convolution on features that are pictures of the data's size: the decoder of `topdown-conv`."""

    def encoder(self, shape: tuple[int, ...], features: int, context: int = 0) -> nn.Module:
        raise UserError('kind = "head": a head is a decoder only; give the encoder kind = "conv" or "mlp"')

    def decoder(self, features: int, shape: tuple[int, ...], outputs: int, context: int = 0) -> nn.Module:
        _require_picture(shape, "model.decoder", "mlp")
        return nets.ConvHead(features * shape[1] * shape[2], shape, outputs, context)


def _require_picture(shape: tuple[int, ...], where: str, instead: str) -> None:
    if len(shape) != 3:
        raise UserError(f'{where} takes pictures, and the data has shape {shape}: use kind = "{instead}"')
