"""Backbones."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import nn

from nelbo import nets
from nelbo.errors import UserError
from nelbo.registry import register


class Net(ABC):
    """A backbone, as encoder or decoder."""

    @abstractmethod
    def encoder(self, shape: tuple[int, ...], features: int, context: int = 0) -> nn.Module:
        """`(batch, *shape)` and `context` numbers -> `(batch, features)`."""

    @abstractmethod
    def decoder(self, features: int, shape: tuple[int, ...], outputs: int, context: int = 0) -> nn.Module:
        """`(batch, features)` and `context` numbers -> `(batch, outputs, *shape)`."""


@register(Net, "mlp")
@dataclass(frozen=True)
class MLP(Net):
    """A perceptron; `hidden` sizes are those of the encoder in order, and of the decoder in order."""

    hidden: tuple[int, ...] = (400,)

    def __post_init__(self) -> None:
        if any(size < 1 for size in self.hidden):
            raise UserError(f"hidden={list(self.hidden)}: give sizes of 1 or more")

    def encoder(self, shape: tuple[int, ...], features: int, context: int = 0) -> nn.Module:
        return nets.MLPEncoder(shape, features, self.hidden, context)

    def decoder(self, features: int, shape: tuple[int, ...], outputs: int, context: int = 0) -> nn.Module:
        return nets.MLPDecoder(features, shape, self.hidden, outputs, context)


@register(Net, "conv")
@dataclass(frozen=True)
class Conv(Net):
    """A residual convolutional net: `width` channels at full size, `blocks` residual blocks a size.

    It sees patches of `patch` x `patch` pixels as channels: full size is then the number of patches.
    """

    width: int = 16
    blocks: int = 1
    patch: int = 1

    def __post_init__(self) -> None:
        if self.width < 1 or self.blocks < 0 or self.patch < 1:
            raise UserError(
                f"width={self.width}, blocks={self.blocks}, patch={self.patch}: give width >= 1, blocks >= 0, "
                "patch >= 1"
            )

    def encoder(self, shape: tuple[int, ...], features: int, context: int = 0) -> nn.Module:
        _require_picture(shape)
        return nets.ConvEncoder(shape, features, self.width, self.blocks, context, self.patch)

    def decoder(self, features: int, shape: tuple[int, ...], outputs: int, context: int = 0) -> nn.Module:
        _require_picture(shape)
        return nets.ConvDecoder(features, shape, self.width, self.blocks, outputs, context, self.patch)


@register(Net, "grid")
@dataclass(frozen=True)
class Grid(Net):
    """A convolutional net that keeps places apart, for codes: a vector for each place of a picture halved so often.

    `width` channels at each size, `blocks` residual blocks a size; patches of `patch` x `patch` pixels are channels.
    """

    width: int = 48
    blocks: int = 2
    patch: int = 2
    halvings: int = 1

    def __post_init__(self) -> None:
        if self.width < 1 or self.blocks < 0 or self.patch < 1 or self.halvings < 0:
            raise UserError(
                f"width={self.width}, blocks={self.blocks}, patch={self.patch}, halvings={self.halvings}: give width "
                "and patch >= 1, blocks and halvings >= 0"
            )

    def places(self, shape: tuple[int, ...]) -> int:
        """How many vectors the features of data of this shape are."""
        _require_picture(shape)
        return math.prod(nets.grid_sizes(shape, self.patch, self.halvings)[-1])

    def encoder(self, shape: tuple[int, ...], features: int, context: int = 0) -> nn.Module:
        _require_picture(shape)
        return nets.GridEncoder(shape, features, self.width, self.blocks, self.patch, self.halvings, context)

    def decoder(self, features: int, shape: tuple[int, ...], outputs: int, context: int = 0) -> nn.Module:
        _require_picture(shape)
        return nets.GridDecoder(features, shape, self.width, self.blocks, self.patch, self.halvings, outputs, context)


@register(Net, "table")
@dataclass(frozen=True)
class Table(Net):
    """A residual perceptron over cells, numbers being cut into at most `bins` bins.

    `sizes`, the categories of each column (0: numbers), and `gaps`, the columns that lack cells, come from the schema.
    """

    width: int = 256
    blocks: int = 3
    dropout: float = 0.1
    bins: int = 128
    sizes: tuple[int, ...] = ()
    gaps: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.width < 1 or self.blocks < 0 or self.bins < 2 or not 0 <= self.dropout < 1:
            raise UserError(
                f"width={self.width}, blocks={self.blocks}, bins={self.bins}, dropout={self.dropout}: give "
                "width >= 1, blocks >= 0, bins >= 2 and 0 <= dropout < 1"
            )

    def encoder(self, shape: tuple[int, ...], features: int, context: int = 0) -> nn.Module:
        return nets.TableEncoder(self._cells(shape), features, self.width, self.blocks, self.dropout, context)

    def decoder(self, features: int, shape: tuple[int, ...], outputs: int, context: int = 0) -> nn.Module:
        return nets.TableDecoder(self._cells(shape), features, self.width, self.blocks, self.dropout, context)

    def _cells(self, shape: tuple[int, ...]) -> nets.Cells:
        if shape != (len(self.sizes),):
            raise UserError(f'a table net takes tables, and the data has shape {shape}: use kind = "mlp"')
        return nets.Cells(self.sizes, self.bins, self.gaps)


def _require_picture(shape: tuple[int, ...]) -> None:
    if len(shape) != 3:
        raise UserError(f'a conv net takes pictures, and the data has shape {shape}: use kind = "mlp"')
