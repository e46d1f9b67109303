"""Batches whose rows do not depend on one another: the noise of a row follows from its content, and so do its sums.

The order in which a matrix product adds depends on the number of rows, but for whole blocks of rows it is the same in
each. Batches are therefore filled up to whole blocks. A row's result is then the same alone, beside any others, and at
any place, bit for bit on one machine with one number of threads; networks over lines of text, whose steps depend on the
longest line of a batch, are the same to about 1e-6 of the result.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nelbo.distributions import noise

BLOCK = 16  # rows


def padded(x: Tensor, most: int) -> Tensor:
    """x `(n, ...)` with its last row repeated until n is a multiple of `BLOCK`, or of `most` if that is smaller.

    >>> len(padded(torch.zeros(5, 2), most=1000)), len(padded(torch.zeros(5, 2), most=4))
    (16, 8)
    """
    missing = -len(x) % min(BLOCK, most)
    return torch.cat([x, x[-1:].expand(missing, *x.shape[1:])]) if missing else x


class Repeats:
    """Counts how often each key has occurred, so that equal rows can have different noise."""

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}

    def tell_apart(self, keys: Tensor, n: int) -> Tensor:
        """Keys that differ between the first, the second, ... row of each of the first `n` keys."""
        numbers = [0] * len(keys)
        for i, key in enumerate(keys[:n].tolist()):
            numbers[i] = self.counts[key] = self.counts.get(key, -1) + 1
        return noise.folded(keys, torch.tensor(numbers))
