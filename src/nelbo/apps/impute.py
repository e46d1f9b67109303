"""Missing cells of a table filled; every cell that is there stays as it is, text for text.

    x_m ~ p(x_m | x_o),  or its mean for a number and its likeliest category

The columns that the model leaves out (identifiers, constants) stay as they are, too. Several draws are several complete
tables: analyse each, and pool the results by Rubin's rules (the mean of the estimates; the mean of their variances plus
1 + 1/m of the variance between them). See `nelbo.completion`.

Source: Rubin (1987), Multiple Imputation for Nonresponse in Surveys; Mattei, Frellsen (2019), MIWAE: Deep Generative
Modelling and Imputation of Incomplete Data Sets.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from nelbo.data import tables
from nelbo.errors import UserError
from nelbo.model import Model


def fill(model: Model, source: Any, seed: int = 0) -> tuple[tables.Raw, Any]:
    """(the table with its missing cells filled, how unsure each is); `source` is a file, DataFrame or Arrow table.

    `unsure` is a DataFrame of the modelled columns: 0 for a cell that is there, else the standard deviation of a number
    (in its own units) or the probability of another category. Raises `UserError` if columns are missing.
    """
    raw, at = _gaps(model, source)
    filled, unsure = model.impute(source, seed)
    place = [raw.table.column_names.index(name) for name in unsure.columns]
    return tables.replaced(raw, at, filled), unsure.where(at[:, place], 0.0)


def draws(model: Model, source: Any, n: int, seed: int = 0) -> Iterator[tables.Raw]:
    """`n` complete tables, each with the missing cells drawn anew given those that are there."""
    if n < 1:
        raise UserError(f"draws={n}: give 1 or more")
    raw, at = _gaps(model, source)
    for own in np.random.SeedSequence(seed).generate_state(n).tolist():
        yield tables.replaced(raw, at, model.complete(source, own))


def _gaps(model: Model, source: Any) -> tuple[tables.Raw, np.ndarray]:
    """The table, and which of its cells are to be filled: those missing in columns that the model has."""
    if model.schema.kind != "table" or not tables.is_table(source):
        model.rows(source)  # says what is wrong, if the source is
        raise UserError(f"impute: the model is of data of kind {model.schema.kind}, not of a table: train on a table")
    raw = tables.whole(source)
    known = {column.name for column in model.schema.modelled}
    return raw, tables.gaps(source) & np.array([name in known for name in raw.table.column_names])
