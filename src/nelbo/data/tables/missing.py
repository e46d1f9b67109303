"""Which cells of a table are missing, and a table's own cells with some replaced: all others stay as they are."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nelbo.data.tables import cells
from nelbo.data.tables.describe import SEPARATORS, to_bytes
from nelbo.data.tables.source import TEXT, open_table
from nelbo.data.tables.textfile import TextFile
from nelbo.errors import require


@dataclass(frozen=True)
class Raw:
    """All cells of a table as they are stored (an Arrow table; of a file of texts, texts), and its file's layout.

    `header` has the columns' names as they are written, `delimiter` is empty for what is no file of texts.
    """

    table: Any
    header: tuple[str, ...]
    delimiter: str = ""


def whole(source: Any) -> Raw:
    """All cells of a file, a DataFrame or an Arrow table, in memory."""
    pa = require("pyarrow")
    opened = open_table(source)
    batches = list(opened.batches())
    columns = [pa.chunked_array([b.column(j) for b in batches]) for j in range(len(opened.names))] if batches else []
    table = pa.table(columns or [pa.array([], pa.string())] * len(opened.names), names=list(opened.names))
    if opened.untyped:
        file = TextFile(Path(source).expanduser())
        return Raw(table, tuple(file.head[0][1]), file.delimiter)
    return Raw(table, opened.names)


def gaps(source: Any) -> np.ndarray:
    """Which cells are missing, bool `(n, columns)`, by the rules of `nelbo.data.tables`."""
    return np.concatenate(
        [np.stack([_missing(column) for column in batch.columns], 1) for batch in open_table(source).batches()]
    )


def _missing(array: Any) -> np.ndarray:
    form = cells.form_of(array.type)
    if form in ("text", "choice"):
        return cells.texts(array)[1] < 0
    return array.is_null(nan_is_null=True).to_numpy(zero_copy_only=False)


def replaced(raw: Raw, at: np.ndarray, frame: Any) -> Raw:
    """The table with the cells `at` `(n, columns)` replaced by those of a DataFrame, found by the column's name."""
    pa, pc = require("pyarrow"), require("pyarrow.compute")
    table = raw.table
    for j, name in enumerate(table.column_names):
        if name in frame.columns and at[:, j].any():
            old = table.column(j)
            new = plain(frame[name], _value_type(old.type))
            merged = pc.if_else(pa.array(at[:, j]), new, plain(old))
            table = table.set_column(j, name, _typed(merged, old))
    return Raw(table, raw.header, raw.delimiter)


def appended(raw: Raw, frame: Any) -> Raw:
    """The table with the rows of a DataFrame after its own; columns that the DataFrame lacks are empty there."""
    pa = require("pyarrow")
    columns = []
    for name, old in zip(raw.table.column_names, raw.table.columns, strict=True):
        kind = _value_type(old.type)
        new = plain(frame[name], kind) if name in frame.columns else pa.nulls(len(frame), kind)
        columns.append(_typed(pa.chunked_array([*plain(old).chunks, *_chunks(new)], kind), old))
    return Raw(pa.table(columns, names=raw.table.column_names), raw.header, raw.delimiter)


def plain(column: Any, kind: Any = None) -> Any:
    """A column of Arrow or of a DataFrame without a dictionary, as another type if one is named."""
    pa = require("pyarrow")
    array = column if isinstance(column, pa.Array | pa.ChunkedArray) else pa.array(column, from_pandas=True)
    array = array.cast(_value_type(array.type))
    return array if kind is None else array.cast(kind, safe=False)


def _value_type(kind: Any) -> Any:
    return kind.value_type if require("pyarrow").types.is_dictionary(kind) else kind


def _typed(array: Any, old: Any) -> Any:
    """Plain cells as the type of `old`; a dictionary keeps its order, and has what is new at its end."""
    pa, pc = require("pyarrow"), require("pyarrow.compute")
    if not pa.types.is_dictionary(old.type):
        return array
    known = [chunk.dictionary for chunk in old.chunks]
    values = pc.unique(pa.chunked_array([*known, *_chunks(array.drop_null())], old.type.value_type))
    index = pc.index_in(array, value_set=values).combine_chunks() if _is_chunked(array) else pc.index_in(array, values)
    return pa.DictionaryArray.from_arrays(index, values, ordered=old.type.ordered)


def _is_chunked(array: Any) -> bool:
    return isinstance(array, require("pyarrow").ChunkedArray)


def _chunks(array: Any) -> list[Any]:
    return array.chunks if _is_chunked(array) else [array]


def raw_bytes(raw: Raw, ending: str) -> bytes:
    """The table as a file: a file of texts keeps its delimiter where it keeps its kind of ending."""
    if ending not in TEXT:
        return to_bytes(raw.table, ending)
    delimiter = raw.delimiter if raw.delimiter and ending != ".tsv" else SEPARATORS[ending]
    columns = [plain(column, require("pyarrow").string()).to_pylist() for column in raw.table.columns]
    return _records([raw.header, *zip(*columns, strict=True)], delimiter)


def _records(rows: Sequence[Sequence[Any]], delimiter: str) -> bytes:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
