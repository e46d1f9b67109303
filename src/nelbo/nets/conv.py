"""Residual convolutional networks for pictures and series of any size and channel count, odd sizes included.

A picture is `(channels, height, width)`, a series `(steps, channels)`; the number of dimensions tells them apart. A
series is convolved as a picture of height 1, which needs no copy and is faster.

An encoder halves the datum (rounding up) until its shorter side is at most `SMALLEST`; the decoder goes
through the same sizes backwards, enlarging by nearest-neighbour to the exact size it must reach, which
avoids the checkerboard of transposed convolutions (Odena, Dumoulin, Olah, 2016). Blocks are pre-activation
residual blocks (He, Zhang, Ren, Sun, 2016, Identity Mappings in Deep Residual Networks) without batch
statistics, so that the output for a datum never depends on the others in its batch. With `patch` above 1, the channels
of the first layer are patches of `patch` x `patch` pixels, which costs less and suits larger pictures (Shi et al.,
2016, Real-Time Single Image and Video Super-Resolution). Weights are in channels-last order, which is faster for
convolutions of few channels on CPUs and of 16-bit numbers on GPUs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nelbo.config.registry import DEEPEST, Count, Range, register
from nelbo.nets.common import Net, Rescale, join, require_dims

SMALLEST = 4


def pyramid(*sides: int) -> list[tuple[int, ...]]:
    """The sizes an encoder passes through, largest first.

    >>> pyramid(28, 27)
    [(28, 27), (14, 14), (7, 7), (4, 4)]
    >>> pyramid(1)
    [(1,)]
    """
    sizes = [sides]
    while min(sizes[-1]) > SMALLEST:
        sizes.append(tuple((side + 1) // 2 for side in sizes[-1]))
    return sizes


def channels_at(width: int, levels: int) -> list[int]:
    """The channels at each size: `width` at full size, doubled at each halving, up to 4 `width`.

    >>> channels_at(16, 4)
    [16, 32, 64, 64]
    """
    return [width * min(2**level, 4) for level in range(levels)]


def convolution(in_channels: int, out_channels: int, dims: int = 2, stride: int = 1) -> nn.Conv2d:
    """A 3 x 3 convolution over pictures, or of 3 steps over series `(batch, channels, 1, steps)`.

    Args:
        in_channels: number of input channels.
        out_channels: number of output channels.
        dims: 2 for pictures, 1 for series.
        stride: 2 halves the size.
    """
    if dims == 1:
        return nn.Conv2d(in_channels, out_channels, (1, 3), (1, stride), (0, 1))
    return nn.Conv2d(in_channels, out_channels, 3, stride, 1)


class Residual(nn.Module):
    """x + conv(silu(conv(silu(x)))); the last convolution starts at zero, so the block starts as the identity."""

    def __init__(self, channels: int, dims: int = 2) -> None:
        super().__init__()
        self.first = convolution(channels, channels, dims)
        self.second = convolution(channels, channels, dims)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.silu(self.first(F.silu(x))))


def patches(shape: Sequence[int], patch: int, dims: int = 2) -> tuple[int, int, int]:
    """(channels, height, width) of a picture as patches; those at the edges are padded.

    >>> patches((3, 32, 27), 2), patches((3, 1, 27), 2, 1)
    ((12, 16, 14), (6, 1, 14))
    """
    height = -(-shape[1] // patch) if dims == 2 else 1
    return shape[0] * patch**dims, height, -(-shape[2] // patch)


def patched(x: Tensor, patch: int, dims: int) -> Tensor:
    """Pictures `(batch, channels, *size)` with each patch as the channels of one position."""
    if dims == 2:
        return F.pixel_unshuffle(x, patch)
    return x.reshape(*x.shape[:2], -1, patch).transpose(2, 3).flatten(1, 2).unsqueeze(2)


def unpatched(x: Tensor, patch: int, dims: int) -> Tensor:
    """The inverse of `patched`."""
    if dims == 2:
        return F.pixel_shuffle(x, patch)
    return x.reshape(len(x), -1, patch, x.shape[3]).transpose(2, 3).flatten(2).unsqueeze(2)


def as_picture(shape: Sequence[int]) -> tuple[int, ...]:
    """The shape of a picture, or of a series `(steps, channels)` as a picture of height 1."""
    return (shape[1], 1, shape[0]) if len(shape) == 2 else tuple(shape)


def sizes_of(size: Sequence[int], dims: int) -> list[tuple[int, ...]]:
    """The sizes `(height, width)` of an encoder over pictures (`dims` 2) or series (`dims` 1), largest first."""
    return [(1, steps) for (steps,) in pyramid(size[1])] if dims == 1 else pyramid(*size)


class ConvEncoder(nn.Module):
    """`(batch, *shape)`, pictures or series, and context -> `(batch, features)`.

    Args:
        shape: shape of a datum, `(channels, height, width)` or `(steps, channels)`.
        features: length of the output vector.
        width: channels at full size; they double at each halving, up to 4 `width`.
        blocks: residual blocks at each size.
        context: length of the context vector; 0 for none.
        patch: side of the patches of pixels that are the channels of the first layer; 1 for single pixels.
    """

    def __init__(
        self, shape: Sequence[int], features: int, width: int = 16, blocks: int = 1, context: int = 0, patch: int = 1
    ) -> None:
        super().__init__()
        dims, picture = len(shape) - 1, as_picture(shape)
        channels, *size = patches(picture, patch, dims)
        sizes = sizes_of(size, dims)
        widths = channels_at(width, len(sizes))
        self.rescale = Rescale(shape)
        self.patch, self.dims = patch, dims
        self.edge = (0, size[1] * patch - picture[2], 0, size[0] * patch - picture[1] if dims == 2 else 0)
        self.stem = convolution(channels + context, widths[0], dims)
        stages: list[nn.Module] = []
        for level, now in enumerate(widths):
            if level:
                stages.append(convolution(widths[level - 1], now, dims, 2))
            stages += [Residual(now, dims) for _ in range(blocks)]
        self.stages = nn.Sequential(*stages, nn.SiLU(), nn.Flatten())
        self.head = nn.Linear(widths[-1] * sizes[-1][0] * sizes[-1][1], features)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def output_bias(self) -> Tensor:
        """The bias of the features."""
        return self.head.bias

    def forward(self, x: Tensor, *context: Tensor) -> Tensor:
        x = self.rescale(x)
        x = x.transpose(1, 2).unsqueeze(2) if self.dims == 1 else x
        x = patched(F.pad(x, self.edge), self.patch, self.dims)
        return self.head(self.stages(self.stem(join(x, *context))))


class Upsample(nn.Module):
    """Nearest-neighbour upsampling to a fixed size."""

    def __init__(self, size: tuple[int, ...]) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, size=self.size, mode="nearest")


class PixelHead(nn.Module):
    """A convolution to patches, assembled to pictures: `(batch, width, h, w)` -> `(batch, channels, *size)`."""

    def __init__(self, width: int, channels: int, size: Sequence[int], patch: int, dims: int = 2) -> None:
        super().__init__()
        self.size, self.patch, self.dims = size, patch, dims
        start = convolution(width, channels * patch**dims, dims)
        assert start.bias is not None
        self.weight, self.bias = start.weight, nn.Parameter(start.bias.detach()[:: patch**dims].clone())

    def forward(self, x: Tensor) -> Tensor:
        bias, padding = self.bias.repeat_interleave(self.patch**self.dims), (self.dims - 1, 1)
        output = unpatched(F.conv2d(x, self.weight, bias, padding=padding), self.patch, self.dims)
        return output[..., : self.size[0], : self.size[1]]


class ConvDecoder(nn.Module):
    """`(batch, features)` and context -> `(batch, outputs, *shape)`, pictures or series.

    Args:
        features: length of the input vector.
        shape: shape of a datum, `(channels, height, width)` or `(steps, channels)`.
        width: channels at full size; smaller sizes have up to 4 `width`.
        blocks: residual blocks at each size.
        outputs: numbers for each element of a datum.
        context: length of the context vector; 0 for none.
        patch: side of the patches of pixels that are the channels of the last layer; 1 for single pixels.
    """

    def __init__(
        self,
        features: int,
        shape: Sequence[int],
        width: int = 16,
        blocks: int = 1,
        outputs: int = 1,
        context: int = 0,
        patch: int = 1,
    ) -> None:
        super().__init__()
        dims, picture = len(shape) - 1, as_picture(shape)
        _, *size = patches(picture, patch, dims)
        sizes = sizes_of(size, dims)
        widths = channels_at(width, len(sizes))
        self.output_shape = (outputs, *shape)
        self.stem = nn.Linear(features + context, widths[-1] * sizes[-1][0] * sizes[-1][1])
        stages: list[nn.Module] = [nn.Unflatten(1, (widths[-1], *sizes[-1]))]
        for level in reversed(range(len(sizes))):
            stages += [Residual(widths[level], dims) for _ in range(blocks)]
            if level:
                stages += [Upsample(sizes[level - 1]), convolution(widths[level], widths[level - 1], dims)]
        self.stages = nn.Sequential(*stages, nn.SiLU())
        self.head = PixelHead(widths[0], outputs * picture[0], picture[1:], patch, dims)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def output_bias(self) -> Tensor:
        """The bias of each output and channel, `(outputs, channels, 1, 1)` or `(outputs, 1, channels)`."""
        if len(self.output_shape) == 3:
            return self.head.bias.view(self.output_shape[0], 1, -1)
        return self.head.bias.view(*self.output_shape[:2], 1, 1)

    def forward(self, h: Tensor, *context: Tensor) -> Tensor:
        output = self.head(self.stages(self.stem(join(h, *context))))
        if len(self.output_shape) == 3:
            return output.squeeze(2).unflatten(1, (self.output_shape[0], -1)).transpose(2, 3)
        return output.unflatten(1, self.output_shape[:2])


@dataclass(frozen=True)
class Convolutional(Net, ABC):
    """A residual convolutional net: `encoder` and `decoder` for pictures or series."""

    width: Count = 16
    blocks: Annotated[int, Range(0, DEEPEST)] = 1
    patch: Count = 1

    @abstractmethod
    def check(self, shape: tuple[int, ...]) -> None:
        """Check the shape of a datum; raises `UserError` for another kind of data."""

    def encoder(self, shape: tuple[int, ...], features: int, context: int = 0) -> nn.Module:
        self.check(shape)
        return ConvEncoder(shape, features, self.width, self.blocks, context, self.patch)

    def decoder(self, features: int, shape: tuple[int, ...], outputs: int, context: int = 0) -> nn.Module:
        self.check(shape)
        return ConvDecoder(features, shape, self.width, self.blocks, outputs, context, self.patch)


@register("net", "conv", cite="he2016identity")
@dataclass(frozen=True)
class Conv(Convolutional):
    """A residual convolutional net over pictures.

    Args:
        width: channels at full size; smaller sizes have up to four times as many.
        blocks: residual blocks at each size.
        patch: side of the patches of pixels that are the channels of the first layer; larger is faster and coarser.
    """

    def check(self, shape: tuple[int, ...]) -> None:
        require_dims(shape, 3, "pictures", "a conv net")


@register("net", "conv1d", cite="he2016identity")
@dataclass(frozen=True)
class Conv1d(Convolutional):
    """A residual convolutional net over the steps of series.

    Args:
        width: channels at full length; smaller lengths have up to four times as many.
        blocks: residual blocks at each length.
        patch: number of steps that are the channels of the first layer; larger is faster and coarser.
    """

    def check(self, shape: tuple[int, ...]) -> None:
        require_dims(shape, 2, "series", "a conv1d net")
