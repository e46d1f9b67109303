"""Tables as datasets: the schema inferred in a first pass, the rows encoded in a second, in memory or in a file."""

from __future__ import annotations

import os
import tempfile
import warnings
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nelbo.data.arrays.npy import FileRows, rows_of
from nelbo.data.dataset import Arrays, Dataset, Rows, fits_memory
from nelbo.data.schema import Schema
from nelbo.data.tables import overrides
from nelbo.data.tables.codec import Encoder
from nelbo.data.tables.infer import column
from nelbo.data.tables.overrides import Override, Overrides
from nelbo.data.tables.source import Source, open_table
from nelbo.data.tables.statistics import survey
from nelbo.errors import UserError


def infer(source: Any, columns: Overrides = None) -> tuple[Schema, int]:
    """(the schema of a table, the number of its rows), in one pass; `columns` says what to take otherwise.

    Warns of columns that are left out. Raises `UserError` for whatever is wrong with the table.
    """
    return _infer(open_table(source), columns)


def read(source: Any, columns: Overrides = None) -> Dataset:
    """All rows of a table, with the schema inferred from it; see `infer`."""
    table = open_table(source)
    schema, _ = _infer(table, columns)
    return _dataset(table, schema)


def read_like(source: Any, schema: Schema) -> Dataset:
    """The rows of a table for a model that was trained on tables of this schema.

    Columns are found by name, whatever their order; those that the model does not know are passed over with a
    warning. Values that the schema does not know are taken as missing, with one warning. Raises `UserError` naming
    the columns that are missing, or if there are no rows.
    """
    return _dataset(open_table(source), schema)


def encode(table: Any, schema: Schema) -> np.ndarray:
    """x of the rows of a table (or of its file), float32 `(n, modelled columns)`, NaN where a cell is missing."""
    dataset = read_like(table, schema)
    return dataset.batch(torch.arange(len(dataset))).numpy()


def _infer(table: Source, columns: Overrides) -> tuple[Schema, int]:
    said = overrides.parse(columns, table.names)
    tallies, rows = survey(table)
    found = []
    for tally in tallies:
        try:
            frame = table.frames.get(tally.name, "")
            found.append(column(tally, said.get(tally.name, Override()), table.untyped, frame))
        except UserError as error:
            raise UserError(f"{table.name}: {error}") from None
    out = [c for c in found if c.note and not said.get(c.name, Override()).kind]
    for c in out:
        remedy = "" if c.kind == "constant" else ": to have it modelled, say its kind in --schema"
        warnings.warn(f"{table.name}: column {c.name!r} is left out ({c.note}){remedy}", stacklevel=5)
    if not any(c.modelled for c in found):
        raise UserError(f"{table.name}: no column is left to model: all are constant or look like identifiers")
    return Schema.table(tuple(found)), rows


def _dataset(table: Source, schema: Schema) -> Dataset:
    x = _collect(Encoder(table, schema).chunks(), schema.shape[0])
    if not x.shape[0]:
        raise UserError(f"{table.name}: has no rows: give at least one")
    if isinstance(x, FileRows | np.memmap):
        return Rows(x, schema, None, threaded=True)
    return Arrays(torch.from_numpy(x), schema)


def _collect(chunks: Iterable[np.ndarray], width: int) -> np.ndarray | FileRows:
    """The chunks as one array; once they do not fit memory, as the rows of a temporary file."""
    kept: list[np.ndarray] = []
    held, path = 0, None
    try:
        for chunk in chunks:
            kept.append(chunk)
            held += len(chunk)
            if path is not None or not fits_memory(held * width * chunk.itemsize):
                path = path or _temporary()
                _append(path, kept)
    except BaseException:
        if path is not None:
            path.unlink(missing_ok=True)
        raise
    if path is None:
        return _joined(kept, held, width)
    rows = rows_of(np.memmap(path, np.float32, "r", shape=(held, width)), "table")
    weakref.finalize(rows, path.unlink, missing_ok=True)  # at the latest, at the end of the process
    return rows


def _temporary() -> Path:
    handle, name = tempfile.mkstemp(".f32", "nelbo-table-")
    os.close(handle)
    return Path(name)


def _append(path: Path, kept: list[np.ndarray]) -> None:
    """Move the chunks to the end of the file."""
    try:
        with path.open("ab") as file:
            for chunk in kept:
                chunk.tofile(file)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}): set TMPDIR to a folder with room") from None
    kept.clear()


def _joined(kept: list[np.ndarray], held: int, width: int) -> np.ndarray:
    """The chunks as one array; each is let go as it is copied, so that little is there twice."""
    out = np.empty((held, width), np.float32)
    kept.reverse()
    start = 0
    while kept:
        chunk = kept.pop()
        out[start : start + len(chunk)] = chunk
        start += len(chunk)
    return out
