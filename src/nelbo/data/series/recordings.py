"""A table whose rows are the steps of one long series: its columns are the channels.

A first column of dates and times, or of numbers by a name that says so, is what the steps are counted by, and is left
out. All others must hold numbers; cells without one are gaps.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nelbo.data.tables import cells
from nelbo.data.tables.source import open_table
from nelbo.errors import UserError

CLOCKS = ("", "t", "time", "times", "timestamp", "timestamps", "date", "datetime", "step", "index", "unnamed: 0")


def read(source: Any) -> tuple[str, np.ndarray, tuple[str, ...]]:
    """(what to call the table, its values `(steps, channels)` with NaN in gaps, the names of the channels).

    Raises `UserError` for a table without rows or channels, or naming the column that does not hold numbers.
    """
    table = open_table(source)
    if not table.table.num_rows:
        raise UserError(f"{table.name}: has no rows: give at least 2 steps")
    first = int(_tells_time(table.names[0], table.table.column(0)))
    names = table.names[first:]
    if not names:
        raise UserError(f"{table.name}: has a column of times only: give a column of numbers beside it")
    values = np.empty((table.table.num_rows, len(names)))
    for j, name in enumerate(names):
        try:
            values[:, j] = _numbers(table.table.column(first + j))
        except UserError as error:
            raise UserError(
                f"{table.name}: column {name!r} {error}: leave the column out, or make numbers of it"
            ) from None
    return table.name, values, names


def _tells_time(name: str, column: Any) -> bool:
    """Whether a first column says when a step was."""
    form = cells.form_of(column.type)
    if form == "text":
        distinct, _ = cells.texts(column)
        if len(distinct) and (cells.dates_in(distinct)[0] != cells.NONE).all():
            return True
    return form == "date" or name.strip().lower() in CLOCKS


def _numbers(column: Any) -> np.ndarray:
    """The cells as float64, NaN where one is missing; raises `UserError` for words and dates."""
    if cells.form_of(column.type) in ("text", "choice"):
        distinct, place = cells.texts(column)
        numbers = cells.numbers_in(distinct)
        used = np.unique(place[place >= 0])
        if (words := used[np.isnan(numbers[used])]).size:
            raise UserError(f"holds {distinct[int(words[0])].as_py()!r}, which is no number")
        return np.append(numbers, np.nan)[place]
    return cells.numbers(column)
