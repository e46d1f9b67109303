"""Residual convolutional networks for pictures of any height, width and channel count, odd sizes included.

An encoder halves the picture (rounding up) until its shorter side is at most `smallest`; the decoder goes
through the same sizes backwards, enlarging by nearest-neighbour to the exact size it must reach, which
avoids the checkerboard of transposed convolutions (Odena, Dumoulin, Olah, 2016). Blocks are pre-activation
residual blocks (He, Zhang, Ren, Sun, 2016, Identity Mappings in Deep Residual Networks) without batch
statistics, so that what a datum is mapped to never depends on its neighbours. With `patch` above 1 the nets see
patches of so many pixels a side as channels, which costs less and suits larger pictures (Shi et al., 2016, Real-Time
Single Image and Video Super-Resolution). Weights lie channels last, which makes
convolutions of few channels faster on processors and those of 16 bit on GPUs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nelbo.nets.common import Rescale, join

SMALLEST = 4


def pyramid(height: int, width: int) -> list[tuple[int, int]]:
    """The sizes an encoder passes through, largest first.

    >>> pyramid(28, 27)
    [(28, 27), (14, 14), (7, 7), (4, 4)]
    >>> pyramid(1, 1)
    [(1, 1)]
    """
    sizes = [(height, width)]
    while min(sizes[-1]) > SMALLEST:
        sizes.append(((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2))
    return sizes


def channels_at(width: int, levels: int) -> list[int]:
    """The channels at each size: `width` at full size, doubled at each halving, up to four times itself.

    >>> channels_at(16, 4)
    [16, 32, 64, 64]
    """
    return [width * min(2**level, 4) for level in range(levels)]


class Residual(nn.Module):
    """x + conv(silu(conv(silu(x)))); the last convolution starts at zero, so the block starts as the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.silu(self.first(F.silu(x))))


def patches(shape: Sequence[int], patch: int) -> tuple[int, int, int]:
    """(channels, height, width) of a picture as patches, the last ones filled up at its edges.

    >>> patches((3, 32, 27), 2)
    (12, 16, 14)
    """
    return shape[0] * patch**2, -(-shape[1] // patch), -(-shape[2] // patch)


class ConvEncoder(nn.Module):
    """`(batch, channels, height, width)` and context -> `(batch, features)`.

    `width` is the number of channels at full size; it doubles at each halving, up to four times itself.
    """

    def __init__(
        self,
        shape: Sequence[int],
        features: int,
        width: int = 16,
        blocks: int = 1,
        context: int = 0,
        patch: int = 1,
    ) -> None:
        super().__init__()
        channels, *size = patches(shape, patch)
        sizes = pyramid(size[0], size[1])
        widths = channels_at(width, len(sizes))
        self.rescale = Rescale(shape)
        self.patch = patch
        self.edge = (0, size[1] * patch - shape[2], 0, size[0] * patch - shape[1])
        self.stem = nn.Conv2d(channels + context, widths[0], 3, padding=1)
        stages: list[nn.Module] = []
        for level, now in enumerate(widths):
            if level:
                stages.append(nn.Conv2d(widths[level - 1], now, 3, stride=2, padding=1))
            stages += [Residual(now) for _ in range(blocks)]
        self.stages = nn.Sequential(*stages, nn.SiLU(), nn.Flatten())
        self.head = nn.Linear(widths[-1] * sizes[-1][0] * sizes[-1][1], features)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def output_bias(self) -> Tensor:
        """The bias of the features."""
        return self.head.bias

    def forward(self, x: Tensor, *context: Tensor) -> Tensor:
        x = F.pixel_unshuffle(F.pad(self.rescale(x), self.edge), self.patch)
        return self.head(self.stages(self.stem(join(x, *context))))


class Enlarge(nn.Module):
    """Nearest-neighbour enlargement to a stated size."""

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, size=self.size, mode="nearest")


class PixelHead(nn.Module):
    """A convolution to patches of pixels, put in their places: `(batch, width, h, w)` -> `(batch, channels, *size)`."""

    def __init__(self, width: int, channels: int, size: tuple[int, int], patch: int) -> None:
        super().__init__()
        start = nn.Conv2d(width, channels * patch**2, 3)
        assert start.bias is not None
        self.weight, self.bias = start.weight, nn.Parameter(start.bias.detach()[:: patch**2].clone())
        self.size, self.patch = size, patch

    def forward(self, x: Tensor) -> Tensor:
        made = F.conv2d(x, self.weight, self.bias.repeat_interleave(self.patch**2), padding=1)
        return F.pixel_shuffle(made, self.patch)[..., : self.size[0], : self.size[1]]


class ConvDecoder(nn.Module):
    """`(batch, features)` and context -> `(batch, outputs, channels, height, width)`."""

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
        _, *size = patches(shape, patch)
        sizes = pyramid(size[0], size[1])
        widths = channels_at(width, len(sizes))
        self.output_shape = (outputs, *shape)
        self.stem = nn.Linear(features + context, widths[-1] * sizes[-1][0] * sizes[-1][1])
        stages: list[nn.Module] = [nn.Unflatten(1, (widths[-1], *sizes[-1]))]
        for level in reversed(range(len(sizes))):
            stages += [Residual(widths[level]) for _ in range(blocks)]
            if level:
                stages += [Enlarge(sizes[level - 1]), nn.Conv2d(widths[level], widths[level - 1], 3, padding=1)]
        self.stages = nn.Sequential(*stages, nn.SiLU())
        self.head = PixelHead(widths[0], outputs * shape[0], (shape[1], shape[2]), patch)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def output_bias(self) -> Tensor:
        """The bias of the outputs as `(outputs, channels, 1, 1)`: one number a channel."""
        return self.head.bias.view(*self.output_shape[:2], 1, 1)

    def forward(self, h: Tensor, *context: Tensor) -> Tensor:
        return self.head(self.stages(self.stem(join(h, *context)))).reshape(len(h), *self.output_shape)
