"""A user's own table with some cells replaced, or rows added, and written again: all other cells stay as they are.

A DataFrame comes back as a DataFrame of its package, with its index, labels, types and left-out columns, an Arrow table
as an Arrow table, and a file as a pandas DataFrame, or as a `Source` to be written again.
"""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from typing import Any

import numpy as np

from nelbo.data.columns import Column
from nelbo.data.dataset import Dataset
from nelbo.data.kinds import RowNames
from nelbo.data.schema import Schema
from nelbo.data.tables import cells, frames
from nelbo.data.tables.decoding import decode, labels_of, nullable_types, only_value
from nelbo.data.tables.source import BLANKS, TEXT, Dialect, Source, as_arrow, open_table, package_of
from nelbo.errors import UserError, require

SEPARATORS = {".csv": ",", ".tsv": "\t", ".txt": "\t"}


def gaps(table: Any, schema: Schema | None = None) -> np.ndarray:
    """Which cells are missing, bool `(n, columns)`, by the rules of `nelbo.data.tables`.

    Args:
        table: a DataFrame, an Arrow table, or a file.
        schema: the schema that lists categories; None: all words that may mean a missing cell do.
    """
    return _gaps(open_table(table), schema)


def _gaps(source: Source, schema: Schema | None) -> np.ndarray:
    known = {column.name: column for column in schema.columns} if schema else {}
    in_file = source.dialect is not None
    words = [cells.missing_words(known[name], in_file) if name in known else cells.MARKERS for name in source.names]
    return np.stack([_missing(array, own) for array, own in zip(source.table.columns, words, strict=True)], 1)


def _missing(array: Any, words: tuple[str, ...] = cells.MARKERS) -> np.ndarray:
    if cells.form_of(array.type) in ("text", "choice"):
        return cells.texts(array, words)[1] < 0
    return np.asarray(array.is_null(nan_is_null=True))


def own_rows(rows: Dataset) -> Source:
    """The cells of a dataset's rows as they were read."""
    source, places = open_table(rows.source), rows.places.numpy()
    return source if len(places) == source.table.num_rows else replace(source, table=source.table.take(places))


def cell_texts(rows: Dataset) -> list[list[str]]:
    """The cells of the feature columns of a dataset's rows as texts, as they were read: `missing` for an empty cell."""
    if rows.source is None:
        source = open_table(decode(rows[range(len(rows))].numpy(), rows.schema, "arrow"))
    else:
        source = own_rows(rows)
    empty = dict(zip(source.names, _gaps(source, rows.schema).T.tolist(), strict=True))
    texts = []
    for column in rows.schema.feature_columns:
        own = zip(source.table.column(column.name).to_pylist(), empty[column.name], strict=True)
        texts.append(["missing" if gap else str(cell).strip() for cell, gap in own])
    return [list(row) for row in zip(*texts, strict=True)]


def row_names(rows: Dataset) -> RowNames | None:
    """The rows by their first column of identifiers that are all there and differ, else by the index of pandas.

    None if there is neither.
    """
    if rows.source is None:
        return None
    table, places = open_table(rows.source).table, rows.places.numpy()
    for column in rows.schema.columns:
        if column.kind == "identifier" and column.name in table.column_names:
            ids = table.column(column.name)
            if not _missing(ids).any() and len(ids.unique()) == len(ids):
                return RowNames(column.name, [_trimmed(cell) for cell in ids.take(places).to_pylist()])
    index = rows.source.index if package_of(rows.source) == "pandas" else None
    if index is None or index.equals(require("pandas").RangeIndex(len(index))):
        return None
    name = "index" if None in index.names else "_".join(map(str, index.names))
    return RowNames(name, index.take(places).tolist())


def _trimmed(cell: Any) -> Any:
    return cell.strip() if isinstance(cell, str) else cell


def replace_missing(rows: Dataset, values: np.ndarray) -> Source:
    """The rows of a dataset with their missing cells replaced by those of x `(n, feature columns)`."""
    source = own_rows(rows)
    return replace_cells(source, _missing_cells(source, rows), decode(values, rows.schema, "arrow"))


def like_source(rows: Dataset, values: np.ndarray, missing_only: bool) -> Any:
    """The rows of a dataset, in the form that they were read from, with cells of x.

    Args:
        rows: the rows. If they were not read from a table, the result has the columns of the model and constants alone.
        values: x `(n, feature columns)`, without missing cells.
        missing_only: whether only missing cells are replaced, or all cells of feature columns.
    """
    schema = rows.schema
    if rows.source is None:
        return decode(values, schema)
    source, package = own_rows(rows), package_of(rows.source)
    names = [column.name for column in schema.feature_columns]
    at = _missing_cells(source, rows) if missing_only else np.tile(np.isin(source.names, names), (len(rows), 1))
    new = decode(values, schema, "arrow")
    if package not in FILLED:
        filled = replace_cells(source, at, new)
        return filled.table.rename_columns(filled.header) if package else typed_frame(filled, schema)
    frame = _own_frame(rows).copy() if package == "pandas" else _own_frame(rows)
    for j in np.flatnonzero(at.any(0)).tolist():
        name = source.names[j]
        values = _as_type_of(new.column(name), source.table.column(j), "" if package == "pandas" else name)
        frame = FILLED[package](frame, j, values, at[:, j])
    return frame


def numbers_like(rows: Dataset, values: np.ndarray) -> Any:
    """Numbers `(n, feature columns)` about the missing cells of a dataset's rows, and 0 for the other cells.

    A DataFrame with the rows' index and labels.
    """
    features = rows.schema.feature_columns
    if rows.source is not None:
        source = own_rows(rows)
        places = [source.names.index(column.name) for column in features]
        values = np.where(_missing_cells(source, rows)[:, places], values, 0.0)
    frame = require("pandas").DataFrame(values, columns=labels_of(features))
    if package_of(rows.source) == "polars":
        return require("polars").from_pandas(frame)
    return frame.set_axis(_own_frame(rows).index) if package_of(rows.source) == "pandas" else frame


def typed_frame(source: Source, schema: Schema) -> Any:
    """The table of a file as a DataFrame of pandas; the cells of a text file have the types of the schema's columns."""
    table, columns, missing = source.table, {column.name: column for column in schema.columns}, _gaps(source, schema)
    for j, name in enumerate(source.names if source.dialect else ()):
        if name in columns:
            table = table.set_column(j, name, _typed_cells(table.column(j), columns[name], missing[:, j]))
    frame, kinds = table.to_pandas(date_as_object=source.dialect is None), nullable_types()
    for name, array in zip(table.column_names, table.columns, strict=True):
        if array.null_count and array.type in kinds and name in frame:
            frame[name] = array.to_pandas(types_mapper=kinds.get).array
    return frame


def _typed_cells(array: Any, column: Column, missing: np.ndarray) -> Any:
    """Texts as cells of a column's type; as they are, if one of them is not such a cell."""
    pa, pc = require("pyarrow"), require("pyarrow.compute")
    kind = cells.arrow_type(column.dtype)
    present = pc.if_else(pa.array(~missing), array, pa.scalar(None, pa.string()))
    form, trimmed = cells.form_of(kind), pc.utf8_ltrim(pc.utf8_trim_whitespace(present), "+")
    try:
        if form == "date":
            ticks, unit = cells.dates(present, column.format)
            found = pa.array(ticks, mask=ticks == cells.NONE).cast(pa.timestamp(unit, getattr(kind, "tz", None)))
            found = found.cast(kind)
        else:
            found = present if form == "text" else trimmed.cast(kind)
    except pa.ArrowInvalid:
        return array
    return found if found.null_count == missing.sum() else array


def _missing_cells(source: Source, rows: Dataset) -> np.ndarray:
    """The cells that the model takes as missing and that hold nothing, bool `(n, columns)`."""
    absent = np.zeros((len(rows), len(source.names)), bool)
    places = [source.names.index(column.name) for column in rows.schema.feature_columns]
    absent[:, places] = np.isnan(rows[range(len(rows))].numpy())
    return absent & _gaps(source, rows.schema) if absent.any() else absent


def _own_frame(rows: Dataset) -> Any:
    """The rows of a dataset as rows of the DataFrame that they were read from."""
    frame, places = rows.source, rows.places.numpy()
    if len(places) == len(frame):
        return frame
    return frame.iloc[places] if package_of(frame) == "pandas" else frame[places]


def _fill_pandas(frame: Any, j: int, new: Any, at: np.ndarray) -> Any:
    """A DataFrame of pandas whose cells `at` `(n,)` of column j are replaced."""
    frame.isetitem(j, fill_column(frame.iloc[:, j], new, at))
    return frame


def fill_column(old: Any, new: Any, at: np.ndarray) -> Any:
    """A column of pandas with the cells `at` `(n,)` replaced by those of an Arrow column, in its own type if it can."""
    pandas, pa = require("pandas"), require("pyarrow")
    if isinstance(old.dtype, pandas.SparseDtype):
        return fill_column(old.sparse.to_dense(), new, at).astype(old.dtype)
    chosen = new.filter(pa.array(at))
    if isinstance(old.dtype, pandas.CategoricalDtype):
        known = {str(category): category for category in old.cat.categories}
        cells_there = [known.get(str(cell), cell) for cell in chosen.to_pylist()]
        added = [cell for cell in dict.fromkeys(cells_there) if str(cell) not in known]
        column = old.cat.add_categories(added)
        column.iloc[np.flatnonzero(at)] = pandas.Categorical(cells_there, dtype=column.dtype)
        return column
    values = _unpacked(chosen).to_pandas(date_as_object=old.dtype == object)
    if isinstance(old.dtype, pandas.IntervalDtype):
        values = frames.from_arrow(chosen, chosen.dictionary_encode().to_pandas(), str(old.dtype))
    try:
        if old.isna().all() and values.dtype.kind not in "iufO":
            raise TypeError  # an empty column of floats may have been meant for anything
        column, values = old.copy(), values.astype(old.dtype)
    except (TypeError, ValueError, NotImplementedError):
        if at.all():
            return values.set_axis(old.index).rename(old.name)
        column, values = old.astype(object), values.astype(object)
    column.iloc[np.flatnonzero(at)] = values.array
    return column


def fill_constant(old: Any, column: Column, at: np.ndarray) -> Any:
    """A column of pandas with its cells `at` `(n,)` replaced by the only value of a constant column."""
    return fill_column(old, only_value(column, len(old)), at) if column.constant is not None else old


def _fill_polars(frame: Any, j: int, new: Any, at: np.ndarray) -> Any:
    """A DataFrame of polars whose cells `at` `(n,)` of column j are replaced."""
    polars, old = require("polars"), frame.to_series(j)
    values, kind = polars.from_arrow(_unpacked(new)), old.dtype
    if kind == polars.Enum:
        kind = polars.Enum(dict.fromkeys([*kind.categories, *values.drop_nulls()]))
    if kind == polars.Null:
        kind = values.dtype
    return frame.with_columns(values.cast(kind).zip_with(polars.Series(at), old.cast(kind)).alias(old.name))


FILLED: dict[str, Any] = {"pandas": _fill_pandas, "polars": _fill_polars}


def replace_cells(source: Source, at: np.ndarray, new: Any) -> Source:
    """The table with the cells `at` `(n, columns)` replaced by those of another table, found by the column's name."""
    pa, pc = require("pyarrow"), require("pyarrow.compute")
    table, other = source.table, as_arrow(new)
    for j, name in enumerate(source.names):
        if name in other.column_names and at[:, j].any():
            old = table.column(j)
            values = _as_type_of(other.column(name), old, name)
            merged = pc.if_else(pa.array(at[:, j]), _unpacked(values), _plain(old, _unpacked(values).type))
            table = table.set_column(j, name, _typed(merged, old))
    return replace(source, table=table)


def _as_type_of(new: Any, old: Any, name: str = "") -> Any:
    """A column in the type of another; in its own, if the other holds nothing and cells of another form.

    If the other's type cannot hold its cells, raises `UserError` naming the column, or without a name keeps its own.
    """
    pa = require("pyarrow")
    plain, forms = _unpacked(new), [cells.form_of(_value_type(column.type)) for column in (new, old)]
    if old.null_count == len(old) and forms[0] != forms[1]:
        return plain
    try:
        return plain.cast(_value_type(old.type), safe=False)
    except pa.ArrowException:
        if not name:
            return plain
        raise UserError(
            f"column {name!r} holds {old.type} values, and the model's are {new.type}: convert the column first"
        ) from None


def append_rows(source: Source, new: Any) -> Source:
    """The table with the rows of another after its own; columns that the other lacks are empty there."""
    pa = require("pyarrow")
    columns, other = [], as_arrow(new)
    for name, old in zip(source.names, source.table.columns, strict=True):
        added = _plain(other[name] if name in other.column_names else pa.nulls(other.num_rows), old.type)
        columns.append(_typed(pa.chunked_array([*_plain(old, old.type).chunks, *added.chunks], added.type), old))
    return replace(source, table=pa.table(columns, names=source.names))


def _value_type(kind: Any) -> Any:
    return kind.value_type if require("pyarrow").types.is_dictionary(kind) else kind


def _unpacked(array: Any) -> Any:
    """A column without its dictionary, if it has one."""
    return array.cast(_value_type(array.type))


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
