"""A block of a pre-normalised transformer: over a whole sequence, causal or not, or one position after the other.

Source: Vaswani et al. (2017), Attention Is All You Need; Xiong et al. (2020), On Layer Normalization in the Transformer
Architecture.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Block(nn.Module):
    """x + attention(norm(x)), then x + perceptron(norm(x)), of x `(batch, positions, width)`.

    Causal unless `there`, bool `(batch, positions)`, says which positions are to be seen by all.
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.inward = nn.Linear(width, 3 * width, bias=False)
        self.outward = nn.Linear(width, width)
        self.perceptron = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, there: Tensor | None = None) -> Tensor:
        q, k, v = self._split(x)
        mask = None if there is None else there[:, None, None]
        return self._close(x, F.scaled_dot_product_attention(q, k, v, mask, is_causal=mask is None))

    def step(self, x: Tensor, before: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The next position, `(batch, 1, width)`, given the keys and values of those before; and these with its own."""
        q, k, v = self._split(x)
        if before is not None:
            k, v = torch.cat([before[0], k], 2), torch.cat([before[1], v], 2)
        return self._close(x, F.scaled_dot_product_attention(q, k, v)), (k, v)

    def _split(self, x: Tensor) -> tuple[Tensor, ...]:
        parts = self.inward(self.norms[0](x)).chunk(3, -1)
        return tuple(part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)

    def _close(self, x: Tensor, seen: Tensor) -> Tensor:
        x = x + self.dropout(self.outward(seen.transpose(1, 2).flatten(2)))
        return x + self.dropout(self.perceptron(self.norms[1](x)))
