"""Tables to the numbers that a model sees, by the columns of a schema.

A cell that the schema does not know (a category that training never saw, a word in a column of numbers) is taken as
missing, and one warning counts and names such cells.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from nelbo.data.columns import Column
from nelbo.data.schema import Schema
from nelbo.data.tables import cells, transforms
from nelbo.data.tables.extra import need
from nelbo.data.tables.overrides import nearest
from nelbo.data.tables.source import Source
from nelbo.errors import UserError


class Encoder:
    """Encodes a source's batches by a schema, and keeps what it could not place.

    Columns are found by name; others than the schema's are passed over with a warning. Raises `UserError` naming
    the modelled columns that the source lacks.
    """

    def __init__(self, source: Source, schema: Schema) -> None:
        self.source, self.columns = source, schema.modelled
        self.unplaced: dict[str, Counter[str]] = {}
        lacking = [column.name for column in self.columns if column.name not in source.names]
        known = {column.name for column in schema.columns}
        extra = [name for name in source.names if name not in known]
        if lacking:
            hint = f"; it has {', '.join(extra)} that the model does not know" if extra else ""
            close = f": {nearest(lacking[0], tuple(extra))}" if len(lacking) == 1 and extra else ": add or rename them"
            raise UserError(f"{source.name}: lacks the columns {', '.join(lacking)}{hint}{close}")
        if extra:
            warnings.warn(f"{source.name}: the model does not know {', '.join(extra)}: passed over", stacklevel=6)
        self.places = [source.names.index(column.name) for column in self.columns]

    def chunks(self) -> Iterator[np.ndarray]:
        """x of the rows in order, float32 `(n, modelled columns)`; warns at the end of what was taken as missing."""
        rows = 0
        for batch in self.source.batches():
            x = np.empty((batch.num_rows, len(self.columns)), np.float32)
            for j, (place, column) in enumerate(zip(self.places, self.columns, strict=True)):
                try:
                    x[:, j] = self._encode(column, batch.column(place), rows)
                except UserError as error:
                    raise UserError(f"{self.source.name}: column {column.name!r}: {error}") from None
            rows += batch.num_rows
            yield x
        self._warn()

    def _encode(self, column: Column, array: Any, rows: int) -> np.ndarray:
        if column.kind == "datetime":
            v = _moments(column, array)
            x = transforms.forward(column, v)
        elif column.is_number or _numeric(column):
            v = cells.numbers(array)
            if np.isinf(v).any():
                raise UserError(f"row {rows + int(np.isinf(v).argmax()) + 1} is infinite: drop or fill it")
            x = transforms.forward(column, v) if column.is_number else _places(column, v)
        else:
            x = _text_places(column, array)
        self._note(column, array, np.isnan(x))
        return x

    def _note(self, column: Column, array: Any, absent: np.ndarray) -> None:
        """Count the cells that hold something, and yet have no number."""
        lost = absent & array.is_valid().to_numpy(zero_copy_only=False)
        form = cells.form_of(array.type)
        if not lost.any() or form == "date":
            return
        if form == "number":
            held = cells.numbers(array)[lost]
            names = [cells.canonical(value) for value in held[~np.isnan(held)].tolist()]
        else:
            distinct, place = cells.texts(array)
            place = place[lost]
            names = distinct.take(place[place >= 0]).to_pylist()
        if names:
            self.unplaced.setdefault(column.name, Counter()).update(names)

    def _warn(self) -> None:
        if not self.unplaced:
            return
        total = sum(sum(counter.values()) for counter in self.unplaced.values())
        named = [f"{name} {counter.most_common(1)[0][0]!r}" for name, counter in self.unplaced.items()]
        more = f" and {len(named) - 5} more columns" if len(named) > 5 else ""
        warnings.warn(
            f"{self.source.name}: {total} cells hold values that the schema does not know, taken as missing: "
            f"{', '.join(named[:5])}{more}",
            stacklevel=6,
        )


def _moments(column: Column, array: Any) -> np.ndarray:
    """Datetimes in the column's unit, float64, NaN for a missing one."""
    moments, unit = cells.dates(array)
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


def _places(column: Column, v: np.ndarray) -> np.ndarray:
    """The place of each number among the categories, NaN for one that is none."""
    kind = np.float32 if column.dtype in ("float", "halffloat") else np.float64
    categories = np.array([float(c) for c in column.categories]).astype(kind).astype(np.float64)
    order = np.argsort(categories)
    at = np.searchsorted(categories[order], v).clip(0, len(order) - 1)
    return np.where(categories[order][at] == v, order[at], np.nan)


def _text_places(column: Column, array: Any) -> np.ndarray:
    pa, pc = need("pyarrow"), need("pyarrow.compute")
    distinct, place = cells.texts(array)
    categories = column.categories
    if column.dtype == "bool":
        distinct, categories = pc.utf8_lower(distinct), tuple(map(str.lower, categories))
    found = pc.index_in(distinct, value_set=pa.array(categories, pa.string()))
    return np.append(found.cast(pa.float64()).fill_null(np.nan).to_numpy(zero_copy_only=False), np.nan)[place]
