"""Quantizers with a codebook: a vector goes to the nearest of K learned ones.

    VQ    c = argmin over the codebook of ||e - c||; the codebook follows the encoder by gradient or by moving average
    RVQ   a first VQ, a second one of what is left, and so on

What a codebook learns outside of gradients is summed over all processes, so that each has the same codes.

Source: van den Oord, Vinyals, Kavukcuoglu (2017), Neural Discrete Representation Learning; Zeghidour et al. (2021),
SoundStream: An End-to-End Neural Audio Codec.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, distributed, nn
from torch.nn.functional import one_hot

from nelbo.distributions import noise
from nelbo.latents.kmeans import spread_out
from nelbo.latents.quantizers import Quantizer, QuantizerOutput, straight_through

SMOOTHING = 1e-5  # of the counts that a moving-average codebook divides by
USAGE_DECAY = 0.99  # of the counts that a codebook trained by gradient is revived by


class VectorQuantizer(Quantizer):
    """A codebook of `codes` vectors, started by k-means on the first batch.

        penalty = commitment * ||e - stop(c)||^2 (+ ||stop(e) - c||^2, where the codebook is trained by gradient)

    With `decay` g the codebook is a moving average of what chose it; with None it is a parameter:

        N_k <- g N_k + (1 - g) n_k,   m_k <- g m_k + (1 - g) sum of the e that chose k,   c_k = m_k / N_k

    A code used less than `revive` times the mean is replaced by a vector of the batch (0: never).
    """

    table: Tensor
    counts: Tensor
    sums: Tensor
    started: Tensor

    def __init__(
        self, codes: int, dim: int, decay: float | None = 0.99, commitment: float = 0.25, revive: float = 0.03
    ) -> None:
        super().__init__()
        self.codes, self.dim = codes, dim
        self.decay, self.commitment, self.revive = decay, commitment, revive
        if decay is None:
            self.table = nn.Parameter(torch.randn(codes, dim))
        else:
            self.register_buffer("table", torch.randn(codes, dim))
            self.register_buffer("sums", torch.zeros(codes, dim))
        self.register_buffer("counts", torch.zeros(codes))
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
        self.table.copy_(_kmeans(rows, self.codes))
        self.counts.fill_(len(rows) / self.codes)
        if self.decay is not None:
            self.sums.copy_(self.table * self.counts.unsqueeze(1))
        self.started.fill_(1)

    @torch.no_grad()
    def _learn(self, e: Tensor, nearest: Tensor) -> None:
        tally = _tally(e, nearest, self.codes)
        if distributed.is_initialized():
            distributed.all_reduce(tally)
        weight = 1 - (USAGE_DECAY if self.decay is None else self.decay)
        self.counts.lerp_(tally[:, -1], weight)
        if self.decay is not None:
            self.sums.lerp_(tally[:, :-1], weight)
            total = self.counts.sum()
            smooth = (self.counts + SMOOTHING) / (total + self.codes * SMOOTHING) * total
            self.table.copy_(self.sums / smooth.unsqueeze(1))
        mean = self.counts.mean()
        dead = self.counts < self.revive * mean
        if dead.any():
            rows = _everyone(e)
            pick = noise.uniform(torch.Size(), torch.Size(), torch.Size((int(dead.sum()),)), e) * len(rows)
            self.table[dead] = rows[pick.long().clamp_max(len(rows) - 1)]
            self.counts[dead] = mean
            if self.decay is not None:
                self.sums[dead] = self.table[dead] * mean


class ResidualVectorQuantizer(Quantizer):
    """VQs in turn, each of what those before left over; the value is the sum of their codes.

    The gradient passes straight through the sum, once; every stage's penalty reaches the encoder.
    """

    def __init__(self, stages: Sequence[VectorQuantizer]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.codes, self.dim, self.depth = stages[0].codes, stages[0].dim, len(stages)

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
    """The row of `table` nearest to each row of e, in full precision whatever the precision around it."""
    with torch.autocast(e.device.type, enabled=False):
        return (0.5 * table.square().sum(-1) - e @ table.T).argmin(-1)


def _tally(e: Tensor, nearest: Tensor, codes: int) -> Tensor:
    """For each code the sum of the rows that chose it and, in the last column, their number: `(codes, dim + 1)`.

    A product of matrices, since index_add is not deterministic on every device.
    """
    with torch.autocast(e.device.type, enabled=False):
        return one_hot(nearest, codes).to(e.dtype).T @ torch.cat([e, torch.ones_like(e[:, :1])], 1)


def _kmeans(rows: Tensor, codes: int, rounds: int = 10) -> Tensor:
    """k-means++ and `rounds` of Lloyd's iteration."""
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
