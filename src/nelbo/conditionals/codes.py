"""Priors over codes: uniform while a codebook is learned, a sequence model once it is."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nelbo import distributions
from nelbo.conditionals.base import Conditional, through


class UniformCodes(Conditional):
    """p(k | c) = codes^-positions, whatever the context."""

    origin: Tensor

    def __init__(self, positions: int, codes: int) -> None:
        super().__init__()
        self.positions = positions
        self.codes = codes
        self.register_buffer("origin", torch.zeros(()), persistent=False)

    def forward(self, *context: Tensor | None) -> distributions.UniformCodes:
        return distributions.UniformCodes(self.positions, self.codes, self.origin)


class AutoregressiveCodes(Conditional):
    """p(k | c) = prod_i p(k_i | k_1 ... k_{i-1}, c), by a net of `nelbo.nets` that maps codes to logits.

    Source: van den Oord, Kalchbrenner, Kavukcuoglu (2016), Pixel Recurrent Neural Networks.
    """

    origin: Tensor

    def __init__(self, net: nn.Module, positions: int, codes: int) -> None:
        super().__init__()
        self.net = net
        self.positions = positions
        self.codes = codes
        self.register_buffer("origin", torch.zeros(()), persistent=False)

    def forward(self, *context: Tensor | None) -> distributions.AutoregressiveCodes:
        present = [c for c in context if c is not None]
        shape = torch.Size((*(present[0].shape[:-1] if present else ()), self.positions))

        def logits(value: Tensor) -> Tensor:
            return through(self.net, value, *present)

        return distributions.AutoregressiveCodes(logits, shape, self.codes, self.origin)
