"""Synthetic rows of a table: given some cells, as many of each class as are wanted, and none that are unlikely.

Rows are drawn given the cells asked for, p(x | x_o), and none is rejected for having others. The quality filter keeps a
row if the model finds it no less likely than it finds real rows:

    -log p(x) <= the q-quantile of -log p over the real rows that have the cells asked for (all, if fewer than 20 do)

with the bound of `nelbo.Model.score` for -log p of both; rows that are dropped are drawn anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from nelbo.data import Dataset, Schema, subset, tables
from nelbo.errors import UserError
from nelbo.model import Model

SAMPLES = 4  # of z for a row's score
ENOUGH, MOST = 20, 2000  # real rows that tell a quantile
ROUNDS = 20  # of drawing anew


def augment(
    model: Model,
    n: int,
    given: Mapping[str, Any] | None = None,
    keep: float = 1.0,
    real: Dataset | None = None,
    seed: int = 0,
) -> Any:
    """`n` synthetic rows, a DataFrame, that have the cells `given`; `keep` below 1 is the q of the quality filter.

    Raises `UserError` for a column or value that the model does not know, and where the filter keeps next to nothing.
    """
    given = given or {}
    conditioned = model.given(given)
    if keep == 1:
        return conditioned.sample(n, seed)
    if not 0 < keep < 1 or real is None:
        raise UserError(f"filter={keep}: give a quantile above 0, at most 1 (1: no filter), and real rows")
    limit = highest(model, _alike(model, real, given), keep, seed)
    found: list[Any] = []
    held = 0
    for round_seed in np.random.SeedSequence(seed).generate_state(ROUNDS).tolist():
        drawn = conditioned.sample(max(n - held, 16), round_seed)
        good = drawn[model.score(drawn, SAMPLES, seed) <= limit]
        found.append(good)
        held += len(good)
        if held >= n:
            return _concatenated(found).iloc[:n].reset_index(drop=True)
    raise UserError(
        f"filter={keep}: kept {held} of the {n} rows wanted in {ROUNDS} rounds: give a higher one, or train longer"
    )


def balance(model: Model, column: str, data: Any, keep: float = 1.0, real: Dataset | None = None, seed: int = 0) -> Any:
    """The synthetic rows, a DataFrame, that make each category of `column` as frequent as the largest is in `data`.

    Raises `UserError` if the column is not one of categories, or has a single one in the data.
    """
    needed = missing_rows(model.schema, column, model.rows(data))
    seeds = np.random.SeedSequence(seed).generate_state(len(needed)).tolist()
    parts = [
        augment(model, n, {column: name}, keep, real, own)
        for (name, n), own in zip(needed.items(), seeds, strict=True)
        if n
    ]
    return _concatenated(parts) if parts else model.sample(1, seed).iloc[:0]


def missing_rows(schema: Schema, column: str, rows: Dataset) -> dict[str, int]:
    """How many rows each category lacks to be as frequent as the largest; categories without rows are left out."""
    names = [c.name for c in schema.modelled]
    if column not in names:
        raise UserError(f"balance {column!r}: the model has no such column: {tables.nearest(column, tuple(names))}")
    chosen = schema.modelled[names.index(column)]
    if not chosen.is_choice:
        listed = ", ".join(c.name for c in schema.modelled if c.is_choice) or "none"
        raise UserError(f"balance {column!r}: is {chosen.kind}, not of categories: give one of these: {listed}")
    x = rows.batch(torch.arange(len(rows)))[:, names.index(column)]
    counts = torch.bincount(x[~x.isnan()].long(), minlength=chosen.size).tolist()
    if sum(count > 0 for count in counts) < 2:
        raise UserError(f"balance {column!r}: the data have one class of it: give data with two or more")
    return {name: max(counts) - count for name, count in zip(chosen.categories, counts, strict=True) if count}


def highest(model: Model, real: Dataset, keep: float, seed: int = 0) -> float:
    """The `keep`-quantile of the score of real rows, nats."""
    chosen = torch.randperm(len(real), generator=torch.Generator().manual_seed(seed))[:MOST]
    return float(np.quantile(model.score(subset(real, chosen), SAMPLES, seed), keep))


def _alike(model: Model, real: Dataset, given: Mapping[str, Any]) -> Dataset:
    """The real rows that have the cells given, if they are enough to tell a quantile; else all."""
    cells = torch.from_numpy(tables.known_cells(given, model.schema))
    x = real.batch(torch.arange(len(real)))
    same = ((x == cells) | cells.isnan()).all(1).nonzero().flatten()
    return subset(real, same) if len(same) >= ENOUGH else real


def _concatenated(parts: list[Any]) -> Any:
    import pandas

    return pandas.concat(parts, ignore_index=True)
