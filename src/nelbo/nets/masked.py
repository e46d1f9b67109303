"""Masked autoregressive networks: output i sees only the inputs of lower degree.

    degree(input j) = order(j),   a hidden unit of degree h sees inputs of degree <= h,
    output i sees hidden units of degree < order(i)

so that the outputs' Jacobian is strictly triangular in that order and the whole is one pass. With as many degrees
as inputs this is MADE; with two degrees it is a coupling layer's conditioner.

Source: Germain, Gregor, Murray, Larochelle (2015), MADE: Masked Autoencoder for Distribution Estimation.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class MaskedLinear(nn.Linear):
    """A linear layer whose weight is multiplied by a fixed 0/1 `mask` of shape `(outputs, inputs)`."""

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask.to(self.weight.dtype), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.mask, self.bias)


class MADE(nn.Module):
    """`(*lead, dim)` and context `(*, context)` -> `(*lead, outputs, dim)`; all outputs are zero at the start.

    `order` is the degree of each input, from 0; output i depends on the inputs of lower degree and on the context.
    """

    def __init__(self, order: Sequence[int], hidden: Sequence[int], outputs: int, context: int = 0) -> None:
        super().__init__()
        degrees, lowest = torch.tensor(order), -1 if context else 0  # a unit of degree -1 sees the context alone
        span = max(int(degrees.max()) - lowest, 1)
        levels = [degrees, *(lowest + torch.arange(size) % span for size in hidden)]
        masks = [after.unsqueeze(1) >= before for before, after in itertools.pairwise(levels)]
        self.shape = (outputs, len(order))
        self.layers = nn.ModuleList(MaskedLinear(mask) for mask in masks)
        self.head = MaskedLinear((degrees.unsqueeze(1) > levels[-1]).repeat(outputs, 1))
        self.context = nn.Linear(context, hidden[0], bias=False) if context else None
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        for i, layer in enumerate(self.layers):
            z = layer(z)
            if i == 0 and self.context is not None and context is not None:
                z = z + self.context(context)
            z = torch.relu(z)
        return self.head(z).unflatten(-1, self.shape)
