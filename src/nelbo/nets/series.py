"""Networks for series `(steps, channels)`: recurrent ones, and an encoder of series with missing elements.

The recurrent networks are gated recurrent units over the steps. The encoder reads a series forwards and backwards and
keeps both last states. The decoder receives the features at each step, and starts from a state computed from them.

In data with gaps, NaN marks an element that was not observed.

Source: Cho et al. (2014), Learning Phrase Representations using RNN Encoder-Decoder for Statistical Machine
Translation; Srivastava, Mansimov, Salakhutdinov (2015), Unsupervised Learning of Video Representations using LSTMs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nelbo.config.registry import Count, register
from nelbo.distributions import noise
from nelbo.nets.common import Net, Rescale, join, require_dims


class RecurrentEncoder(nn.Module):
    """`(batch, steps, channels)` and context -> `(batch, features)`.

    Args:
        shape: `(steps, channels)`.
        features: length of the output vector.
        width: units in each direction.
        context: length of the context vector; 0 for none.
    """

    def __init__(self, shape: Sequence[int], features: int, width: int = 64, context: int = 0) -> None:
        super().__init__()
        self.rescale = Rescale(shape)
        self.units = nn.GRU(shape[1] + context, width, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * width, features)

    @property
    def output_bias(self) -> Tensor:
        """The bias of the features."""
        return self.head.bias

    def forward(self, x: Tensor, *context: Tensor) -> Tensor:
        steps = join(self.rescale(x).transpose(1, 2), *context).transpose(1, 2)
        _, last = self.units(steps)
        return self.head(torch.cat([*last], 1))


class RecurrentDecoder(nn.Module):
    """`(batch, features)` and context -> `(batch, outputs, steps, channels)`.

    Args:
        features: length of the input vector.
        shape: `(steps, channels)`.
        width: units.
        outputs: numbers for each element of a series.
        context: length of the context vector; 0 for none.
    """

    def __init__(
        self, features: int, shape: Sequence[int], width: int = 64, outputs: int = 1, context: int = 0
    ) -> None:
        super().__init__()
        self.output_shape = (outputs, *shape)
        self.begin = nn.Linear(features + context, width)
        self.units = nn.GRU(features + context, width, batch_first=True)
        self.head = nn.Linear(width, outputs * shape[1])

    @property
    def output_bias(self) -> Tensor:
        """The bias of the outputs as `(outputs, 1, channels)`: one number for each channel."""
        outputs, _, channels = self.output_shape
        return self.head.bias.view(outputs, 1, channels)

    def forward(self, h: Tensor, *context: Tensor) -> Tensor:
        h, (outputs, steps, channels) = join(h, *context), self.output_shape
        states, _ = self.units(h.unsqueeze(1).expand(-1, steps, -1), self.begin(h).tanh().unsqueeze(0))
        return self.head(states).unflatten(-1, (outputs, channels)).transpose(1, 2)


@register("net", "recurrent", cite="cho2014learning")
@dataclass(frozen=True)
class Recurrent(Net):
    """Gated recurrent units over the steps of series.

    Args:
        width: units, in each direction for the encoder.
    """

    width: Count = 64

    def encoder(self, shape: tuple[int, ...], features: int, context: int = 0) -> nn.Module:
        require_dims(shape, 2, "series", "a recurrent net")
        return RecurrentEncoder(shape, features, self.width, context)

    def decoder(self, features: int, shape: tuple[int, ...], outputs: int, context: int = 0) -> nn.Module:
        require_dims(shape, 2, "series", "a recurrent net")
        return RecurrentDecoder(features, shape, self.width, outputs, context)


class GapEncoder(nn.Module):
    """An encoder of series `(batch, steps, channels)` with gaps, by a net over `(steps, 2 channels)`.

        (x - shift) * scale, 0 in a gap;     gate * 1[gap],  gate learned from 0, one number for each channel

    A gap therefore starts as the mean, and series without gaps train the net as complete data would.

    In training, a random stretch of a share `mask_fraction` of the series is hidden, up to half of the steps, so that
    the net learns to infer z from any part of a series. The ELBO stays a bound, since q(z | part of x) is a
    distribution of z too.

    Args:
        net: an encoder of `(steps, 2 channels)` with a `rescale`, which this module takes over.
        shape: `(steps, channels)`.
        mask_fraction: fraction of the series that have a stretch hidden in training; 0 for none.

    Source: Vincent, Larochelle, Bengio, Manzagol (2008), Extracting and Composing Robust Features with Denoising
    Autoencoders; Lipton, Kale, Wetzel (2016), Modeling Missing Data in Clinical Time Series with RNNs; Nazábal, Olmos,
    Ghahramani, Valera (2020), Handling Incomplete Heterogeneous Data using VAEs.
    """

    def __init__(self, net: nn.Module, shape: Sequence[int], mask_fraction: float = 0.0) -> None:
        super().__init__()
        self.mask_fraction = mask_fraction
        self.rescale = Rescale(shape)
        self.gate = nn.Parameter(torch.zeros(shape[-1]))
        self.net = net
        self.net.rescale = nn.Identity()

    @property
    def output_bias(self) -> Tensor:
        """The bias of the features."""
        bias: Tensor = self.net.output_bias  # type: ignore[assignment]
        return bias

    def forward(self, x: Tensor, *context: Tensor) -> Tensor:
        gaps = x.isnan()
        if self.training and self.mask_fraction:
            gaps = gaps | self._hidden(x)
        values = self.rescale(x).masked_fill(gaps, 0.0)
        return self.net(torch.cat([values, self.gate * gaps], -1), *context)

    def _hidden(self, x: Tensor) -> Tensor:
        """A mask of the elements to hide: a stretch of steps, in all channels or in about half of them."""
        n, steps, channels = x.shape
        rows, one = torch.Size((n,)), torch.Size((1,))
        chosen, first, length, every = noise.uniform(torch.Size((4,)), rows, one, x)
        at = torch.arange(steps, device=x.device) - (first * steps).floor()
        stretch = (at >= 0) & (at < 0.5 * steps * length) & (chosen < self.mask_fraction)
        half = noise.uniform(torch.Size(), rows, torch.Size((1, channels)), x) < 0.5
        return stretch.unsqueeze(2) & (half | (every < 0.5).unsqueeze(2))


@dataclass(frozen=True)
class WithGaps(Net):
    """A net for series `(steps, channels)` with missing elements.

    Args:
        net: the architecture of the net over values and gaps.
        mask_fraction: fraction of the series that have a stretch hidden from the encoder in training.
    """

    net: Net
    mask_fraction: float = 0.0

    def encoder(self, shape: tuple[int, ...], features: int, context: int = 0) -> nn.Module:
        net = self.net.encoder((shape[0], 2 * shape[1]), features, context)
        return GapEncoder(net, shape, self.mask_fraction)

    def decoder(self, features: int, shape: tuple[int, ...], outputs: int, context: int = 0) -> nn.Module:
        return self.net.decoder(features, shape, outputs, context)
