"""Tables as datasets: the schema inferred from all rows; the rows encoded by it, in memory or in a file.

A cell that the schema does not know (a category that training never saw, a word in a column of numbers) is taken as
missing, and one warning counts and names such cells.
"""

from __future__ import annotations

import re
import warnings
import weakref
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nelbo.data import formats
from nelbo.data.arrays.npy import FileRows, rows_of
from nelbo.data.columns import Column, label_of
from nelbo.data.dataset import Dataset, InMemoryDataset, StreamedDataset, fits_memory
from nelbo.data.formats import NO_HINTS, AmbiguousFormat, Hints
from nelbo.data.schema import Schema
from nelbo.data.tables import cells, overrides, source, transforms
from nelbo.data.tables.decoding import format_number, values_of
from nelbo.data.tables.infer import ColumnStats, column_of, sample_size
from nelbo.data.tables.overrides import Override, Overrides
from nelbo.data.tables.source import Source, open_table, package_of, settled, spill
from nelbo.errors import UserError, listed, nearest, require

NAMED = 4
"""Columns that a warning names: it is one line."""


def infer(table: Any, columns: Overrides = None, hints: Hints = NO_HINTS) -> tuple[Schema, int]:
    """Infer the schema of a table, and count its rows.

    Args:
        table: a DataFrame, an Arrow table, or a file.
        columns: the user's description of columns, a TOML file or a dictionary; None: all are inferred.
        hints: the decimal mark and the format of dates, where the user names them.

    Warns of columns that are left out. Raises `UserError` for any fault of the table.
    """
    opened = open_table(table)
    return _infer(opened, columns, hints), opened.table.num_rows


def read(table: Any, columns: Overrides = None, hints: Hints = NO_HINTS) -> Dataset:
    """Read all rows of a table, with the schema inferred from it; see `infer`.

    Args:
        table: a DataFrame, an Arrow table, or a file.
        columns: the user's description of columns, a TOML file or a dictionary; None: all are inferred.
        hints: the decimal mark and the format of dates, where the user names them.
    """
    opened = open_table(table := settled(table))
    schema = replace(_infer(opened, columns, hints), package="polars" if package_of(table) == "polars" else "")
    return _dataset(opened, schema, table)


def read_like(table: Any, schema: Schema) -> Dataset:
    """Read the rows of a table for a model that was trained on tables of this schema.

    Columns are found by name, in any order; those that the model does not have are ignored with a warning. Values
    that the schema does not have become missing, with one warning. Raises `UserError` naming
    the columns that are missing, or if there are no rows.
    """
    return _dataset(open_table(table := settled(table)), schema, table)


def encode(table: Any, schema: Schema) -> np.ndarray:
    """x of the rows of a table (or of its file), float32 `(n, feature columns)`, NaN where a cell is missing."""
    dataset = read_like(table, schema)
    return dataset.batch(torch.arange(len(dataset))).numpy()


def encode_evidence(known: Mapping[str, Any], schema: Schema) -> np.ndarray:
    """x of one row, float32 `(1, modelled columns)`: the cells given by the names of their columns, NaN elsewhere.

    Raises `UserError` for a column that is not modelled, or a value that the column cannot have or never had.
    """
    if not isinstance(known, Mapping):
        raise UserError(f"condition {known!r}: give cells by the names of their columns, such as {{'sex': 'Female'}}")
    pa = require("pyarrow")
    columns = {column.name: column for column in schema.feature_columns}
    labels = {column.user_label: name for name, column in columns.items()}
    known = {labels.get(label, label): cell for label, cell in known.items()}
    for name in known:
        if name not in columns:
            raise UserError(f"condition on {name!r}: the model has no such column: {nearest(str(name), columns)}")
    texts = {name: _cell_text(column, known.get(name)) for name, column in columns.items()}
    row = Source("", pa.table({name: pa.array([text], pa.string()) for name, text in texts.items()}), tuple(texts))
    try:
        x = next(Encoder(row, schema).chunks())
    except UserError as error:
        raise UserError(f"condition: {str(error).removeprefix(': ')}") from None
    for j, column in enumerate(schema.feature_columns):
        if column.name in known and np.isnan(x[0, j]):
            raise UserError(f"condition {column.name}={known[column.name]}: {_remedy(column, str(known[column.name]))}")
        if column.name in known and column.is_number and not _within(column, x[0, j]):
            said = f"{column.name}={known[column.name]}: training saw {values_of(column)}"
            raise UserError(f"condition {said}: give a value in between")
    return x


def _cell_text(column: Column, value: Any) -> str | None:
    """A value of Python, NumPy or pandas as the text that the column's cells would be; None for nothing."""
    single = value.item() if isinstance(value, np.ndarray | np.generic) and value.size == 1 else value
    if single is None or (isinstance(single, float) and np.isnan(single)):
        return None
    if isinstance(value, np.datetime64):
        single = str(value.astype("datetime64[us]"))
    if isinstance(single, bool) and (column.is_number or cells.numeric(column)):
        single = int(single)
    text = str(single)
    if column.format and column.unit:  # ISO dates are understood, too
        moment = cells.dates_in(require("pyarrow").array([text]))[0]
        return text if moment[0] == cells.NONE else formats.write(column.format, moment, None, "us")[0]
    plain = column.format and re.match(cells.NUMBER, text)
    return formats.write(column.format, np.array([float(text)]))[0] if plain else text


def _within(column: Column, x: float) -> bool:
    """Whether a number lies in the range of training, up to the digits of float32."""
    ends = [column.low or 0.0, column.high or 0.0]
    low, high = transforms.forward(column, np.array(ends)).astype(np.float32)
    return bool(low <= x <= high)


def _remedy(column: Column, value: str) -> str:
    if column.is_categorical:
        return nearest(value, column.categories)
    if column.format or column.kind == "datetime":
        return f"give a {'date' if column.unit else 'number'}, such as {format_number(column, column.low)}"
    return "give a time, such as 12:30:00 or 2 days 12:30:00" if column.unit else "give a number"


def parse_condition(text: str, names: Iterable[str] = ()) -> dict[str, str]:
    """`column=value,column=value` as a dictionary.

    A name is a known one, the longest that fits, or else what stands before the first `=`. A name or a value may be in
    double quotes, in which `""` is a quote. A comma begins a cell where a name and `=` follow it; else it belongs to
    the value.

    Args:
        text: the condition.
        names: the known names of columns.

    >>> parse_condition("income=>50K,city=Washington, DC")
    {'income': '>50K', 'city': 'Washington, DC'}
    >>> parse_condition('a=b=5,"x,y"="p, q"', ["a=b"])
    {'a=b': '5', 'x,y': 'p, q'}
    """
    known = sorted(names, key=len, reverse=True)
    found: dict[str, str] = {}
    at = 0
    while at < len(text):
        if (begun := _name_at(text, at, known)) is None:
            raise UserError(f"condition {text!r}: give column=value, such as income=>50K,sex=Female")
        name, at = begun
        at += len(text[at:]) - len(text[at:].lstrip())
        if quoted := QUOTED.match(text, at):
            found[name], at = quoted[1].replace('""', '"'), quoted.end() + 1
            continue
        end = at
        while (end := text.find(",", end)) >= 0 and _name_at(text, end + 1, known) is None:
            end += 1
        end = len(text) if end < 0 else end
        found[name], at = text[at:end].strip(), end + 1
    if not found:
        raise UserError("the condition is empty: give column=value, such as income=>50K,sex=Female")
    return found


QUOTED = re.compile(r'"((?:[^"]|"")*)"\s*(?=,|$)')
QUOTED_NAME = re.compile(r'\s*"((?:[^"]|"")*)"\s*=')


def _name_at(text: str, at: int, known: Sequence[str]) -> tuple[str, int] | None:
    """(the name that begins here, the place after its `=`); None if no name does."""
    if quoted := QUOTED_NAME.match(text, at):
        return quoted[1].replace('""', '"'), quoted.end()
    rest = text[at:].lstrip()
    start = len(text) - len(rest)
    for name in known:
        if rest.startswith(name) and (tail := rest[len(name) :].lstrip()).startswith("="):
            return name, len(text) - len(tail) + 1
    name, equals, _ = rest.partition("=")
    return (name.strip(), start + len(name) + 1) if equals and "," not in name else None


def _infer(table: Source, columns: Overrides, hints: Hints) -> Schema:
    said, rows = overrides.parse(columns, table.names), table.table.num_rows
    if rows < 2:
        held = "has 1 row: give at least 2, one for training and one for testing"
        raise UserError(f"{table.name} {held if rows else 'has a header and no rows: give at least 2 rows'}")
    notes = Notes(table.name)
    try:
        found = _columns(table, said, hints, notes)
    except UserError as error:
        raise UserError(f"{table.name}: {error}") from None
    out = [c for c in found if c.note and not said.get(c.name, Override()).kind]
    for c in out:
        remedy = "" if c.kind == "constant" else ": to have it modelled, say its kind in --columns"
        warnings.warn(f"{table.name}: column {c.name!r} is left out ({c.note}){remedy}", stacklevel=5)
    notes.warn(found, said, hints)
    if not any(c.is_feature for c in found):
        texts = [c.name for c in found if c.kind == "identifier" and c.dtype == "string"]
        text = f": for text, give the column of texts, such as table[{texts[0]!r}]" if texts else ""
        raise UserError(f"{table.name}: no column is left to model: all are constant or look like identifiers{text}")
    labels = dict(zip(table.names, table.labels or table.names, strict=True))
    return Schema.table(tuple(replace(column, label=label_of(labels[column.name], column.name)) for column in found))


def _columns(table: Source, said: Mapping[str, Override], hints: Hints, notes: Notes) -> list[Column]:
    """The columns; one that several formats fit is read as the others are."""
    size, columns, ambiguous, grouped = sample_size(len(table.names)), {}, [], set()

    def column(name: str, hints: Hints) -> Column:
        array, own = table.table.column(name), said.get(name, Override())
        stats = ColumnStats(name, array, table.frames.get(name, ""), table.dialect is not None, size, own, hints)
        inferred = column_of(stats, own)
        notes.add(name, stats.markers, stats.stray)
        if stats.grouped:
            grouped.add(name)
        return inferred

    for name in table.names:
        try:
            columns[name] = column(name, hints)
        except AmbiguousFormat:
            ambiguous.append(name)
    plain = "double" if table.dialect else "string"  # the type of texts that are numbers with decimals
    dotted = [name for name, c in columns.items() if c.dtype == plain and c.kind == "continuous" and not c.format]
    known = formats.hints_of([c.format for c in columns.values() if c.format], bool(set(dotted) - grouped), hints)
    for name in [*ambiguous, *(name for name in dotted if name in grouped and known.decimal == ",")]:
        columns[name] = column(name, known)
    if hints.dates and not any(c.format and c.unit for c in columns.values()):
        raise UserError(f"no column holds dates written as {hints.dates[0]!r}: correct --date-format, or leave it out")
    return [columns[name] for name in table.names]


class Notes:
    """What is read in another way than it is written, for one warning each.

    Args:
        name: the name of the table in messages.
    """

    def __init__(self, name: str) -> None:
        self.name, self.markers, self.strays = name, dict[str, Counter[str]](), dict[str, str]()

    def add(self, name: str, markers: Counter[str], stray: str) -> None:
        """Note the words of a column that are taken as missing, and a value that is too far out."""
        self.markers[name], self.strays[name] = markers, stray

    def warn(self, columns: list[Column], said: Mapping[str, Override], hints: Hints) -> None:
        """Warn of formats that were inferred, and of words that are taken as missing."""
        own = {name for name, override in said.items() if override.format}
        inferred = [c for c in columns if c.is_feature and c.format and c.name not in own and not hints.name(c.format)]
        if inferred:
            forms = [f"{c.name!r} as {'dates' if c.unit else 'numbers'} written as {c.format}" for c in inferred]
            remedy = "--columns can name another kind or format"
            warnings.warn(f"{self.name}: reads {listed(forms, NAMED)}: {remedy}", stacklevel=6)
        if far := list(filter(None, self.strays.values())):
            remedy = "correct the value, or leave the row out"
            what = f"{listed(far, NAMED)}, {transforms.STRAY:g} times further out than the rest: not part of its scale"
            warnings.warn(f"{self.name}: {what}: {remedy}", stacklevel=6)
        words = [(c.name, *self.markers[c.name].most_common(1)[0]) for c in columns if self._is_doubtful(c)]
        if words:
            missing = listed([f"{n:,} cells {word!r} of {name!r}" for name, word, n in words], NAMED)
            remedy = "to keep them as texts, list them in its categories in --columns"
            warnings.warn(f"{self.name}: takes as missing {missing}: {remedy}", stacklevel=6)

    def _is_doubtful(self, column: Column) -> bool:
        """Whether words of a column that mean missing may be categories."""
        return column.is_categorical and not cells.numeric(column) and bool(self.markers[column.name])


def _dataset(table: Source, schema: Schema, read_from: Any) -> Dataset:
    dataset = _encoded(table, schema)
    dataset.source = read_from
    return dataset


def _encoded(table: Source, schema: Schema) -> Dataset:
    encoder, shape = Encoder(table, schema), (table.table.num_rows, *schema.shape)
    if not shape[0]:
        raise UserError(f"{table.name} has no rows: give at least one")
    if fits_memory(4 * shape[0] * shape[1]):
        x, start = np.empty(shape, np.float32), 0
        for chunk in encoder.chunks():
            x[start : start + len(chunk)] = chunk
            start += len(chunk)
        encoder.warn()
        return InMemoryDataset(torch.from_numpy(x), schema)
    with spill(".f32") as file:
        for chunk in encoder.chunks():
            file.write(chunk.data)
    encoder.warn()
    mapped: np.ndarray | FileRows = rows_of(np.memmap(file.name, np.float32, "r", shape=shape), "table")
    weakref.finalize(mapped, Path(file.name).unlink, missing_ok=True)  # at the latest, at the end of the process
    return StreamedDataset(mapped, schema, None, threaded=True)


class Encoder:
    """Encodes the rows of a table by a schema, and keeps what it could not place.

    Columns are found by name; others than the schema's are passed over with a warning. Raises `UserError` naming
    the modelled columns that the table lacks.
    """

    def __init__(self, table: Source, schema: Schema) -> None:
        self.name, self.columns, self.in_file = table.name, schema.feature_columns, table.dialect is not None
        self.unplaced: dict[str, Counter[str]] = {}
        lacking = [column.name for column in self.columns if column.name not in table.names]
        known = {column.name for column in schema.columns}
        extra = [name for name in table.names if name not in known]
        if lacking:
            hint = f"; it has {', '.join(extra)} that the model does not know" if extra else ""
            close = f": {nearest(lacking[0], tuple(extra))}" if len(lacking) == 1 and extra else ": add or rename them"
            raise UserError(f"{table.name}: lacks the columns {', '.join(lacking)}{hint}{close}")
        if extra:
            warnings.warn(f"{table.name}: the model does not know {', '.join(extra)}: passed over", stacklevel=6)
        self.table = table.table.select([column.name for column in self.columns])

    def chunks(self) -> Iterator[np.ndarray]:
        """x of the rows in order, float32 `(n, feature columns)`."""
        rows = 0
        for batch in self.table.to_batches(source.BATCH):
            x = np.empty((batch.num_rows, len(self.columns)), np.float32)
            for j, (column, array) in enumerate(zip(self.columns, batch.columns, strict=True)):
                try:
                    x[:, j] = self._encode(column, array, rows)
                except UserError as error:
                    raise UserError(f"{self.name}: column {column.name!r}: {error}") from None
            rows += batch.num_rows
            yield x

    def _encode(self, column: Column, array: Any, rows: int) -> np.ndarray:
        if column.unit:
            x = transforms.forward(column, _moments(column, array))
        elif column.is_number or cells.numeric(column):
            v = cells.numbers(array, column.format)
            if np.isinf(v).any():
                raise UserError(f"row {rows + int(np.isinf(v).argmax()) + 1} is infinite: drop or fill it")
            x = transforms.forward(column, v) if column.is_number else _number_places(column, v)
        else:
            x = _text_places(column, array, cells.missing_words(column, self.in_file))
        if (absent := np.isnan(x)).any():
            self._note(column, array, absent)
        return np.clip(x, -transforms.FARTHEST, transforms.FARTHEST) if column.is_number else x

    def _note(self, column: Column, array: Any, absent: np.ndarray) -> None:
        """Count the cells that hold something, and yet have no number."""
        missing = cells.missing_words(column, self.in_file)
        if words := {text: n for text, n in cells.words_of(array, absent).items() if text not in missing}:
            self.unplaced.setdefault(column.name, Counter()).update(words)

    def warn(self) -> None:
        """Warn of what was taken as missing, if anything was."""
        if not self.unplaced:
            return
        total = sum(sum(counter.values()) for counter in self.unplaced.values())
        named = [f"{name} {counter.most_common(1)[0][0]!r}" for name, counter in self.unplaced.items()]
        more = f" and {len(named) - 5} more columns" if len(named) > 5 else ""
        warnings.warn(
            f"{self.name}: {total} cells hold values that the schema does not know, taken as missing: "
            f"{', '.join(named[:5])}{more}",
            stacklevel=6,
        )


def _moments(column: Column, array: Any) -> np.ndarray:
    """Datetimes, durations or times of day in the column's unit, float64, NaN for a missing one."""
    moments, unit = cells.dates(array, column.format) if column.kind == "datetime" else cells.spans(array)
    own, wanted = cells.UNITS[unit], cells.UNITS[column.unit]
    if own >= wanted:
        v = moments * float(own // wanted)
    else:  # whole ones stay exact, though nanoseconds since 1970 have more digits than float64
        whole, rest = np.divmod(moments, wanted // own)
        v = whole + rest / (wanted // own)
    return np.where(moments == cells.NONE, np.nan, v)


def _number_places(column: Column, v: np.ndarray) -> np.ndarray:
    """The place of each number among the categories, NaN for one that is none."""
    pa, pc = require("pyarrow"), require("pyarrow.compute")
    kind = np.float32 if column.dtype in ("float", "halffloat") else np.float64
    categories = np.array([float(c) for c in column.categories]).astype(kind).astype(np.float64)
    return np.asarray(pc.index_in(pa.array(v + 0.0), value_set=pa.array(categories + 0.0)).cast(pa.float64()))


def _text_places(column: Column, array: Any, missing: tuple[str, ...]) -> np.ndarray:
    pa, pc = require("pyarrow"), require("pyarrow.compute")
    distinct, place = cells.texts(array, missing)
    categories = column.categories
    if column.dtype == "bool":
        distinct, categories = pc.utf8_lower(distinct), tuple(map(str.lower, categories))
    found = pc.index_in(distinct, value_set=pa.array(categories, pa.string()))
    return np.append(np.asarray(found.cast(pa.float64())), np.nan)[place]
