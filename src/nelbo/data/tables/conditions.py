"""Some cells of a row, named and in the table's own words, as the row that a model completes."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from nelbo.data.columns import Column
from nelbo.data.schema import Schema
from nelbo.data.tables import transforms
from nelbo.data.tables.codec import Encoder
from nelbo.data.tables.describe import values_of
from nelbo.data.tables.source import open_table
from nelbo.errors import UserError, nearest, require


def known_cells(cells: Mapping[str, Any], schema: Schema) -> np.ndarray:
    """x of one row, float32 `(1, modelled columns)`: the cells given by the names of their columns, NaN elsewhere.

    Raises `UserError` for a column that is not modelled, or a value that the column cannot have or never had.
    """
    if not isinstance(cells, Mapping):
        raise UserError(f"condition {cells!r}: give cells by the names of their columns, such as {{'sex': 'Female'}}")
    pa = require("pyarrow")
    named = {column.name: column for column in schema.modelled}
    for name in cells:
        if name not in named:
            raise UserError(f"condition on {name!r}: the model has no such column: {nearest(str(name), named)}")
    texts = {name: None if cells.get(name) is None else str(cells[name]) for name in named}
    row = pa.table({name: pa.array([text], pa.string()) for name, text in texts.items()})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what cannot be placed is an error here
        try:
            x = next(iter(Encoder(open_table(row), schema).chunks()))
        except UserError as error:
            raise UserError(f"condition: {str(error).removeprefix('table: ')}") from None
    for j, column in enumerate(schema.modelled):
        if column.name in cells and np.isnan(x[0, j]):
            raise UserError(f"condition {column.name}={cells[column.name]}: {_remedy(column, str(cells[column.name]))}")
        if column.name in cells and column.is_number and not _within(column, x[0, j]):
            said = f"{column.name}={cells[column.name]}: training saw {values_of(column)}"
            raise UserError(f"condition {said}: give a value in between")
    return x


def _within(column: Column, x: float) -> bool:
    """Whether a number lies in the range of training, up to the digits of float32."""
    ends = [column.low or 0.0, column.high or 0.0]
    low, high = transforms.forward(column, np.array(ends)).astype(np.float32)
    return bool(low <= x <= high)


def _remedy(column: Column, value: str) -> str:
    if column.is_choice:
        return nearest(value, column.categories)
    return "give a date, such as 2024-05-31" if column.kind == "datetime" else "give a number"


def parse(text: str) -> dict[str, str]:
    """`column=value,column=value` as a dictionary; a part without `=` belongs to the value before it.

    >>> parse("income=>50K,city=Washington, DC")
    {'income': '>50K', 'city': 'Washington, DC'}
    """
    found: dict[str, str] = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        if equals:
            found[last := name.strip()] = value.strip()
        elif found:
            found[last] += f",{part}"
        else:
            raise UserError(f"condition {text!r}: give column=value, such as income=>50K,sex=Female")
    return found
