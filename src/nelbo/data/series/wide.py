"""Files and tables with a row for each series, as the UCR and UEA archives have them.

    .ts, .arff     values between commas, channels between colons (.ts), `?` for a missing one, the class last
    numbers alone  a text file without a header: the class first, if it is a whole number and few rows differ in it
    a table        columns numbered in order (t0, t1 ...), or 20 or more of numbers; another column names the class

aeon and sktime read these, too; they were weighed, and bring numba and pandas with them for 50 lines.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nelbo.data import tables
from nelbo.data.series import clocks
from nelbo.data.tables import cells
from nelbo.data.tables.source import open_table
from nelbo.errors import UserError
from nelbo.reading import damaged, is_file, opened

ENDINGS = (".ts", ".arff", ".tsv", ".txt", ".csv", ".tab")
HEAD = 2**16  # bytes by which a file is recognized
LEAST = 20  # columns of numbers without order that are steps
CLASS = re.compile(r"(class|label|target|y)(_?(id|name|label))?$", re.IGNORECASE)


class SeriesRows(NamedTuple):
    """The series `(steps, channels)` of a source with a row for each, and their classes, if there are some."""

    name: str
    series: tuple[np.ndarray, ...]
    classes: Any


def is_series_file(source: Any) -> bool:
    """Whether a source is a .ts or .arff file with the `@` of its header; only .ts files are series in any case."""
    return _ending(source) in (".ts", ".arff") and any(line.startswith("@") for line in _head(Path(source)))


def read(source: Any, steps: int = 0) -> SeriesRows | None:
    """Read the series of a source with a row for each, and their classes; None if it has another form.

    Args:
        source: a file, or a table.
        steps: the steps of a model's series; a line with one number more has a class. 0: unknown.

    Warns, in one line, of what was found. Raises `UserError` naming a line that is wrong.
    """
    if is_series_file(source):
        return _marked(Path(source).expanduser(), {".ts": _ts_row, ".arff": _arff_row}[_ending(source)])
    if _ending(source) in ENDINGS and _is_numbers(_head(Path(source))):
        return _numbers(Path(source).expanduser(), steps)
    return _table(source) if tables.is_table(source) else None


def _ending(source: Any) -> str:
    return Path(source).suffix.lower() if isinstance(source, str | Path) and is_file(source) else ""


def _head(path: Path) -> list[str]:
    with opened(path.expanduser()) as file, damaged(path):
        return file.read(HEAD).decode("latin1").splitlines()[:100]


def _is_numbers(lines: list[str]) -> bool:
    """Whether the first line holds 2 numbers or more, and nothing else."""
    first = _cells(lines[0]) if lines else []
    return len(first) > 1 and first[0] not in ("", "?") and _are_numbers(first)


def _are_numbers(texts: list[str]) -> bool:
    try:
        _floats(texts)
    except ValueError:
        return False
    return True


def _cells(line: str) -> list[str]:
    mark = next((mark for mark in ("\t", ",", ";") if mark in line), None)
    return [cell.strip() for cell in line.strip().split(mark)]


def _floats(texts: list[str]) -> np.ndarray:
    return np.array([np.nan if text in ("", "?") else float(text) for text in texts])


def _lines(path: Path) -> list[tuple[int, str]]:
    """The number and the text of each line that is neither empty nor a comment."""
    with opened(path) as file, damaged(path):
        lines = file.read().decode("utf-8-sig", "replace").splitlines()
    return [(i, line.strip()) for i, line in enumerate(lines, 1) if line.strip() and line.strip()[0] not in "#%"]


def _numbers(path: Path, steps: int) -> SeriesRows:
    """A file of numbers alone, in which lines may differ in length."""
    rows = []
    for i, line in _lines(path):
        try:
            rows.append(_floats(_cells(line)))
        except ValueError:
            raise UserError(f"{path}: line {i} holds {line[:40]!r}: give numbers alone, or a line of names") from None
    first = np.array([row[0] for row in rows])
    is_class = bool((first == np.floor(first)).all())
    if is_class and (longest := max(map(len, rows))) in (steps, steps + 1):
        is_class = longest == steps + 1
    else:
        is_class = is_class and len(np.unique(first)) <= max(2, len(rows) // 2)
    classes = "the class is its first number" if is_class else "there are no classes"
    warnings.warn(f"{path}: each line is a series, and {classes}", stacklevel=6)
    series = [row[is_class:] for row in rows]
    return _loaded(str(path), [row[: _observed(row), None] for row in series], first.astype(int) if is_class else None)


def _observed(row: np.ndarray) -> int:
    """The length of a series without the missing values at its end."""
    held = np.flatnonzero(~np.isnan(row))
    return int(held[-1]) + 1 if len(held) else len(row)


def _loaded(name: str, series: list[np.ndarray], classes: Any) -> SeriesRows:
    if not series or min(map(len, series)) < 1:
        raise UserError(f"{name} has a series without steps, or none: give 2 numbers or more in each line")
    if len({of.shape[1] for of in series}) > 1:
        raise UserError(f"{name} has series of several numbers of channels: give all the same")
    return SeriesRows(name, tuple(series), classes)


def _marked(path: Path, row: Callable[[str, bool], tuple[np.ndarray, str | None]]) -> SeriesRows:
    """A file with a header of lines that begin with `@`, the last of which is `@data`."""
    lines = _lines(path)
    at = next((j for j, (_, line) in enumerate(lines) if line.lower().startswith("@data")), len(lines))
    header = [line.lower() for _, line in lines[:at]]
    if any("@timestamps true" in line for line in header) or any("relational" in line for line in header):
        raise UserError(f"{path} has time stamps or relations: convert it, as by aeon.datasets, to an array (.npy)")
    named = [line for line in header if line.startswith(("@classlabel", "@targetlabel", "@attribute"))]
    has_class = bool(named) and ("{" in named[-1] or "label true" in named[-1])
    series, classes = [], []
    for i, line in lines[at + 1 :]:
        try:
            values, label = row(line, has_class)
        except ValueError:
            raise UserError(f"{path}: line {i} holds {line[:40]!r}: give numbers, with commas between them") from None
        series.append(values[: max(_observed(column) for column in values.T)])
        classes.append(label)
    return _loaded(str(path), series, np.array(classes) if has_class else None)


def _ts_row(line: str, has_class: bool) -> tuple[np.ndarray, str | None]:
    parts = [part.strip() for part in line.split(":")]
    label = parts.pop() if has_class else None
    channels = [_floats([cell.strip() for cell in part.split(",")]) for part in parts]
    steps = max(map(len, channels))
    padded = [np.append(channel, np.full(steps - len(channel), np.nan)) for channel in channels]
    return np.stack(padded, 1), label


def _arff_row(line: str, has_class: bool) -> tuple[np.ndarray, str | None]:
    parts = [cell.strip().strip("'\"") for cell in line.split(",")]
    label = parts.pop() if has_class else None
    return _floats(parts)[:, None], label


def _table(source: Any) -> SeriesRows | None:
    """A table whose columns are steps: numbered in order, or many; None if they are channels."""
    table = open_table(source)
    ends = (table.names[0], table.names[-1])
    label = next((name for name in ends if CLASS.match(name) or _has_words(table.table.column(name))), "")
    steps = [name for name in table.names if name != label]
    places = [place for name in steps if (place := re.fullmatch(r"(.*?)(\d+)", name))]
    numbers = [int(place[2]) for place in places]
    in_order = len(numbers) == len(steps) > 2 and len({place[1] for place in places}) == 1
    in_order = in_order and set(np.diff(numbers).tolist()) == {1}
    if not in_order and _counts_time(table.names[0], table.table.column(0)):
        return None
    if not table.table.num_rows or not (in_order or len(steps) >= LEAST):
        return None
    if any(_has_words(table.table.column(name)) for name in steps):
        return None
    values = np.stack([cells.numbers(table.table.column(name)) for name in steps], 1)
    classes = None if not label else table.table.column(label).to_pylist()
    naming = f"the class is column {label!r}" if label else "there are no classes"
    warnings.warn(f"{table.name}: each row is a series of {len(steps)} steps, and {naming}", stacklevel=6)
    return _loaded(table.name, [row[: _observed(row), None] for row in values], classes)


def _has_words(column: Any) -> bool:
    """Whether some cells are not numbers."""
    form = cells.form_of(column.type)
    if form in ("text", "choice"):
        return bool(np.isnan(cells.numbers_in(cells.texts(column)[0].drop_null())).any())
    return form in ("date", "span", "other")


def _counts_time(name: str, column: Any) -> bool:
    clock = clocks.read(name, column)
    return clock is not None and clock.counts(np.zeros(len(column), np.int64), True)
