"""Transformers, and networks over sequences of codebook indices whose output at i depends only on the indices before i.

    codes `(batch, positions)` and context `(batch, context)` -> logits `(batch, positions, codes)`

The transformer shifts its input by one and masks attention; the convolution reads the positions as a grid, row by
row, and masks its kernels. The latter is the first and simplest of its kind: far above to the right there is a
region outside the receptive field of any stack of masked 3 x 3 kernels (a blind spot). It lowers the likelihood and
does not affect correctness.

Source: Vaswani et al. (2017), Attention Is All You Need; van den Oord, Kalchbrenner, Kavukcuoglu (2016), Pixel
Recurrent Neural Networks; Xiong et al. (2020), On Layer Normalization in the Transformer Architecture.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nelbo.nets.common import Dropout


class Block(nn.Module):
    """x + attention(norm(x)), then x + perceptron(norm(x)), of x `(batch, positions, width)`.

    It is causal, unless `forward` is called with a mask `(batch, positions)` of the positions that all may attend to.

    Args:
        width: size of the vectors, a multiple of `heads`.
        heads: attention heads.
        dropout: fraction of the features that are set to 0 in training.
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.inward = nn.Linear(width, 3 * width, bias=False)
        self.outward = nn.Linear(width, width)
        self.perceptron = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, there: Tensor | None = None) -> Tensor:
        q, k, v = self._split(x)
        mask = None if there is None else there[:, None, None]
        return self._close(x, F.scaled_dot_product_attention(q, k, v, mask, is_causal=mask is None))

    def step(self, x: Tensor, before: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The output at the next position `(batch, 1, width)`, and the keys and values up to and including it."""
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


class CausalTransformer(nn.Module):
    """A pre-normalised transformer over codes, with learned position embeddings.

    Args:
        positions: length of a sequence.
        codes: size of the codebook.
        width: size of the vectors, a multiple of `heads`.
        layers: layers of attention.
        heads: attention heads of each layer.
        context: length of the context vector; 0 for none.
    """

    def __init__(
        self, positions: int, codes: int, width: int = 64, layers: int = 2, heads: int = 4, context: int = 0
    ) -> None:
        super().__init__()
        self.embed = nn.Embedding(codes, width)
        self.place = nn.Parameter(0.02 * torch.randn(positions, width))
        self.context = nn.Linear(context, width) if context else None
        self.blocks = nn.Sequential(*[Block(width, heads) for _ in range(layers)])
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, codes))

    def forward(self, codes: Tensor, *context: Tensor) -> Tensor:
        x = self.place + F.pad(self.embed(codes[:, :-1]), (0, 0, 1, 0))  # the input at position i is the code before it
        if self.context is not None:
            x = x + self.context(torch.cat(context, -1)).unsqueeze(1)
        return self.head(self.blocks(x))


class _MaskedConv(nn.Conv2d):
    """A convolution over the positions before its centre in reading order, and the centre too with `centre`."""

    mask: Tensor

    def __init__(self, before: int, after: int, side: int, centre: bool) -> None:
        super().__init__(before, after, side, padding=side // 2)
        mask = torch.zeros(side * side)
        mask[: side * side // 2 + centre] = 1
        self.register_buffer("mask", mask.view(side, side), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.mask, self.bias, padding=self.padding)  # type: ignore[arg-type]


class CausalConv(nn.Module):
    """A PixelCNN over codes on a grid, row by row.

    Args:
        grid: (height, width).
        codes: size of the codebook.
        channels: channels of each layer.
        blocks: residual blocks.
        context: length of the context vector; 0 for none.
    """

    def __init__(
        self, grid: tuple[int, int], codes: int, channels: int = 64, blocks: int = 4, context: int = 0
    ) -> None:
        super().__init__()
        self.grid = grid
        self.embed = nn.Embedding(codes, channels)
        self.place = nn.Parameter(0.02 * torch.randn(channels, *grid))
        self.stem = _MaskedConv(channels, channels, 7, centre=False)
        self.context = nn.Linear(context, channels) if context else None
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.SiLU(), nn.Conv2d(channels, channels, 1), nn.SiLU(), _MaskedConv(channels, channels, 3, centre=True)
            )
            for _ in range(blocks)
        )
        self.head = nn.Sequential(nn.SiLU(), nn.Conv2d(channels, codes, 1))

    def forward(self, codes: Tensor, *context: Tensor) -> Tensor:
        x = self.stem(self.embed(codes.unflatten(1, self.grid)).permute(0, 3, 1, 2)) + self.place
        if self.context is not None:
            x = x + self.context(torch.cat(context, -1))[:, :, None, None]
        for block in self.blocks:
            x = x + block(x)
        return self.head(x).flatten(2).transpose(1, 2)
