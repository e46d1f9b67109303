"""An encoder of data with gaps: NaN marks an element that was not observed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nelbo.nets.common import Rescale


class GapEncoder(nn.Module):
    """A net over `(steps, 2 channels)` on series `(batch, steps, channels)` with gaps: the values, then where gaps are.

        (x - shift) * scale, 0 in a gap;     gate * 1[gap],  gate learned from 0, one number a channel

    So a gap is first taken for the mean, and a series without one leaves the net as it would be for complete data.
    `net` must have a `rescale`, which this takes over.

    Source: Nazábal, Olmos, Ghahramani, Valera (2020), Handling Incomplete Heterogeneous Data using VAEs; Lipton, Kale,
    Wetzel (2016), Modeling Missing Data in Clinical Time Series with RNNs.
    """

    def __init__(self, net: nn.Module, shape: Sequence[int]) -> None:
        super().__init__()
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
        values = self.rescale(x).masked_fill(gaps, 0.0)
        return self.net(torch.cat([values, self.gate * gaps], -1), *context)
