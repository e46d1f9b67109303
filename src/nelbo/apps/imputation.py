"""Imputation of missing cells of a table, or steps of series; observed cells are unchanged, character by character.

    x_m ~ p(x_m | x_o),  or its mean for a number and its likeliest category

Columns that the model does not use (identifiers, constants) are unchanged, too. For multiple imputation, draw several
tables, analyse each, and pool the results by Rubin's rules (the mean of the estimates; the mean of their variances plus
1 + 1/m of the variance between them). See `nelbo.model.imputation`.

Source: Rubin (1987), Multiple Imputation for Nonresponse in Surveys; Mattei, Frellsen (2019), MIWAE: Deep Generative
Modelling and Imputation of Incomplete Data Sets.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from nelbo.data import Dataset, tables
from nelbo.errors import UserError, require
from nelbo.model import Model


def impute_table(
    model: Model, source: Any, seed: int = 0, return_std: bool = False, sample_posterior: bool = False
) -> Any:
    """The table with its missing cells filled by `Model.impute`, a `tables.Source`; with `return_std`, (table, std).

    A table of recordings, for a model of series, is filled window by window.

    Args:
        model: the trained model.
        source: a file, a DataFrame or an Arrow table.
        seed: fixes the draws.
        return_std: whether to return the uncertainty too, a DataFrame of the feature columns; see `Model.impute`.
        sample_posterior: whether to draw missing cells instead of taking their expected values.

    Raises `UserError` if columns are missing.
    """
    rows = model.as_dataset(source)
    if not (model.schema.feature_columns or model.schema.names) or not tables.is_table(source):
        model.schema.require_kind("impute", "table")
    if model.schema.data_kind.is_sequence:
        return _impute_recordings(model, source, rows, seed, return_std, sample_posterior)
    values, std = model._impute(rows, seed, sample_posterior)
    table = tables.replace_missing(rows, values)
    return (table, model.schema.data_kind.to_user_uncertainty(std, rows)) if return_std else table


def multiple_imputation(model: Model, source: Any, n: int, seed: int = 0) -> Iterator[Any]:
    """`n` complete tables, or arrays of series: each has other draws of the missing values, given the observed ones."""
    if n < 1:
        raise UserError(f"n={n}: use 1 or more")
    impute = impute_series if is_series(model, source) else impute_table
    for own in np.random.SeedSequence(seed).generate_state(n).tolist():
        yield impute(model, source, own, sample_posterior=True)


def impute_series(
    model: Model, source: Any, seed: int = 0, return_std: bool = False, sample_posterior: bool = False
) -> Any:
    """Series `(n, steps, channels)`, their missing steps filled by `Model.impute`; with `return_std`, (series, std)."""
    rows = model.as_dataset(source)
    model.schema.require_kind("impute", "series")
    return model.impute(rows, seed, return_std, sample_posterior)


def is_series(model: Model, source: Any) -> bool:
    """Whether `impute_series` fills this source, and not `impute_table`."""
    return model.schema.data_kind.is_sequence and not tables.is_table(source)


def _impute_recordings(
    model: Model, source: Any, rows: Dataset, seed: int, return_std: bool, sample_posterior: bool
) -> Any:
    """`impute_table` of a table of recordings."""
    raw = tables.open_table(source)
    at = tables.gaps(source, model.schema) & np.isin(raw.names, model.schema.names)
    filled, std = (_joined(rows, part) for part in model._impute(rows, seed, sample_posterior))
    table = tables.replace_cells(raw, at, filled)
    place = [raw.names.index(name) for name in std.columns]
    return (table, std.where(at[:, place], 0.0)) if return_std else table


def _joined(rows: Dataset, values: np.ndarray) -> Any:
    """Windows `(n, window, channels)` of the recordings of a table as a DataFrame of its rows."""
    assert rows.origin is not None
    steps = [np.full(series.shape, np.nan, values.dtype) for series in rows.source.values]
    for (recording, first), window in zip(rows.origin.tolist(), values, strict=True):
        place = steps[recording][first : first + len(window)]
        place[:] = window[: len(place)]
    ends = np.cumsum([len(series) for series in steps])
    whole = np.append(np.concatenate(steps), np.full((1, values.shape[2]), np.nan, values.dtype), 0)
    recording, step = rows.source.places.T
    at = np.where(recording < 0, -1, np.append(0, ends)[recording] + step)  # a row without a time is not filled
    return require("pandas").DataFrame(whole[at], columns=list(rows.schema.names))
