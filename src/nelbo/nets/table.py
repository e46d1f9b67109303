"""Networks over the cells of a table's rows, any of which may be missing.

The cells of a table's rows, any of which may be missing (NaN), as codes, and vectors that are learned for these.

A row is `(columns,)`: the place of a category, or a number in about standard units. Each cell becomes a code: its
category, or the bin that a number falls in. Bins are made from rows of the data: a value that many rows share is a bin
of its own (an atom: its ends are equal), the others are cut into bins of about equal mass. A row enters a net as the
sum of one learned vector for each cell, an unknown cell having one too, and of each number times a learned slope.

Networks over the cells of a table's rows, any of which may be missing; see `nelbo.nets.table`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nelbo.config.registry import Count, Range, Share, register
from nelbo.errors import UserError
from nelbo.nets.common import InitializedFromData, Net

FARTHEST = 10.0  # numbers beyond are taken as this when they enter a net
ROWS_OF_A_BIN = 50
PLACES, OWN = 32, 0.03


class CellBinning(nn.Module):
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

    def __init__(self, cells: CellBinning, width: int, spread: float, more: int = 0) -> None:
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

    def init_from_cells(self, cells: CellBinning) -> None:
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

    def __init__(self, cells: CellBinning, width: int) -> None:
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
        state = F.embedding_bag((codes + self.offsets).reshape(-1, x.shape[-1]), self.vectors(), mode="sum")
        return state.view(*x.shape[:-1], -1) + (_bounded(x) * self.is_number) @ self.slopes

    def empty_state(self) -> Tensor:
        """What a row adds up to of which no cell is known, `(width,)`."""
        return self.vectors.fine[self.offsets + self.cells.unknown].sum(0)

    def state_delta(self, j: int, code: Tensor, x: Tensor) -> Tensor:
        """What is added when the cell of column j, unknown before, turns out to be x `(*batch,)` of this code."""
        of = self.vectors.of(j)
        return of[code] - of[-1] + (_bounded(x) * self.is_number[j]).unsqueeze(-1) * self.slopes[j]


def _bounded(x: Tensor) -> Tensor:
    return x.nan_to_num(0.0).clamp(-FARTHEST, FARTHEST)


class ResidualMLP(nn.Module):
    """x + W silu(V norm(x)); W starts at zero, so the block starts as the identity."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.dropout(F.silu(self.first(self.norm(x)))))


def _stack(width: int, blocks: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(*[ResidualMLP(width, dropout) for _ in range(blocks)], nn.LayerNorm(width))


class TableEncoder(nn.Module, InitializedFromData):
    """Rows `(batch, columns)`, NaN where missing, and a context -> `(batch, features)`.

    In training, half of the rows lose a random share of their cells, so that what is inferred from the others is
    learned too. Which cells, and what dropout takes, each process draws by itself: several train a model as good as
    one does, but not the same.
    """

    def __init__(
        self, cells: CellBinning, features: int, width: int, blocks: int, dropout: float, context: int = 0
    ) -> None:
        super().__init__()
        self.embedding = CellEmbedding(cells, width)
        self.context = nn.Linear(context, width) if context else None
        self.layers = _stack(width, blocks, dropout)
        self.head = nn.Linear(width, features)

    @property
    def output_bias(self) -> Tensor:
        """The bias of the features."""
        return self.head.bias

    def init_from_data(self, x: Tensor) -> None:
        """Make the bins from rows of the data."""
        self.embedding.init_from_data(x)

    def forward(self, x: Tensor, *context: Tensor) -> Tensor:
        x = self._hide(x) if self.training else x
        state = self.embedding(x, self.embedding.cells.codes(x))
        if self.context is not None:
            state = state + self.context(torch.cat(context, -1))
        return self.head(self.layers(state))

    def _hide(self, x: Tensor) -> Tensor:
        share = (2 * torch.rand(len(x), 1, device=x.device) - 1).clamp_min(0)
        return x.masked_fill(torch.rand_like(x) < share, torch.nan)


class TableDecoder(nn.Module, InitializedFromData):
    """Features `(*batch, features)`, cells known so far and a context -> logits of the codes of the other cells.

    `init_state` starts a sum `(*batch, width)` at which no cell is known, `update_state` adds a column's cells to it, and `logits`
    are what follows from it for all columns, one after the other, or for one.
    """

    def __init__(
        self, cells: CellBinning, features: int, width: int, blocks: int, dropout: float, context: int = 0
    ) -> None:
        super().__init__()
        self.embedding = CellEmbedding(cells, width)
        self.stem = nn.Linear(features + context, width)
        self.layers = _stack(width, blocks, dropout)
        self.head = CodeVectors(cells, width, (3 * width) ** -0.5)
        self.bias = nn.Parameter(torch.zeros(sum(cells.sizes)))

    @property
    def cells(self) -> CellBinning:
        """What the codes are."""
        return self.embedding.cells

    def init_from_data(self, x: Tensor) -> None:
        """Make the bins from rows of the data, and start the logits at their shares of them."""
        self.embedding.init_from_data(x)
        self.head.init_from_cells(self.cells)
        codes, shares = self.cells.codes(x, gaps=True), []
        for j, size in enumerate(self.cells.sizes):
            counts = codes[:, j].bincount(minlength=size + 1)[:size] + 0.5
            shares.append(counts / counts.sum())
        with torch.no_grad():
            self.bias.copy_(torch.cat(shares).log())

    def init_state(self, h: Tensor, *context: Tensor) -> Tensor:
        """The sum at which no cell is known."""
        return self.stem(torch.cat([h, *context], -1)) + self.embedding.empty_state()

    def condition(self, state: Tensor, codes: Tensor, x: Tensor) -> Tensor:
        """The sum once all cells of x `(*batch, columns)` but those of an unknown code are known."""
        return (
            state
            - self.embedding.empty_state()
            + self.embedding(x.masked_fill(codes == self.cells.unknown, torch.nan), codes)
        )

    def update_state(self, state: Tensor, j: int, code: Tensor, x: Tensor) -> Tensor:
        """The sum once the cell of column j is known to be x of this code, or still unknown, `(*batch,)`."""
        return state + self.embedding.state_delta(j, code, x)

    def logits(self, state: Tensor, gaps: bool) -> Tensor:
        """Of all columns, `(*batch, sum(sizes))`; without `gaps`, of cells that are not missing."""
        return F.linear(self.layers(state), self.head(), self.bias).masked_fill(~self.cells.is_open(gaps), -torch.inf)

    def logits_of(self, state: Tensor, j: int, gaps: bool) -> Tensor:
        """Of column j, `(*batch, sizes[j])`."""
        first = sum(self.cells.sizes[:j])
        of = slice(first, first + self.cells.sizes[j])
        logits = F.linear(self.layers(state), self.head.of(j), self.bias[of])
        return logits.masked_fill(~self.cells.is_open(gaps)[of], -torch.inf)


@register("net", "table", cite="he2016identity")
@dataclass(frozen=True)
class TableNet(Net):
    """A residual perceptron over the cells of a table's rows.

    Args:
        width: units of each layer.
        blocks: residual blocks.
        dropout: share of the units that are set to 0 in training.
        bins: numbers are cut into at most so many bins.
        sizes: the categories of each column (0: numbers); set from the schema.
        gaps: the columns that lack cells; set from the schema.
    """

    width: Count = 256
    blocks: Annotated[int, Range(0)] = 3
    dropout: Share = 0.1
    bins: Annotated[int, Range(2)] = 128
    sizes: tuple[int, ...] = ()
    gaps: tuple[int, ...] = ()

    def encoder(self, shape: tuple[int, ...], features: int, context: int = 0) -> nn.Module:
        return TableEncoder(self._cells(shape), features, self.width, self.blocks, self.dropout, context)

    def decoder(self, features: int, shape: tuple[int, ...], outputs: int, context: int = 0) -> nn.Module:
        return TableDecoder(self._cells(shape), features, self.width, self.blocks, self.dropout, context)

    def _cells(self, shape: tuple[int, ...]) -> CellBinning:
        if shape != (len(self.sizes),):
            raise UserError(f'a table net takes tables, and the data has shape {shape}: use kind = "mlp"')
        return CellBinning(self.sizes, self.bins, self.gaps)
