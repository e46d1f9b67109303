"""Which rows of which batch a process takes, and when.

The order of an epoch depends on the seed and the epoch alone. Each global batch is cut into one slice for each
process, and a slice into pieces whose gradients are accumulated. The loss of a piece is weighed by its share of
the batch, so that any cut gives the gradient of the whole batch's mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Piece:
    """Rows `start:stop` of a global batch of `total`; `last` of its batch in this process."""

    index: Tensor
    start: int
    stop: int
    total: int
    weight: float
    last: bool


def epoch_order(n: int, seed: int, epoch: int, rows: int = 0) -> Tensor:
    """A permutation of n rows that the seed and the epoch determine; the first `rows` of it, or several in turn.

    >>> sorted(epoch_order(3, seed=1, epoch=1, rows=6).tolist())
    [0, 0, 1, 1, 2, 2]
    """
    rows, generator = rows or n, torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return torch.cat([torch.randperm(n, generator=generator) for _ in range(-(-rows // n))])[:rows]


def pieces(
    order: Tensor, batch_size: int, first: int = 0, rank: int = 0, world: int = 1, accumulate: int = 1
) -> Iterator[Piece]:
    """The pieces of this process, from batch number `first` on.

    >>> [p.index.tolist() for p in pieces(torch.arange(5), 4, rank=1, world=2)]
    [[2, 3], [4]]
    """
    cuts = world * accumulate
    for rows in order.split(batch_size)[first:]:
        total = len(rows)
        for cut in range(rank * accumulate, (rank + 1) * accumulate):
            start, stop = total * cut // cuts, total * (cut + 1) // cuts
            weight = (stop - start) / total
            if start == stop:  # nothing left for this piece: a row of weight 0 keeps the processes in step
                start, stop = (start, start + 1) if start < total else (total - 1, total)
            yield Piece(rows[start:stop], start, stop, total, weight, cut == (rank + 1) * accumulate - 1)
