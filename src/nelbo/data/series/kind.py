"""Series: arrays, lists of arrays and tables, where the options say that these are series."""

from __future__ import annotations

import csv
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from nelbo.data.arrays.kind import ArrayKind
from nelbo.data.dataset import Dataset, DataSplits
from nelbo.data.kinds import RowNames
from nelbo.data.options import DataOptions
from nelbo.data.schema import Schema
from nelbo.data.series import series, wide


class SeriesKind(ArrayKind):
    """Series of steps with one or several channels; unobserved elements are NaN."""

    name = "series"
    noun = "series"
    source_nouns = ("tables", "a .csv, .tsv or .parquet file")
    options = ("decimal", "date_format")
    recipe = "series"
    axes = ("steps", "channels")
    scaled_by_feature = True
    is_sequence = True
    allows_missing = True
    masks_missing = True

    def recognises(self, source: Any, options: DataOptions) -> bool:
        told = not (options.kind is options.window is options.group is None)
        named = isinstance(source, str | Path) and str(source).lower().endswith(".ts")
        return told or (named and wide.is_series_file(source))

    def load(self, source: Any, options: DataOptions, seed: int) -> DataSplits:
        return series.load(source, options, seed)

    def load_like(self, source: Any, schema: Schema, split: str, options: DataOptions) -> Dataset:
        return series.load_like(source, schema, split, options)

    def default_net(self, schema: Schema) -> dict[str, Any]:
        return {"kind": "conv1d"}

    def describe(self, schema: Schema) -> str:
        steps, channels = schema.shape
        return f"series of {steps} steps, {channels} {'channel' if channels == 1 else 'channels'}"

    def row_names(self, rows: Dataset) -> RowNames:
        """Of a window, its unit and the times of its first and last step; without a clock, these steps."""
        if rows.origin is None:
            return super().row_names(rows)
        found, steps = [], rows.schema.shape[0]
        for recording, start in rows.origin.tolist():
            end = start + steps
            place = rows.source.place(recording, start, end) if rows.source else {"unit": recording}
            first, last = place.get("first_time", start), place.get("last_time", end - 1)
            found.append(f"{place['unit']}: {first} to {last}" if "unit" in place else f"{first} to {last}")
        return RowNames("window", found)

    def to_bytes(self, values: Any, schema: Schema, ending: str) -> bytes:
        """An array as `.npy`, or as a `.csv` with one row per step: series, step, and the channels by name."""
        if ending != ".csv":
            return super().to_bytes(values, schema, ending)
        n, steps, channels = values.shape
        place = np.stack(np.divmod(np.arange(n * steps), steps), 1)
        text = StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(["series", "step", *(schema.names or [f"x{j}" for j in range(channels)])])
        for at, numbers in zip(place.tolist(), values.reshape(-1, channels).tolist(), strict=True):
            table.writerow([*at, *("" if number != number else f"{number:.9g}" for number in numbers)])
        return text.getvalue().encode()
