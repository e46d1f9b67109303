"""Convolutional nets whose features are a grid of vectors, one for each position of a smaller picture.

The positions are in reading order, each with its channels: `(batch, positions * channels)`, the input of a vector
quantiser.

Source: van den Oord, Vinyals, Kavukcuoglu (2017), Neural Discrete Representation Learning.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nelbo.config.registry import DEEPEST, Count, Range, register
from nelbo.errors import UserError
from nelbo.nets.common import Net, Rescale, join, require_dims
from nelbo.nets.conv import PixelHead, Residual, Upsample, patches


def grid_sizes(shape: Sequence[int], patch: int, halvings: int) -> list[tuple[int, int]]:
    """The (height, width) in patches, and after each halving.

    Args:
        shape: `(channels, height, width)` of a picture.
        patch: side of a patch in pixels.
        halvings: number of halvings.

    >>> grid_sizes((3, 32, 30), 2, 1)
    [(16, 15), (8, 8)]
    """
    sizes = [patches(shape, patch)[1:]]
    for _ in range(halvings):
        sizes.append(((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2))
    return sizes


def _channels(features: int, size: tuple[int, int]) -> int:
    places = size[0] * size[1]
    if features % places:
        raise UserError(
            f"{features} features do not fill a grid of {size[0]} x {size[1]}: use codes, as in --preset vq"
        )
    return features // places


class GridEncoder(nn.Module):
    """`(batch, channels, height, width)` and context -> `(batch, features)`.

    Args:
        shape: `(channels, height, width)` of a picture.
        features: length of the output, a multiple of the number of positions.
        width: channels at each size.
        blocks: residual blocks at each size.
        patch: side of the patches of pixels that are the channels of the first layer.
        halvings: number of times that the sides are halved.
        context: length of the context vector; 0 for none.
    """

    def __init__(
        self,
        shape: Sequence[int],
        features: int,
        width: int,
        blocks: int,
        patch: int = 1,
        halvings: int = 2,
        context: int = 0,
    ) -> None:
        super().__init__()
        sizes = grid_sizes(shape, patch, halvings)
        self.rescale, self.patch = Rescale(shape), patch
        self.edge = (0, sizes[0][1] * patch - shape[2], 0, sizes[0][0] * patch - shape[1])
        layers: list[nn.Module] = [nn.Conv2d(shape[0] * patch**2 + context, width, 3, padding=1)]
        for level in range(len(sizes)):
            if level:
                layers.append(nn.Conv2d(width, width, 3, stride=2, padding=1))
            layers += [Residual(width) for _ in range(blocks)]
        self.layers = nn.Sequential(*layers, nn.SiLU(), nn.Conv2d(width, _channels(features, sizes[-1]), 1))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor, *context: Tensor) -> Tensor:
        x = F.pixel_unshuffle(F.pad(self.rescale(x), self.edge), self.patch)
        return self.layers(join(x, *context)).permute(0, 2, 3, 1).flatten(1)


class GridDecoder(nn.Module):
    """`(batch, features)` and context -> `(batch, outputs, channels, height, width)`.

    Args:
        features: length of the input, a multiple of the number of positions.
        shape: `(channels, height, width)` of a picture.
        width: channels at each size.
        blocks: residual blocks at each size.
        patch: side of the patches of pixels that are the channels of the last layer.
        halvings: number of times that the sides are halved.
        outputs: numbers for each element of a picture.
        context: length of the context vector; 0 for none.
    """

    def __init__(
        self,
        features: int,
        shape: Sequence[int],
        width: int,
        blocks: int,
        patch: int = 1,
        halvings: int = 2,
        outputs: int = 1,
        context: int = 0,
    ) -> None:
        super().__init__()
        sizes = grid_sizes(shape, patch, halvings)[::-1]
        self.output_shape, self.size = (outputs, *shape), sizes[0]
        layers: list[nn.Module] = [nn.Conv2d(_channels(features, sizes[0]) + context, width, 3, padding=1)]
        for level, size in enumerate(sizes):
            if level:
                layers += [Upsample(size), nn.Conv2d(width, width, 3, padding=1)]
            layers += [Residual(width) for _ in range(blocks)]
        self.layers = nn.Sequential(*layers, nn.SiLU())
        self.head = PixelHead(width, outputs * shape[0], (shape[1], shape[2]), patch)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def output_bias(self) -> Tensor:
        """The bias of the outputs as `(outputs, channels, 1, 1)`: one number for each channel."""
        return self.head.bias.view(*self.output_shape[:2], 1, 1)

    def forward(self, h: Tensor, *context: Tensor) -> Tensor:
        grid = h.unflatten(1, (*self.size, -1)).permute(0, 3, 1, 2)
        return self.head(self.layers(join(grid, *context))).unflatten(1, self.output_shape[:2])


@register("net", "grid", cite=("he2016identity", "oord2017neural"))
@dataclass(frozen=True)
class Grid(Net):
    """A convolutional net whose features are one vector for each position of a grid: the net of VQ models.

    Args:
        width: channels at each size.
        blocks: residual blocks at each size.
        patch: side of the patches of pixels that are the channels of the first layer.
        halvings: number of times that the sides are halved.
    """

    width: Count = 48
    blocks: Annotated[int, Range(0, DEEPEST)] = 2
    patch: Count = 2
    halvings: Annotated[int, Range(0, DEEPEST)] = 1

    def places(self, shape: tuple[int, ...]) -> int:
        require_dims(shape, 3, "pictures", "a grid net")
        return math.prod(grid_sizes(shape, self.patch, self.halvings)[-1])

    def encoder(self, shape: tuple[int, ...], features: int, context: int = 0) -> nn.Module:
        require_dims(shape, 3, "pictures", "a grid net")
        return GridEncoder(shape, features, self.width, self.blocks, self.patch, self.halvings, context)

    def decoder(self, features: int, shape: tuple[int, ...], outputs: int, context: int = 0) -> nn.Module:
        require_dims(shape, 3, "pictures", "a grid net")
        return GridDecoder(features, shape, self.width, self.blocks, self.patch, self.halvings, outputs, context)
