"""Anything that holds a table -> its column names and its cells as Arrow record batches, as often as asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nelbo.data.tables.textfile import DELIMITERS, TextFile
from nelbo.data.text.files import holds_table
from nelbo.errors import UserError, require

TEXT = (".csv", ".tsv", ".txt", ".tab")
PARQUET = (".parquet", ".pq")
FRAMES = {"pandas": ("DataFrame",), "polars": ("DataFrame", "LazyFrame"), "pyarrow": ("Table", "RecordBatch")}
BATCH = 2**16


@dataclass(frozen=True)
class Source:
    """A table: `batches()` begins anew each time. `untyped`: all its cells are texts, as in a CSV file.

    `frames` has the pandas dtype of a column where Arrow's does not imply it.
    """

    name: str
    names: tuple[str, ...]
    batches: Callable[[], Iterator[Any]]
    untyped: bool = False
    frames: dict[str, str] = field(default_factory=dict)


def is_table(source: Any) -> bool:
    """Whether a source is a table: a DataFrame, an Arrow table, or a file whose ending says so and that exists.

    A `.txt` file is one if its lines fall into cells (`nelbo.data.text.files`).
    """
    if isinstance(source, str | Path):
        path = Path(source).expanduser()
        ending = _ending(path)
        return ending in TEXT + PARQUET and path.is_file() and (ending != ".txt" or holds_table(path))
    kind = type(source)
    return kind.__name__ in FRAMES.get(kind.__module__.partition(".")[0], ())


def open_table(source: Any) -> Source:
    """The table that a source holds. Raises `UserError` if it is damaged, or its columns' names are not distinct."""
    require("pyarrow")
    if isinstance(source, str | Path):
        path = Path(source).expanduser()
        found = _text(path) if _ending(path) in TEXT else _parquet(path)
    else:
        package = type(source).__module__.partition(".")[0]
        found = _pandas(source) if package == "pandas" else _polars(source) if package == "polars" else _arrow(source)
    name, count = max(Counter(found.names).items(), key=lambda item: item[1], default=("", 0))
    if count > 1:
        raise UserError(f"{found.name}: has {count} columns named {name!r}: rename all but one")
    if not found.names:
        raise UserError(f"{found.name}: has no columns: give at least one")
    mark = next((mark for mark in DELIMITERS if mark in found.names[0]), "")
    if len(found.names) == 1 and mark:
        raise UserError(
            f"{found.name}: has one column, {found.names[0]!r}: its cells are parted by {DELIMITERS[mark]}: "
            f"read it with sep={mark!r}, or give the file itself"
        )
    return found


def _ending(path: Path) -> str:
    """The ending that tells what a file holds; texts may be gzipped."""
    name = path.name.lower()
    ending = Path(name.removesuffix(".gz")).suffix
    return ending if ending in TEXT or not name.endswith(".gz") else ""


def _text(path: Path) -> Source:
    file = TextFile(path)
    return Source(str(path), file.names, file.batches, untyped=True)


def _parquet(path: Path) -> Source:
    pa, parquet = require("pyarrow"), require("pyarrow.parquet")
    try:
        names = tuple(parquet.read_schema(path).names)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: is no whole Parquet file ({str(error).splitlines()[0]}): write it again") from None

    def batches() -> Iterator[Any]:
        try:
            with parquet.ParquetFile(path) as file:
                yield from file.iter_batches(BATCH)
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"{path}: cannot be read ({str(error).splitlines()[0]}): write it again") from None

    return Source(str(path), names, batches)


def _arrow(table: Any, name: str = "table", frames: dict[str, str] | None = None) -> Source:
    pa = require("pyarrow")
    whole = pa.Table.from_batches([table]) if isinstance(table, pa.RecordBatch) else table
    names = tuple(name.strip() for name in whole.column_names)
    return Source(name, names, lambda: iter(whole.to_batches(BATCH)), frames=frames or {})


def _polars(frame: Any) -> Source:
    polars = require("polars")
    whole = frame.collect() if isinstance(frame, polars.LazyFrame) else frame
    loose = [name for name, dtype in whole.schema.items() if dtype == polars.Categorical]
    table = whole.with_columns(polars.col(loose).cast(polars.String)).to_arrow() if loose else whole.to_arrow()
    for name in loose:  # a Categorical's own dictionary holds the categories of other frames too
        place = table.column_names.index(name)
        table = table.set_column(place, name, table[name].dictionary_encode())
    return _arrow(table)


def _pandas(frame: Any) -> Source:
    pa = require("pyarrow")
    names = ["_".join(map(str, n)) if isinstance(n, tuple) else str(n) for n in frame.columns]
    columns = [_pandas_column(frame.iloc[:, i]) for i in range(len(names))]
    frames = {}
    for i, (name, column) in enumerate(zip(names, columns, strict=True)):
        dtype = str(frame.dtypes.iloc[i])
        if dtype not in ("category", _implied(column)):
            frames[name.strip()] = dtype
    return _arrow(pa.Table.from_arrays(columns, names), frames=frames)


def _pandas_column(series: Any) -> Any:
    """A pandas column in Arrow; one of mixed objects as texts."""
    pa, pandas = require("pyarrow"), require("pandas")
    try:
        return pa.array(series, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return pa.array([None if pandas.isna(v) is True else str(v) for v in series], pa.string())


def _implied(column: Any) -> str:
    """The pandas dtype that Arrow's type becomes."""
    return str(column.slice(0, 0).to_pandas(date_as_object=False).dtype)
