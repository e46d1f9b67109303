"""Classes of pictures from a CSV file: a column that names the pictures, and one with their classes.

The column of names is the one that matches most pictures: by their path in the folder, by the file's name, or by its
name without ending. The column of classes is the requested one (`labels.csv:COLUMN`), else one called `label`, `class`,
`category`, `target` or similar, else the only other one. An empty class is unknown.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path

from nelbo.errors import UserError

NAMES = ("label", "labels", "class", "classes", "category", "target", "y")
DELIMITERS = ",;\t|"


def read(table: str, root: Path, paths: Sequence[str]) -> list[str]:
    """Read the class of each picture in `paths`, all below `root`; "" if the cell is empty.

    Raises `UserError` if the table cannot be read or its columns are ambiguous, and naming the first picture without a
    row, row without a picture, or picture with two rows.
    """
    file, header, rows = _rows(table)
    places = _places(root, paths)
    shared = [sum(cells[column] in places for cells in rows.values()) for column in range(len(header))]
    named = max(range(len(header)), key=shared.__getitem__)
    if not shared[named]:
        raise UserError(f"{file}: no column names pictures in {root}: use their paths in it, or the files' names")
    if header[named] in places:
        raise UserError(f"{file}: its first line is of a picture: add a line of column names above it, as file,label")
    chosen = _class_column(table, header, named)
    classes: dict[int, tuple[int, str]] = {}
    for line, cells in rows.items():
        found = places.get(cells[named], [])
        where = f"{file}: line {line}: {cells[named]!r}"
        if not found:
            raise UserError(f"{where} is not a picture in {root}: remove the row, or add the picture")
        if len(found) > 1:
            raise UserError(f"{where} is the name of {len(found)} pictures in {root}: use the path in the folder")
        if found[0] in classes:
            raise UserError(
                f"{file}: lines {classes[found[0]][0]} and {line} are both of {cells[named]!r}: remove one of them"
            )
        classes[found[0]] = (line, cells[chosen])
    missing = [path for i, path in enumerate(paths) if i not in classes]
    if missing:
        raise UserError(
            f"{file}: {len(missing)} of {len(paths)} pictures have no row: add rows for them (with an empty class "
            "if it "
            f"is unknown), or move them away; the first is {missing[0]}"
        )
    return [classes[i][1] for i in range(len(paths))]


def _rows(table: str) -> tuple[str, list[str], dict[int, list[str]]]:
    """The file, the names of its columns, and its rows by their line."""
    file = next((name for name in (table, table.rpartition(":")[0]) if name and Path(name).expanduser().is_file()), "")
    if not file:
        raise UserError(f"labels={table!r}: no such file: give a CSV file, or labels.csv:COLUMN")
    try:
        with Path(file).expanduser().open(encoding="utf-8-sig", newline="") as text:
            first = text.readline()
            text.seek(0)
            reader = csv.reader(text, delimiter=max(DELIMITERS, key=first.count))
            read = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader if any(cells)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{file}: cannot be read as a table ({error}): save it as CSV in UTF-8") from None
    header = read[0][1] if read else []
    rows = dict(read[1:])
    if len(header) < 2:
        raise UserError(f"{file}: has {len(header)} columns: give one of pictures' names and one of classes")
    if wrong := next((line for line, cells in rows.items() if len(cells) != len(header)), 0):
        raise UserError(
            f"{file}: line {wrong} has {len(rows[wrong])} cells, the first {len(header)}: give all lines equally many"
        )
    return file, header, rows


def _places(root: Path, paths: Sequence[str]) -> dict[str, list[int]]:
    """The indices of the pictures that each name may mean: a path means one, even if others have its name."""
    places: dict[str, list[int]] = {}
    inside = [os.path.relpath(path, root).replace(os.sep, "/") for path in paths]
    for name in (os.path.basename, lambda path: os.path.splitext(os.path.basename(path))[0]):
        for number, path in enumerate(inside):
            places.setdefault(name(path), []).append(number)
    return places | {path: [number] for number, path in enumerate(inside)}


def _class_column(table: str, header: list[str], named: int) -> int:
    """The index of the column of classes."""
    others = [column for column in range(len(header)) if column != named]
    wanted = table.rpartition(":")[2] if not Path(table).expanduser().is_file() else ""
    if wanted:
        found = [column for column in others if header[column] == wanted]
    else:
        found = [column for column in others if header[column].lower() in NAMES] or others
    if len(found) != 1:
        listed = ", ".join(header[column] for column in others)
        about = f"no column {wanted!r}" if wanted else "several columns may be the class"
        raise UserError(f"{table}: {about}: choose among {listed}, as in labels.csv:{header[others[0]]}")
    return found[0]
