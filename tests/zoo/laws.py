"""What many laws use: a module off its start, and the comparison of a mean with its expectation."""

from __future__ import annotations

import math
from typing import TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


def perturb_parameters(module: M, spread: float = 0.1, seed: int = 7) -> M:
    """The module in float64 with every parameter moved off its start, so that no zero weight hides a path."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(spread * torch.randn(parameter.shape, generator=generator))
    return module.double()


def assert_mean(draws: Tensor, expected: Tensor | float, standard_errors: float = 4.0) -> None:
    """The mean over dimension 0 is `expected` within so many standard errors, each number for itself.

    Of many numbers, some err by more than 4: the bound is widened as for a Bonferroni correction.
    """
    mean, error = draws.mean(0), draws.std(0) / len(draws) ** 0.5
    expected = torch.as_tensor(expected, dtype=mean.dtype).expand_as(mean)
    bound = (standard_errors + 0.5 * math.log10(max(mean.numel(), 1))) * error + 1e-12 * (1 + expected.abs())
    worst = ((mean - expected).abs() / bound).max().item()
    assert worst <= 1, f"{worst * standard_errors:.1f} standard errors off: {mean.tolist()} for {expected.tolist()}"
