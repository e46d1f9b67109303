"""The cells of a table's rows, any of which may be missing (NaN), as codes, and vectors that are learned for these.

A row is `(columns,)`: the place of a category, or a number in about standard units. Each cell becomes a code: its
category, or the bin that a number falls in. Bins are made from rows of the data: a value that many rows share is a bin
of its own (an atom: its ends are equal), the others are cut into bins of about equal mass. A row enters a net as the
sum of one learned vector for each cell, an unknown cell having one too, and of each number times a learned slope.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FARTHEST = 10.0  # numbers beyond are taken as this when they enter a net
ROWS_OF_A_BIN = 50
PLACES, OWN = 32, 0.03


class Cells(nn.Module):
    """Codes of cells: `sizes` holds the number of categories of each column, 0 for numbers, which get up to `bins`.

    The columns that `gaps` numbers may lack cells, and have a last code for that: to be missing is then an event of
    the data. Elsewhere, and wherever a cell is asked for, a missing cell is unknown: it has the column's size as code.

    `low`, `high` `(columns, most codes)` are the ends of the bins: infinite for a missing cell, and where a column has
    fewer codes.
    """

    low: Tensor
    high: Tensor
    unknown: Tensor
    absent: Tensor
    place: Tensor
    gap: Tensor

    def __init__(self, sizes: Sequence[int], bins: int, gaps: Sequence[int] = ()) -> None:
        super().__init__()
        self.numbers = [j for j, size in enumerate(sizes) if size == 0]
        self.gaps = list(gaps)
        self.sizes = [(size or bins) + (j in gaps) for j, size in enumerate(sizes)]
        ends = torch.full((len(sizes), max(self.sizes)), torch.inf)
        for j, size in enumerate(self.sizes):
            ends[j, : size - (j in gaps)] = torch.arange(size - (j in gaps))
        self.register_buffer("low", ends)
        self.register_buffer("high", ends.clone())
        absent = [size - (j in gaps) for j, size in enumerate(self.sizes)]
        self.register_buffer("unknown", torch.tensor(self.sizes), persistent=False)
        self.register_buffer("absent", torch.tensor(absent), persistent=False)
        flat = [j * ends.shape[1] + code for j, size in enumerate(self.sizes) for code in range(size)]
        self.register_buffer("place", torch.tensor(flat), persistent=False)
        gap = [code == absent[j] for j, size in enumerate(self.sizes) for code in range(size)]
        self.register_buffer("gap", torch.tensor(gap), persistent=False)

    def init_from_data(self, x: Tensor) -> None:
        """Make the bins from rows of the data, `(n, columns)`."""
        for j in self.numbers:
            values = x[:, j][~x[:, j].isnan()]
            bins = int(self.absent[j])
            most = min(bins, max(len(values) // ROWS_OF_A_BIN, 16))
            low, high = make_bins(values if len(values) else x.new_zeros(1), most, bins)
            for ends, found in ((self.low, low), (self.high, high)):
                ends[j, :bins] = torch.inf
                ends[j, : len(found)] = found

    def codes(self, x: Tensor, gaps: bool = False) -> Tensor:
        """The code of each cell of x `(*batch, columns)`, int64; with `gaps`, of missing ones too if there is one."""
        columns = x.reshape(-1, x.shape[-1]).t().contiguous()
        found = torch.searchsorted(self.low, columns, right=True).t().reshape(x.shape) - 1
        return torch.where(x.isnan(), self.absent if gaps else self.unknown, found.clamp_min(0))

    def is_open(self, gaps: bool) -> Tensor:
        """Which codes there are, of all columns one after the other, bool `(sum(sizes),)`; `gaps`: to be missing."""
        seen = self.low.flatten()[self.place].isfinite()
        return seen | self.gap if gaps else seen


def make_bins(values: Tensor, parts: int, most: int) -> tuple[Tensor, Tensor]:
    """Low and high end of each bin, in order: one for each value, if they are at most `most` and mostly repeated.

    Else an atom for each value of more than 1/most of the mass, and about `parts` of equal mass for the others, which
    reach half way to their neighbours.

    >>> low, high = make_bins(torch.tensor([0.0, 0.0, 0.0, 1.0, 2.0, 3.0, 4.0]), 2, 4)
    >>> low.tolist(), high.tolist()
    ([0.0, 0.5, 2.5], [0.0, 2.5, 4.0])
    """
    distinct, counts = values.unique(return_counts=True)
    if len(distinct) <= min(most, max(len(values) // 2, 1)):
        return distinct, distinct
    common, free = _atoms(counts, len(values) / most, most)
    budget = min(parts, free)
    rest = counts.masked_fill(common, 0).cumsum(0)
    part = (rest - 1).clamp_min(0) * budget // rest[-1].clamp_min(1)
    cut = ((part[1:] != part[:-1]) | common[1:] | common[:-1]).nonzero().flatten()
    half = (distinct[cut] + distinct[cut + 1]) / 2
    first = torch.cat([cut.new_zeros(1), cut + 1])
    low, high = torch.cat([distinct[:1], half]), torch.cat([half, distinct[-1:]])
    atom = common[first]
    return torch.where(atom, distinct[first], low), torch.where(atom, distinct[first], high)


def _atoms(counts: Tensor, least: float, most: int) -> tuple[Tensor, int]:
    """Which counts are of atoms, and into how many bins the rest may be cut.

    Those above `least`, or above what leaves no more than `most` atoms and stretches between them.
    """
    for above in [least, *counts[counts > least].unique().tolist()]:
        common = counts > above
        stretches = 1 + int((common[1:] | common[:-1]).sum())
        if stretches <= most:
            break
    return common, most - stretches + 1


class CodeVectors(nn.Module):
    """A vector for each code of each column, and for `more` codes besides: `(sum(sizes) + columns * more, width)`.

    Those of the bins of numbers are B c + s f, where B has a bump at each of some places along the bins, and s is small
    but for atoms: what is learned of one bin holds for its neighbours too, and what is a bin's own is learned slowly.
    """

    bumps: Tensor
    own: Tensor

    def __init__(self, cells: Cells, width: int, spread: float, more: int = 0) -> None:
        super().__init__()
        self.sizes = [size + more for size in cells.sizes]
        self.starts = [sum(self.sizes[:j]) for j in range(len(self.sizes))]
        self.smooth = {j: i for i, j in enumerate(cells.numbers)}
        bins = int(cells.absent[cells.numbers].max()) if cells.numbers else 1
        places = min(PLACES, bins)
        away = (torch.arange(bins) + 0.5).unsqueeze(1) * places / bins - (torch.arange(places) + 0.5)
        bumps = torch.exp(-0.5 * away**2)
        self.register_buffer("bumps", bumps / bumps.norm(dim=1, keepdim=True), persistent=False)
        self.register_buffer("own", torch.ones(sum(self.sizes), 1))
        self.coarse = nn.Parameter(spread * torch.randn(len(cells.numbers), places, width))
        self.fine = nn.Parameter(spread * torch.randn(sum(self.sizes), width))

    def init_from_cells(self, cells: Cells) -> None:
        """Set s by the bins."""
        for j in cells.numbers:
            wide = cells.high[j, : cells.sizes[j]] > cells.low[j, : cells.sizes[j]]
            self.own[self.starts[j] : self.starts[j] + cells.sizes[j], 0] = torch.where(wide, OWN, 1.0)

    def of(self, j: int) -> Tensor:
        """The vectors of column j, `(sizes[j] + more, width)`."""
        at = slice(self.starts[j], self.starts[j] + self.sizes[j])
        fine = self.own[at] * self.fine[at]
        if j not in self.smooth:
            return fine
        smooth = self.bumps @ self.coarse[self.smooth[j]]
        return fine + F.pad(smooth, (0, 0, 0, len(fine) - len(smooth)))

    def forward(self) -> Tensor:
        return torch.cat([self.of(j) for j in range(len(self.sizes))])


class CellEmbedding(nn.Module):
    """Cells and their codes `(*batch, columns)` -> `(*batch, width)`: a vector for each code, and a slope for each
    number, summed.
    """

    offsets: Tensor
    is_number: Tensor

    def __init__(self, cells: Cells, width: int) -> None:
        super().__init__()
        self.cells = cells
        sizes = cells.unknown + 1
        self.register_buffer("offsets", sizes.cumsum(0) - sizes, persistent=False)
        self.vectors = CodeVectors(cells, width, len(cells.sizes) ** -0.5, more=1)
        self.slopes = nn.Parameter(torch.zeros(len(cells.sizes), width))
        numbers = torch.zeros(len(cells.sizes)).index_fill_(0, torch.tensor(cells.numbers, dtype=torch.int64), 1.0)
        self.register_buffer("is_number", numbers, persistent=False)

    def init_from_data(self, x: Tensor) -> None:
        """Make the bins from rows of the data."""
        self.cells.init_from_data(x)
        self.vectors.init_from_cells(self.cells)

    def forward(self, x: Tensor, codes: Tensor) -> Tensor:
        summed = F.embedding_bag((codes + self.offsets).reshape(-1, x.shape[-1]), self.vectors(), mode="sum")
        return summed.view(*x.shape[:-1], -1) + (_bounded(x) * self.is_number) @ self.slopes

    def nothing(self) -> Tensor:
        """What a row adds up to of which no cell is known, `(width,)`."""
        return self.vectors.fine[self.offsets + self.cells.unknown].sum(0)

    def change(self, j: int, code: Tensor, x: Tensor) -> Tensor:
        """What is added when the cell of column j, unknown before, turns out to be x `(*batch,)` of this code."""
        of = self.vectors.of(j)
        return of[code] - of[-1] + (_bounded(x) * self.is_number[j]).unsqueeze(-1) * self.slopes[j]


def _bounded(x: Tensor) -> Tensor:
    return x.nan_to_num(0.0).clamp(-FARTHEST, FARTHEST)
