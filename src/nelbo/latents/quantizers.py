"""Quantizers: a vector becomes one of finitely many, with or without a codebook.

The gradient passes as if the vector had not been quantised:

    value = e + stop(c - e),   dvalue/de = 1          (straight-through: Bengio, Leonard, Courville, 2013)

    FSQ   each number is bounded and rounded to one of L_i levels: no codebook, K = prod L_i
    LFQ   each number becomes its sign: no codebook, K = 2^bits

A penalty keeps encoder outputs and codes close. It is not a divergence: the KL of a point mass over K codes to the
uniform prior is log K nats for any vectors.

With a codebook, a vector becomes the nearest of K learned ones:

    VQ    c = argmin over the codebook of ||e - c||; the codebook follows the encoder by gradient or by moving average
    RVQ   a first VQ, a second one of the residual, and so on

The statistics of a moving-average codebook are summed over all processes, so that each has the same codes.

A codebook starts from the cluster centres of k-means++, which are far apart.

Source: Mentzer, Minnen, Agustsson, Tschannen (2024), Finite Scalar Quantization: VQ-VAE Made Simple; Yu et al. (2024),
Language Model Beats Diffusion: Tokenizer is Key to Visual Generation; van den Oord, Vinyals, Kavukcuoglu (2017), Neural
Discrete Representation Learning; Zeghidour et al. (2021), SoundStream: An End-to-End Neural Audio Codec; Arthur,
Vassilvitskii (2007), k-means++: The Advantages of Careful Seeding.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, distributed, nn
from torch.nn.functional import logsigmoid, one_hot

from nelbo.distributions import noise


class QuantizerOutput(NamedTuple):
    """The result of a quantizer.

    Attributes:
        values: quantised vectors `(n, dim)`, with the straight-through gradient.
        indices: codes `(n, depth)`.
        penalty: loss that keeps encoder and codes close, `(n,)`.
    """

    values: Tensor
    indices: Tensor
    penalty: Tensor


def straight_through(e: Tensor, value: Tensor) -> Tensor:
    """`value`, with the gradient of `e`."""
    return e + (value - e).detach()


class Quantizer(nn.Module, ABC):
    """Maps vectors `(n, dim)` to `depth` whole numbers below `codebook_size`."""

    codebook_size: int
    dim: int
    depth: int = 1

    @abstractmethod
    def forward(self, e: Tensor) -> QuantizerOutput:
        """Quantise vectors `(n, dim)`; in training, a codebook is updated."""

    @abstractmethod
    def lookup(self, indices: Tensor) -> Tensor:
        """The values of codes: `(*lead, depth)` -> `(*lead, dim)`."""


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
        self.codebook_size, self.dim = math.prod(levels), len(levels)
        basis = [math.prod(levels[:i]) for i in range(len(levels))]
        self.register_buffer("unit", torch.tensor([float(n // 2) for n in levels]), persistent=False)
        self.register_buffer("levels", torch.tensor(levels), persistent=False)
        self.register_buffer("basis", torch.tensor(basis), persistent=False)

    def bound(self, e: Tensor) -> Tensor:
        """Map into an interval that rounds to `levels` whole numbers."""
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
    """Lookup-free quantization: each number becomes its sign.

        penalty = entropy * (sum_i H(p_i(e)) - sum_i H(mean over the batch of p_i)) + commitment * ||e - stop(c)||^2

    p_i = sigmoid(4 e_i) is the soft choice between -1 and 1: softmax over the codes of -||e - c||^2 is their product.
    The first entropy, nats, makes each choice confident; the second keeps all bits in use. It is an upper bound on the
    joint entropy of the 2^bits codes, which would need a sum over all of them.

    Args:
        bits: numbers of a vector.
        entropy: weight of the entropy terms.
        commitment: weight of the commitment loss.
    """

    basis: Tensor
    signs: Tensor

    def __init__(self, bits: int, entropy: float = 0.1, commitment: float = 0.25) -> None:
        super().__init__()
        self.codebook_size, self.dim = 2**bits, bits
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


SMOOTHING = 1e-5  # added to the counts that a moving-average codebook divides by
USAGE_DECAY = 0.99  # weight of the past in the usage counts of a codebook trained by gradient


class VectorQuantizer(Quantizer):
    """A learned codebook, started by k-means on the first batch.

        penalty = commitment * ||e - stop(c)||^2 (+ ||stop(e) - c||^2, where the codebook is trained by gradient)

    With `decay` g, each code is a moving average of the vectors that chose it; with None the codebook is a parameter:

        N_k <- g N_k + (1 - g) n_k,   m_k <- g m_k + (1 - g) sum of the e that chose k,   c_k = m_k / N_k

    Args:
        codebook_size: number K of codes.
        dim: length of a vector.
        decay: g, the weight of the past in the moving average; None trains the codebook by gradient.
        commitment: weight of the commitment loss.
        restart_threshold: a code whose usage is below this fraction of the mean is replaced with a vector from the
            batch; 0 for
            never.
    """

    table: Tensor
    counts: Tensor
    sums: Tensor
    started: Tensor

    def __init__(
        self,
        codebook_size: int,
        dim: int,
        decay: float | None = 0.99,
        commitment: float = 0.25,
        restart_threshold: float = 0.03,
    ) -> None:
        super().__init__()
        self.codebook_size, self.dim = codebook_size, dim
        self.decay, self.commitment, self.restart_threshold = decay, commitment, restart_threshold
        if decay is None:
            self.table = nn.Parameter(torch.randn(codebook_size, dim))
        else:
            self.register_buffer("table", torch.randn(codebook_size, dim))
            self.register_buffer("sums", torch.zeros(codebook_size, dim))
        self.register_buffer("counts", torch.zeros(codebook_size))
        self.register_buffer("started", torch.zeros(()))

    def forward(self, e: Tensor) -> QuantizerOutput:
        e = e.to(self.table.dtype)
        still = e.detach()
        if self.training and not self.started:
            self._start(still)
        nearest = _nearest(still, self.table.detach())
        value = self.table[nearest]
        penalty = self.commitment * (e - value.detach()).square().sum(-1)
        if self.decay is None:
            penalty = penalty + (still - value).square().sum(-1)
        if self.training:
            self._learn(still, nearest)
        return QuantizerOutput(straight_through(e, value), nearest.unsqueeze(-1), penalty)

    def lookup(self, indices: Tensor) -> Tensor:
        return self.table[indices.squeeze(-1)]

    @torch.no_grad()
    def _start(self, e: Tensor) -> None:
        rows = _everyone(e)
        self.table.copy_(_kmeans(rows, self.codebook_size))
        self.counts.fill_(len(rows) / self.codebook_size)
        if self.decay is not None:
            self.sums.copy_(self.table * self.counts.unsqueeze(1))
        self.started.fill_(1)

    @torch.no_grad()
    def _learn(self, e: Tensor, nearest: Tensor) -> None:
        tally = _tally(e, nearest, self.codebook_size)
        if distributed.is_initialized():
            distributed.all_reduce(tally)
        weight = 1 - (USAGE_DECAY if self.decay is None else self.decay)
        self.counts.lerp_(tally[:, -1], weight)
        if self.decay is not None:
            self.sums.lerp_(tally[:, :-1], weight)
            total = self.counts.sum()
            smooth = (self.counts + SMOOTHING) / (total + self.codebook_size * SMOOTHING) * total
            self.table.copy_(self.sums / smooth.unsqueeze(1))
        mean = self.counts.mean()
        dead = self.counts < self.restart_threshold * mean
        if dead.any():
            rows = _everyone(e)
            pick = noise.uniform(torch.Size(), torch.Size(), torch.Size((int(dead.sum()),)), e) * len(rows)
            self.table[dead] = rows[pick.long().clamp_max(len(rows) - 1)]
            self.counts[dead] = mean
            if self.decay is not None:
                self.sums[dead] = self.table[dead] * mean


class ResidualVectorQuantizer(Quantizer):
    """Several VQs, each of the residual of those before; the value is the sum of their codes.

    The straight-through gradient is that of the sum; the penalty of every stage reaches the encoder.

    Args:
        stages: the VQs, in order.
    """

    def __init__(self, stages: Sequence[VectorQuantizer]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.codebook_size, self.dim, self.depth = stages[0].codebook_size, stages[0].dim, len(stages)

    def forward(self, e: Tensor) -> QuantizerOutput:
        rest, indices, penalty = e, [], e.new_zeros(len(e))
        for stage in self.stages:
            value, index, charged = stage(rest)
            rest = rest - value.detach()
            indices.append(index)
            penalty = penalty + charged
        return QuantizerOutput(straight_through(e, (e - rest).detach()), torch.cat(indices, -1), penalty)

    def lookup(self, indices: Tensor) -> Tensor:
        parts = [stage.lookup(i) for stage, i in zip(self.stages, indices.split(1, -1), strict=True)]  # type: ignore[operator]
        return torch.stack(parts).sum(0)


def _nearest(e: Tensor, table: Tensor) -> Tensor:
    """The row of `table` nearest to each row of e, in full precision even under autocast."""
    with torch.autocast(e.device.type, enabled=False):
        return (0.5 * table.square().sum(-1) - e @ table.T).argmin(-1)


def _tally(e: Tensor, nearest: Tensor, codes: int) -> Tensor:
    """For each code the sum of the rows that chose it and, in the last column, their number: `(codes, dim + 1)`.

    A product of matrices, since index_add is not deterministic on every device.
    """
    with torch.autocast(e.device.type, enabled=False):
        return one_hot(nearest, codes).to(e.dtype).T @ torch.cat([e, torch.ones_like(e[:, :1])], 1)


def _kmeans(rows: Tensor, codes: int, rounds: int = 10) -> Tensor:
    """k-means++, then `rounds` of Lloyd's iterations."""
    u = noise.uniform(torch.Size(), torch.Size(), torch.Size((codes,)), rows)
    centres = spread_out(rows, codes, lambda i, masses: noise.categorical(masses, u[i : i + 1]))
    for _ in range(rounds):
        tally = _tally(rows, _nearest(rows, centres), codes)
        centres = torch.where(tally[:, -1:] > 0, tally[:, :-1] / tally[:, -1:].clamp_min(1), centres)
    return centres


def _everyone(rows: Tensor) -> Tensor:
    """The rows of all processes, in the order of their ranks."""
    if not distributed.is_initialized():
        return rows
    sizes = torch.zeros(distributed.get_world_size(), dtype=torch.long, device=rows.device)
    sizes[distributed.get_rank()] = len(rows)
    distributed.all_reduce(sizes)
    start = int(sizes[: distributed.get_rank()].sum())
    whole = rows.new_zeros(int(sizes.sum()), rows.shape[1])
    whole[start : start + len(rows)] = rows
    distributed.all_reduce(whole)
    return whole


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
