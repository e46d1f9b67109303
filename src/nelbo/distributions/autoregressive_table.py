"""An autoregressive density of a table's row, of which any cells may be missing.

    log p(x) = sum_j log p(x_j | the cells known before it),  over the columns j whose cell is not missing

A category has a mass. So has a missing cell, in a column that may lack cells. A number in the bin k of [low, high]
has density m_k / (high - low), or where low = high the mass m_k, times 1 - e. The remaining share e is a wide Normal,
so that numbers far from the training data have a density too.

The order of the columns is free: a net that takes any subset of the cells is trained on all of them at once, by

    n / (n - k) sum_{j not in S} log p(x_j | x_S),  S a random subset of k of the n observed cells,

k uniform in 0 .. n - 1. Its expectation is the mean of log p(x) over all orders. Outside training, log p(x) is exact,
in the table's order.

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
    """The bin or category of each code of each column: the interface of `nelbo.nets.CellBinning`.

    `numbers` are the indices of the numeric columns, `sizes` the number of codes of each column.
    """

    low: Tensor
    high: Tensor
    unknown: Tensor
    numbers: list[int]
    sizes: list[int]

    def codes(self, x: Tensor, gaps: bool) -> Tensor: ...


class Net(Protocol):
    """Maps the summed embeddings of the known cells to logits: the interface of `nelbo.nets.TableDecoder`."""

    @property
    def cells(self) -> Bins: ...
    def condition(self, state: Tensor, codes: Tensor, x: Tensor) -> Tensor: ...
    def update_state(self, state: Tensor, j: int, code: Tensor, x: Tensor) -> Tensor: ...
    def logits(self, state: Tensor, gaps: bool) -> Tensor: ...
    def logits_of(self, state: Tensor, j: int, gaps: bool) -> Tensor: ...


class AutoregressiveTable(Distribution):
    """p(x | h) of rows x, `(*batch, columns)`, with NaN for a missing cell.

    `mean` takes the most probable code cell by cell, and the middle of its bin. Draws lie in the bins, that is in the
    share 1 - e of the density, and never in the wide Normal.

    Args:
        net: maps the state to logits of cells, and updates the state with known cells.
        state: the state of `net` before any cell is known, `(*batch, width)`.
        subset: estimate `log_prob` from one random subset of the cells, as in training; by default it is exact.
        gaps: treat a missing cell, in a column that may lack cells, as an event of the data: it has a mass and can be
            drawn. If False, missing cells add 0 to `log_prob`, and draws have no missing cells.
    """

    support = constraints.real

    def __init__(self, net: Net, state: Tensor, subset: bool = False, gaps: bool = True) -> None:
        self.net, self.state, self.subset, self.gaps = net, state, subset, gaps
        super().__init__(torch.Size([*state.shape[:-1], len(net.cells.sizes)]), 1)

    def without_gaps(self) -> AutoregressiveTable:
        """The distribution with `gaps=False`: log p(x_o) of the observed cells, and draws without missing cells."""
        return AutoregressiveTable(self.net, self.state, gaps=False)

    def log_prob(self, value: Tensor) -> Tensor:
        return self._estimate(*self._whole(value)) if self.subset else self.element_log_prob(value).sum(-1)

    def element_log_prob(self, value: Tensor) -> Tensor:
        """log p(x_j | the cells before j), `(*batch, columns)`; 0 where a cell is ignored."""
        (x, state), log_masses = self._whole(value), []
        codes = self.net.cells.codes(x, self.gaps)
        for j in range(x.shape[-1]):
            if not self.gaps and bool((codes[..., j] == self.net.cells.unknown[j]).all()):
                log_masses.append(torch.zeros_like(state[..., 0]))  # a column missing in all rows needs no pass
                continue
            masses = self.net.logits_of(state, j, self.gaps).log_softmax(-1)
            log_masses.append(masses.gather(-1, codes[..., j : j + 1].clamp_max(masses.shape[-1] - 1)).squeeze(-1))
            state = self.net.update_state(state, j, codes[..., j], x[..., j])
        return self._densities(torch.stack(log_masses, -1), x, codes)

    def _estimate(self, x: Tensor, state: Tensor) -> Tensor:
        cells = self.net.cells
        codes = cells.codes(x, self.gaps)
        there = codes != cells.unknown
        n = there.sum(-1, keepdim=True)
        draws = noise.uniform(torch.Size(), x.shape[:-1], torch.Size([x.shape[-1] + 1]), state)
        rank = draws[..., :-1].masked_fill(~there, 2.0).argsort(-1).argsort(-1)
        k = (draws[..., -1:] * n).floor()
        state = self.net.condition(state, torch.where(rank < k, codes, cells.unknown), x)
        logits = self.net.logits(state, self.gaps)
        sizes = cells.unknown
        asked = logits.gather(-1, codes.minimum(sizes - 1) + sizes.cumsum(0) - sizes)
        total = torch.stack([part.logsumexp(-1) for part in logits.split(cells.sizes, -1)], -1)
        log_probs = self._densities(asked - total, x, codes).masked_fill(rank < k, 0.0)
        return log_probs.sum(-1) * (n / (n - k).clamp_min(1)).squeeze(-1)

    def _densities(self, masses: Tensor, x: Tensor, codes: Tensor) -> Tensor:
        """log p of the cells from the log masses of their codes; 0 for an ignored cell."""
        low, high = self._ends(codes)
        value = x.nan_to_num(0.0)
        inside, atom = (value >= low) & (value <= high), high == low
        width = torch.where(inside & ~atom, high - low, 1.0)
        near = LOG_INSIDE + masses - width.log()
        far = LOG_OUTSIDE - 0.5 * (value / WIDTH) ** 2
        number = torch.zeros(x.shape[-1], dtype=torch.bool, device=x.device)
        number[self.net.cells.numbers] = True
        density = torch.where(inside, torch.where(atom, near, torch.logaddexp(near, far)), far)
        density = torch.where(x.isnan(), LOG_INSIDE + masses, density)
        log_probs = torch.where(number, density, masses)
        return log_probs.masked_fill(codes == self.net.cells.unknown, 0.0)

    def _ends(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """The ends of the bins of codes `(*batch, columns)`."""
        cells = self.net.cells
        column, at = torch.arange(codes.shape[-1], device=codes.device), codes.minimum(cells.unknown - 1)
        return cells.low[column, at], cells.high[column, at]

    def sample_missing(self, x: Tensor, likeliest: bool = False) -> Tensor:
        """Fill each missing cell by a draw given h and the known cells, in the table's order.

        Args:
            x: rows `(*batch, columns)`, NaN where a cell is missing.
            likeliest: take the middle of the bin of most mass instead of a draw.
        """
        (x, state), cells = self._whole(x), self.net.cells
        x, missing = x.clone(), x.isnan()
        state = self.net.condition(state, cells.codes(x, gaps=False), x)
        # noise of all columns, so that the draws of a row do not depend on the columns that other rows lack
        two = torch.Size((2,))
        u = [None if likeliest else noise.uniform(torch.Size(), x.shape[:-1], two, state) for _ in cells.sizes]
        for j in missing.reshape(-1, x.shape[-1]).any(0).nonzero().flatten().tolist():
            logits = self.net.logits_of(state, j, self.gaps)
            code, middle = _chosen(logits, u[j])
            low, high = cells.low[j][code], cells.high[j][code]
            value = low + middle * (high - low)
            new = torch.where(missing[..., j], code, cells.unknown[j])  # known cells are in the state already
            state = self.net.update_state(state, j, new, torch.where(missing[..., j], value, torch.nan))
            x[..., j] = torch.where(missing[..., j], value, x[..., j])
        return x

    def fill(self, x: Tensor, chosen: Tensor, gaps: bool = False) -> Tensor:
        state = self.state[chosen, torch.arange(len(x), device=x.device)]
        return AutoregressiveTable(self.net, state, gaps=gaps).sample_missing(x)

    def marginals(self, x: Tensor) -> list[Tensor]:
        """The masses of the codes of each column given h and the observed cells, `(*batch, size)` each."""
        (x, state), cells = self._whole(x), self.net.cells
        logits = self.net.logits(self.net.condition(state, cells.codes(x, gaps=False), x), self.gaps)
        return [part.softmax(-1) for part in logits.split(cells.sizes, -1)]

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:  # type: ignore[override]
        with torch.no_grad():
            return self.sample_missing(self._nothing(sample_shape))

    @property
    def mean(self) -> Tensor:
        return self.without_gaps().sample_missing(self._nothing(), likeliest=True)

    def _whole(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x and the state, broadcast to the batch dimensions of both."""
        batch = torch.broadcast_shapes(x.shape[:-1], self.batch_shape)
        return x.expand(*batch, *self.event_shape), self.state.expand(*batch, self.state.shape[-1])

    def _nothing(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return self.state.new_full((*sample_shape, *self.batch_shape, *self.event_shape), torch.nan)


def _chosen(logits: Tensor, u: Tensor | None) -> tuple[Tensor, Tensor]:
    """A code for each row, and the position within its bin, from 0 (low end) to 1 (high end).

    Args:
        logits: those of the codes, `(*batch, codes)`.
        u: uniform noise, `(*batch, 2)`; None takes the likeliest code, and the middle.
    """
    if u is None:
        return logits.argmax(-1), torch.full_like(logits[..., 0], 0.5)
    return noise.categorical(logits.softmax(-1), u[..., 0]), u[..., 1]
