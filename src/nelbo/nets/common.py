"""What several networks share: the input's scale, and how a context joins an input."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Rescale(nn.Module):
    """x -> (x - shift) * scale with fixed, saved `shift` and `scale`; the identity until they are set."""

    shift: Tensor
    scale: Tensor

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("shift", torch.zeros(tuple(shape)))
        self.register_buffer("scale", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.shift).mul_(self.scale)


def join(x: Tensor, *context: Tensor) -> Tensor:
    """Append context vectors `(batch, n)` to the channels (dimension 1) of x, as constant planes where x is a picture.

    >>> join(torch.zeros(2, 3, 8, 8), torch.ones(2, 5)).shape
    torch.Size([2, 8, 8, 8])
    """
    if not context:
        return x
    planes = [c.view(*c.shape, *[1] * (x.dim() - 2)).expand(*c.shape, *x.shape[2:]) for c in context]
    return torch.cat([x, *planes], 1)
