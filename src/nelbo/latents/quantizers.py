"""Quantizers: a vector goes to one of finitely many, and the gradient passes as if it had not.

    value = e + stop(c - e),   dvalue/de = 1          (straight-through: Bengio, Leonard, Courville, 2013)

    FSQ   each number is bounded and rounded to one of L_i levels: no codebook, K = prod L_i
    LFQ   each number goes to its sign: K = 2^bits              (those with a codebook are in `codebooks`)

A penalty is what holds encoder and codes together. It is no divergence: a point mass over K codes is log K nats
from the uniform prior, whatever the vectors are.

Source: Mentzer, Minnen, Agustsson, Tschannen (2024), Finite Scalar Quantization: VQ-VAE Made Simple; Yu et al.
(2024), Language Model Beats Diffusion: Tokenizer is Key to Visual Generation.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, distributed, nn
from torch.nn.functional import logsigmoid


class QuantizerOutput(NamedTuple):
    """`values` `(n, dim)` with the straight-through gradient, `indices` `(n, depth)`, `penalty` `(n,)`."""

    values: Tensor
    indices: Tensor
    penalty: Tensor


def straight_through(e: Tensor, value: Tensor) -> Tensor:
    """`value`, with the gradient of `e`."""
    return e + (value - e).detach()


class Quantizer(nn.Module, ABC):
    """Vectors `(n, dim)` to `depth` whole numbers below `codes`."""

    codes: int
    dim: int
    depth: int = 1

    @abstractmethod
    def forward(self, e: Tensor) -> QuantizerOutput:
        """Quantise; in training a codebook learns from what it is given."""

    @abstractmethod
    def lookup(self, indices: Tensor) -> Tensor:
        """`(*lead, depth)` -> `(*lead, dim)`: the inverse of `indices`."""


class FSQ(Quantizer):
    """Finite scalar quantization: number i is one of `levels[i]` evenly spaced values in [-1, 1], 0 among them.

    b = tanh(e + atanh(o / h)) h - o,   h = (L - 1)(1 + 1e-3) / 2,   o = 1/2 if L is even, else 0
    value = round(b) / floor(L / 2);   e = 0 is value 0
    """

    levels: Tensor
    basis: Tensor
    unit: Tensor

    def __init__(self, levels: Sequence[int]) -> None:
        super().__init__()
        self.codes, self.dim = math.prod(levels), len(levels)
        basis = [math.prod(levels[:i]) for i in range(len(levels))]
        self.register_buffer("unit", torch.tensor([float(n // 2) for n in levels]), persistent=False)
        self.register_buffer("levels", torch.tensor(levels), persistent=False)
        self.register_buffer("basis", torch.tensor(basis), persistent=False)

    def bound(self, e: Tensor) -> Tensor:
        """Into an interval that rounds to `levels` whole numbers."""
        half = (self.levels.to(e.dtype) - 1) * (1 + 1e-3) / 2
        offset = (self.levels % 2 == 0).to(e.dtype) / 2
        return torch.tanh(e + torch.atanh(offset / half)) * half - offset

    def forward(self, e: Tensor) -> QuantizerOutput:
        bounded = self.bound(e)
        rounded = bounded.detach().round()
        indices = ((rounded.long() + self.levels // 2) * self.basis).sum(-1, keepdim=True)
        return QuantizerOutput(straight_through(bounded / self.unit, rounded / self.unit), indices, e.new_zeros(len(e)))

    def lookup(self, indices: Tensor) -> Tensor:
        return (indices // self.basis % self.levels - self.levels // 2) / self.unit


class LFQ(Quantizer):
    """Lookup-free quantization: number i goes to its sign.

        penalty = entropy * (sum_i H(p_i(e)) - sum_i H(mean over the batch of p_i)) + commitment * ||e - stop(c)||^2

    p_i = sigmoid(4 e_i) is the soft choice between -1 and 1: softmax over the codes of -||e - c||^2 is their product.
    The first entropy, nats, makes each choice sure; the second keeps bits in use (the joint entropy of the 2^bits
    codes, of which it is an upper bound, would cost a sum over all of them).
    """

    basis: Tensor
    signs: Tensor

    def __init__(self, bits: int, entropy: float = 0.1, commitment: float = 0.25) -> None:
        super().__init__()
        self.codes, self.dim = 2**bits, bits
        self.entropy, self.commitment = entropy, commitment
        self.register_buffer("basis", 2 ** torch.arange(bits), persistent=False)
        self.register_buffer("signs", torch.tensor([-1.0, 1.0]), persistent=False)

    def forward(self, e: Tensor) -> QuantizerOutput:
        bits = (e.detach() >= 0).long()
        value = self.signs[bits]
        soft = (4 * e).sigmoid()
        sure = -(soft * logsigmoid(4 * e) + (1 - soft) * logsigmoid(-4 * e)).sum(-1)
        tally = torch.cat([soft.sum(0), soft.new_tensor([len(soft)])])
        if distributed.is_initialized():
            from torch.distributed.nn.functional import all_reduce  # differentiable; not in every build of torch

            tally = all_reduce(tally)
        mean = tally[:-1] / tally[-1]
        spread = (torch.special.entr(mean) + torch.special.entr(1 - mean)).sum()
        penalty = self.entropy * (sure - spread) + self.commitment * (e - value).square().sum(-1)
        return QuantizerOutput(straight_through(e, value), (bits * self.basis).sum(-1, keepdim=True), penalty)

    def lookup(self, indices: Tensor) -> Tensor:
        return self.signs[indices // self.basis % 2]
