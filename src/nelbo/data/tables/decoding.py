"""The numbers that a model makes back to a table: the source's types, ranges, decimals, categories and order."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal

import numpy as np

from nelbo.data.columns import Column
from nelbo.data.schema import Schema
from nelbo.data.tables import cells, transforms
from nelbo.data.tables.extra import need
from nelbo.errors import UserError

Like = Literal["pandas", "arrow", "polars"]
LARGEST = float(2**63 - 1024)  # the largest float64 that an int64 holds


def decode(x: Any, schema: Schema, like: Like = "pandas") -> Any:
    """x `(n, modelled columns)` -> a table of `like`'s package, of all columns of the source but identifiers.

    Types, order and categories are the source's; numbers are brought to the range seen in training and to its
    decimals; NaN becomes null; a constant has its value. Raises `UserError` for another width.
    """
    pa = need("pyarrow")
    if like not in ("pandas", "arrow", "polars"):
        raise UserError(f"like={like!r}: give pandas, arrow or polars")
    values = np.asarray(x)
    if schema.kind != "table" or values.ndim != 2 or values.shape[1:] != schema.shape:
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
    pa = need("pyarrow")
    kind, index = cells.arrow_type(column.dtype), pa.array(places, mask=absent)
    if pa.types.is_dictionary(kind):
        values = _parsed(column.categories, kind.value_type)
        return pa.DictionaryArray.from_arrays(index, values, ordered=kind.ordered)
    return _parsed(column.categories, kind).take(index)


def _parsed(texts: tuple[str, ...], kind: Any) -> Any:
    """Texts as values of an Arrow type."""
    pa = need("pyarrow")
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
    pa = need("pyarrow")
    kind = cells.arrow_type(column.dtype)
    if column.unit:
        return _moments(np.rint(v).astype(np.int64), column.unit, kind, absent)
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
    pa = need("pyarrow")
    array = pa.array(v, mask=absent)
    return array.cast(pa.int32()).cast(kind) if pa.types.is_time32(kind) else array.cast(kind)


def _moments(v: np.ndarray, unit: str, kind: Any, absent: np.ndarray) -> Any:
    """Datetimes counted in `unit` as an array of a date, timestamp or text type."""
    pa = need("pyarrow")
    if cells.form_of(kind) == "text":
        fine = unit if unit in ("ms", "us", "ns") else "s"
        moments = _moments(v, unit, pa.date32() if unit == "D" else pa.timestamp(fine), absent)
        return moments.cast(kind)
    own = "D" if pa.types.is_date32(kind) else "ms" if pa.types.is_date64(kind) else kind.unit
    v = v * (cells.UNITS[unit] // cells.UNITS[own])
    array = pa.array(v, mask=absent)
    return (array.cast(pa.int32()) if own == "D" else array).cast(kind)


def _repeated(column: Column, n: int) -> Any:
    """A constant column."""
    pa = need("pyarrow")
    kind = cells.arrow_type(column.dtype)
    if column.constant is None:
        return pa.nulls(n, kind)
    if column.unit:
        return _moments(np.full(n, int(column.constant)), column.unit, kind, np.zeros(n, bool))
    if pa.types.is_dictionary(kind):
        place = column.categories.index(column.constant)
        values = _parsed(column.categories, kind.value_type)
        return pa.DictionaryArray.from_arrays(pa.array(np.full(n, place, np.int32)), values, ordered=kind.ordered)
    return _parsed((column.constant,), kind).take(pa.array(np.zeros(n, np.int32)))


def _to_pandas(table: Any, columns: list[Column]) -> Any:
    """The table as a DataFrame; whole numbers and booleans with gaps have pandas' types that allow these."""
    pandas, pa = need("pandas"), need("pyarrow")
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
    polars = need("polars")
    frame = polars.from_arrow(table)
    ordered = [column for column in columns if column.dtype.endswith(", ordered>")]
    return frame.with_columns(polars.col(c.name).cast(polars.String).cast(polars.Enum(c.categories)) for c in ordered)


def frame_of(values: np.ndarray, schema: Schema) -> Any:
    """Numbers `(n, modelled columns)` about the cells of a table, as a DataFrame with its columns' names."""
    return need("pandas").DataFrame(values, columns=[column.name for column in schema.modelled])
