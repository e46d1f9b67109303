"""Residual convolutional networks for pictures and series of any size and channel count, odd sizes included.

A picture is `(channels, height, width)`, a series `(steps, channels)`; the shape says which. A series is convolved as a
picture of height 1, which it is already in memory, and faster so.

An encoder halves the datum (rounding up) until its shortest side is at most `SMALLEST`; the decoder goes
through the same sizes backwards, enlarging by nearest-neighbour to the exact size it must reach, which
avoids the checkerboard of transposed convolutions (Odena, Dumoulin, Olah, 2016). Blocks are pre-activation
residual blocks (He, Zhang, Ren, Sun, 2016, Identity Mappings in Deep Residual Networks) without batch
statistics, so that what a datum is mapped to never depends on its neighbours. Weights lie channels last, which makes
convolutions of few channels faster on processors and those of 16 bit on GPUs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nelbo.nets.common import Rescale, join

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
    """The channels at each size: `width` at full size, doubled at each halving, up to four times itself.

    >>> channels_at(16, 4)
    [16, 32, 64, 64]
    """
    return [width * min(2**level, 4) for level in range(levels)]


def convolution(before: int, after: int, sides: int = 2, stride: int = 1) -> nn.Conv2d:
    """A convolution over both sides of pictures, or (`sides` 1) the steps of series `(batch, channels, 1, steps)`."""
    if sides == 1:
        return nn.Conv2d(before, after, (1, 3), (1, stride), (0, 1))
    return nn.Conv2d(before, after, 3, stride, 1)


class Residual(nn.Module):
    """x + conv(silu(conv(silu(x)))); the last convolution starts at zero, so the block starts as the identity."""

    def __init__(self, channels: int, sides: int = 2) -> None:
        super().__init__()
        self.first = convolution(channels, channels, sides)
        self.second = convolution(channels, channels, sides)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.silu(self.first(F.silu(x))))


class _Plan:
    """Channels and, largest first, sizes `(height, width)` of data of a shape; `sides` are convolved."""

    def __init__(self, shape: Sequence[int]) -> None:
        self.sides = len(shape) - 1
        self.channels = shape[-1] if self.sides == 1 else shape[0]
        self.sizes = [(1, *size)[-2:] for size in (pyramid(shape[0]) if self.sides == 1 else pyramid(*shape[1:]))]


def _planes(x: Tensor) -> Tensor:
    """Pictures as they are; series `(batch, steps, channels)` as `(batch, channels, 1, steps)`."""
    return x.transpose(1, 2).unsqueeze(2) if x.dim() == 3 else x


class ConvEncoder(nn.Module):
    """`(batch, *shape)`, pictures or series, and context -> `(batch, features)`.

    `width` is the number of channels at full size; it doubles at each halving, up to four times itself.
    """

    def __init__(self, shape: Sequence[int], features: int, width: int = 16, blocks: int = 1, context: int = 0) -> None:
        super().__init__()
        plan = _Plan(shape)
        widths = channels_at(width, len(plan.sizes))
        self.rescale = Rescale(shape)
        self.stem = convolution(plan.channels + context, widths[0], plan.sides)
        stages: list[nn.Module] = []
        for level, now in enumerate(widths):
            if level:
                stages.append(convolution(widths[level - 1], now, plan.sides, 2))
            stages += [Residual(now, plan.sides) for _ in range(blocks)]
        self.stages = nn.Sequential(*stages, nn.SiLU(), nn.Flatten())
        self.head = nn.Linear(widths[-1] * math.prod(plan.sizes[-1]), features)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def output_bias(self) -> Tensor:
        """The bias of the features."""
        return self.head.bias

    def forward(self, x: Tensor, *context: Tensor) -> Tensor:
        return self.head(self.stages(self.stem(join(_planes(self.rescale(x)), *context))))


class Enlarge(nn.Module):
    """Nearest-neighbour enlargement to a stated size."""

    def __init__(self, size: tuple[int, ...]) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, size=self.size, mode="nearest")


class ConvDecoder(nn.Module):
    """`(batch, features)` and context -> `(batch, outputs, *shape)`, pictures or series."""

    def __init__(
        self, features: int, shape: Sequence[int], width: int = 16, blocks: int = 1, outputs: int = 1, context: int = 0
    ) -> None:
        super().__init__()
        plan = _Plan(shape)
        widths = channels_at(width, len(plan.sizes))
        self.output_shape = (outputs, *shape)
        self.stem = nn.Linear(features + context, widths[-1] * math.prod(plan.sizes[-1]))
        stages: list[nn.Module] = [nn.Unflatten(1, (widths[-1], *plan.sizes[-1]))]
        for level in reversed(range(len(widths))):
            stages += [Residual(widths[level], plan.sides) for _ in range(blocks)]
            if level:
                stages += [Enlarge(plan.sizes[level - 1]), convolution(widths[level], widths[level - 1], plan.sides)]
        self.stages = nn.Sequential(*stages, nn.SiLU())
        self.head = convolution(widths[0], outputs * plan.channels, plan.sides)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def output_bias(self) -> Tensor:
        """The bias of the outputs as `(outputs, channels, 1, 1)`, or `(outputs, 1, channels)`: one number a channel."""
        if len(self.output_shape) == 3:
            return self.head.bias.view(self.output_shape[0], 1, -1)  # type: ignore[union-attr]
        return self.head.bias.view(*self.output_shape[:2], 1, 1)  # type: ignore[union-attr]

    def forward(self, h: Tensor, *context: Tensor) -> Tensor:
        made = self.head(self.stages(self.stem(join(h, *context))))
        if len(self.output_shape) == 3:
            return made.view(len(h), self.output_shape[0], -1, made.shape[-1]).transpose(2, 3)
        return made.view(len(h), *self.output_shape)
