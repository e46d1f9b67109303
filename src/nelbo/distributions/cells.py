"""The cells of a table's row, one after the other, any of them missing.

    log p(x) = sum_j log p(x_j | the cells known before it),  over the columns j whose cell is there

A category has a mass. A number in the bin k of [low, high] has density m_k / (high - low), or where low = high the mass
m_k, all times 1 - e; with the rest, e, it is a wide Normal, so that a number unlike any of training has a density too.

The order of the columns is free: a net that is given any subset of the cells is trained on all of them at once, by

    n / (n - k) sum_{j not in S} log p(x_j | x_S),  S a random subset of k of the n cells that are there,

k uniform in 0 .. n - 1: its mean is that of log p(x) over all orders. Elsewhere it is exact, in the table's order.

Source: Uria, Murray, Larochelle (2014), A Deep and Tractable Density Estimator; Ivanov, Figurnov, Vetrov (2019),
Variational Autoencoder with Arbitrary Conditioning.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.distributions import constraints

from nelbo.distributions import noise
from nelbo.distributions.base import Distribution

WIDE_SHARE, WIDTH = 1e-3, 3.0
LOG_INSIDE = math.log1p(-WIDE_SHARE)
LOG_OUTSIDE = math.log(WIDE_SHARE) - math.log(WIDTH * math.sqrt(2 * math.pi))


class Bins(Protocol):
    """What each code of each column stands for; `numbers` are the columns of numbers."""

    low: Tensor
    high: Tensor
    numbers: list[int]
    sizes: list[int]

    def codes(self, x: Tensor) -> Tensor: ...


class Net(Protocol):
    """What tells the logits of cells from the sum of what is known; see `nelbo.nets.TableDecoder`."""

    @property
    def cells(self) -> Bins: ...
    def given(self, summed: Tensor, x: Tensor) -> Tensor: ...
    def tell(self, summed: Tensor, j: int, code: Tensor, x: Tensor) -> Tensor: ...
    def logits(self, summed: Tensor) -> Tensor: ...
    def logits_of(self, summed: Tensor, j: int) -> Tensor: ...


class CellByCell(Distribution):
    """p(x | h) of rows `(*batch, columns)`; `begun` `(*batch, width)` is the net's sum at which no cell is known.

    With `subset`, `log_prob` is the estimate from one random subset of the cells; else it is exact. `mean` takes the
    likeliest code cell by cell, and the middle of a bin. NaN is a missing cell, which adds nothing. Draws lie in the
    bins: of a share 1 - e of the density, and none in the wide Normal.
    """

    support = constraints.real

    def __init__(self, net: Net, begun: Tensor, subset: bool) -> None:
        self.net, self.begun, self.subset = net, begun, subset
        super().__init__(torch.Size([*begun.shape[:-1], len(net.cells.sizes)]), 1)

    def log_prob(self, value: Tensor) -> Tensor:
        return self._estimate(*self._whole(value)) if self.subset else self.element_log_prob(value).sum(-1)

    def element_log_prob(self, value: Tensor) -> Tensor:
        """log p(x_j | the cells before j), `(*batch, columns)`; 0 where a cell is missing."""
        (x, summed), found = self._whole(value), []
        codes = self.net.cells.codes(x)
        for j in range(x.shape[-1]):
            masses = self.net.logits_of(summed, j).log_softmax(-1)
            found.append(masses.gather(-1, codes[..., j : j + 1].clamp_max(masses.shape[-1] - 1)).squeeze(-1))
            summed = self.net.tell(summed, j, codes[..., j], x[..., j])
        return self._densities(torch.stack(found, -1), x, codes)

    def _estimate(self, x: Tensor, begun: Tensor) -> Tensor:
        there = ~x.isnan()
        n = there.sum(-1, keepdim=True)
        draws = noise.uniform(torch.Size(), x.shape[:-1], torch.Size([x.shape[-1] + 1]), begun)
        rank = draws[..., :-1].masked_fill(~there, 2.0).argsort(-1).argsort(-1)
        k = (draws[..., -1:] * n).floor()
        logits = self.net.logits(self.net.given(begun, x.masked_fill(rank >= k, torch.nan)))
        codes, sizes = self.net.cells.codes(x), torch.tensor(self.net.cells.sizes, device=x.device)
        asked = logits.gather(-1, codes.minimum(sizes - 1) + sizes.cumsum(0) - sizes)
        total = torch.stack([part.logsumexp(-1) for part in logits.split(self.net.cells.sizes, -1)], -1)
        found = self._densities(asked - total, x, codes).masked_fill(rank < k, 0.0)
        return found.sum(-1) * (n / (n - k).clamp_min(1)).squeeze(-1)

    def _densities(self, masses: Tensor, x: Tensor, codes: Tensor) -> Tensor:
        """log p of the cells from the log masses of their codes; 0 for a missing cell."""
        low, high = self._ends(codes)
        value = x.nan_to_num(0.0)
        inside, atom = (value >= low) & (value <= high), high == low
        width = torch.where(atom, 1.0, high - low)
        near = LOG_INSIDE + masses - width.log()
        far = LOG_OUTSIDE - 0.5 * (value / WIDTH) ** 2
        either = torch.where(inside, torch.logaddexp(near, far), far)
        number = torch.zeros(x.shape[-1], dtype=torch.bool, device=x.device)
        number[self.net.cells.numbers] = True
        found = torch.where(number, torch.where(inside & atom, near, either), masses)
        return found.masked_fill(x.isnan(), 0.0)

    def _ends(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """The ends of the bins of codes `(*batch, columns)`."""
        cells = self.net.cells
        column = torch.arange(codes.shape[-1], device=codes.device)
        at = codes.minimum(torch.tensor(cells.sizes, device=codes.device) - 1)
        return cells.low[column, at], cells.high[column, at]

    def complete(self, x: Tensor, likeliest: bool = False) -> Tensor:
        """Rows `(*batch, columns)` with each missing cell drawn given h and the cells known, in the table's order.

        With `likeliest`, the middle of the code of most mass instead of a draw.
        """
        x, begun = self._whole(x)
        x, missing, summed = x.clone(), x.isnan(), self.net.given(begun, x)
        for j in missing.reshape(-1, x.shape[-1]).any(0).nonzero().flatten().tolist():
            code, middle = self._chosen(self.net.logits_of(summed, j), likeliest)
            low, high = self.net.cells.low[j][code], self.net.cells.high[j][code]
            drawn = low + middle * (high - low)
            told = torch.where(missing[..., j], code, self.net.cells.sizes[j])  # what was known has been told
            summed = self.net.tell(summed, j, told, torch.where(missing[..., j], drawn, torch.nan))
            x[..., j] = torch.where(missing[..., j], drawn, x[..., j])
        return x

    def _chosen(self, logits: Tensor, likeliest: bool) -> tuple[Tensor, Tensor]:
        """A code of each row, and how far from the low end to the high one."""
        if likeliest:
            return logits.argmax(-1), torch.full_like(logits[..., 0], 0.5)
        draws = noise.uniform(torch.Size(), logits.shape[:-1], torch.Size([2]), logits)
        sums = logits.softmax(-1).cumsum(-1)
        code = torch.searchsorted(sums, draws[..., :1] * sums[..., -1:], right=True).squeeze(-1)
        return code.clamp_max(logits.shape[-1] - 1), draws[..., 1]

    def marginals(self, x: Tensor) -> list[Tensor]:
        """The masses of the codes of each column given h and the cells that are there, `(*batch, size)` each."""
        x, begun = self._whole(x)
        logits = self.net.logits(self.net.given(begun, x))
        return [part.softmax(-1) for part in logits.split(self.net.cells.sizes, -1)]

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:  # type: ignore[override]
        with torch.no_grad():
            return self.complete(self._nothing(sample_shape))

    @property
    def mean(self) -> Tensor:
        return self.complete(self._nothing(), likeliest=True)

    def _whole(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x and the net's sum, each with all of the batch dimensions of both."""
        batch = torch.broadcast_shapes(x.shape[:-1], self.batch_shape)
        return x.expand(*batch, *self.event_shape), self.begun.expand(*batch, self.begun.shape[-1])

    def _nothing(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return self.begun.new_full((*sample_shape, *self.batch_shape, *self.event_shape), torch.nan)
