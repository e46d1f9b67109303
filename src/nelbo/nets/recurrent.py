"""Recurrent networks for series `(steps, channels)`: gated recurrent units over the steps.

The encoder reads a series forwards and backwards and keeps both last states; the decoder is given the features at
each step, and starts from a state made of them.

Source: Cho et al. (2014), Learning Phrase Representations using RNN Encoder-Decoder for Statistical Machine
Translation; Srivastava, Mansimov, Salakhutdinov (2015), Unsupervised Learning of Video Representations using LSTMs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nelbo.config.registry import Count, register
from nelbo.nets.common import Net, Rescale, join, require_dims


class RecurrentEncoder(nn.Module):
    """`(batch, steps, channels)` and context -> `(batch, features)`; `width` units in each direction."""

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
    """`(batch, features)` and context -> `(batch, outputs, steps, channels)`."""

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
        """The bias of the outputs as `(outputs, 1, channels)`: one number a channel."""
        outputs, _, channels = self.output_shape
        return self.head.bias.view(outputs, 1, channels)

    def forward(self, h: Tensor, *context: Tensor) -> Tensor:
        h, (outputs, steps, channels) = join(h, *context), self.output_shape
        made, _ = self.units(h.unsqueeze(1).expand(-1, steps, -1), self.begin(h).tanh().unsqueeze(0))
        return self.head(made).unflatten(-1, (outputs, channels)).transpose(1, 2)


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
