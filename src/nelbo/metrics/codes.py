"""How much of a codebook is used."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class CodebookUsage(NamedTuple):
    """How many of the codes were used, and as how many equally frequent ones they count."""

    n_used: int
    perplexity: float


def usage(indices: Tensor, codebook_size: int) -> CodebookUsage:
    """The usage of codes by whole numbers of any shape: perplexity = exp(-sum_k f_k log f_k), f the frequencies.

    >>> usage(torch.tensor([0, 0, 3, 3]), 8)
    CodebookUsage(used=2, perplexity=2.0)
    """
    counts = indices.flatten().bincount(minlength=codebook_size).double()
    return CodebookUsage(int((counts > 0).sum()), torch.special.entr(counts / counts.sum()).sum().exp().item())
