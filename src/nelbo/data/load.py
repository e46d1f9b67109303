"""`load`: a source to train on, split in two; `load_like`: a source for a model that is trained already.

A table is a CSV, TSV or Parquet file, a pandas or polars DataFrame, or an Arrow table.

Options of folders: `size` ("64", "64x48" = height x width, an int, or a pair), `fit` ("crop", "pad" or "stretch"),
`channels` (1 or 3; None: 1 if every picture is grey) and `skip_bad` (leave out pictures that cannot be read). Of
tables: `columns`, a TOML file or a dictionary that says what columns are. Of text: `tokens` ("characters" or
"subwords"), `vocabulary` (4000: tokens at most), `length` (tokens of a row) and `skip_bad` (leave out lines that cannot
be read). What becomes of values say `nelbo.data.arrays`, `nelbo.data.tables` and `nelbo.data.text`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch

from nelbo.data import arrays, folder, sources, tables, text
from nelbo.data.dataset import Dataset, subset
from nelbo.data.schema import Fit, Schema
from nelbo.errors import UserError


@dataclass(frozen=True)
class Data:
    """Rows to train on and rows held out, of one schema."""

    name: str
    train: Dataset
    test: Dataset
    schema: Schema


def load(
    source: Any,
    *,
    val_fraction: float = 0.1,
    seed: int = 42,
    data_root: str | Path | None = None,
    size: str | int | tuple[int, int] | None = None,
    fit: Fit = "crop",
    channels: int | None = None,
    skip_bad: bool = False,
    columns: tables.Overrides = None,
    tokens: text.Tokens | None = None,
    vocabulary: int | None = None,
    length: int | None = None,
) -> Data:
    """Data to train on, from any source.

    `source`: "mnist", "fashion-mnist" (IDX files under `data_root`), a `.npy` or `.npz` file (`file.npz:name` for one
    array), a folder of pictures, a NumPy array, a tensor, a tuple (x, y) of them, a Torch map-style dataset of x or
    (x, y), a table, or text (a `.txt` file, a list of strings). Where it has no test split, a random `val_fraction` of
    its rows is held out, the same for the same `seed`; the module says what else there is. Raises `UserError`.

    >>> data = load(torch.eye(10), val_fraction=0.2)
    >>> len(data.train), len(data.test), data.schema.support
    (8, 2, 'binary')
    """
    wanted, options = _check(size, val_fraction, fit, channels), text.Options(tokens, vocabulary, length)
    if tables.is_table(source):
        _no_picture_options(size, channels)
        return _load_table(source, columns, (val_fraction, seed))
    if columns is not None:
        raise UserError(f"columns={columns}: these are for tables: leave them out")
    if text.is_text(source):
        _no_picture_options(size, channels)
        return _load_text(source, options, skip_bad, (val_fraction, seed))
    options.refuse()
    if (path := sources.locate(source)) is not None:
        return _load_folder(path, wanted, fit, channels, skip_bad, (val_fraction, seed))
    _no_picture_options(size, channels)
    return _load_arrays(source, data_root, (val_fraction, seed))


def load_like(
    source: Any,
    schema: Schema,
    *,
    split: Literal["train", "test"] = "test",
    data_root: str | Path | None = None,
    skip_bad: bool = False,
) -> Dataset:
    """Rows of any source, or a single picture file, for a model trained on data of this schema.

    Pictures in files are brought to the schema's size and channels; arrays must have its shape and are scaled by
    its shift and scale. A source that holds two splits gives the one named by `split`, any other all rows in
    order. Classes that the schema does not know are added after its own in the schema of the result. A table's
    columns are found by name; what the schema does not know is passed over, or missing. For text, a string that
    names no file is a line. Raises `UserError` if the source does not fit; warns of values beyond those of training.

    >>> schema = load(torch.eye(10)).schema
    >>> load_like(torch.eye(10)[:1], schema).batch(torch.tensor([0])).shape
    torch.Size([1, 10])
    """
    if split not in ("train", "test"):
        raise UserError(f"split={split!r}: give train or test")
    if schema.kind == "text" or (text.is_text(source) and schema.kind != "table"):
        return _text_like(source, schema, skip_bad)
    if schema.kind == "table" or tables.is_table(source):
        return _table_like(source, schema)
    if (path := sources.locate(source)) is not None:
        train_album, test_album = folder.albums(path)
        album = train_album if split == "train" or test_album is None else test_album
        if schema.kind != "image" or schema.shape[0] not in (1, 3):
            raise UserError(f"{path}: holds pictures, the model takes rows of shape {schema.shape}: give an array")
        known = replace(schema, classes=sources.extend(schema.classes, album.classes))
        return folder.build(folder.survey(album), known, skip_bad)
    train, test, classes = sources.parts(sources.read(source, data_root), schema.classes)
    part = train if split == "train" or test is None else test
    if part.shape != schema.shape:
        raise UserError(f"{part.name}: rows have shape {part.shape}, the model takes {schema.shape}: give such rows")
    seen = arrays.summarise(part, brief=arrays.any_byte_does(schema))
    arrays.check_range(part, schema, seen)
    return arrays.build(part, replace(schema, classes=classes), seen)


def _load_folder(
    path: Path,
    size: tuple[int, int] | None,
    fit: Fit,
    channels: int | None,
    skip_bad: bool,
    held_out: tuple[float, int],
) -> Data:
    surveys = [folder.survey(album) for album in folder.albums(path) if album is not None]
    shape = folder.common_shape(surveys, size, channels)
    classes = sources.extend((), (name for found in surveys for name in found.album.classes))
    schema = Schema("image", shape, (0.0,), (255.0,), "unit", classes, fit)
    built = [folder.build(found, schema, skip_bad) for found in surveys]
    if len(built) == 2:
        return Data(path.name, built[0], built[1], schema)
    train, test = _split(len(built[0]), str(path), *held_out)
    return Data(path.name, subset(built[0], train), subset(built[0], test), schema)


def _load_arrays(source: Any, data_root: str | Path | None, held_out: tuple[float, int]) -> Data:
    stored = sources.read(source, data_root)
    train, test, classes = sources.parts(stored)
    name = Path(stored.name).stem
    if test is not None:
        alike = train.rows.dtype == test.rows.dtype
        seen, seen_test = (arrays.summarise(part, brief=alike) for part in (train, test))
        schema = arrays.fit_schema(train, seen | seen_test, classes)
        return Data(name, arrays.build(train, schema, seen), arrays.build(test, schema, seen_test), schema)
    first, second = _split(train.rows.shape[0], train.name, *held_out)
    chosen = np.ones(train.rows.shape[0], bool)
    chosen[second.numpy()] = False
    seen = arrays.summarise(train, chosen, brief=True)
    schema = arrays.fit_schema(train, seen, classes)
    whole = arrays.build(train, schema, seen)
    return Data(name, subset(whole, first), subset(whole, second), schema)


def _load_table(source: Any, columns: tables.Overrides, held_out: tuple[float, int]) -> Data:
    whole = tables.read(source, columns)
    name = Path(source).name.partition(".")[0] if isinstance(source, str | Path) else "table"
    train, test = _split(len(whole), name, *held_out)
    return Data(name, subset(whole, train), subset(whole, test), whole.schema)


def _table_like(source: Any, schema: Schema) -> Dataset:
    held = source if isinstance(source, str | Path) else f"a {type(source).__name__}"
    if schema.kind != "table":
        raise UserError(f"{held}: is a table, the model takes rows of shape {schema.shape}: give an array or pictures")
    if not tables.is_table(source):
        sources.locate(source)  # a path that does not exist is said to be one
        raise UserError(f"{held}: is no table as the model takes: give a DataFrame, or a .csv, .tsv or .parquet file")
    return tables.read_like(source, schema)


def _load_text(source: Any, options: text.Options, skip_bad: bool, held_out: tuple[float, int]) -> Data:
    name, lines = text.lines_of(source, skip_bad)
    train, test = _split(len(lines), name, *held_out)
    schema = text.learn([lines[i] for i in train.tolist()], options)
    whole = text.encode(lines, schema, name)
    return Data(Path(name).name.partition(".")[0], subset(whole, train), subset(whole, test), schema)


def _text_like(source: Any, schema: Schema, skip_bad: bool) -> Dataset:
    if schema.kind != "text":
        held = source if isinstance(source, str | Path) else "a list of strings"
        raise UserError(f"{held}: is text, the model takes rows of shape {schema.shape}: give an array or pictures")
    if not (isinstance(source, str | Path) or text.is_text(source)):
        raise UserError(
            f"a {type(source).__name__} is no text as the model takes: give a line, a list of lines, a .txt"
        )
    name, lines = text.lines_of(source, skip_bad)
    return text.encode(lines, schema, name)


def _split(n: int, name: str, fraction: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Row numbers to train on and to hold out, each in order; at least one of each."""
    if n < 2:
        raise UserError(f"{name}: holds {n} row: give at least 2, one to train on and one to hold out")
    held_out = min(max(round(n * fraction), 1), n - 1)
    test = torch.zeros(n, dtype=torch.bool)
    test[torch.randperm(n, generator=torch.Generator().manual_seed(seed))[:held_out]] = True
    return (~test).nonzero().flatten(), test.nonzero().flatten()


def _no_picture_options(size: Any, channels: int | None) -> None:
    if size is not None or channels is not None:
        raise UserError(f"size={size}, channels={channels}: these are for folders of pictures: leave them out")


def _check(size: Any, val_fraction: float, fit: Fit, channels: int | None) -> tuple[int, int] | None:
    """(height, width), if a size is given; raises `UserError` for impossible options."""
    if not 0 < val_fraction < 1:
        raise UserError(f"val_fraction={val_fraction}: give a fraction of the rows, 0 < val_fraction < 1")
    if fit not in get_args(Fit):
        raise UserError(f"fit={fit!r}: give one of {', '.join(get_args(Fit))}")
    if channels not in (None, 1, 3):
        raise UserError(f"channels={channels}: give 1 (grey), 3 (colour) or None (as the pictures are)")
    return _size(size)


def _size(size: str | int | tuple[int, int] | None) -> tuple[int, int] | None:
    """(height, width) from "64", "64x48", 64 or a pair; `UserError` for anything else."""
    if size is None:
        return None
    pair = size.lower().split("x") if isinstance(size, str) else size if isinstance(size, tuple | list) else [size]
    sides = [int(side) for side in pair if str(side).strip().isdecimal() and int(side) > 0]
    if len(sides) != len(pair) or len(sides) not in (1, 2):
        raise UserError(f"size={size!r}: give 64, or 64x48 for height x width, in pixels")
    return sides[0], sides[-1]
