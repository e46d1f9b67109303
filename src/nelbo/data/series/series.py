"""Series: values `(steps, channels)`, some of which may be unobserved (NaN); reading, and cutting into windows.

An array holds series if `kind="series"` or a `window` is set; otherwise it holds vectors or pictures. Then

    an array     (n, steps) or (n, steps, channels); (steps,) is one recording
    a list       of arrays (steps,) or (steps, channels), of any lengths: shorter ones are padded with NaN
    a table      a row for each step and a column for each channel, of one unit or several (`.recordings`)

With a `window`, each series is a recording that is cut into windows (`nelbo.data.split`). Without a test split in the
source, random rows are held out; for windows, random recordings, or random units of a table; for the windows of a
single one its last part, and no training window shares a step with it.

    only {0, 1}      binary   x = raw
    other values     real     x = (raw - mean) / std, per channel, of the observed training values

For a trained model, shorter series are padded with NaN, and longer ones are cut into windows of the model's length.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nelbo.data import sources, split
from nelbo.data.arrays import infer
from nelbo.data.arrays.infer import ArrayStats, Moments, RawSplit, chunks
from nelbo.data.arrays.layout import as_series_layout, to_numpy
from nelbo.data.arrays.npy import FileRows
from nelbo.data.dataset import Dataset, DataSplits, subset
from nelbo.data.options import DataOptions
from nelbo.data.schema import Schema, Support
from nelbo.data.series import recordings, wide
from nelbo.data.series.recordings import Recordings
from nelbo.data.split import Windows
from nelbo.errors import UserError


@dataclass(frozen=True)
class LoadedSeries:
    """Training and test series (None: no test split), and the names of classes and channels.

    `lists` are the series of a list or a table, each at its own length; the rows of `train` are the same padded with
    NaN. `table`: the recordings of a table. `is_cut`: whether the rows are windows of the series.
    """

    train: RawSplit
    test: RawSplit | None = None
    classes: tuple[str, ...] = ()
    lists: tuple[np.ndarray, ...] = ()
    table: Recordings | None = None
    is_cut: bool = False

    @property
    def channels(self) -> tuple[str, ...]:
        """The names of the channels, if they are known."""
        return self.table.channels if self.table else ()

    @property
    def units(self) -> np.ndarray | None:
        """The unit of each recording; None: each is a unit."""
        return self.table.unit if self.table else None


def load(source: Any, options: DataOptions, seed: int) -> DataSplits:
    """Load training and test series; see `nelbo.data.load`."""
    loaded = _find(source, options)
    if options.window is not None:
        window, stride = options.window, options.window if options.stride is None else options.stride
        loaded = _cut(loaded, lambda series, name: Windows(series, window, stride, name))
    elif loaded.table and len(loaded.lists) == 1:
        raise UserError(
            f"{loaded.train.name} is one series of {loaded.train.shape[0]} steps: cut it into windows, such as "
            "--window 128, or, if a column names units, give --group COLUMN"
        )
    held_out = (options.val_fraction, seed)
    name, rows = Path(loaded.train.name).stem, loaded.train.rows
    if loaded.test is not None:
        stats, seen_test = (summarise(part, loaded.is_cut) for part in (loaded.train, loaded.test))
        schema = _schema(loaded, stats | seen_test, options.counts)
        test = replace(loaded, train=loaded.test)
        return DataSplits(name, _build(loaded, schema, stats), _build(test, schema, seen_test))
    if loaded.is_cut and isinstance(rows, Windows):
        first, second = split.of_windows(rows, name, *held_out, units=loaded.units)
    else:
        first, second = split.at_random(rows.shape[0], name, *held_out)
    chosen = np.isin(np.arange(rows.shape[0]), first.numpy())
    stats = summarise(loaded.train, loaded.is_cut, chosen)
    whole = _build(loaded, _schema(loaded, stats, options.counts), stats)
    chosen_by = "no step in both" if loaded.is_cut else split.RANDOM_SPLIT
    return DataSplits(name, subset(whole, first), subset(whole, second), chosen_by)


def load_like(source: Any, schema: Schema, split: str, options: DataOptions) -> Dataset:
    """Load series of any source for a model with this schema; see `nelbo.data.load_like`."""
    loaded = _find(source, options, schema)
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
        loaded = _cut(loaded, lambda series, _: Windows.whole(series, steps))
    stats = summarise(loaded.train, loaded.is_cut)
    if schema.support == "binary" and not stats.is_binary:
        raise UserError(
            f"{loaded.train.name}: values range from {stats.low:g} to {stats.high:g}, and the model supports only "
            "0 and 1: "
            "threshold them first"
        )
    return _build(loaded, replace(schema, classes=loaded.classes), stats)


def _find(source: Any, options: DataOptions, like: Schema | None = None) -> LoadedSeries:
    """The uncut series of a source, for a model of the schema `like` if there is one."""
    may_be_wide = options.window is options.group is None and not (like and like.names)
    rows = wide.read(source, like.shape[0] if like else 0) if may_be_wide else None
    if rows is None and recordings.is_table(source):
        longest = like.shape[0] if like else options.window
        table = recordings.read(source, options.group, longest, like, options.hints)
        return LoadedSeries(RawSplit(table.name, Windows.whole(table.values)), lists=table.values, table=table)
    if options.group is not None:
        raise UserError(f"group={options.group!r} names columns of a table: remove it, or give a table")
    sources.locate(source)  # raises for a path that does not exist
    x, y = source if isinstance(source, tuple) and len(source) == 2 else (source, None)
    objects = isinstance(x, np.ndarray) and x.dtype == object and x.ndim == 1
    lists = _listed(list(x)) if objects or isinstance(x, list | tuple) else ()
    name = "list"
    if rows is not None:
        name, lists, y = rows
    if lists:
        stored = sources.LoadedArrays(name, Windows.whole(lists), y)
    else:
        stored = sources.read(source, options.data_root, as_series_layout)
        if isinstance(stored.x, np.ndarray) and stored.x.ndim == 1:
            stored = replace(stored, x=stored.x[None])
    train, test, classes = sources.parts(stored, like.classes if like else (), as_series_layout)
    return LoadedSeries(train, test, classes, lists)


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


def _recordings(loaded: LoadedSeries) -> tuple[np.ndarray, ...]:
    """The training series, each at its own length; those of a file stay in the file."""
    rows = loaded.train.rows
    if isinstance(rows, FileRows):
        rows = as_series_layout(np.load(rows.path, mmap_mode="r"), rows.name)
    return loaded.lists or tuple(rows[:])


def _cut(loaded: LoadedSeries, windows: Callable[[tuple[np.ndarray, ...], str], Windows]) -> LoadedSeries:
    """Cut all series into windows, each with the label of its series."""

    def cut(part: RawSplit, own: tuple[np.ndarray, ...]) -> RawSplit:
        rows = windows(own, part.name)
        labels = None if part.labels is None else part.labels[torch.from_numpy(rows.recording)]
        return RawSplit(part.name, rows, labels)

    test = loaded.test and cut(loaded.test, _recordings(LoadedSeries(loaded.test)))
    return replace(loaded, train=cut(loaded.train, _recordings(loaded)), test=test, is_cut=True)


def summarise(part: RawSplit, is_cut: bool, train: np.ndarray | None = None) -> ArrayStats:
    """The statistics of the observed values; `fitted_low`, `fitted_high` and the moments are of the training series.

    Raises `UserError` for an infinite value, a series of one step, or a series without observed values that is not a
    window.
    """
    if part.shape[0] < 2:
        raise UserError(f"{part.name}: each series has 1 step: give series of at least 2 steps")
    low, high, only_01, moments = np.inf, -np.inf, True, Moments()
    lows, highs = np.full(part.shape[-1], np.inf), np.full(part.shape[-1], -np.inf)
    whole = np.ones(part.shape[-1], bool)
    for start, chunk in chunks(part.rows):
        if np.isinf(chunk).any():
            found = ", ".join(map(str, np.argwhere(np.isinf(chunk))[0] + [start, 0, 0]))
            raise UserError(f"{part.name} has infinite values, the first at [{found}]: drop them, or use NaN")
        gaps = np.isnan(chunk)
        if not is_cut and (nothing := gaps.all((1, 2))).any():
            raise UserError(f"{part.name}: series {start + nothing.argmax()} holds only NaN: leave it out")
        only_01 = only_01 and bool(((chunk == 0) | (chunk == 1) | gaps).all())
        steps = chunk.reshape(-1, chunk.shape[-1]).astype(np.float64)
        low = min(low, float(np.fmin.reduce(steps, None, initial=np.inf)))
        high = max(high, float(np.fmax.reduce(steps, None, initial=-np.inf)))
        whole &= ((steps == np.floor(steps)) | np.isnan(steps)).all(0)
        chosen = chunk if train is None else chunk[train[start : start + len(chunk)]]
        used = chosen.reshape(-1, chunk.shape[-1]).astype(np.float64)
        lows, highs = np.fmin(lows, np.fmin.reduce(used, 0)), np.fmax(highs, np.fmax.reduce(used, 0))
        moments.add(used)
    mean = np.where(moments.count > 0, moments.mean, np.nan)
    std = np.where(moments.squares > 0, moments.std, 1.0)
    ranges = infer.whole_ranges(whole & np.isfinite(lows), lows, highs)
    return ArrayStats(low, high, only_01, False, low, high, mean, std, bool(whole.all()), ranges)


def _schema(loaded: LoadedSeries, stats: ArrayStats, counts: bool) -> Schema:
    """The schema of these series, by the table at the top of this module."""
    if (nothing := np.isnan(stats.mean)).any():
        j = int(nothing.argmax())
        channel = repr(loaded.channels[j]) if loaded.channels else str(j)
        raise UserError(f"{loaded.train.name}: channel {channel} holds only NaN in the training part: leave it out")
    raw = stats.is_binary or counts
    if counts:
        infer.check_counts(loaded.train.name, stats.low, stats.is_whole)
    shift, scale = ((0.0,), (1.0,)) if raw else (tuple(stats.mean.tolist()), tuple(stats.std.tolist()))
    support: Support = "binary" if stats.is_binary else "real"
    more: dict[str, Any] = {"names": loaded.channels}
    if loaded.table:
        more |= {"group": loaded.table.group, "clock": loaded.table.clock}
    if not stats.is_binary:
        more |= {"dtype": infer.type_name(loaded.train.rows.dtype), "whole": stats.whole}
    return Schema("series", loaded.train.shape, shift, scale, support, loaded.classes, **more)


def _build(loaded: LoadedSeries, schema: Schema, stats: ArrayStats) -> Dataset:
    """The dataset of the training rows; windows have their `origin`, those of a table its recordings, too."""
    made = infer.build(loaded.train, schema, stats)
    if loaded.is_cut and isinstance(loaded.train.rows, Windows):
        made.origin = torch.from_numpy(np.stack([loaded.train.rows.recording, loaded.train.rows.start], 1))
    made.source = loaded.table
    return made
