"""Priors over the indices of a codebook: p(k | c) = prod_i p(k_i | k_1 ... k_{i-1}, c).

Source: van den Oord, Kalchbrenner, Kavukcuoglu (2016), Pixel Recurrent Neural Networks; Vaswani et al. (2017),
Attention Is All You Need.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from nelbo import distributions, nets
from nelbo.config.registry import Count, Depth, register
from nelbo.distributions.base import apply_over_sample_dims
from nelbo.errors import UserError
from nelbo.priors.base import Prior


class AutoregressivePrior(Prior):
    """An autoregressive prior over codebook indices.

    Args:
        net: maps indices `(batch, positions)` and a context to logits `(batch, positions, codebook_size)`.
        positions: number of indices of a datum.
        codebook_size: size of the codebook.
    """

    origin: Tensor

    def __init__(self, net: nn.Module, positions: int, codebook_size: int) -> None:
        super().__init__()
        self.net, self.positions, self.codebook_size = net, positions, codebook_size
        self.register_buffer("origin", torch.zeros(()), persistent=False)

    @classmethod
    def space(cls, **options: Any) -> str:
        return f"sequences of {options['codebook_size']} codes"

    def forward(self, *context: Tensor | None) -> distributions.AutoregressiveCodes:
        present = [c for c in context if c is not None]
        shape = torch.Size((*(present[0].shape[:-1] if present else ()), self.positions))

        def logits(value: Tensor) -> Tensor:
            return apply_over_sample_dims(self.net, value, *present)

        return distributions.AutoregressiveCodes(logits, shape, self.codebook_size, self.origin)


def _check_heads(options: Mapping[str, Any]) -> None:
    if options["width"] % options["heads"]:
        raise UserError(f"width = {options['width']}: give a multiple of heads={options['heads']}")


@register("prior", "transformer", cite="vaswani2017attention", check=_check_heads)
class TransformerPrior(AutoregressivePrior):
    """A causal transformer over codebook indices.

    Args:
        dim: number of indices of a datum.
        context: length of the context vector; 0 for none.
        codebook_size: size of the codebook.
        width: features of each position, a multiple of `heads`.
        layers: layers of attention.
        heads: attention heads of each layer.
    """

    def __init__(
        self,
        dim: int,
        context: int = 0,
        *,
        codebook_size: Count = 512,
        width: Count = 64,
        layers: Depth = 2,
        heads: Count = 4,
    ) -> None:
        super().__init__(nets.CausalTransformer(dim, codebook_size, width, layers, heads, context), dim, codebook_size)


@register("prior", "pixelcnn", cite="oord2016pixel")
class PixelCNNPrior(AutoregressivePrior):
    """A masked convolutional net over codebook indices on a grid, row by row.

    Args:
        dim: number of indices of a datum.
        context: length of the context vector; 0 for none.
        codebook_size: size of the codebook.
        channels: channels of each layer.
        blocks: residual blocks.
        row: indices in a row of the grid; None for the squarest grid.
    """

    def __init__(
        self,
        dim: int,
        context: int = 0,
        *,
        codebook_size: Count = 512,
        channels: Count = 64,
        blocks: Depth = 4,
        row: int | None = None,
    ) -> None:
        row = row or min(n for n in range(math.isqrt(dim - 1) + 1, dim + 1) if dim % n == 0)
        if row < 1 or dim % row:
            raise UserError(f"row={row}: {dim} indices do not fill rows of it; give a divisor of {dim}")
        super().__init__(
            nets.CausalConv((dim // row, row), codebook_size, channels, blocks, context), dim, codebook_size
        )
