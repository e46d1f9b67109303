"""Series: values `(steps, channels)`, some of which may be unobserved (NaN); reading, and cutting into windows.

An array holds series if `kind="series"` or a `window` is set; otherwise it holds vectors or pictures. Then

    an array     (n, steps) or (n, steps, channels); (steps,) is one recording
    a list       of arrays (steps,) or (steps, channels), of any lengths: shorter ones are padded with NaN
    a table      one recording, with one row per step and one column per channel: it needs a window

A first column of dates and times, or of numbers under a name such as "time", counts the steps and is left out. All
other columns of a table must hold numbers; empty cells are unobserved.

With a `window`, each series is a recording that is cut into windows (`nelbo.data.split`). Without a test split in the
source, random rows are held out; for windows, random recordings; for the windows of a single recording its last part,
and no training window shares a step with it.

    only {0, 1}      binary   x = raw
    other values     real     x = (raw - mean) / std, per channel, of the observed training values

For a trained model, shorter series are padded with NaN, and longer ones are cut into windows of the model's length.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nelbo.data import sources, split, tables
from nelbo.data.arrays import infer
from nelbo.data.arrays.infer import ArrayStats, Moments, RawSplit, chunks
from nelbo.data.arrays.layout import as_series_layout, to_numpy
from nelbo.data.arrays.npy import FileRows
from nelbo.data.dataset import Dataset, DataSplits, subset
from nelbo.data.options import DataOptions
from nelbo.data.schema import Schema, Support
from nelbo.data.split import Windows
from nelbo.data.tables import cells
from nelbo.data.tables.source import open_table
from nelbo.errors import UserError

CLOCKS = ("", "t", "time", "times", "timestamp", "timestamps", "date", "datetime", "step", "index", "unnamed: 0")


def read(source: Any) -> tuple[str, np.ndarray, tuple[str, ...]]:
    """Read (name of the table, its values `(steps, channels)` with NaN for empty cells, names of the channels).

    Raises `UserError` for a table without rows or channels, and naming a column that does not hold numbers.
    """
    table = open_table(source)
    if not table.table.num_rows:
        raise UserError(f"{table.name} has no rows: give at least 2 steps")
    first = int(_tells_time(table.names[0], table.table.column(0)))
    names = table.names[first:]
    if not names:
        raise UserError(f"{table.name} has only a column of times: add a column of numbers")
    values = np.empty((table.table.num_rows, len(names)))
    for j, name in enumerate(names):
        try:
            values[:, j] = _numbers(table.table.column(first + j))
        except UserError as error:
            raise UserError(
                f"{table.name}: column {name!r} {error}: remove the column, or convert it to numbers"
            ) from None
    return table.name, values, names


def _tells_time(name: str, column: Any) -> bool:
    """Whether a first column holds the times of the steps."""
    form = cells.form_of(column.type)
    if form == "text":
        distinct, _ = cells.texts(column)
        if len(distinct) and (cells.dates_in(distinct)[0] != cells.NONE).all():
            return True
    return form == "date" or name.strip().lower() in CLOCKS


def _numbers(column: Any) -> np.ndarray:
    """The cells as float64, NaN for missing ones; raises `UserError` for words and dates."""
    if cells.form_of(column.type) in ("text", "choice"):
        distinct, place = cells.texts(column)
        numbers = cells.numbers_in(distinct)
        used = np.unique(place[place >= 0])
        if (words := used[np.isnan(numbers[used])]).size:
            raise UserError(f"holds {distinct[int(words[0])].as_py()!r}, which is not a number")
        return np.append(numbers, np.nan)[place]
    return cells.numbers(column)


@dataclass(frozen=True)
class LoadedSeries:
    """Training and test series (None: no test split), and the names of classes and channels.

    `lists` are the series of a list, each at its own length; the rows of `train` are the same padded with NaN.
    `is_recording`: the source is a table, which holds one recording.
    """

    train: RawSplit
    test: RawSplit | None = None
    classes: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    lists: tuple[np.ndarray, ...] = ()
    is_recording: bool = False


def load(source: Any, options: DataOptions, seed: int) -> DataSplits:
    """Load training and test series; see `nelbo.data.load`."""
    loaded = _find(source, options.data_root)
    if options.window is not None:
        loaded = _cut(loaded, options.window, options.window if options.stride is None else options.stride)
    elif loaded.is_recording:
        raise UserError(
            f"{loaded.train.name} is one series of {loaded.train.shape[0]} steps: cut it into windows, such as "
            "--window 128"
        )
    held_out = (options.val_fraction, seed)
    name, rows = Path(loaded.train.name).stem, loaded.train.rows
    if loaded.test is not None:
        stats, seen_test = summarise(loaded.train), summarise(loaded.test)
        schema = _schema(loaded, stats | seen_test)
        return DataSplits(name, _build(loaded.train, schema, stats), _build(loaded.test, schema, seen_test))
    if isinstance(rows, Windows):
        first, second = split.of_windows(rows, name, *held_out)
    else:
        first, second = split.at_random(rows.shape[0], name, *held_out)
    chosen = np.isin(np.arange(rows.shape[0]), first.numpy())
    stats = summarise(loaded.train, chosen)
    whole = _build(loaded.train, _schema(loaded, stats), stats)
    return DataSplits(name, subset(whole, first), subset(whole, second))


def load_like(source: Any, schema: Schema, split: str, options: DataOptions) -> Dataset:
    """Load series of any source for a model with this schema; see `nelbo.data.load_like`."""
    loaded = _find(source, options.data_root, schema.classes, schema.names)
    if split == "test" and loaded.test is not None:
        loaded = replace(loaded, train=loaded.test, test=None)
    steps, channels = schema.shape
    if loaded.train.shape[1] != channels:
        listed = f" ({', '.join(schema.names)})" if schema.names else ""
        raise UserError(
            f"{loaded.train.name} has {loaded.train.shape[1]} channels, and the model {channels}{listed}: give "
            "data with "
            "the same channels"
        )
    if loaded.lists or loaded.train.shape[0] != steps:
        whole = tuple(_ended(series, max(steps, len(series))) for series in _recordings(loaded))
        loaded = _cut(replace(loaded, lists=whole), steps, steps)
    stats = summarise(loaded.train)
    if schema.support == "binary" and not stats.is_binary:
        raise UserError(
            f"{loaded.train.name}: values range from {stats.low:g} to {stats.high:g}, and the model supports only "
            "0 and 1: "
            "threshold them first"
        )
    return _build(loaded.train, replace(schema, classes=loaded.classes), stats)


def _find(
    source: Any, data_root: str | Path | None, classes: tuple[str, ...] = (), channels: tuple[str, ...] = ()
) -> LoadedSeries:
    """The uncut series of a source; for a table, the columns `channels` if it has them all."""
    if tables.is_table(source):
        name, values, names = read(source)
        if channels and set(channels) <= set(names):
            values, names = values[:, [names.index(channel) for channel in channels]], channels
        return LoadedSeries(RawSplit(name, values[None]), channels=names, is_recording=True)
    sources.locate(source)  # raises for a path that does not exist
    x, y = source if isinstance(source, tuple) and len(source) == 2 else (source, None)
    lists = _listed(x) if isinstance(x, list) else ()
    if lists:
        longest = max(map(len, lists))
        stored = sources.LoadedArrays("list", np.stack([_ended(series, longest) for series in lists]), y)
    else:
        stored = sources.read(source, data_root, as_series_layout)
        if isinstance(stored.x, np.ndarray) and stored.x.ndim == 1:
            stored = replace(stored, x=stored.x[None])
    train, test, classes = sources.parts(stored, classes, as_series_layout)
    return LoadedSeries(train, test, classes, lists=lists)


def _listed(items: list[Any]) -> tuple[np.ndarray, ...]:
    """The series of a list, each `(steps, channels)`."""
    if not items:
        raise UserError("the list of series is empty: give at least one")
    found = []
    for i, item in enumerate(items):
        array = to_numpy(item) if isinstance(item, Tensor) else np.asarray(item)
        if array.dtype.kind not in "biuf" or array.ndim not in (1, 2) or 0 in array.shape:
            raise UserError(
                f"item {i} of the list has shape {array.shape} and type {array.dtype}: give numbers of shape "
                "(steps,) or "
                "(steps, channels)"
            )
        found.append(array.reshape(len(array), -1))
        if found[-1].shape[1] != found[0].shape[1]:
            raise UserError(
                f"item {i} of the list has {found[-1].shape[1]} channels, item 0 {found[0].shape[1]}: give all "
                "the same number"
            )
    return tuple(found)


def _ended(series: np.ndarray, steps: int) -> np.ndarray:
    """Pad the series `(its steps, channels)` with NaN to `steps`; unchanged if it is long enough."""
    if len(series) == steps:
        return series
    whole = np.full((steps, series.shape[1]), np.nan, np.result_type(series.dtype, np.float32))
    whole[: len(series)] = series
    return whole


def _recordings(loaded: LoadedSeries) -> tuple[np.ndarray, ...]:
    """The training series, each at its own length; those of a file stay in the file."""
    rows = loaded.train.rows
    if isinstance(rows, FileRows):
        rows = as_series_layout(np.load(rows.path, mmap_mode="r"), rows.name)
    return loaded.lists or tuple(rows[:])


def _cut(loaded: LoadedSeries, window: int, stride: int) -> LoadedSeries:
    """Cut all series into windows, each with the label of its series."""

    def windows(part: RawSplit, own: tuple[np.ndarray, ...]) -> RawSplit:
        rows = Windows(own, window, stride, part.name)
        labels = None if part.labels is None else part.labels[torch.from_numpy(rows.recording)]
        return RawSplit(part.name, rows, labels)

    test = loaded.test and windows(loaded.test, _recordings(LoadedSeries(loaded.test)))
    return replace(loaded, train=windows(loaded.train, _recordings(loaded)), test=test)


def summarise(part: RawSplit, train: np.ndarray | None = None) -> ArrayStats:
    """The statistics of the observed values; `fitted_low`, `fitted_high` and the moments are of the training series.

    Raises `UserError` for an infinite value, a series of one step, or a series without observed values.
    """
    if part.shape[0] < 2:
        raise UserError(f"{part.name}: each series has 1 step: give series of at least 2 steps")
    low, high, only_01, moments = np.inf, -np.inf, True, Moments()
    for start, chunk in chunks(part.rows):
        if np.isinf(chunk).any():
            found = ", ".join(map(str, np.argwhere(np.isinf(chunk))[0] + [start, 0, 0]))
            raise UserError(f"{part.name} has infinite values, the first at [{found}]: drop them, or use NaN")
        gaps = np.isnan(chunk)
        if not isinstance(part.rows, Windows) and (nothing := gaps.all((1, 2))).any():
            raise UserError(f"{part.name}: series {start + nothing.argmax()} holds only NaN: leave it out")
        only_01 = only_01 and bool(((chunk == 0) | (chunk == 1) | gaps).all())
        low = min(low, float(np.fmin.reduce(chunk, None, initial=np.inf)))
        high = max(high, float(np.fmax.reduce(chunk, None, initial=-np.inf)))
        chosen = chunk if train is None else chunk[train[start : start + len(chunk)]]
        moments.add(chosen.reshape(-1, chunk.shape[-1]).astype(np.float64))
    mean = np.where(moments.count > 0, moments.mean, np.nan)
    std = np.where(moments.squares > 0, moments.std, 1.0)
    return ArrayStats(low, high, only_01, False, low, high, mean, std)


def _schema(loaded: LoadedSeries, stats: ArrayStats) -> Schema:
    """The schema of these series, by the table at the top of this module."""
    if (nothing := np.isnan(stats.mean)).any():
        j = int(nothing.argmax())
        channel = repr(loaded.channels[j]) if loaded.channels else str(j)
        raise UserError(f"{loaded.train.name}: channel {channel} holds only NaN in the training part: leave it out")
    shift, scale = ((0.0,), (1.0,)) if stats.is_binary else (tuple(stats.mean.tolist()), tuple(stats.std.tolist()))
    support: Support = "binary" if stats.is_binary else "real"
    return Schema("series", loaded.train.shape, shift, scale, support, loaded.classes, names=loaded.channels)


def _build(part: RawSplit, schema: Schema, stats: ArrayStats) -> Dataset:
    """The dataset of these rows; for windows, with their `origin`."""
    made = infer.build(part, schema, stats)
    if isinstance(part.rows, Windows):
        made.origin = torch.from_numpy(np.stack([part.rows.recording, part.rows.start], 1))
    return made
