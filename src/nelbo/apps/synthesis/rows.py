"""Synthetic data: of the classes wanted, or given some cells, and none that are unlikely.

Rows of a table are drawn given the cells asked for, p(x | x_o), and none is rejected for having others; pictures are
drawn of their class (`nelbo.apps.synthesis.images`). The quality filter keeps what the model finds no less likely than
it finds real data:

    -log p(x) <= the q-quantile of -log p over the real data of the class or cells asked for (all, if fewer than 20)

with the bound of `nelbo.Model.score` for -log p of both, and for pictures, if their class is confirmed; what is dropped
is drawn anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from nelbo.apps.synthesis import images
from nelbo.apps.synthesis.images import SAMPLES, OfClass
from nelbo.apps.synthesis.label_propagation import with_classes
from nelbo.data import Dataset, Schema, subset, tables
from nelbo.errors import UserError, nearest
from nelbo.model import Model

ENOUGH, MOST = 20, 2000  # real rows that tell a quantile
ROUNDS = 20  # of drawing anew


def augment(
    model: Model,
    n: int,
    given: Any = None,
    keep: float = 1.0,
    real: Dataset | None = None,
    seed: int = 0,
    temperature: float = 1.0,
) -> Any:
    """`n` synthetic data, as likely as real ones; `keep` below 1 is the q of the quality filter.

    Of a table, a DataFrame of rows that have the cells `given`, by name. Of pictures, `(x, y)`: pictures `(n, *shape)`
    in the data's units and the names of their classes `(n,)`, all of the class `given` (None: of each alike).
    `temperature` scales the spread of pictures.

    Raises `UserError` for a class, column or value that is not known, and where the filter keeps next to nothing.
    """
    if n < 1:
        raise UserError(f"n={n}: give 1 or more")
    model.schema.require_kind("augment", "image", "table")
    if model.schema.data_kind.is_picture:
        known = images.names(model, real)
        counts = images.shares(n, known) if given is None else {images.known(given, known): n}
        return _pictures(model, counts, keep, real, seed, temperature)
    given = given or {}
    conditioned = model.given(given)
    if keep == 1:
        return conditioned.sample(n, seed, temperature)
    _check(keep, real)
    assert real is not None
    limit = highest(model, _alike(model, real, given), keep, seed)

    def draw(count: int, own: int) -> Any:
        return conditioned.sample(count, own, temperature)

    rows = _until(n, keep, seed, draw, lambda drawn: model.score(drawn, SAMPLES, seed) <= limit)
    return _concatenated(rows)[:n]


def balance(
    model: Model,
    column: str,
    data: Any,
    keep: float = 1.0,
    real: Dataset | None = None,
    seed: int = 0,
    temperature: float = 1.0,
) -> Any:
    """The synthetic data that make each category of `column` as frequent as the largest is in `data`; see `augment`.

    The column of pictures is "label". Raises `UserError` if the column is not one of categories, or has a single one.
    """
    if model.schema.data_kind.is_picture:
        if column != "label":
            raise UserError(f'balance {column!r}: pictures have one column of classes: give "label"')
        rows = model.rows(data)
        return _pictures(model, images.lacking(rows), keep, real or rows, seed, temperature)
    needed = missing_rows(model.schema, column, model.rows(data))
    seeds = np.random.SeedSequence(seed).generate_state(len(needed)).tolist()
    parts = [
        augment(model, n, {column: name}, keep, real, own, temperature)
        for (name, n), own in zip(needed.items(), seeds, strict=True)
        if n
    ]
    return _concatenated(parts) if parts else model.sample(1, seed).iloc[:0]


def _pictures(
    model: Model, counts: Mapping[str, int], keep: float, real: Dataset | None, seed: int, temperature: float
) -> tuple[np.ndarray, np.ndarray]:
    """So many pictures of each class, and their classes' names."""
    if keep != 1:
        _check(keep, real)
    if real is not None and not images.conditional(model):
        real = with_classes(model, real)
    seeds = np.random.SeedSequence(seed).generate_state(len(counts)).tolist()
    parts = [np.empty((0, *model.schema.shape), np.float32)]
    for (name, n), own in zip(counts.items(), seeds, strict=True):
        if n:
            of = OfClass(model, name, real, temperature)
            if keep == 1:
                parts.append(of.draw()(n, own))
            else:
                good = of.likely(lambda judge, alike: highest(judge, alike, keep, seed), ENOUGH, seed)
                parts.append(np.concatenate(_until(n, keep, own, of.draw(), good))[:n])
    return np.concatenate(parts), np.repeat(np.array(list(counts)), list(counts.values()))


def _check(keep: float, real: Dataset | None) -> None:
    if not 0 < keep < 1 or real is None:
        raise UserError(f"filter={keep}: give a quantile above 0, at most 1 (1: no filter), and real data")


def _until(
    n: int, keep: float, seed: int, draw: Callable[[int, int], Any], good: Callable[[Any], np.ndarray]
) -> list[Any]:
    """Draws that are good, in parts of n together or more."""
    found: list[Any] = []
    held = 0
    for round_seed in np.random.SeedSequence(seed).generate_state(ROUNDS).tolist():
        drawn = draw(max(n - held, 16), round_seed)
        found.append(drawn[good(drawn)])
        held += len(found[-1])
        if held >= n:
            return found
    raise UserError(
        f"filter={keep}: kept {held} of the {n} wanted in {ROUNDS} rounds: give a higher one, or train longer"
    )


def missing_rows(schema: Schema, column: str, rows: Dataset) -> dict[str, int]:
    """How many rows each category lacks to be as frequent as the largest; categories without rows are left out."""
    names = [c.name for c in schema.modelled]
    if column not in names:
        raise UserError(f"balance {column!r}: the model has no such column: {nearest(str(column), names)}")
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
