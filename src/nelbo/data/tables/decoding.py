"""Values of a model as a table, and the columns of a table in words.

A decoded table has the source's types, ranges, decimals, categories and order.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np

from nelbo.data import formats
from nelbo.data.columns import Column
from nelbo.data.schema import Schema
from nelbo.data.tables import cells, frames, transforms
from nelbo.errors import UserError, one_line, require

CELL = 80  # characters of a cell
WIDE = 48  # characters of a range or a list of categories
HEAD = ("column", "kind", "transform", "range or categories", "missing", "note")


def describe(schema: Schema) -> list[dict[str, Any]]:
    """A summary of each column as plain values, without the parameters of its transform."""
    rows = []
    for column in schema.columns:
        values = column.to_json()
        values.pop("transform_params", None)
        rows.append(values | {"missing": column.missing, "values": values_of(column, None)})
    return rows


def to_text(schema: Schema) -> str:
    """A table of the columns: kind, transform, range or categories, missing cells, why it is left out."""
    said = [
        (c.name, c.kind, c.transform, values_of(c), f"{c.missing:.1%}" if c.missing else "", _note(c))
        for c in schema.columns
    ]
    rows = [tuple(one_line(cell, CELL) for cell in row) for row in [HEAD, *said]]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEAD))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def values_of(column: Column, width: int | None = WIDE) -> str:
    """The range, categories or only value of a column, within a width."""
    if column.is_number:
        return f"{format_number(column, column.low)} to {format_number(column, column.high)}"
    if column.kind == "constant" and column.constant is not None:
        return format_number(column, float(column.constant)) if column.unit else column.constant
    text = ", ".join(column.categories)
    if width is None or len(text) <= width:
        return text
    end = f", ... ({len(column.categories)})"
    return text[: width - len(end)].rpartition(", ")[0] + end


def format_number(column: Column, value: float | None) -> str:
    """A number as the table would write it, about."""
    assert value is not None
    if column.unit and column.dtype.startswith(("duration", "time32", "time64")):
        return cells.span_text(int(value) * cells.UNITS[column.unit])
    if column.format:
        return formats.write(column.format, np.array([value]), column.decimals, column.unit)[0]
    if column.unit:
        unit: Any = column.unit
        return str(np.datetime64(int(value), unit)).replace("T", " ")
    return f"{value:.{column.decimals}f}" if column.decimals is not None and abs(value) < 1e15 else f"{value:.6g}"


def _note(column: Column) -> str:
    return f"left out: {column.note}" if column.note else ""


Like = Literal["pandas", "arrow", "polars"]
LARGEST = float(2**63 - 1024)  # the largest float64 that an int64 holds
WHOLE = ("Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64")


def decode(x: Any, schema: Schema, like: Like | None = None) -> Any:
    """Decode x `(n, feature columns)` to a table with all columns of the source except identifiers.

    Types, order and categories are the source's; numbers are clipped to the range of training and rounded to its
    decimals; NaN becomes null; a constant column has its value.

    Args:
        x: rows in model units.
        schema: the schema of the table.
        like: the package of the table: "pandas", "arrow" or "polars"; None: that of the training data, or pandas.

    Raises `UserError` for another width.
    """
    pa = require("pyarrow")
    if like is None:
        like = "polars" if schema.package == "polars" and find_spec("polars") else "pandas"
    if like not in ("pandas", "arrow", "polars"):
        raise UserError(f"like={like!r}: use pandas, arrow or polars")
    values = np.asarray(x)
    if not schema.columns or values.ndim != 2 or values.shape[1:] != schema.shape:
        raise UserError(f"x of shape {values.shape} is not a table of this schema: give (n, {schema.shape[0]})")
    kept = [column for column in schema.columns if column.kind != "identifier"]
    modelled = dict(zip([column.name for column in schema.feature_columns], values.T, strict=True))
    arrays = [_cells(column, modelled.get(column.name, np.zeros(len(values)))) for column in kept]
    table = pa.table(arrays, names=[column.name for column in kept])
    if like == "polars":
        return _to_polars(table, kept)
    return table if like == "arrow" else _to_pandas(table, kept)


def only_value(column: Column, n: int) -> Any:
    """The cells of a constant column of n rows, in Arrow."""
    return _cells(column, np.zeros(n))


def _cells(column: Column, x: np.ndarray) -> Any:
    """Numbers of a model as the cells of a column; those of a constant are not looked at."""
    pa = require("pyarrow")
    kind, absent = cells.arrow_type(column.dtype), np.isnan(x)
    if column.is_number:
        v = transforms.inverse(column, np.where(absent, 0.0, x))
        if column.decimals is not None:
            v = np.round(v, column.decimals)
        v = np.clip(v, column.low, column.high) + 0.0  # not -0
        if column.format:
            return _written(np.rint(v) if column.unit else v, column, kind, absent)
        return _times(v, column, kind, absent) if column.unit else _numbers(v, column, kind, absent)
    if column.kind == "constant" and column.constant is None:
        return pa.nulls(len(x), kind)
    if column.kind == "constant" and column.unit:
        return _times(np.full(len(x), int(column.constant or 0)), column, kind, absent)
    texts = column.categories or (str(column.constant),)
    if column.format and column.categories:
        texts = tuple(formats.write(column.format, np.array(texts, np.float64), column.decimals))
    place = np.full(len(x), texts.index(column.constant)) if column.constant is not None else np.where(absent, 0, x)
    index = pa.array(np.rint(place).clip(0, len(texts) - 1).astype(np.int32), mask=absent)
    if pa.types.is_dictionary(kind):
        return pa.DictionaryArray.from_arrays(index, _cast(pa.array(texts), kind.value_type), ordered=kind.ordered)
    return _cast(pa.array(texts, pa.string()), kind).take(index)


def _written(v: np.ndarray, column: Column, kind: Any, absent: np.ndarray) -> Any:
    """Numbers or dates in the column's format."""
    pa = require("pyarrow")
    texts = pa.array(formats.write(column.format, v, column.decimals, column.unit), pa.string(), mask=absent)
    return _cast(texts if cells.form_of(kind) == "text" else texts.cast(pa.int64()), kind)


def _numbers(v: np.ndarray, column: Column, kind: Any, absent: np.ndarray) -> Any:
    pa = require("pyarrow")
    text = cells.form_of(kind) == "text"
    if pa.types.is_floating(kind):
        return pa.array(v.astype(kind.to_pandas_dtype()), mask=absent)
    if pa.types.is_decimal(kind) or (text and column.decimals != 0):
        return pa.array(v, mask=absent).cast(kind)
    if pa.types.is_uint64(kind):
        return pa.array(np.rint(v).astype(np.uint64), mask=absent)
    return _cast(pa.array(np.rint(v.clip(-LARGEST, LARGEST)).astype(np.int64), mask=absent), kind)


def _times(v: np.ndarray, column: Column, kind: Any, absent: np.ndarray) -> Any:
    """Datetimes, durations or times of day, counted in the column's unit, as an array of their type or of texts."""
    pa = require("pyarrow")
    own, unit, whole = kind, column.unit, np.rint(v).astype(np.int64)
    if column.is_number:  # float64 does not hold all ends of a range of nanoseconds
        whole = whole.clip(int(column.low or 0), int(column.high or 0))
    if cells.form_of(kind) == "text":
        own = pa.date32() if unit == "D" else pa.timestamp(unit if unit in ("ms", "us", "ns") else "s")
    size = cells.UNITS[unit] // cells.UNITS[cells.unit_of(own)]
    return _cast(pa.array(whole * size, mask=absent), own).cast(kind)


def _cast(array: Any, kind: Any) -> Any:
    """Texts or int64 as a type, also one that Arrow makes of whole numbers of 32 or 64 bits only."""
    pa = require("pyarrow")
    if pa.types.is_temporal(kind):
        array = array.cast(pa.int32() if kind.bit_width == 32 else pa.int64())
    return array.cast(kind)


def _to_pandas(table: Any, columns: list[Column]) -> Any:
    """The table as a DataFrame; whole numbers and booleans with gaps have pandas' types that allow these."""
    pandas, gaps, made = require("pandas"), nullable_types(), {}
    for column, array in zip(columns, table.columns, strict=True):
        gappy = column.missing > 0 or array.null_count > 0
        series = array.to_pandas(types_mapper=gaps.get if gappy else None, date_as_object=column.frame == "object")
        made[column.name] = frames.from_arrow(array, series, column.frame)
    frame = pandas.DataFrame(made)
    return frame.set_axis(pandas.Index(labels_of(columns)), axis=1) if any(c.label for c in columns) else frame


def nullable_types() -> dict[Any, Any]:
    """The types of pandas for whole numbers and booleans with gaps, by their types of Arrow."""
    pandas, pa = require("pandas"), require("pyarrow")
    whole = {pa.type_for_alias(name.lower()): pandas.api.types.pandas_dtype(name) for name in WHOLE}
    return whole | {pa.bool_(): pandas.BooleanDtype()}


def labels_of(columns: Sequence[Column]) -> list[Any]:
    """The labels of columns in a DataFrame."""
    return [column.user_label for column in columns]


def _to_polars(table: Any, columns: list[Column]) -> Any:
    """The table as a polars DataFrame; ordered categories are an Enum."""
    polars = require("polars")
    frame = polars.from_arrow(table)
    ordered = [column for column in columns if column.dtype.endswith(", ordered>")]
    return frame.with_columns(polars.col(c.name).cast(polars.String).cast(polars.Enum(c.categories)) for c in ordered)
