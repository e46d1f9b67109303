"""What the verbs are given: a model, rows of data, a single datum."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from nelbo.errors import UserError

if TYPE_CHECKING:
    from nelbo.data import Dataset
    from nelbo.model import Model


def model(path: Path, condition: str | None) -> Model:
    """The saved model, under the condition given: a class, numbers, or cells of a table's row."""
    from nelbo.loading import load

    loaded = load(path)
    if condition is None:
        return loaded
    if loaded.schema.kind == "table":
        from nelbo.data import tables

        return loaded.given(tables.parse_condition(condition))
    classes = loaded.context and loaded.context.classes
    return loaded.given(condition if classes else [float(v) for v in condition.split(",")])


def rows(m: Model, data: str) -> Dataset:
    """The data named, else those that training held out."""
    if data:
        return m.rows(data)
    from nelbo.runs import held_out

    return held_out(m)


def item(held: Dataset | None, name: str) -> Any:
    """A picture file, or the row of that number as a dataset of one."""
    from nelbo.data import subset

    if held is None or not name.isdecimal():
        return name
    if int(name) >= len(held):
        raise UserError(f"item {name}: the data has {len(held)} rows, give 0 to {len(held) - 1}")
    return subset(held, [int(name)])
