"""`load`: a source to train on, split in two; `load_like`: a source for a model that is trained already.

A source is "mnist", "fashion-mnist" (IDX files under `data_root`), a `.npy` or `.npz` file (`file.npz:name` selects an
array), a folder of pictures, a NumPy array, a tensor, a tuple (x, y) of them, a Torch map-style dataset of x or (x, y),
a Hugging Face dataset, a table: a CSV, TSV or Parquet file, a pandas or polars DataFrame, an Arrow table; or text: a
`.txt` file, a list of strings.

For encoded pictures: `size` ("64", "64x48" = height x width, an int, or a pair), `fit` ("crop", "pad" or "stretch"),
`channels` (1, 3, 4: with transparency; None: 1 if every picture is grey, else 3), `labels` (a CSV file, see
`nelbo.data.images.labels`) and `skip_bad` (leave out pictures that cannot be read). For pictures: `augment`
("flip,shift", see `nelbo.data.images.augment`) changes them in training. For tables: `columns`, a TOML file or a
dictionary, says what columns are. Series are such by `kind` "series", or by the `window` of steps into which recordings
are cut, one every `stride` (None: `window`); a list of arrays of any lengths, and a table of a row for each step, are
series too. Of text: `tokens` ("characters" or "subwords"), `vocabulary` (4000: tokens at most), `length` (tokens of a
row) and `skip_bad` (leave out lines that cannot be read). What becomes of values say `nelbo.data.arrays.infer`,
`.series`, `.tables` and `.text`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from nelbo.data import sources, tables, text
from nelbo.data.arrays import infer
from nelbo.data.dataset import Dataset, subset
from nelbo.data.images import folder, huggingface
from nelbo.data.images.augment import Augment
from nelbo.data.images.decode import MODES, Target
from nelbo.data.images.folder import Album, albums, extend_by
from nelbo.data.schema import Fit, Schema
from nelbo.data.series import series
from nelbo.data.split import at_random
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
    labels: str | None = None,
    augment: str | None = None,
    skip_bad: bool = False,
    columns: tables.Overrides = None,
    kind: Literal["series"] | None = None,
    window: int | None = None,
    stride: int | None = None,
    tokens: text.Tokens | None = None,
    vocabulary: int | None = None,
    length: int | None = None,
) -> Data:
    """Data to train on, from any source.

    Sources and options are those at the top of `nelbo.data.load`. Where the source has no test split, a random
    `val_fraction` is held out, the same for the same `seed`. Raises `UserError` for anything wrong with either.

    >>> data = load(np.eye(10), val_fraction=0.2)
    >>> len(data.train), len(data.test), data.schema.support
    (8, 2, 'binary')
    """
    _check(val_fraction, fit, channels, size)
    pictures, lines = _Pictures(size, fit, channels, labels, skip_bad), text.Options(tokens, vocabulary, length)
    if series.are_meant(kind, window, stride):
        _refuse(pictures, lines, columns)
        data = _load_series(source, data_root, (window, stride), (val_fraction, seed))
    else:
        data = _load(source, pictures, lines, data_root, columns, (val_fraction, seed))
    return data if augment is None else _changed(data, Augment.parse(augment))


def _changed(data: Data, how: Augment) -> Data:
    how.check(data.schema)
    data.train.augment = how
    return data


def _refuse(pictures: _Pictures | None = None, lines: text.Options | None = None, columns: Any = None) -> None:
    """Raise `UserError` if anything is said of pictures, of text, or of a table's columns, where there are none."""
    if pictures is not None:
        pictures.refuse()
    if lines is not None:
        lines.refuse()
    if columns is not None:
        raise UserError(f"columns={columns}: these are for tables: leave them out")


@dataclass(frozen=True)
class _Pictures:
    """How encoded pictures are read."""

    size: str | int | tuple[int, int] | None
    fit: Fit
    channels: int | None
    labels: str | None
    skip_bad: bool

    def refuse(self) -> None:
        """Raise `UserError` if anything is said of pictures where there are none."""
        for name in ("size", "channels", "labels"):
            if (value := getattr(self, name)) is not None:
                raise UserError(f"{name}={value}: this is for folders of pictures: leave it out")


def _load(
    source: Any,
    pictures: _Pictures,
    lines: text.Options,
    data_root: str | Path | None,
    columns: tables.Overrides,
    held_out: tuple[float, int],
) -> Data:
    if text.is_text(source):
        _refuse(pictures, columns=columns)
        return _load_text(source, lines, pictures.skip_bad, held_out)
    lines.refuse()
    if huggingface.is_hub(source):
        source = huggingface.unwrap(source)
        if isinstance(source, tuple):
            return _load_albums(source, "dataset", pictures, held_out)
    if tables.is_table(source):
        pictures.refuse()
        return _load_table(source, columns, held_out)
    _refuse(columns=columns)
    if (path := sources.locate(source)) is not None:
        return _load_albums(albums(path, pictures.labels), path.name, pictures, held_out)
    pictures.refuse()
    train, test, classes = sources.parts(stored := sources.read(source, data_root))
    return _fitted(Path(stored.name).stem, train, test, classes, held_out)


def load_like(
    source: Any,
    schema: Schema,
    *,
    split: Literal["train", "test"] = "test",
    data_root: str | Path | None = None,
    skip_bad: bool = False,
) -> Dataset:
    """Rows of any source, or a single picture file, for a model trained on data of this schema.

    Pictures in files are brought to the schema's size and channels, series to its length; arrays must have its shape.
    All are scaled by its shift and scale. Of two splits it gives the one named by `split`, of any other source all rows
    in order. Classes that the schema does not know are added after its own. A table's columns are found by name; what
    the schema does not know is passed over, or missing. Raises `UserError` if the source does not fit; warns if values
    lie beyond the range of training. For text, a string that names no file is a line.

    >>> schema = load(np.eye(10)).schema
    >>> load_like(np.eye(10)[:1], schema)[[0]].shape
    torch.Size([1, 10])
    """
    if split not in ("train", "test"):
        raise UserError(f"split={split!r}: give train or test")
    if schema.kind == "series":
        return series.load_like(source, schema, split, data_root)
    if huggingface.is_hub(source):
        source = huggingface.unwrap(source)
        if isinstance(source, tuple):
            return _album_like(source, schema, split, skip_bad)
    if schema.kind == "text" or (text.is_text(source) and schema.kind != "table"):
        return text.like(source, schema, skip_bad)
    if schema.kind == "table" or tables.is_table(source):
        return _table_like(source, schema)
    if (path := sources.locate(source)) is not None:
        return _album_like(albums(path), schema, split, skip_bad)
    train, test, classes = sources.parts(sources.read(source, data_root), schema.classes)
    part = train if split == "train" or test is None else test
    if part.shape != schema.shape:
        raise UserError(f"{part.name}: rows have shape {part.shape}, the model takes {schema.shape}: give such rows")
    return _part_like(part, replace(schema, classes=classes))


def _part_like(part: infer.Part, schema: Schema) -> Dataset:
    seen = infer.summarise(part, brief=infer.any_byte_does(schema))
    infer.check_range(part, schema, seen)
    return infer.build(part, schema, seen)


def _album_like(both: tuple[Album, Album | None], schema: Schema, split: str, skip_bad: bool) -> Dataset:
    album = both[0] if split == "train" or both[1] is None else both[1]
    if schema.kind != "image" or schema.shape[0] not in MODES:
        raise UserError(f"{album.name}: holds pictures, the model takes rows of shape {schema.shape}: give an array")
    known, found = replace(schema, classes=extend_by(schema.classes, [album])), folder.survey(album)
    target = Target.of(schema, found.deep)
    if not target.deep:
        return folder.build(found, known, skip_bad)
    rows, kept = folder.read(found, target, skip_bad)
    return _part_like(infer.Part(album.name, rows, kept.labels(known.classes)), known)


def _load_albums(both: tuple[Album, Album | None], name: str, pictures: _Pictures, held_out: tuple[float, int]) -> Data:
    surveys = [folder.survey(album) for album in both if album is not None]
    shape = folder.common_shape(surveys, _size(pictures.size), pictures.channels)
    classes = extend_by((), (found.album for found in surveys))
    if shape[0] == 1 and any(found.deep for found in surveys):
        target, parts = Target(shape, pictures.fit, deep=True), []
        for found in surveys:
            rows, kept = folder.read(found, target, pictures.skip_bad)
            parts.append(infer.Part(kept.name, rows, kept.labels(classes)))
        data = _fitted(name, parts[0], parts[1] if len(parts) == 2 else None, classes, held_out, pictures.fit)
        if not Target.of(data.schema, deep=True).deep:
            raise UserError(f"{both[0].name}: the pictures have 16 bits, but no value above 255: save them with 8 bits")
        return data
    schema = Schema("image", shape, (0.0,), (255.0,), "unit", classes, pictures.fit)
    built = [folder.build(found, schema, pictures.skip_bad) for found in surveys]
    if len(built) == 2:
        return Data(name, built[0], built[1], schema)
    train, test = at_random(len(built[0]), both[0].name, *held_out)
    return Data(name, subset(built[0], train), subset(built[0], test), schema)


def _fitted(
    name: str,
    train: infer.Part,
    test: infer.Part | None,
    classes: tuple[str, ...],
    held_out: tuple[float, int],
    fit: Fit = "crop",
) -> Data:
    """Rows scaled by what those to train on hold."""
    if test is not None:
        alike = train.rows.dtype == test.rows.dtype
        seen, seen_test = (infer.summarise(part, brief=alike) for part in (train, test))
        schema = replace(infer.fit_schema(train, seen | seen_test, classes), fit=fit)
        return Data(name, infer.build(train, schema, seen), infer.build(test, schema, seen_test), schema)
    first, second = at_random(train.rows.shape[0], train.name, *held_out)
    chosen = np.ones(train.rows.shape[0], bool)
    chosen[second.numpy()] = False
    seen = infer.summarise(train, chosen, brief=True)
    schema = replace(infer.fit_schema(train, seen, classes), fit=fit)
    whole = infer.build(train, schema, seen)
    return Data(name, subset(whole, first), subset(whole, second), schema)


def _load_series(
    source: Any, data_root: str | Path | None, cut: tuple[int | None, int | None], held_out: tuple[float, int]
) -> Data:
    name, train, test = series.load(source, data_root, *cut, held_out)
    return Data(name, train, test, train.schema)


def _load_table(source: Any, columns: tables.Overrides, held_out: tuple[float, int]) -> Data:
    whole = tables.read(source, columns)
    name = Path(source).name.partition(".")[0] if isinstance(source, str | Path) else "table"
    train, test = at_random(len(whole), name, *held_out)
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
    train, test = at_random(len(lines), name, *held_out)
    schema = text.learn([lines[i] for i in train.tolist()], options)
    whole = text.encode(lines, schema, name)
    return Data(Path(name).name.partition(".")[0], subset(whole, train), subset(whole, test), schema)


def _check(val_fraction: float, fit: Fit, channels: int | None, size: Any) -> None:
    _size(size)
    if not 0 < val_fraction < 1:
        raise UserError(f"val_fraction={val_fraction}: give a fraction of the rows, 0 < val_fraction < 1")
    if fit not in get_args(Fit):
        raise UserError(f"fit={fit!r}: give one of {', '.join(get_args(Fit))}")
    if channels not in (None, *MODES):
        raise UserError(f"channels={channels}: give 1 (grey), 3 (colour), 4 (with transparency), or leave it out")


def _size(size: str | int | tuple[int, int] | None) -> tuple[int, int] | None:
    """(height, width) from "64", "64x48", 64 or a pair; `UserError` for anything else."""
    if size is None:
        return None
    pair = size.lower().split("x") if isinstance(size, str) else size if isinstance(size, tuple | list) else [size]
    sides = [int(side) for side in pair if str(side).strip().isdecimal() and int(side) > 0]
    if len(sides) != len(pair) or len(sides) not in (1, 2):
        raise UserError(f"size={size!r}: give 64, or 64x48 for height x width, in pixels")
    return sides[0], sides[-1]
