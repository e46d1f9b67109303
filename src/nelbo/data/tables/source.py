"""Anything that holds a table -> its cells as one Arrow table; a file of delimited text also has a `Dialect`.

Every cell of a text file is a text, as it is written: `007`, `1.50` and `18446744073709551615` keep their digits. The
delimiter is that of `,` `;` tab `|` into which most of the first lines fall as the header does, or the one that Excel's
first line `sep=;` names. Where there is none of them, blanks part the cells (`_blank_cells`). Files are UTF-8, with or
without a byte order mark, and may be gzipped. Cells that do not fit memory go to a temporary file, which is mapped.
"""

from __future__ import annotations

import csv
import io
import re
import tempfile
import weakref
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import IO, Any

import numpy as np

from nelbo.data.dataset import fits_memory
from nelbo.data.tables import cells, frames
from nelbo.data.text.rows import holds_table
from nelbo.errors import UserError, require
from nelbo.reading import check_file, check_unpacked, damaged, is_file, opened, reason

TEXT = (".csv", ".tsv", ".txt", ".tab")
PARQUET = (".parquet", ".pq")
FRAMES = {
    "pandas": ("DataFrame", "Series"),
    "polars": ("DataFrame", "LazyFrame", "Series"),
    "pyarrow": ("Table", "RecordBatch"),
}
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
BLANKS = " "
"""The delimiter of a `Dialect` whose cells are parted by any number of blanks."""
LOOK, HEAD = 100, 2**20  # lines, and bytes, by which the dialect is told
BLOCK, BATCH = 2**24, 2**16  # bytes of text, and rows of Parquet, that are read at once
WIDEST = 100_000  # columns
csv.field_size_limit(2**30)


@dataclass(frozen=True)
class Dialect:
    """How a text file is written: its delimiter and line ends, whether it begins with a byte order mark or `sep=`."""

    delimiter: str = ","
    newline: str = "\n"
    bom: bool = False
    sep_line: bool = False


@dataclass(frozen=True)
class Source:
    """A table with all of its cells as they are stored.

    Args:
        name: the table's name in messages.
        table: the Arrow table, whose column names are trimmed.
        header: the columns' names as they are written.
        dialect: that of a text file, whose cells are all texts; None for other sources.
        frames: the pandas dtype of each column for which Arrow's type does not imply it.
        labels: the column labels of a DataFrame of pandas.
    """

    name: str
    table: Any
    header: tuple[str, ...]
    dialect: Dialect | None = None
    frames: dict[str, str] = field(default_factory=dict)
    labels: tuple[Any, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names, trimmed."""
        return tuple(self.table.column_names)


def is_table(source: Any) -> bool:
    """Whether a source is a table: a DataFrame, an Arrow table, or a file whose ending says so and that exists.

    A `.txt` file is one if its lines fall into cells (`nelbo.data.text.rows`). So are a Series, a dictionary of
    columns, a list of dictionaries, a structured array, and whatever gives Arrow batches (`__arrow_c_stream__`).
    """
    if isinstance(source, str | Path):
        path = Path(source).expanduser()
        ending = _ending(path)
        return ending in TEXT + PARQUET and is_file(path) and (ending != ".txt" or holds_table(path))
    if isinstance(source, np.ndarray):
        return source.dtype.names is not None
    if isinstance(source, Mapping):
        return bool(source) and all(_is_column(values) for values in source.values())
    if isinstance(source, list | tuple):
        cells = source[0].values() if source and all(isinstance(row, Mapping) for row in source) else ()
        return bool(cells) and not any(getattr(cell, "size", None) or isinstance(cell, list) for cell in cells)
    package, name = type(source).__module__.partition(".")[0], type(source).__name__
    return name in FRAMES.get(package, ()) or getattr(source, "__arrow_c_stream__", None) is not None


def _is_column(values: Any) -> bool:
    """Whether values are a sequence of single cells."""
    if isinstance(values, str | bytes | Mapping) or getattr(values, "__len__", None) is None:
        return False
    return getattr(values, "ndim", 1) == 1 and not any(isinstance(cell, list | np.ndarray) for cell in values)


def open_table(source: Any) -> Source:
    """The table that a source holds. Raises `UserError` if it is damaged, or its columns' names are not distinct."""
    require("pyarrow")
    if isinstance(source, str | Path):
        path = Path(source).expanduser()
        return _text(path) if _ending(path) in TEXT else _parquet(path)
    frame = settled(source)
    return _pandas(frame) if package_of(frame) == "pandas" else _arrow(as_arrow(frame))


def package_of(source: Any) -> str:
    """The package of a DataFrame or an Arrow table; "" for a file."""
    return "" if isinstance(source, str | Path) else type(source).__module__.partition(".")[0]


def settled(source: Any) -> Any:
    """A source that can be read several times: a file, a DataFrame or an Arrow table that holds its rows."""
    if isinstance(source, str | Path):
        return source
    if isinstance(source, np.ndarray | Mapping | list | tuple):
        return _framed(source)
    package, name = package_of(source), type(source).__name__
    if name == "LazyFrame":
        return source.collect()
    if name == "Series":
        return source.to_frame(source.name or "value")
    if package in FRAMES and name in FRAMES[package]:
        return source
    with damaged(f"the {name}", "is not a table", "give a DataFrame, or an Arrow table"):
        return require("pyarrow").table(source)


def _framed(source: Any) -> Any:
    """A structured array, a dictionary of columns or a list of dictionaries as a DataFrame."""
    pandas = require("pandas")
    with damaged(
        f"the {type(source).__name__}", "is not a table", "give columns of one length, with a cell for each row"
    ):
        if isinstance(source, np.ndarray):
            return pandas.DataFrame({name: source[name] for name in source.dtype.names or ()})
        return pandas.DataFrame(dict(source) if isinstance(source, Mapping) else list(source))


def _ending(path: Path) -> str:
    """The ending that tells what a file holds; texts may be gzipped."""
    name = path.name.lower()
    ending = Path(name.removesuffix(".gz")).suffix
    return ending if ending in TEXT or not name.endswith(".gz") else ""


def _checked(where: str, header: tuple[str, ...]) -> list[str]:
    """The names in a header, trimmed. Raises `UserError` unless they are distinct."""
    names = [name.strip() for name in header]
    name, count = max(Counter(names).items(), key=lambda item: item[1], default=("", 0))
    if count > 1:
        raise UserError(f"{where} has {count} columns named {name!r}: rename all but one")
    if not names:
        raise UserError(f"{where} has no columns: give at least one")
    if len(names) > WIDEST:
        raise UserError(f"{where} has {len(names):,} columns: give at most {WIDEST:,}, or an array (.npy)")
    mark = next((mark for mark in DELIMITERS if mark in names[0]), "")
    if len(names) == 1 and mark:
        raise UserError(
            f"{where} has one column, {names[0]!r}, because its file is separated by {DELIMITERS[mark]}: "
            f"use pandas.read_csv(..., sep={mark!r}), or pass the path"
        )
    return names


def _held(batches: Iterator[Any], schema: Any, path: Path) -> Any:
    """Record batches of a file as a table: in memory, or in a temporary file where they do not fit it."""
    pa, kept, size = require("pyarrow"), [], 0
    for batch in batches:
        kept.append(batch)
        size += batch.nbytes
        check_unpacked(path, path.stat().st_size, size)
        if not fits_memory(size):
            break
    else:
        return pa.Table.from_batches(kept, schema)
    with spill(".arrow") as file, pa.ipc.new_stream(file, schema) as writer:
        for batch in chain(kept, batches):
            writer.write(batch)
    table = pa.ipc.open_stream(pa.memory_map(file.name)).read_all()
    weakref.finalize(table, Path(file.name).unlink, missing_ok=True)
    return table


@contextmanager
def spill(ending: str) -> Iterator[IO[bytes]]:
    """A temporary file to write to, for its user to delete; it is deleted here where writing fails."""
    with tempfile.NamedTemporaryFile(prefix="nelbo-table-", suffix=ending, delete=False) as file:
        try:
            yield file  # type: ignore[misc]
        except BaseException as error:
            Path(file.name).unlink()
            if isinstance(error, OSError):
                why = f"cannot be written ({error.strerror}): set TMPDIR to a folder with room"
                raise UserError(f"{file.name}: {why}") from None
            raise


def _parquet(path: Path) -> Source:
    parquet = require("pyarrow.parquet")
    check_file(path)
    with damaged(path, "is not a complete Parquet file", "write it again"), parquet.ParquetFile(path) as file:
        header = tuple(file.schema_arrow.names)
        names = _checked(str(path), header)
        table = _held(file.iter_batches(BATCH), file.schema_arrow, path)
        table.validate(full=True)
        return Source(str(path), table.rename_columns(names), header)


def _arrow(table: Any) -> Source:
    header = tuple(table.column_names)
    return Source("table", table.rename_columns(_checked("table", header)), header)


def as_arrow(table: Any) -> Any:
    """A DataFrame or an Arrow table as an Arrow table, its columns' labels as texts."""
    pa = require("pyarrow")
    if package_of(table) == "pandas":
        arrays = [_column(table, j)[0] for j in range(len(table.columns))]
        return pa.Table.from_arrays(arrays, [name_of(label) for label in table.columns])
    if package_of(table) == "polars":
        return _from_polars(table)
    return pa.Table.from_batches([table]) if isinstance(table, pa.RecordBatch) else table


def name_of(label: Any) -> str:
    """The label of a column of a DataFrame as a text."""
    return "_".join(map(str, label)) if isinstance(label, tuple) else str(label)


def _from_polars(frame: Any) -> Any:
    polars = require("polars")
    loose = [name for name, dtype in frame.schema.items() if dtype == polars.Categorical]
    table = frame.with_columns(polars.col(loose).cast(polars.String)).to_arrow()
    for name in loose:  # a Categorical's own dictionary holds the categories of other frames too
        place = table.column_names.index(name)
        table = table.set_column(place, name, table[name].dictionary_encode())
    return table


def _pandas(frame: Any) -> Source:
    labels = tuple(frame.columns)
    columns = [_column(frame, j) for j in range(len(labels))]
    source = _arrow(require("pyarrow").Table.from_arrays([array for array, _ in columns], list(map(name_of, labels))))
    own = {name: dtype for name, (_, dtype) in zip(source.names, columns, strict=True) if dtype}
    return replace(source, frames=own, labels=labels)


def _column(frame: Any, j: int) -> tuple[Any, str]:
    """Column j of a DataFrame of pandas, as `frames.to_arrow` returns it."""
    with damaged(f"column {name_of(frame.columns[j])!r}", "cannot be read", "convert it to numbers, dates or texts"):
        return frames.to_arrow(frame.iloc[:, j])


def _text(path: Path) -> Source:
    """A text file. Raises `UserError` naming the line, column or byte of what is wrong with it."""
    pa, arrow = require("pyarrow"), require("pyarrow.csv")
    dialect, lines, header = _head(path)
    if dialect.delimiter == BLANKS and not dialect.sep_line:
        return _aligned(path, dialect)
    names = _checked(str(path), tuple(cell.strip() or f"Unnamed: {i}" for i, cell in enumerate(header)))
    schema = pa.schema([(str(i), pa.string()) for i in range(len(names))])
    try:
        with damaged(path):
            batches = arrow.open_csv(
                opened(path) if path.suffix.lower() == ".gz" else path,
                read_options=arrow.ReadOptions(column_names=schema.names, skip_rows=lines, block_size=BLOCK),
                parse_options=arrow.ParseOptions(delimiter=dialect.delimiter, newlines_in_values=True),
                convert_options=arrow.ConvertOptions(column_types=schema),
            )
            return Source(str(path), _held(batches, schema, path).rename_columns(names), header, dialect)
    except UserError as error:
        if not isinstance(error.__cause__, pa.ArrowInvalid):
            raise
        if str(error.__cause__).startswith("Empty CSV file"):
            return Source(str(path), schema.empty_table().rename_columns(names), header, dialect)
        _check_encoding(path)
        _check_lengths(path, dialect, len(names))
        raise UserError(f"{path}: {reason(error.__cause__)}: fix the file and try again") from None


def _head(path: Path) -> tuple[Dialect, int, tuple[str, ...]]:
    """(the dialect of a text file, the lines up to the end of its header, the cells of its header)."""
    _check_encoding(path, HEAD)
    with opened(path) as file, damaged(path):
        head = file.read(HEAD).decode("utf-8", "replace")
        bom, head = head.startswith("\ufeff"), head.removeprefix("\ufeff")
        sep = re.match(r'"?sep=([^"\r\n])"?\r?\n', head, re.IGNORECASE)
        head = head[sep.end() :] if sep else head
        found = {mark: _records(head, mark) for mark in ([sep[1]] if sep else DELIMITERS)}
    mark = _most_even({mark: [len(record) for _, record in records] for mark, records in found.items()}, path)
    newline = "\r\n" if head.partition("\n")[0].endswith("\r") else "\n"
    if not found[mark] or not any(cell.strip() for cell in found[mark][0][1]):
        raise UserError(f"{path} is empty: give a header and at least 2 rows")
    lines, header = found[mark][0]
    if not sep and len(header) == 1 and (aligned := _blank_cells(head.splitlines()[:LOOK])):
        mark, header = BLANKS, aligned[0]
    pa, pc = require("pyarrow"), require("pyarrow.compute")
    if pc.all(pc.match_substring_regex(pc.utf8_trim_whitespace(pa.array(header)), cells.NUMBER)).as_py():
        raise UserError(
            f"{path}: the first line holds numbers ({header[0].strip()}, ...): add a line of names, or "
            "if each line is a series, give --kind series"
        )
    other = next((sign for sign in (":", "^", "~") if sign in header[0]), "")
    if len(header) == 1 and other and all(other in record[0] for _, record in found[mark]):
        raise UserError(
            f"{path} has one column, {header[0].strip()!r}, separated by {other!r}: separate its columns "
            "by , ; | or tab"
        )
    return Dialect(mark, newline, bom, sep is not None), lines + bool(sep), tuple(header)


def _aligned(path: Path, dialect: Dialect) -> Source:
    """A file whose cells are parted by blanks. Raises `UserError` for a line that has other cells than the first."""
    pa = require("pyarrow")
    _check_encoding(path)
    with opened(path) as file, damaged(path):
        lines = file.read().decode("utf-8-sig").splitlines()
    rows = _blank_cells(lines)
    if rows is None:
        known = _blank_cells(lines[:LOOK]) or [[]]
        bad = next((i for i in range(LOOK, len(lines)) if not _blank_cells([*lines[:LOOK], lines[i]])), len(lines) - 1)
        raise UserError(
            f"{path}: line {bad + 1} does not have {len(known[0])} cells as the header: separate them by commas"
        )
    header, *records = rows
    names = _checked(str(path), tuple(header))
    columns = [pa.array(column, pa.string()) for column in zip(*records, strict=True)] or [
        pa.array([], pa.string())
    ] * len(names)
    return Source(str(path), pa.Table.from_arrays(columns, names), tuple(header), dialect)


def _blank_cells(lines: list[str]) -> list[list[str]] | None:
    """The cells of lines that blanks part alike, the header first; None if they do not.

    Two or more blanks part cells, or the columns of blanks that all lines share, or single blanks. The latter two need
    a column of numbers, since the words of names and sentences have blanks between them, too.
    """
    kept = [line.expandtabs().rstrip() for line in lines if line.strip()]
    if len(kept) < 2:
        return None
    wide = [re.split(" {2,}", line.strip()) for line in kept]
    ends = [0, *_shared_blanks(kept), max(map(len, kept))]
    fixed = [[line[a:b].strip() for a, b in pairwise(ends)] for line in kept]
    try:
        single = list(csv.reader((line.strip() for line in kept), delimiter=" ", skipinitialspace=True))
    except csv.Error:
        single = wide
    for rows, sure in ((wide, True), (fixed, False), (single, False)):
        even = {len(row) for row in rows} == {len(rows[0])} and len(rows) == len(kept)
        named = len(rows[0]) > 1 and all(rows[0])
        if even and named and (sure or any(_is_numeric(column[1:]) for column in zip(*rows, strict=True))):
            return rows
    return None


def _shared_blanks(lines: list[str]) -> list[int]:
    """The places where columns of characters begin, after those at which all lines have blanks."""
    width = max(map(len, lines))
    blank = [all(line[i : i + 1] in ("", " ") for line in lines) for i in range(width)]
    return [i for i in range(1, width) if blank[i - 1] and not blank[i]]


def _is_numeric(texts: Sequence[str]) -> bool:
    """Whether texts are numbers, with or without gaps."""
    kept = [text for text in texts if text not in cells.MARKERS]
    return bool(kept) and all(re.match(cells.NUMBER, text) for text in kept)


def _records(head: str, delimiter: str) -> list[tuple[int, list[str]]]:
    """(the line that it ends on, the cells) of the first records in the head of a file."""
    reader = csv.reader(io.StringIO(head), delimiter=delimiter)
    found = [(reader.line_num, record) for record in islice(reader, LOOK) if record]
    return found[:-1] if len(head) >= HEAD // 4 and len(found) > 1 else found  # the last one may be cut


def _most_even(widths: dict[str, list[int]], path: Path) -> str:
    """The delimiter, by how many cells each makes of the first lines: see above. A file of one column has a comma."""
    best, found = (0.0, 1), next(iter(widths))
    for mark in sorted(widths, key=lambda mark: mark != ("\t" if ".tsv" in path.name.lower() else ",")):
        first, *others = widths[mark] or [1]
        share = sum(width == first for width in others) / max(len(others), 1)
        if first > 1 and (share, first) > best:
            best, found = (share, first), mark
    return found


def _check_lengths(path: Path, dialect: Dialect, wanted: int) -> None:
    """Raise `UserError` naming the first record that has more or fewer cells than the header."""
    with opened(path) as file, io.TextIOWrapper(file, "utf-8-sig", "replace", newline="") as text:
        before = len(list(islice(text, dialect.sep_line)))
        reader = csv.reader(text, delimiter=dialect.delimiter)
        for record in reader:
            if record and len(record) != wanted:
                raise UserError(
                    f"{path}: line {before + reader.line_num} has {len(record)} cells, the header {wanted}: fix the "
                    f"line, or quote a cell that holds {DELIMITERS.get(dialect.delimiter, repr(dialect.delimiter))}"
                )


def _check_encoding(path: Path, limit: float = float("inf")) -> None:
    """Raise `UserError` naming the first byte that is not UTF-8, if there is one in the lines that begin before it."""
    at = 0
    with opened(path) as file:
        for line in file:
            try:
                line.decode()
            except UnicodeDecodeError as error:
                known = "utf-16" if not at and line[:2] in (b"\xff\xfe", b"\xfe\xff") else "latin1"
                raise UserError(
                    f"{path} is not UTF-8 at byte {at + error.start} (0x{line[error.start]:02x}): convert it, as by "
                    f"`iconv -f {known} -t utf-8 {path.name} > utf8.csv` (or read it with pandas, and give the "
                    "DataFrame)"
                ) from None
            at += len(line)
            if at >= limit:
                return
