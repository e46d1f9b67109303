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
from nelbo.data.tables.extra import need
from nelbo.data.tables.source import TEXT, open_table
from nelbo.data.tables.textfile import TextFile
from nelbo.data.tables.writing import SEPARATORS, to_bytes


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
    pa = need("pyarrow")
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


def cast(column: Any, kind: Any) -> Any:
    """An Arrow array (a DataFrame's column, too) as another type; numbers as texts where it is one of texts."""
    pa = need("pyarrow")
    array = column if isinstance(column, pa.Array | pa.ChunkedArray) else pa.array(column, from_pandas=True)
    if pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    if pa.types.is_dictionary(kind):
        return array.cast(kind.value_type).dictionary_encode().cast(kind)
    return array.cast(kind, safe=False)


def replaced(raw: Raw, at: np.ndarray, frame: Any) -> Raw:
    """The table with the cells `at` `(n, columns)` replaced by those of a DataFrame, found by the column's name."""
    pa, pc = need("pyarrow"), need("pyarrow.compute")
    table = raw.table
    for j, name in enumerate(table.column_names):
        if name in frame.columns and at[:, j].any():
            kind = table.column(j).type
            plain = kind.value_type if pa.types.is_dictionary(kind) else kind
            old, new = cast(table.column(j), plain), cast(frame[name], plain)
            merged = pc.if_else(pa.array(at[:, j]), new, old)
            table = table.set_column(j, name, cast(merged, kind))
    return Raw(table, raw.header, raw.delimiter)


def appended(raw: Raw, frame: Any) -> Raw:
    """The table with the rows of a DataFrame after its own; columns that the DataFrame lacks are empty there."""
    pa = need("pyarrow")
    table, n = raw.table, len(frame)
    columns = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        kind = column.type
        plain = kind.value_type if pa.types.is_dictionary(kind) else kind
        new = cast(frame[name], plain) if name in frame.columns else pa.nulls(n, plain)
        chunks = [chunk for part in (cast(column, plain), new) for chunk in _chunks(part)]
        columns.append(cast(pa.chunked_array(chunks, plain), kind))
    return Raw(pa.table(columns, names=table.column_names), raw.header, raw.delimiter)


def _chunks(array: Any) -> list[Any]:
    return array.chunks if isinstance(array, need("pyarrow").ChunkedArray) else [array]


def raw_bytes(raw: Raw, ending: str) -> bytes:
    """The table as a file: a file of texts keeps its delimiter where it keeps its kind of ending."""
    if ending not in TEXT:
        return to_bytes(raw.table, ending)
    delimiter = raw.delimiter if raw.delimiter and ending != ".tsv" else SEPARATORS[ending]
    columns = [cast(column, need("pyarrow").string()).to_pylist() for column in raw.table.columns]
    return _records([raw.header, *zip(*columns, strict=True)], delimiter)


def _records(rows: Sequence[Sequence[Any]], delimiter: str) -> bytes:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
