"""Rows of the zoo: the cells of tables. `zoo` merges them into its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Uniform

from nelbo import nets
from nelbo.distributions import CellByCell

WIDTH, FEATURES, BINS = 16, 3, 6
VARIED: dict[str, dict[str, Any]] = {
    "net": {"width": 8, "blocks": 0, "dropout": 0.5, "bins": 7, "sizes": (0, 3), "gaps": (1,)},
    "likelihood": {},
}


def rows(sizes: Sequence[int], n: int = 400, gaps: Sequence[int] = ()) -> Tensor:
    """Rows of a table: categories, and numbers of a wide, a narrow and a mixed kind (with zeros), in turn; float64.

    Of the columns of `gaps`, each lacks a fifth of its cells.
    """
    draw = torch.Generator().manual_seed(len(sizes))
    columns, numbers = [], 0
    for size in sizes:
        values = torch.randn(n, generator=draw, dtype=torch.float64)
        values = [values, 0.05 * values + 2, values * (values > 0)][numbers % 3]
        numbers += size == 0
        columns.append(torch.randint(size, (n,), generator=draw).double() if size else values)
    x = torch.stack(columns, 1)
    for j in gaps:
        x[torch.rand(n, generator=draw) < 0.2, j] = torch.nan
    return x


def decoder(sizes: Sequence[int], gaps: Sequence[int] = (), context: int = 0) -> nets.TableDecoder:
    """A decoder over cells that started from `rows`, fixed far off its start, float64, in eval()."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        net = nets.TableDecoder(nets.Cells(sizes, BINS, gaps), FEATURES, WIDTH, 1, 0.0, context).double()
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.15 * torch.randn(parameter.shape, generator=draw))
    net.init_from_data(rows(sizes, gaps=gaps))
    return net.eval().requires_grad_(False)


def given(net: nets.TableDecoder, *batch: int, subset: bool = False, gaps: bool = True) -> CellByCell:
    """The distribution for a batch of codes."""
    h = torch.randn(*batch, FEATURES, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    return CellByCell(net, net.begin(h), subset, gaps)


NUMBERS = decoder([0, 0])


def _reference(q: Distribution) -> Distribution:
    """Uniform on the middle of each column's range."""
    low, high = NUMBERS.cells.low[:, 0], NUMBERS.cells.high[:, -1]
    low, high = (torch.lerp(low, high, share).expand(*q.batch_shape, 2) for share in (0.2, 0.8))
    return Independent(Uniform(low, high, validate_args=False), 1)


DISTRIBUTIONS: dict[str, dict[str, Any]] = {
    "cells, numbers": {
        "make": lambda batch: given(NUMBERS, *batch),
        "parameters": ("begun",),
        "reference": _reference,
        "tempered": False,
        "moments": False,
    }
}


def encoder(shape: tuple[int, ...], features: int, context: int) -> nets.TableEncoder:
    """An encoder over columns of numbers: what it reads of a category is no smooth function of it."""
    sizes = [0] * shape[0]
    net = nets.TableEncoder(nets.Cells(sizes, 5), features, WIDTH, 2, 0.1, context)
    net.init_from_data(rows(sizes).float())
    return net.eval()


ENCODERS: dict[str, Callable[..., nets.TableEncoder]] = {"table": encoder}
