"""Networks over the cells of a table's rows, any of which may be missing (NaN).

A row is `(columns,)`: the index of a category, or a number in about standard units. Each cell becomes a code: its
category, or the bin that contains its number. Bins are computed from rows of the data. A value shared by many rows is a
bin of its own (an atom, whose ends are equal); the other values are divided into bins of about equal mass. The input of
a net is the sum of one learned vector for each cell, known or unknown, and of each number times a learned slope.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nelbo.config.registry import DEEPEST, Count, Range, Share, register
from nelbo.distributions import noise
from nelbo.errors import UserError
from nelbo.nets.common import Dropout, InitializedFromData, Net

FARTHEST = 10.0  # larger numbers are clamped to this in the input of a net
ROWS_OF_A_BIN = 50
BINS = 2**14  # bins of all columns
PLACES, OWN = 32, 0.03


class CellBinning(nn.Module):
    """The codes of a table's cells: categories, and bins of numbers.

    `low` and `high`, `(columns, largest number of codes)`, are the ends of the bins; they are infinite for a missing
    cell, and beyond the number of codes of a column.

    Args:
        sizes: number of categories of each column; 0 for a numeric column.
        bins: largest number of bins of a numeric column.
        gaps: indices of the columns that may lack cells. Their last code means "missing", which is an event of the
            data. In other columns a missing cell is unknown: its code is the number of codes of the column.
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
        """Compute the bins from rows of the data, `(n, columns)`."""
        for j in self.numbers:
            values = x[:, j][~x[:, j].isnan()]
            bins = int(self.absent[j])
            most = min(bins, max(len(values) // ROWS_OF_A_BIN, 16))
            low, high = make_bins(values if len(values) else x.new_zeros(1), most, bins)
            for ends, found in ((self.low, low), (self.high, high)):
                ends[j, :bins] = torch.inf
                ends[j, : len(found)] = found

    def codes(self, x: Tensor, gaps: bool = False) -> Tensor:
        """The code of each cell, int64 `(*batch, columns)`.

        Args:
            x: rows `(*batch, columns)`, NaN where a cell is missing.
            gaps: give a missing cell the code "missing" in columns that have it; if False, it is unknown everywhere.
        """
        columns = x.reshape(-1, x.shape[-1]).t().contiguous()
        codes = torch.searchsorted(self.low, columns, right=True).t().reshape(x.shape) - 1
        return torch.where(x.isnan(), self.absent if gaps else self.unknown, codes.clamp_min(0))

    def is_open(self, gaps: bool, of: slice = slice(None)) -> Tensor:
        """A mask of the possible codes of all columns, bool `(sum(sizes),)`, or of a slice of these.

        Args:
            gaps: whether the codes "missing" are included.
            of: the slice.
        """
        finite = self.low.flatten()[self.place[of]].isfinite()
        return finite | self.gap[of] if gaps else finite


def make_bins(values: Tensor, parts: int, most: int) -> tuple[Tensor, Tensor]:
    """Compute the low and the high end of each bin, in order.

    If there are at most `most` distinct values and they mostly repeat, each is a bin. Otherwise each value of more than
    1/most of the mass is an atom, and the others are divided into about `parts` bins of equal mass, whose ends lie half
    way to their neighbours.

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
    """A mask of the counts that are atoms, and the number of bins for the rest.

    Atoms are the counts above `least`, or above a higher limit that leaves at most `most` atoms and stretches between
    them.
    """
    for above in [least, *counts[counts > least].unique().tolist()]:
        common = counts > above
        stretches = 1 + int((common[1:] | common[:-1]).sum())
        if stretches <= most:
            break
    return common, most - stretches + 1


class CodeVectors(nn.Module):
    """A vector for each code of each column, and for `more` further codes: `(sum(sizes) + columns * more, width)`.

    The vectors of bins are B c + s f, where the columns of B are bumps at positions along the bins, and s is small
    except for atoms. Neighbouring bins therefore share most of their vector, and learn their own part slowly.
    """

    bumps: Tensor
    own: Tensor
    smooth_rows: Tensor

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
        rows = [self.starts[j] + code for j in cells.numbers for code in range(bins)]
        self.register_buffer("smooth_rows", torch.tensor(rows, dtype=torch.int64), persistent=False)
        self.coarse = nn.Parameter(spread * torch.randn(len(cells.numbers), places, width))
        self.fine = nn.Parameter(spread * torch.randn(sum(self.sizes), width))

    def init_from_cells(self, cells: CellBinning) -> None:
        """Compute s from the bins."""
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
        # in one sum: the gradient of a slice is as large as the whole, so slices of all columns cost their square
        smooth = (self.bumps @ self.coarse).flatten(0, 1)
        fine = self.own * self.fine
        return fine.index_add(0, self.smooth_rows, smooth.to(fine.dtype))  # in bf16, products have another type


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
        """Compute the bins from rows of the data, `(n, columns)`."""
        self.cells.init_from_data(x)
        self.vectors.init_from_cells(self.cells)

    def forward(self, x: Tensor, codes: Tensor) -> Tensor:
        state = F.embedding_bag((codes + self.offsets).reshape(-1, x.shape[-1]), self.vectors(), mode="sum")
        return state.view(*x.shape[:-1], -1) + (_bounded(x) * self.is_number) @ self.slopes

    def empty_state(self) -> Tensor:
        """The sum for a row without known cells, `(width,)`."""
        return self.vectors.fine[self.offsets + self.cells.unknown].sum(0)

    def state_delta(self, j: int, code: Tensor, x: Tensor) -> Tensor:
        """The change of the sum when the cell of column j, unknown before, becomes x `(*batch,)` of code `code`."""
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
        self.dropout = Dropout(dropout)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.dropout(F.silu(self.first(self.norm(x)))))


def _stack(width: int, blocks: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(*[ResidualMLP(width, dropout) for _ in range(blocks)], nn.LayerNorm(width))


class TableEncoder(nn.Module, InitializedFromData):
    """Rows `(batch, columns)`, NaN where missing, and a context -> `(batch, features)`.

    In training, a random share of the cells of half of the rows is hidden, so that the net learns to infer z from the
    others. Each process draws its own dropout: several processes train a model as good as one process does,
    but not the same model.

    Args:
        cells: the codes of the cells.
        features: length of the output vector.
        width: units of each layer.
        blocks: residual blocks.
        dropout: fraction of the units that are set to 0 in training.
        context: length of the context vector; 0 for none.
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
        """Compute the bins from rows of the data, `(n, columns)`."""
        self.embedding.init_from_data(x)

    def forward(self, x: Tensor, *context: Tensor) -> Tensor:
        x = self._hide(x) if self.training else x
        state = self.embedding(x, self.embedding.cells.codes(x))
        if self.context is not None:
            state = state + self.context(torch.cat(context, -1))
        return self.head(self.layers(state))

    def _hide(self, x: Tensor) -> Tensor:
        rows, cells = torch.Size(x.shape[:1]), torch.Size(x.shape[1:])
        share = (2 * noise.uniform(torch.Size(), rows, torch.Size((1,)), x) - 1).clamp_min(0)
        return x.masked_fill(noise.uniform(torch.Size(), rows, cells, x) < share, torch.nan)


class TableDecoder(nn.Module, InitializedFromData):
    """Features `(*batch, features)`, known cells and a context -> logits of the codes of the other cells.

    `init_state` returns a state `(*batch, width)` without known cells, `update_state` adds the cells of a column to it,
    and `logits` and `logits_of` map it to the logits of all columns or of one.

    Args:
        cells: the codes of the cells.
        features: length of the input vector.
        width: units of each layer.
        blocks: residual blocks.
        dropout: fraction of the units that are set to 0 in training.
        context: length of the context vector; 0 for none.
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
        """The codes of the cells."""
        return self.embedding.cells

    def init_from_data(self, x: Tensor) -> None:
        """Compute the bins from rows of the data, and start the logits at the log-frequencies of the codes."""
        self.embedding.init_from_data(x)
        self.head.init_from_cells(self.cells)
        codes, shares = self.cells.codes(x, gaps=True), []
        for j, size in enumerate(self.cells.sizes):
            counts = codes[:, j].bincount(minlength=size + 1)[:size] + 0.5
            shares.append(counts / counts.sum())
        with torch.no_grad():
            self.bias.copy_(torch.cat(shares).log())

    def init_state(self, h: Tensor, *context: Tensor) -> Tensor:
        """The state without known cells, `(*batch, width)`."""
        return self.stem(torch.cat([h, *context], -1)) + self.embedding.empty_state()

    def condition(self, state: Tensor, codes: Tensor, x: Tensor) -> Tensor:
        """The state with the cells of x `(*batch, columns)` known, except those whose code is unknown."""
        return (
            state
            - self.embedding.empty_state()
            + self.embedding(x.masked_fill(codes == self.cells.unknown, torch.nan), codes)
        )

    def update_state(self, state: Tensor, j: int, code: Tensor, x: Tensor) -> Tensor:
        """The state with the cell of column j, x `(*batch,)` of code `code`, known; or unknown still if its code is."""
        return state + self.embedding.state_delta(j, code, x)

    def logits(self, state: Tensor, gaps: bool) -> Tensor:
        """The logits of all columns, `(*batch, sum(sizes))`; without `gaps`, "missing" has no mass."""
        return F.linear(self.layers(state), self.head(), self.bias).masked_fill(~self.cells.is_open(gaps), -torch.inf)

    def logits_of(self, state: Tensor, j: int, gaps: bool) -> Tensor:
        """The logits of column j, `(*batch, sizes[j])`; without `gaps`, "missing" has no mass."""
        of = slice(self.head.starts[j], self.head.starts[j] + self.cells.sizes[j])
        logits = F.linear(self.layers(state), self.head.of(j), self.bias[of])
        return logits.masked_fill(~self.cells.is_open(gaps, of), -torch.inf)


def default_bins(columns: int) -> int:
    """The largest number of bins of a numeric column in a table of so many columns.

    >>> default_bins(10), default_bins(500), default_bins(5000)
    (128, 32, 16)
    """
    return min(max(BINS // columns, 16), 128)


@register("net", "table", cite="he2016identity")
@dataclass(frozen=True)
class TableNet(Net):
    """A residual perceptron over the cells of a table's rows.

    Args:
        width: units of each layer.
        blocks: residual blocks.
        dropout: fraction of the units that are set to 0 in training.
        bins: largest number of bins of a numeric column; None: 128, or fewer beyond 128 columns, since the cost of a
            step is proportional to the bins of all columns.
        sizes: number of categories of each column (0: numeric); set from the schema.
        gaps: indices of the columns that may lack cells; set from the schema.
    """

    width: Count = 256
    blocks: Annotated[int, Range(0, DEEPEST)] = 3
    dropout: Share = 0.1
    bins: Annotated[int, Range(2, 2**12)] = 128
    sizes: tuple[int, ...] = ()
    gaps: tuple[int, ...] = ()

    def encoder(self, shape: tuple[int, ...], features: int, context: int = 0) -> nn.Module:
        return TableEncoder(self._cells(shape), features, self.width, self.blocks, self.dropout, context)

    def decoder(self, features: int, shape: tuple[int, ...], outputs: int, context: int = 0) -> nn.Module:
        return TableDecoder(self._cells(shape), features, self.width, self.blocks, self.dropout, context)

    def _cells(self, shape: tuple[int, ...]) -> CellBinning:
        if shape != (len(self.sizes),):
            raise UserError(f'a table net takes tables, and the data has shape {shape}: use kind = "mlp"')
        return CellBinning(self.sizes, self.bins or default_bins(len(self.sizes)), self.gaps)
