"""An encoder of data with gaps: NaN marks an element that was not observed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nelbo.nets.common import Net, Rescale


class GapEncoder(nn.Module):
    """A net over `(steps, 2 channels)` on series `(batch, steps, channels)` with gaps: the values, then where gaps are.

        (x - shift) * scale, 0 in a gap;     gate * 1[gap],  gate learned from 0, one number a channel

    So a gap is first taken for the mean, and a series without one leaves the net as it would be for complete data.
    `net` must have a `rescale`, which this takes over.

    In training, of a share `hide` of the series a random stretch, up to half of its steps, is hidden: the net learns
    to tell a series from any part of it. The bound stays one, since q(z | a part of x) is a distribution of z, too.

    Source: Vincent, Larochelle, Bengio, Manzagol (2008), Extracting and Composing Robust Features with Denoising
    Autoencoders; Lipton, Kale, Wetzel (2016), Modeling Missing Data in Clinical Time Series with RNNs; Nazábal, Olmos,
    Ghahramani, Valera (2020), Handling Incomplete Heterogeneous Data using VAEs.
    """

    def __init__(self, net: nn.Module, shape: Sequence[int], hide: float = 0.0) -> None:
        super().__init__()
        self.hide = hide
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
        if self.training and self.hide:
            gaps = gaps | self._hidden(x)
        values = self.rescale(x).masked_fill(gaps, 0.0)
        return self.net(torch.cat([values, self.gate * gaps], -1), *context)

    def _hidden(self, x: Tensor) -> Tensor:
        """Which elements to hide: a stretch of the steps, of half the series in all channels, else in about half."""
        n, steps, channels = x.shape
        chosen, first, length, every = torch.rand(4, n, 1, device=x.device)
        at = torch.arange(steps, device=x.device) - (first * steps).floor()
        stretch = (at >= 0) & (at < 0.5 * steps * length) & (chosen < self.hide)
        return stretch.unsqueeze(2) & ((torch.rand(n, 1, channels, device=x.device) < 0.5) | (every < 0.5).unsqueeze(2))


@dataclass(frozen=True)
class WithGaps(Net):
    """The net for series `(steps, channels)` of which elements may be missing; `mask_fraction` as in `GapEncoder`."""

    net: Net
    mask_fraction: float = 0.0

    def encoder(self, shape: tuple[int, ...], features: int, context: int = 0) -> nn.Module:
        net = self.net.encoder((shape[0], 2 * shape[1]), features, context)
        return GapEncoder(net, shape, self.mask_fraction)

    def decoder(self, features: int, shape: tuple[int, ...], outputs: int, context: int = 0) -> nn.Module:
        return self.net.decoder(features, shape, outputs, context)
