"""Usage of a codebook."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class CodebookUsage(NamedTuple):
    """The number of codes in use, and their perplexity: the number of equally frequent codes of the same entropy."""

    n_used: int
    perplexity: float


def usage(indices: Tensor, codebook_size: int) -> CodebookUsage:
    """Usage of codes, integers of any shape: perplexity = exp(-sum_k f_k log f_k), f the frequencies.

    >>> usage(torch.tensor([0, 0, 3, 3]), 8)
    CodebookUsage(n_used=2, perplexity=2.0)
    """
    counts = indices.flatten().bincount(minlength=codebook_size).double()
    return CodebookUsage(int((counts > 0).sum()), torch.special.entr(counts / counts.sum()).sum().exp().item())
