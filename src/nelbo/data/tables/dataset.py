"""Tables as datasets: the schema inferred from all rows; the rows encoded by it, in memory or in a file.

A cell that the schema does not know (a category that training never saw, a word in a column of numbers) is taken as
missing, and one warning counts and names such cells.
"""

from __future__ import annotations

import warnings
import weakref
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nelbo.data.arrays.npy import FileRows, rows_of
from nelbo.data.columns import Column
from nelbo.data.dataset import Dataset, InMemoryDataset, StreamedDataset, fits_memory
from nelbo.data.schema import Schema
from nelbo.data.tables import cells, overrides, source, transforms
from nelbo.data.tables.decoding import values_of
from nelbo.data.tables.infer import ColumnStats, column_of, sample_size
from nelbo.data.tables.overrides import Override, Overrides
from nelbo.data.tables.source import Source, open_table, spill
from nelbo.errors import UserError, nearest, require


def infer(table: Any, columns: Overrides = None) -> tuple[Schema, int]:
    """Infer the schema of a table, and count its rows.

    Args:
        table: a DataFrame, an Arrow table, or a file.
        columns: the user's description of columns, a TOML file or a dictionary; None: all are inferred.

    Warns of columns that are left out. Raises `UserError` for any fault of the table.
    """
    opened = open_table(table)
    return _infer(opened, columns), opened.table.num_rows


def read(table: Any, columns: Overrides = None) -> Dataset:
    """Read all rows of a table, with the schema inferred from it; see `infer`.

    Args:
        table: a DataFrame, an Arrow table, or a file.
        columns: the user's description of columns, a TOML file or a dictionary; None: all are inferred.
    """
    opened = open_table(table)
    return _dataset(opened, _infer(opened, columns))


def read_like(table: Any, schema: Schema) -> Dataset:
    """Read the rows of a table for a model that was trained on tables of this schema.

    Columns are found by name, in any order; those that the model does not have are ignored with a warning. Values
    that the schema does not have become missing, with one warning. Raises `UserError` naming
    the columns that are missing, or if there are no rows.
    """
    return _dataset(open_table(table), schema)


def encode(table: Any, schema: Schema) -> np.ndarray:
    """x of the rows of a table (or of its file), float32 `(n, feature columns)`, NaN where a cell is missing."""
    dataset = read_like(table, schema)
    return dataset.batch(torch.arange(len(dataset))).numpy()


def encode_evidence(known: Mapping[str, Any], schema: Schema) -> np.ndarray:
    """x of one row, float32 `(1, modelled columns)`: the cells given by the names of their columns, NaN elsewhere.

    Raises `UserError` for a column that is not modelled, or a value that the column cannot have or never had.
    """
    if not isinstance(known, Mapping):
        raise UserError(f"condition {known!r}: give cells by the names of their columns, such as {{'sex': 'Female'}}")
    pa = require("pyarrow")
    columns = {column.name: column for column in schema.feature_columns}
    for name in known:
        if name not in columns:
            raise UserError(f"condition on {name!r}: the model has no such column: {nearest(str(name), columns)}")
    texts = {name: None if known.get(name) is None else str(known[name]) for name in columns}
    row = Source("", pa.table({name: pa.array([text], pa.string()) for name, text in texts.items()}), tuple(texts))
    try:
        x = next(Encoder(row, schema).chunks())
    except UserError as error:
        raise UserError(f"condition: {str(error).removeprefix(': ')}") from None
    for j, column in enumerate(schema.feature_columns):
        if column.name in known and np.isnan(x[0, j]):
            raise UserError(f"condition {column.name}={known[column.name]}: {_remedy(column, str(known[column.name]))}")
        if column.name in known and column.is_number and not _within(column, x[0, j]):
            said = f"{column.name}={known[column.name]}: training saw {values_of(column)}"
            raise UserError(f"condition {said}: give a value in between")
    return x


def _within(column: Column, x: float) -> bool:
    """Whether a number lies in the range of training, up to the digits of float32."""
    ends = [column.low or 0.0, column.high or 0.0]
    low, high = transforms.forward(column, np.array(ends)).astype(np.float32)
    return bool(low <= x <= high)


def _remedy(column: Column, value: str) -> str:
    if column.is_categorical:
        return nearest(value, column.categories)
    if column.kind == "datetime":
        return "give a date, such as 2024-05-31"
    return "give a time, such as 12:30:00 or 2 days 12:30:00" if column.unit else "give a number"


def parse_condition(text: str) -> dict[str, str]:
    """`column=value,column=value` as a dictionary; a part without `=` belongs to the value before it.

    >>> parse_condition("income=>50K,city=Washington, DC")
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


def _infer(table: Source, columns: Overrides) -> Schema:
    said, rows = overrides.parse(columns, table.names), table.table.num_rows
    if rows < 2:
        held = "has 1 row: give at least 2, one for training and one for testing"
        raise UserError(f"{table.name} {held if rows else 'has a header and no rows: give at least 2 rows'}")
    found, size = [], sample_size(len(table.names))
    for name, array in zip(table.names, table.table.columns, strict=True):
        stats = ColumnStats(name, array, table.frames.get(name, ""), table.dialect is not None, size)
        try:
            found.append(column_of(stats, said.get(name, Override())))
        except UserError as error:
            raise UserError(f"{table.name}: {error}") from None
    out = [c for c in found if c.note and not said.get(c.name, Override()).kind]
    for c in out:
        remedy = "" if c.kind == "constant" else ": to have it modelled, say its kind in --columns"
        warnings.warn(f"{table.name}: column {c.name!r} is left out ({c.note}){remedy}", stacklevel=5)
    if not any(c.is_feature for c in found):
        raise UserError(f"{table.name}: no column is left to model: all are constant or look like identifiers")
    return Schema.table(tuple(found))


def _dataset(table: Source, schema: Schema) -> Dataset:
    encoder, shape = Encoder(table, schema), (table.table.num_rows, *schema.shape)
    if not shape[0]:
        raise UserError(f"{table.name} has no rows: give at least one")
    if fits_memory(4 * shape[0] * shape[1]):
        x, start = np.empty(shape, np.float32), 0
        for chunk in encoder.chunks():
            x[start : start + len(chunk)] = chunk
            start += len(chunk)
        encoder.warn()
        return InMemoryDataset(torch.from_numpy(x), schema)
    with spill(".f32") as file:
        for chunk in encoder.chunks():
            file.write(chunk.data)
    encoder.warn()
    mapped: np.ndarray | FileRows = rows_of(np.memmap(file.name, np.float32, "r", shape=shape), "table")
    weakref.finalize(mapped, Path(file.name).unlink, missing_ok=True)  # at the latest, at the end of the process
    return StreamedDataset(mapped, schema, None, threaded=True)


class Encoder:
    """Encodes the rows of a table by a schema, and keeps what it could not place.

    Columns are found by name; others than the schema's are passed over with a warning. Raises `UserError` naming
    the modelled columns that the table lacks.
    """

    def __init__(self, table: Source, schema: Schema) -> None:
        self.name, self.columns = table.name, schema.feature_columns
        self.unplaced: dict[str, Counter[str]] = {}
        lacking = [column.name for column in self.columns if column.name not in table.names]
        known = {column.name for column in schema.columns}
        extra = [name for name in table.names if name not in known]
        if lacking:
            hint = f"; it has {', '.join(extra)} that the model does not know" if extra else ""
            close = f": {nearest(lacking[0], tuple(extra))}" if len(lacking) == 1 and extra else ": add or rename them"
            raise UserError(f"{table.name}: lacks the columns {', '.join(lacking)}{hint}{close}")
        if extra:
            warnings.warn(f"{table.name}: the model does not know {', '.join(extra)}: passed over", stacklevel=6)
        self.table = table.table.select([column.name for column in self.columns])

    def chunks(self) -> Iterator[np.ndarray]:
        """x of the rows in order, float32 `(n, feature columns)`."""
        rows = 0
        for batch in self.table.to_batches(source.BATCH):
            x = np.empty((batch.num_rows, len(self.columns)), np.float32)
            for j, (column, array) in enumerate(zip(self.columns, batch.columns, strict=True)):
                try:
                    x[:, j] = self._encode(column, array, rows)
                except UserError as error:
                    raise UserError(f"{self.name}: column {column.name!r}: {error}") from None
            rows += batch.num_rows
            yield x

    def _encode(self, column: Column, array: Any, rows: int) -> np.ndarray:
        if column.unit:
            x = transforms.forward(column, _moments(column, array))
        elif column.is_number or _numeric(column):
            v = cells.numbers(array)
            if np.isinf(v).any():
                raise UserError(f"row {rows + int(np.isinf(v).argmax()) + 1} is infinite: drop or fill it")
            x = transforms.forward(column, v) if column.is_number else _number_places(column, v)
        else:
            x = _text_places(column, array)
        if (absent := np.isnan(x)).any():
            self._note(column, array, absent)
        return x

    def _note(self, column: Column, array: Any, absent: np.ndarray) -> None:
        """Count the cells that hold something, and yet have no number."""
        pa, pc = require("pyarrow"), require("pyarrow.compute")
        for cell in pc.value_counts(array.filter(pa.array(absent)).cast(pa.string())).to_pylist():
            if (text := (cell["values"] or "").strip()) not in cells.MARKERS:
                self.unplaced.setdefault(column.name, Counter())[text] += cell["counts"]

    def warn(self) -> None:
        """Warn of what was taken as missing, if anything was."""
        if not self.unplaced:
            return
        total = sum(sum(counter.values()) for counter in self.unplaced.values())
        named = [f"{name} {counter.most_common(1)[0][0]!r}" for name, counter in self.unplaced.items()]
        more = f" and {len(named) - 5} more columns" if len(named) > 5 else ""
        warnings.warn(
            f"{self.name}: {total} cells hold values that the schema does not know, taken as missing: "
            f"{', '.join(named[:5])}{more}",
            stacklevel=6,
        )


def _moments(column: Column, array: Any) -> np.ndarray:
    """Datetimes, durations or times of day in the column's unit, float64, NaN for a missing one."""
    moments, unit = cells.dates(array) if column.kind == "datetime" else cells.spans(array)
    own, wanted = cells.UNITS[unit], cells.UNITS[column.unit]
    if own >= wanted:
        v = moments * float(own // wanted)
    else:  # whole ones stay exact, though nanoseconds since 1970 have more digits than float64
        whole, rest = np.divmod(moments, wanted // own)
        v = whole + rest / (wanted // own)
    return np.where(moments == cells.NONE, np.nan, v)


def _numeric(column: Column) -> bool:
    """Whether the categories are numbers."""
    try:
        return all(c == cells.canonical(float(c)) for c in column.categories) or column.dtype in ("float", "halffloat")
    except (ValueError, OverflowError):
        return False


def _number_places(column: Column, v: np.ndarray) -> np.ndarray:
    """The place of each number among the categories, NaN for one that is none."""
    pa, pc = require("pyarrow"), require("pyarrow.compute")
    kind = np.float32 if column.dtype in ("float", "halffloat") else np.float64
    categories = np.array([float(c) for c in column.categories]).astype(kind).astype(np.float64)
    return np.asarray(pc.index_in(pa.array(v + 0.0), value_set=pa.array(categories + 0.0)).cast(pa.float64()))


def _text_places(column: Column, array: Any) -> np.ndarray:
    pa, pc = require("pyarrow"), require("pyarrow.compute")
    distinct, place = cells.texts(array)
    categories = column.categories
    if column.dtype == "bool":
        distinct, categories = pc.utf8_lower(distinct), tuple(map(str.lower, categories))
    found = pc.index_in(distinct, value_set=pa.array(categories, pa.string()))
    return np.append(np.asarray(found.cast(pa.float64())), np.nan)[place]
