"""A user's own table with some cells replaced, or rows added, and written again: all other cells stay as they are."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from typing import Any

import numpy as np

from nelbo.data.schema import Schema
from nelbo.data.tables import cells
from nelbo.data.tables.source import BLANKS, TEXT, Dialect, Source, open_table
from nelbo.errors import UserError, require

SEPARATORS = {".csv": ",", ".tsv": "\t", ".txt": "\t"}


def gaps(table: Any, schema: Schema | None = None) -> np.ndarray:
    """Which cells are missing, bool `(n, columns)`, by the rules of `nelbo.data.tables`.

    Args:
        table: a DataFrame, an Arrow table, or a file.
        schema: the schema that lists categories; None: all words that may mean a missing cell do.
    """
    opened = open_table(table)
    known = {column.name: column for column in schema.columns} if schema else {}
    in_file = opened.dialect is not None
    words = [cells.missing_words(known[name], in_file) if name in known else cells.MARKERS for name in opened.names]
    return np.stack([_missing(array, own) for array, own in zip(opened.table.columns, words, strict=True)], 1)


def _missing(array: Any, words: tuple[str, ...]) -> np.ndarray:
    if cells.form_of(array.type) in ("text", "choice"):
        return cells.texts(array, words)[1] < 0
    return np.asarray(array.is_null(nan_is_null=True))


def replace_cells(source: Source, at: np.ndarray, frame: Any) -> Source:
    """The table with the cells `at` `(n, columns)` replaced by those of a DataFrame, found by the column's name."""
    pa, pc = require("pyarrow"), require("pyarrow.compute")
    table = source.table
    for j, name in enumerate(source.names):
        if name in frame.columns and at[:, j].any():
            old = table.column(j)
            merged = pc.if_else(pa.array(at[:, j]), _plain(frame[name], old.type), _plain(old, old.type))
            table = table.set_column(j, name, _typed(merged, old))
    return replace(source, table=table)


def append_rows(source: Source, frame: Any) -> Source:
    """The table with the rows of a DataFrame after its own; columns that the DataFrame lacks are empty there."""
    pa = require("pyarrow")
    columns = []
    for name, old in zip(source.names, source.table.columns, strict=True):
        new = _plain(frame[name] if name in frame.columns else pa.nulls(len(frame)), old.type)
        columns.append(_typed(pa.chunked_array([*_plain(old, old.type).chunks, *new.chunks], new.type), old))
    return replace(source, table=pa.table(columns, names=source.names))


def _plain(column: Any, kind: Any) -> Any:
    """A column of Arrow or of a DataFrame as chunks of a type, without its dictionary if it is one of those."""
    pa = require("pyarrow")
    array = column if isinstance(column, pa.Array | pa.ChunkedArray) else pa.array(column, from_pandas=True)
    chunks = array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array])
    for step in (array.type, kind):  # a dictionary is unpacked first
        chunks = chunks.cast(step.value_type if pa.types.is_dictionary(step) else step, safe=False)
    return chunks


def _typed(chunks: Any, old: Any) -> Any:
    """Plain cells as the type of `old`; a dictionary keeps its order, and has what is new at its end."""
    pa, pc = require("pyarrow"), require("pyarrow.compute")
    if not pa.types.is_dictionary(old.type):
        return chunks
    known = pa.chunked_array([chunk.dictionary for chunk in old.chunks], chunks.type)
    values = pc.unique(pa.chunked_array([*known.chunks, *chunks.drop_null().chunks], chunks.type))
    index = pc.index_in(chunks, value_set=values).combine_chunks()
    return pa.DictionaryArray.from_arrays(index, values, ordered=old.type.ordered)


def source_bytes(source: Source, ending: str) -> bytes:
    """The table as a file: a text file keeps its dialect, but a delimiter that another ending names."""
    if ending not in TEXT:
        return to_bytes(source.table, ending)
    own = source.dialect or Dialect(SEPARATORS[ending])
    own = replace(own, delimiter="\t") if ending == ".tsv" else own
    columns = [_plain(column, require("pyarrow").string()).to_pylist() for column in source.table.columns]
    if own.delimiter == BLANKS and not own.sep_line:
        return _in_columns([source.header, *zip(*columns, strict=True)], own)
    text = io.StringIO()
    text.write(own.bom * "\ufeff" + own.sep_line * f"sep={own.delimiter}{own.newline}")
    csv.writer(text, delimiter=own.delimiter, lineterminator=own.newline).writerows(
        [source.header, *zip(*columns, strict=True)]
    )
    return text.getvalue().encode()


def _in_columns(rows: list[Any], dialect: Dialect) -> bytes:
    """Rows of texts in columns of equal widths, two blanks apart; a missing cell is NA."""
    cells = [[(cell or "").strip() or "NA" for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() + dialect.newline for row in cells)
    return (dialect.bom * "\ufeff" + "".join(lines)).encode()


def to_bytes(table: Any, ending: str) -> bytes:
    """A DataFrame or an Arrow table as a `.csv`, `.tsv`, `.txt` (tabs) or `.parquet` file; null is an empty cell.

    Times that are all whole days are written as dates in a text.
    """
    pa = require("pyarrow")
    content = io.BytesIO()
    package = type(table).__module__.partition(".")[0]
    whole = pa.Table.from_pandas(table, preserve_index=False) if package == "pandas" else table
    whole = whole.to_arrow() if package == "polars" else whole
    if ending == ".parquet":
        require("pyarrow.parquet").write_table(whole, content)
    elif ending in SEPARATORS:
        csv = require("pyarrow.csv")
        plain = [_as_written(column) for column in whole.columns]
        options = csv.WriteOptions(delimiter=SEPARATORS[ending], quoting_style="needed")
        csv.write_csv(pa.Table.from_arrays(plain, whole.column_names), content, options)
    else:
        raise UserError(f"a table cannot be written as {ending!r}: give {', '.join(SEPARATORS)} or .parquet")
    return content.getvalue()


def _as_written(column: Any) -> Any:
    """A column in the type that it has in a text: categories as what they are, whole days as dates."""
    pa, pc = require("pyarrow"), require("pyarrow.compute")
    if pa.types.is_dictionary(column.type):
        return column.cast(column.type.value_type)
    if pa.types.is_timestamp(column.type) and column.type.tz is None:
        for whole, kind in (("day", pa.date32()), ("second", pa.timestamp("s"))):
            if pc.all(pc.equal(pc.floor_temporal(column, unit=whole), column)).as_py():
                return column.cast(kind)
    return column
