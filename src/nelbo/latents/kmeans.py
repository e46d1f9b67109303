"""k-means++: initial cluster centres that are far apart.

Source: Arthur, Vassilvitskii (2007), k-means++: The Advantages of Careful Seeding.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor


def spread_out(rows: Tensor, count: int, draw: Callable[[int, Tensor], Tensor]) -> Tensor:
    """Choose `count` rows, each in proportion to its squared distance to the nearest one before it.

    Args:
        rows: candidates, `(n, dim)`.
        count: number of rows to choose.
        draw: returns the index `(1,)` of the i-th choice from i and the masses `(n,)`, which are all 1 for the first.
    """
    picks: list[Tensor] = []
    gap = torch.full_like(rows[:, 0], math.inf)
    for i in range(count):
        picks.append(rows[draw(i, gap if i else torch.ones_like(gap))])
        gap = torch.minimum(gap, (rows - picks[-1]).square().sum(-1))
    return torch.cat(picks)
