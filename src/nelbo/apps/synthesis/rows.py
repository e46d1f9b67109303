"""Synthetic data of given classes, or given some cells, with a filter by likelihood.

Rows of a table are drawn from p(x | x_o) given the cells x_o, without rejection; pictures are drawn given their class
(`nelbo.apps.synthesis.images`). The filter keeps samples that are no less likely than real data:

    -log p(x) <= the q-quantile of -log p over the real data of the class or cells (all, if fewer than 20)

with minus the importance-weighted bound of `nelbo.Model.log_likelihood` for -log p of both, and for pictures, if their
class is confirmed; rejected samples are redrawn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from nelbo.apps.synthesis import images
from nelbo.apps.synthesis.images import SAMPLES, ClassSampler
from nelbo.apps.synthesis.label_propagation import propagate_labels
from nelbo.data import Dataset, Schema, subset, tables
from nelbo.errors import UserError, nearest
from nelbo.model import Model
from nelbo.model.scoring import importance_weighted_bound

ENOUGH, MOST = 20, 2000  # the fewest and the most real rows of a quantile
ROUNDS = 20  # of redrawing


def augment(
    model: Model,
    n: int,
    condition: Any = None,
    max_nll_quantile: float = 1.0,
    reference: Dataset | None = None,
    seed: int = 0,
    temperature: float = 1.0,
) -> Any:
    """Draw `n` synthetic data.

    Args:
        model: a model of a table, or of pictures.
        n: the number of samples.
        condition: for a table, cells of all rows by name; for pictures, their class; None: each class in turn.
        max_nll_quantile: the q of the filter, above 0; 1: no filter.
        reference: the real data of the filter, and of a model that is not conditioned on classes.
        seed: fixes the draws.
        temperature: scales the spread of pictures.

    Returns:
        For a table, a DataFrame. For pictures, (x, y): pictures `(n, *shape)` in the data's units, and the names of
        their classes `(n,)`.

    Raises `UserError` for an unknown class, column or value, and if the filter rejects nearly all samples.
    """
    if n < 1:
        raise UserError(f"n={n}: use 1 or more")
    model.schema.require_kind("augment", "image", "table")
    if model.schema.data_kind.is_picture:
        known = images.names(model, reference)
        counts = images.split_evenly(n, known) if condition is None else {images.class_name(condition, known): n}
        return _pictures(model, counts, max_nll_quantile, reference, seed, temperature)
    condition = condition or {}
    conditioned = model.condition_on(condition)
    if max_nll_quantile == 1:
        return conditioned.sample(n, seed, temperature)
    _check(max_nll_quantile, reference)
    assert reference is not None
    limit = nll_quantile(model, _matching_rows(model, reference, condition), max_nll_quantile, seed)

    def draw(count: int, own: int) -> Any:
        return conditioned.sample(count, own, temperature)

    def accept(rows: Any) -> np.ndarray:
        return -importance_weighted_bound(model, rows, SAMPLES, seed) <= limit

    rows = _rejection_sample(n, max_nll_quantile, seed, draw, accept)
    return _concatenated(rows)[:n]


def balance(
    model: Model,
    column: str,
    data: Any,
    max_nll_quantile: float = 1.0,
    reference: Dataset | None = None,
    seed: int = 0,
    temperature: float = 1.0,
) -> Any:
    """Draw the synthetic data that make all categories of `column` as frequent as the largest one; see `augment`.

    The column of pictures is "label". Raises `UserError` if the column is not categorical, or has a single category.
    """
    if model.schema.data_kind.is_picture:
        if column != "label":
            raise UserError(f'balance {column!r}: pictures have only the column "label": use that')
        rows = model.as_dataset(data)
        return _pictures(model, images.images_to_balance(rows), max_nll_quantile, reference or rows, seed, temperature)
    needed = rows_to_balance(model.schema, column, model.as_dataset(data))
    seeds = np.random.SeedSequence(seed).generate_state(len(needed)).tolist()
    parts = [
        augment(model, n, {column: name}, max_nll_quantile, reference, own, temperature)
        for (name, n), own in zip(needed.items(), seeds, strict=True)
        if n
    ]
    return _concatenated(parts) if parts else model.sample(1, seed).iloc[:0]


def _pictures(
    model: Model,
    counts: Mapping[str, int],
    max_nll_quantile: float,
    reference: Dataset | None,
    seed: int,
    temperature: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Pictures, a number of each class, and the names of their classes."""
    if max_nll_quantile != 1:
        _check(max_nll_quantile, reference)
    if reference is not None and not images.conditional(model):
        reference = propagate_labels(model, reference)
    seeds = np.random.SeedSequence(seed).generate_state(len(counts)).tolist()
    parts = [np.empty((0, *model.schema.shape), np.float32)]
    for (name, n), own in zip(counts.items(), seeds, strict=True):
        if n:
            of = ClassSampler(model, name, reference, temperature)
            if max_nll_quantile == 1:
                parts.append(of.sampler()(n, own))
            else:
                good = of.acceptance_filter(
                    lambda judge, alike: nll_quantile(judge, alike, max_nll_quantile, seed), ENOUGH, seed
                )
                parts.append(np.concatenate(_rejection_sample(n, max_nll_quantile, own, of.sampler(), good))[:n])
    return np.concatenate(parts), np.repeat(np.array(list(counts)), list(counts.values()))


def _check(max_nll_quantile: float, reference: Dataset | None) -> None:
    if not 0 < max_nll_quantile < 1 or reference is None:
        raise UserError(
            f"max_nll_quantile={max_nll_quantile}: use a quantile above 0, at most 1 (1: no filter), and real data"
        )


def _rejection_sample(
    n: int, max_nll_quantile: float, seed: int, draw: Callable[[int, int], Any], accept: Callable[[Any], np.ndarray]
) -> list[Any]:
    """Accepted draws, in parts, at least n together."""
    found: list[Any] = []
    held = 0
    for round_seed in np.random.SeedSequence(seed).generate_state(ROUNDS).tolist():
        drawn = draw(max(n - held, 16), round_seed)
        found.append(drawn[accept(drawn)])
        held += len(found[-1])
        if held >= n:
            return found
    raise UserError(
        f"max_nll_quantile={max_nll_quantile}: accepted {held} of {n} in {ROUNDS} rounds: use a higher one, or "
        "train longer"
    )


def rows_to_balance(schema: Schema, column: str, rows: Dataset) -> dict[str, int]:
    """The number of rows to add per category to match the largest one; empty categories are left out."""
    names = [c.name for c in schema.feature_columns]
    if column not in names:
        raise UserError(f"balance {column!r}: the model has no such column: {nearest(str(column), names)}")
    chosen = schema.feature_columns[names.index(column)]
    if not chosen.is_categorical:
        listed = ", ".join(c.name for c in schema.feature_columns if c.is_categorical) or "none"
        raise UserError(f"balance {column!r}: the column is {chosen.kind}, not categorical: use one of {listed}")
    x = rows.batch(torch.arange(len(rows)))[:, names.index(column)]
    counts = torch.bincount(x[~x.isnan()].long(), minlength=chosen.size).tolist()
    if sum(count > 0 for count in counts) < 2:
        raise UserError(f"balance {column!r}: the data have one category: give data with at least two")
    return {name: max(counts) - count for name, count in zip(chosen.categories, counts, strict=True) if count}


def nll_quantile(model: Model, reference: Dataset, max_nll_quantile: float, seed: int = 0) -> float:
    """The `max_nll_quantile`-quantile of -log p(x) over real rows, nats."""
    chosen = torch.randperm(len(reference), generator=torch.Generator().manual_seed(seed))[:MOST]
    nll = -importance_weighted_bound(model, subset(reference, chosen), SAMPLES, seed)
    return float(np.quantile(nll, max_nll_quantile))


def _matching_rows(model: Model, reference: Dataset, condition: Mapping[str, Any]) -> Dataset:
    """The real rows that have the cells `condition`, if they are enough for a quantile; else all."""
    cells = torch.from_numpy(tables.encode_evidence(condition, model.schema))
    x = reference.batch(torch.arange(len(reference)))
    same = ((x == cells) | cells.isnan()).all(1).nonzero().flatten()
    return subset(reference, same) if len(same) >= ENOUGH else reference


def _concatenated(parts: list[Any]) -> Any:
    import pandas

    return pandas.concat(parts, ignore_index=True)
