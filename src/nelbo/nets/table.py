"""Networks over the cells of a table's rows, any of which may be missing; see `nelbo.nets.table_cells`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nelbo.config.registry import Count, Range, Share, register
from nelbo.errors import UserError
from nelbo.nets.common import InitializedFromData, Net
from nelbo.nets.table_cells import CellEmbedding, Cells, CodeVectors


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

    def __init__(self, cells: Cells, features: int, width: int, blocks: int, dropout: float, context: int = 0) -> None:
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
        summed = self.embedding(x, self.embedding.cells.codes(x))
        if self.context is not None:
            summed = summed + self.context(torch.cat(context, -1))
        return self.head(self.layers(summed))

    def _hide(self, x: Tensor) -> Tensor:
        share = (2 * torch.rand(len(x), 1, device=x.device) - 1).clamp_min(0)
        return x.masked_fill(torch.rand_like(x) < share, torch.nan)


class TableDecoder(nn.Module, InitializedFromData):
    """Features `(*batch, features)`, cells known so far and a context -> logits of the codes of the other cells.

    `begin` starts a sum `(*batch, width)` at which no cell is known, `tell` adds a column's cells to it, and `logits`
    are what follows from it for all columns, one after the other, or for one.
    """

    def __init__(self, cells: Cells, features: int, width: int, blocks: int, dropout: float, context: int = 0) -> None:
        super().__init__()
        self.embedding = CellEmbedding(cells, width)
        self.stem = nn.Linear(features + context, width)
        self.layers = _stack(width, blocks, dropout)
        self.head = CodeVectors(cells, width, (3 * width) ** -0.5)
        self.bias = nn.Parameter(torch.zeros(sum(cells.sizes)))

    @property
    def cells(self) -> Cells:
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

    def begin(self, h: Tensor, *context: Tensor) -> Tensor:
        """The sum at which no cell is known."""
        return self.stem(torch.cat([h, *context], -1)) + self.embedding.nothing()

    def given(self, summed: Tensor, codes: Tensor, x: Tensor) -> Tensor:
        """The sum once all cells of x `(*batch, columns)` but those of an unknown code are known."""
        return (
            summed
            - self.embedding.nothing()
            + self.embedding(x.masked_fill(codes == self.cells.unknown, torch.nan), codes)
        )

    def tell(self, summed: Tensor, j: int, code: Tensor, x: Tensor) -> Tensor:
        """The sum once the cell of column j is known to be x of this code, or still unknown, `(*batch,)`."""
        return summed + self.embedding.change(j, code, x)

    def logits(self, summed: Tensor, gaps: bool) -> Tensor:
        """Of all columns, `(*batch, sum(sizes))`; without `gaps`, of cells that are not missing."""
        return F.linear(self.layers(summed), self.head(), self.bias).masked_fill(~self.cells.is_open(gaps), -torch.inf)

    def logits_of(self, summed: Tensor, j: int, gaps: bool) -> Tensor:
        """Of column j, `(*batch, sizes[j])`."""
        first = sum(self.cells.sizes[:j])
        of = slice(first, first + self.cells.sizes[j])
        logits = F.linear(self.layers(summed), self.head.of(j), self.bias[of])
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

    def _cells(self, shape: tuple[int, ...]) -> Cells:
        if shape != (len(self.sizes),):
            raise UserError(f'a table net takes tables, and the data has shape {shape}: use kind = "mlp"')
        return Cells(self.sizes, self.bins, self.gaps)
