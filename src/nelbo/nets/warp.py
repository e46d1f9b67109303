"""A decoder that draws nothing anew: it moves the points of a given picture.

    y(p) = x(p + f(p; h, x)),   f: a displacement on a coarse grid, enlarged smoothly to every point p

With z drawn anew, one picture becomes many of its kind. Trained on pairs of one class, source and target, by
log p(target | z, source), it learns how things of one class differ in shape, which no fixed rule of augmentation knows,
and what it learned of one class serves all.

Source: Jaderberg, Simonyan, Zisserman, Kavukcuoglu (2015), Spatial Transformer Networks; Balakrishnan, Zhao, Sabuncu,
Guttag, Dalca (2019), VoxelMorph: A Learning Framework for Deformable Medical Image Registration.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nelbo.nets.mlp import perceptron


class WarpDecoder(nn.Module):
    """`(batch, features)` and a picture as context, `(batch, prod(shape))` -> the picture moved, `(batch, 1, *shape)`.

    The displacement is given on a `grid` x `grid` of points, in units in which a picture is 2 high and 2 wide, and
    starts at 0 everywhere. What comes from beyond the picture's edge is 0.
    """

    def __init__(self, features: int, shape: Sequence[int], hidden: Sequence[int], grid: int = 7) -> None:
        super().__init__()
        self.shape, self.grid = tuple(shape), grid
        self.layers = perceptron([features + math.prod(shape), *hidden, 2 * grid**2])
        last: nn.Linear = self.layers[-1]  # type: ignore[assignment]
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def displacement(self, h: Tensor, picture: Tensor) -> Tensor:
        """f at every point, `(batch, height, width, 2)`: right, and down."""
        coarse = self.layers(torch.cat([h, picture], 1)).view(-1, 2, self.grid, self.grid)
        fine = F.interpolate(coarse, size=self.shape[1:], mode="bicubic", align_corners=True)
        return fine.movedim(1, -1)

    def forward(self, h: Tensor, picture: Tensor) -> Tensor:
        source = picture.view(-1, *self.shape)
        place = torch.eye(2, 3, dtype=h.dtype, device=h.device).expand(len(source), 2, 3)
        points = F.affine_grid(place, list(source.shape), align_corners=False) + self.displacement(h, picture)
        return F.grid_sample(source, points, align_corners=False).unsqueeze(1)
