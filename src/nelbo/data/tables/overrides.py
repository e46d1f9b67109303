"""A user's description of columns: a TOML file or a dictionary; and a schema as TOML, for editing.

    [columns.age]
    kind = "count"            # or continuous, binary, categorical, ordinal, datetime, leave out
    transform = "quantile"    # or standard, log
    [columns.size]
    kind = "ordinal"
    categories = ["S", "M", "L"]
    [columns.price]
    format = "$1,234.56"      # how 1234.56 is written; for dates, their codes: "%d/%m/%Y"

From Python, `{"age": {"kind": "count"}, "id": "leave out"}` is equivalent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from nelbo.data import formats
from nelbo.data.columns import CHOICES, NUMBERS, Column, ColumnKind, Transform
from nelbo.data.schema import Schema
from nelbo.errors import UserError, escaped, nearest
from nelbo.reading import text_of, toml_of, toml_text

Overrides = str | Path | Mapping[str, Any] | None
KEYS = ("kind", "transform", "categories", "format")
KINDS = get_args(ColumnKind)
TRANSFORMS = tuple(filter(None, get_args(Transform)))


@dataclass(frozen=True)
class Override:
    """What is said of one column; what is empty is inferred."""

    kind: str = ""
    transform: Transform = ""
    categories: tuple[str, ...] = ()
    format: str = ""


def parse(given: Overrides, names: tuple[str, ...]) -> dict[str, Override]:
    """What is said of each column named in a TOML file, or a dictionary like it.

    Raises `UserError` naming an unknown column, key, kind or transform, and the nearest known one.
    """
    where = str(given) if isinstance(given, str | Path) else "columns"
    table = _read(Path(given)) if isinstance(given, str | Path) else given or {}
    columns = table.get("columns", {}) if isinstance(given, str | Path) else table.get("columns", table)
    if not isinstance(columns, Mapping) or (isinstance(given, str | Path) and set(table) - {"columns"}):
        raise UserError(f"{where}: give a table [columns.NAME] for each column, with {', '.join(KEYS)}")
    for name in columns:
        if name not in names:
            raise UserError(f"{where}: column {name!r} is unknown: {nearest(str(name), names)}")
    return {name: _one(f"{where}: column {name!r}", value) for name, value in columns.items()}


def _read(path: Path) -> dict[str, Any]:
    return toml_of(text_of(path, 2**22), path, "write one with `nelbo data describe FILE --toml`")


def _one(where: str, value: Any) -> Override:
    said = {"kind": value} if isinstance(value, str) else value
    if not isinstance(said, Mapping):
        raise UserError(f"{where}: give a kind, or a table of {', '.join(KEYS)}")
    for key in said:
        if key not in KEYS:
            raise UserError(f"{where}: {key!r} is unknown: {nearest(str(key), KEYS)}")
    kind = str(said.get("kind", ""))
    kind = "identifier" if kind in ("leave out", "leave-out", "leave_out") else kind
    transform: Any = said.get("transform", "")
    for name, found, known in (("kind", kind, (*KINDS, "leave out")), ("transform", transform, TRANSFORMS)):
        if found and found not in known:
            raise UserError(f"{where}: {name}={found!r}: give one of {', '.join(known)}")
    categories = said.get("categories", ())
    if not isinstance(categories, list | tuple) or not all(isinstance(c, str | int | float) for c in categories):
        raise UserError(f"{where}: categories={categories!r}: give a list of texts, in order")
    if transform and kind and kind not in NUMBERS:
        raise UserError(f"{where}: kind={kind!r} has no transform: leave it out")
    if categories and kind and kind not in CHOICES:
        raise UserError(f"{where}: kind={kind!r} has no categories: leave them out")
    form = str(said.get("format", ""))
    if form:
        _check_format(where, form, kind)
    return Override(kind, transform, tuple(c if isinstance(c, str) else str(c) for c in categories), form)


def _check_format(where: str, form: str, kind: str) -> None:
    """Raise `UserError` for a format that is none, or does not fit the kind."""
    try:
        formats.parse(form)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    dates = formats.is_date_format(form)
    if (dates and kind not in ("", "datetime")) or (kind == "datetime" and not dates):
        remedy = "use kind='datetime'" if dates else "give the codes of a date, such as %d/%m/%Y"
        raise UserError(f"{where}: kind={kind!r} does not support format={form!r}: {remedy}")


def to_toml(schema: Schema) -> str:
    """The kinds, transforms and categories of a table's columns as TOML, to be edited and given to `load` again."""
    lines = [
        "# Edit, then: nelbo train FILE --columns THIS_FILE",
        f"# kind: {', '.join((*NUMBERS, *CHOICES))}, or leave out",
        "# format: how 1234.56 is written, such as 1.234,56 or $1,234.56, or a date by codes: %d/%m/%Y %H:%M",
        f"# transform of numbers: {', '.join(TRANSFORMS)}; categories of an ordinal column: lowest first",
    ]
    for column in schema.columns:
        lines += ["", f"[columns.{toml_text(column.name)}]", *_settings(column)]
    return "\n".join(lines) + "\n"


def _settings(column: Column) -> list[str]:
    if not column.is_feature:
        comment = f"  # {escaped(column.note)}" if column.note else ""
        return [f"kind = {toml_text('leave out' if column.kind == 'identifier' else column.kind)}{comment}"]
    lines = [f"kind = {toml_text(column.kind)}"]
    if column.transform:
        lines.append(f"transform = {toml_text(column.transform)}")
    if column.format:
        lines.append(f"format = {toml_text(column.format)}")
    if column.categories:
        lines.append(f"categories = [{', '.join(map(toml_text, column.categories))}]")
    return lines
