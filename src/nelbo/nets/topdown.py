"""Nets of a hierarchy: the bottom-up pass, the blocks of a rung, and the head on the top-down pass.

A bottom-up net maps `(batch, *shape)` to a list of features, one tensor for each rung, the top rung first; blocks
map `(batch, n)` to `(batch, m)`, or pictures of n channels to pictures of m channels of the same size.

Source: Sønderby, Raiko, Maaløe, Sønderby, Winther (2016), Ladder Variational Autoencoders; Child (2021), Very Deep
VAEs Generalize Autoregressive Models and Can Outperform Them on Images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from nelbo.config.registry import register
from nelbo.errors import UserError
from nelbo.nets.common import Net, Rescale, join, require_dims
from nelbo.nets.conv import Residual
from nelbo.nets.mlp import perceptron


class WithContext(nn.Module):
    """A net whose context is joined to the channels of its input.

    Args:
        layers: the net.
        zero_init: start the last layer at zero, so that a prior starts as N(0, I).
    """

    def __init__(self, layers: nn.Sequential, zero_init: bool = False) -> None:
        super().__init__()
        self.layers = layers
        if zero_init:
            for parameter in layers[-1].parameters():
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor, *context: Tensor) -> Tensor:
        return self.layers(join(x, *context))


def mlp_block(inputs: int, width: int, outputs: int, zero_init: bool = False) -> WithContext:
    """A perceptron of one hidden layer.

    Without `zero_init`, it starts with the variance that preserves the size of a signal (He, Zhang, Ren, Sun, 2015,
    Delving Deep into Rectifiers): if a posterior's first samples carry little information about x, training loses the
    level before it is used.

    Args:
        inputs: input features, those of the context included.
        width: hidden units.
        outputs: output features.
        zero_init: start the last layer at zero, so that a prior starts as N(0, I).
    """
    layers = perceptron([inputs, width, outputs])
    if not zero_init:
        nn.init.kaiming_normal_(layers[0].weight)  # type: ignore[arg-type]
        nn.init.kaiming_normal_(layers[-1].weight)  # type: ignore[arg-type]
    return WithContext(layers, zero_init)


def conv_block(inputs: int, width: int, outputs: int, zero_init: bool = False) -> WithContext:
    """A residual block between two convolutions.

    Args:
        inputs: input channels, those of the context included.
        width: channels of the residual block.
        outputs: output channels.
        zero_init: start the last layer at zero, so that a prior starts as N(0, I).
    """
    first, last = nn.Conv2d(inputs, width, 3, padding=1), nn.Conv2d(width, outputs, 3, padding=1)
    return WithContext(nn.Sequential(first, Residual(width), nn.SiLU(), last), zero_init)


class LadderBottomUp(nn.Module):
    """d_1 = encoder(x, c), d_{l+1} = W_l relu(d_l) + b_l: returns `rungs` vectors of `width`, d_L first."""

    def __init__(self, encoder: nn.Module, width: int, rungs: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.steps = nn.ModuleList(nn.Linear(width, width) for _ in range(rungs - 1))
        for step in self.steps:
            nn.init.kaiming_normal_(step.weight)  # type: ignore[arg-type]

    def forward(self, x: Tensor, *context: Tensor) -> list[Tensor]:
        features = [self.encoder(x, *context)]
        for step in self.steps:
            features.insert(0, step(F.relu(features[0])))
        return features


class ConvBottomUp(nn.Module):
    """`blocks` residual blocks at each size of `pyramid`, `widths` channels each (largest size first).

    `repeats` is the number of rungs at each size, smallest first; rungs of the same size share their features.
    """

    def __init__(
        self, shape: Sequence[int], widths: Sequence[int], blocks: int, repeats: Sequence[int], context: int = 0
    ) -> None:
        super().__init__()
        self.repeats = tuple(repeats)
        self.rescale = Rescale(shape)
        before, strides = [shape[0] + context, *widths], [1] + [2] * len(widths)
        self.stages = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(before[i], width, 3, stride=strides[i], padding=1), *(Residual(width) for _ in range(blocks))
            )
            for i, width in enumerate(widths)
        )

    def forward(self, x: Tensor, *context: Tensor) -> list[Tensor]:
        x = join(self.rescale(x), *context)
        sizes: list[Tensor] = []
        for stage in self.stages:
            x = stage(x)
            sizes.insert(0, x)
        return [features for features, n in zip(sizes, self.repeats, strict=False) for _ in range(n)]


class TopDownStage(nn.Module):
    """A residual block, then upsampling and a convolution for each of `sizes` and `widths`."""

    def __init__(self, width: int, sizes: Sequence[tuple[int, ...]] = (), widths: Sequence[int] = ()) -> None:
        super().__init__()
        self.sizes = list(sizes)
        self.block = Residual(width)
        before = [width, *widths]
        self.convolutions = nn.ModuleList(nn.Conv2d(before[i], after, 3, padding=1) for i, after in enumerate(widths))

    def forward(self, x: Tensor) -> Tensor:
        x = self.block(x)
        for size, convolution in zip(self.sizes, self.convolutions, strict=True):
            x = convolution(F.interpolate(x, size=size, mode="nearest"))
        return x


class ConvHead(nn.Module):
    """A flat picture `(batch, features)` of features // (height * width) channels -> `(batch, outputs, *shape)`.

    A decoder of one convolution, for a convolutional hierarchy, whose features have the size of the data.

    Args:
        features: length of the input vector.
        shape: `(channels, height, width)` of a picture.
        outputs: numbers for each element of a picture.
        context: length of the context vector; 0 for none.
    """

    def __init__(self, features: int, shape: Sequence[int], outputs: int = 1, context: int = 0) -> None:
        super().__init__()
        self.output_shape = (outputs, *shape)
        self.picture = (features // (shape[1] * shape[2]), shape[1], shape[2])
        self.layers = nn.Conv2d(self.picture[0] + context, outputs * shape[0], 3, padding=1)

    @property
    def output_bias(self) -> Tensor:
        """The bias of the outputs as `(outputs, channels, 1, 1)`: one number for each channel."""
        return self.layers.bias.view(*self.output_shape[:2], 1, 1)  # type: ignore[union-attr]

    def forward(self, h: Tensor, *context: Tensor) -> Tensor:
        picture = F.silu(h.unflatten(-1, self.picture))
        return self.layers(join(picture, *context)).unflatten(1, self.output_shape[:2])


@register("net", "head")
@dataclass(frozen=True)
class Head(Net):
    """One convolution on feature maps of the picture's size: the decoder of the latent type `topdown-conv`."""

    def encoder(self, shape: tuple[int, ...], features: int, context: int = 0) -> nn.Module:
        raise UserError('kind = "head": a head is only a decoder; give the encoder kind = "conv" or "mlp"')

    def decoder(self, features: int, shape: tuple[int, ...], outputs: int, context: int = 0) -> nn.Module:
        require_dims(shape, 3, "pictures", "a head net")
        return ConvHead(features * shape[1] * shape[2], shape, outputs, context)
