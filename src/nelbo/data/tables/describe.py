"""The schema of a table for people: a line for each column."""

from __future__ import annotations

from typing import Any

import numpy as np

from nelbo.data.columns import Column
from nelbo.data.schema import Schema

WIDE = 48  # characters of a range or a list of categories
HEAD = ("column", "kind", "transform", "range or categories", "missing", "note")


def describe(schema: Schema) -> list[dict[str, Any]]:
    """What there is to say of each column, as plain values: numbers of its transform are left out."""
    rows = []
    for column in schema.columns:
        values = column.to_json()
        values.pop("transform_params", None)
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
    if column.unit:
        unit: Any = column.unit
        return str(np.datetime64(int(value), unit)).replace("T", " ")
    return f"{value:.{column.decimals}f}" if column.decimals is not None and abs(value) < 1e15 else f"{value:.6g}"


def _note(column: Column) -> str:
    return f"left out: {column.note}" if column.note else ""
