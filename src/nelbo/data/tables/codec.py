"""Tables to the numbers that a model sees, and back, by the columns of a schema.

A cell that the schema does not know (a category that training never saw, a word in a column of numbers) is taken as
missing, and one warning counts and names such cells. On the way back, a table has the source's types, ranges,
decimals, categories and order.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Literal

import numpy as np

from nelbo.data.columns import Column
from nelbo.data.schema import Schema
from nelbo.data.tables import cells, transforms
from nelbo.data.tables.source import Source
from nelbo.errors import UserError, nearest, require


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
    pa, pc = require("pyarrow"), require("pyarrow.compute")
    distinct, place = cells.texts(array)
    categories = column.categories
    if column.dtype == "bool":
        distinct, categories = pc.utf8_lower(distinct), tuple(map(str.lower, categories))
    found = pc.index_in(distinct, value_set=pa.array(categories, pa.string()))
    return np.append(found.cast(pa.float64()).fill_null(np.nan).to_numpy(zero_copy_only=False), np.nan)[place]


Like = Literal["pandas", "arrow", "polars"]
LARGEST = float(2**63 - 1024)  # the largest float64 that an int64 holds


def decode(x: Any, schema: Schema, like: Like = "pandas") -> Any:
    """x `(n, modelled columns)` -> a table of `like`'s package, of all columns of the source but identifiers.

    Types, order and categories are the source's; numbers are brought to the range seen in training and to its
    decimals; NaN becomes null; a constant has its value. Raises `UserError` for another width.
    """
    pa = require("pyarrow")
    if like not in ("pandas", "arrow", "polars"):
        raise UserError(f"like={like!r}: give pandas, arrow or polars")
    values = np.asarray(x)
    if not schema.columns or values.ndim != 2 or values.shape[1:] != schema.shape:
        raise UserError(f"x of shape {values.shape} is no table of the schema: give (n, {schema.shape[0]})")
    kept = [column for column in schema.columns if column.kind != "identifier"]
    place = {column.name: j for j, column in enumerate(schema.modelled)}
    arrays = [
        _cells(column, values[:, place[column.name]]) if column.modelled else _repeated(column, len(values))
        for column in kept
    ]
    table = pa.table(arrays, names=[column.name for column in kept])
    if like == "polars":
        return _to_polars(table, kept)
    return table if like == "arrow" else _to_pandas(table, kept)


def _cells(column: Column, x: np.ndarray) -> Any:
    absent = np.isnan(x)
    if column.is_number:
        v = transforms.inverse(column, np.where(absent, 0.0, x))
        if column.decimals is not None:
            v = np.round(v, column.decimals)
        return _numbers(column, np.clip(v, column.low, column.high), absent)
    places = np.where(absent, 0, np.rint(np.where(absent, 0, x)).clip(0, column.size - 1)).astype(np.int32)
    return _chosen(column, places, absent)


def _chosen(column: Column, places: np.ndarray, absent: np.ndarray) -> Any:
    """The categories at these places."""
    pa = require("pyarrow")
    kind, index = cells.arrow_type(column.dtype), pa.array(places, mask=absent)
    if pa.types.is_dictionary(kind):
        values = _parsed(column.categories, kind.value_type)
        return pa.DictionaryArray.from_arrays(index, values, ordered=kind.ordered)
    return _parsed(column.categories, kind).take(index)


def _parsed(texts: tuple[str, ...], kind: Any) -> Any:
    """Texts as values of an Arrow type."""
    pa = require("pyarrow")
    if pa.types.is_boolean(kind):
        return pa.array([text.lower() == "true" for text in texts])
    if pa.types.is_decimal(kind):
        return pa.array([Decimal(text) for text in texts], kind)
    if pa.types.is_floating(kind):
        return pa.array(np.array([float(text) for text in texts], kind.to_pandas_dtype()))
    if cells.form_of(kind) == "number":
        return _from_int64(np.array([int(text) for text in texts]), kind)
    return pa.array(texts, kind)


def _numbers(column: Column, v: np.ndarray, absent: np.ndarray) -> Any:
    """Values (datetimes in the column's unit) as an array of the column's type."""
    pa = require("pyarrow")
    kind = cells.arrow_type(column.dtype)
    if column.unit:
        return _times(np.rint(v).astype(np.int64), column.unit, kind, absent)
    if pa.types.is_floating(kind):
        return pa.array(v.astype(kind.to_pandas_dtype()), mask=absent)
    if pa.types.is_decimal(kind):
        return pa.array(v, mask=absent).cast(kind)
    if cells.form_of(kind) == "text" and column.decimals != 0:
        return pa.array(v, mask=absent).cast(kind)
    if pa.types.is_uint64(kind):
        return pa.array(np.rint(v).astype(np.uint64), mask=absent)
    return _from_int64(np.rint(v.clip(-LARGEST, LARGEST)).astype(np.int64), kind, absent)


def _from_int64(v: np.ndarray, kind: Any, absent: np.ndarray | None = None) -> Any:
    """Whole numbers as a type that Arrow makes of them."""
    pa = require("pyarrow")
    array = pa.array(v, mask=absent)
    return array.cast(pa.int32()).cast(kind) if pa.types.is_time32(kind) else array.cast(kind)


def _times(v: np.ndarray, unit: str, kind: Any, absent: np.ndarray) -> Any:
    """Datetimes counted in `unit` as an array of a date, timestamp or text type."""
    pa = require("pyarrow")
    if cells.form_of(kind) == "text":
        fine = unit if unit in ("ms", "us", "ns") else "s"
        moments = _times(v, unit, pa.date32() if unit == "D" else pa.timestamp(fine), absent)
        return moments.cast(kind)
    own = "D" if pa.types.is_date32(kind) else "ms" if pa.types.is_date64(kind) else kind.unit
    v = v * (cells.UNITS[unit] // cells.UNITS[own])
    array = pa.array(v, mask=absent)
    return (array.cast(pa.int32()) if own == "D" else array).cast(kind)


def _repeated(column: Column, n: int) -> Any:
    """A constant column."""
    pa = require("pyarrow")
    kind = cells.arrow_type(column.dtype)
    if column.constant is None:
        return pa.nulls(n, kind)
    if column.unit:
        return _times(np.full(n, int(column.constant)), column.unit, kind, np.zeros(n, bool))
    if pa.types.is_dictionary(kind):
        place = column.categories.index(column.constant)
        values = _parsed(column.categories, kind.value_type)
        return pa.DictionaryArray.from_arrays(pa.array(np.full(n, place, np.int32)), values, ordered=kind.ordered)
    return _parsed((column.constant,), kind).take(pa.array(np.zeros(n, np.int32)))


def _to_pandas(table: Any, columns: list[Column]) -> Any:
    """The table as a DataFrame; whole numbers and booleans with gaps have pandas' types that allow these."""
    pandas, pa = require("pandas"), require("pyarrow")
    signed = [(pa.int8(), "Int8"), (pa.int16(), "Int16"), (pa.int32(), "Int32"), (pa.int64(), "Int64")]
    unsigned = [(pa.uint8(), "UInt8"), (pa.uint16(), "UInt16"), (pa.uint32(), "UInt32"), (pa.uint64(), "UInt64")]
    gaps = {kind: pandas.api.types.pandas_dtype(name) for kind, name in (*signed, *unsigned, (pa.bool_(), "boolean"))}
    made = {}
    for column, array in zip(columns, table.columns, strict=True):
        gappy = column.missing > 0 or array.null_count > 0
        series = array.to_pandas(types_mapper=gaps.get if gappy else None, date_as_object=column.frame == "object")
        try:
            series = series.astype(column.frame) if column.frame else series
            made[column.name] = series.where(series.notna(), None) if column.frame == "object" else series
        except (TypeError, ValueError):  # the gaps of this table are not what that type allows
            made[column.name] = series
    return pandas.DataFrame(made)


def _to_polars(table: Any, columns: list[Column]) -> Any:
    """The table as a polars DataFrame; ordered categories are an Enum."""
    polars = require("polars")
    frame = polars.from_arrow(table)
    ordered = [column for column in columns if column.dtype.endswith(", ordered>")]
    return frame.with_columns(polars.col(c.name).cast(polars.String).cast(polars.Enum(c.categories)) for c in ordered)


def frame_of(values: np.ndarray, schema: Schema) -> Any:
    """Numbers `(n, modelled columns)` about the cells of a table, as a DataFrame with its columns' names."""
    return require("pandas").DataFrame(values, columns=[column.name for column in schema.modelled])
