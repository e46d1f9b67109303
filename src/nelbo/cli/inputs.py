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
    from nelbo.loading import load_given

    return load_given(path, condition)


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
