"""A table for people and files: its schema, a line for each column, and its rows as the bytes of a file."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np

from nelbo.data.columns import Column
from nelbo.data.schema import Schema
from nelbo.errors import UserError, require

WIDE = 48  # characters of a range or a list of categories
HEAD = ("column", "kind", "transform", "range or categories", "missing", "note")


def describe(schema: Schema) -> list[dict[str, Any]]:
    """What there is to say of each column, as plain values: numbers of its transform are left out."""
    rows = []
    for column in schema.columns:
        values = column.to_json()
        values.pop("numbers", None)
        rows.append(values | {"missing": column.missing, "values": values_of(column, None)})
    return rows


def to_text(schema: Schema) -> str:
    """A table of the columns: kind, transform, range or categories, missing cells, why it is left out."""
    rows = [HEAD] + [
        (c.name, c.kind, c.transform, values_of(c), f"{c.missing:.1%}" if c.missing else "", _note(c))
        for c in schema.columns
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEAD))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def values_of(column: Column, width: int | None = WIDE) -> str:
    """The range, categories or only value of a column, within a width."""
    if column.is_number:
        return f"{written(column, column.low)} to {written(column, column.high)}"
    if column.kind == "constant" and column.constant is not None:
        return written(column, float(column.constant)) if column.unit else column.constant
    text = ", ".join(column.categories)
    if width is None or len(text) <= width:
        return text
    end = f", ... ({len(column.categories)})"
    return text[: width - len(end)].rpartition(", ")[0] + end


def written(column: Column, value: float | None) -> str:
    """A number as the table would write it, about."""
    assert value is not None
    if column.unit:
        unit: Any = column.unit
        return str(np.datetime64(int(value), unit)).replace("T", " ")
    return f"{value:.{column.decimals}f}" if column.decimals is not None and abs(value) < 1e15 else f"{value:.6g}"


def _note(column: Column) -> str:
    return f"left out: {column.note}" if column.note else ""


SEPARATORS = {".csv": ",", ".tsv": "\t", ".txt": "\t"}


def to_bytes(table: Any, ending: str) -> bytes:
    """A DataFrame or an Arrow table as a `.csv`, `.tsv`, `.txt` (tabs) or `.parquet` file; null is an empty cell.

    Times that are all whole days are written as dates in a text.
    """
    pa = require("pyarrow")
    content = BytesIO()
    package = type(table).__module__.partition(".")[0]
    whole = pa.Table.from_pandas(table, preserve_index=False) if package == "pandas" else table
    whole = whole.to_arrow() if package == "polars" else whole
    if ending == ".parquet":
        require("pyarrow.parquet").write_table(whole, content)
    elif ending in SEPARATORS:
        csv = require("pyarrow.csv")
        plain = [_as_written(column) for column in whole.columns]
        options = csv.WriteOptions(delimiter=SEPARATORS[ending], quoting_style="needed")
        csv.write_csv(pa.Table.from_arrays(plain, whole.column_names), content, options)
    else:
        raise UserError(f"a table cannot be written as {ending!r}: give {', '.join(SEPARATORS)} or .parquet")
    return content.getvalue()


def _as_written(column: Any) -> Any:
    """A column in the type that it has in a text: categories as what they are, whole days as dates."""
    pa, pc = require("pyarrow"), require("pyarrow.compute")
    if pa.types.is_dictionary(column.type):
        return column.cast(column.type.value_type)
    if pa.types.is_timestamp(column.type) and column.type.tz is None:
        for whole, kind in (("day", pa.date32()), ("second", pa.timestamp("s"))):
            if pc.all(pc.equal(pc.floor_temporal(column, unit=whole), column)).as_py():
                return column.cast(kind)
    return column
