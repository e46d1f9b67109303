"""Inference of the kind and the scaling of an array, and its dataset.

Layout, by the number of dimensions: 2 is vectors `(n, features)`; 3 is grey pictures `(n, height, width)`; 4 is
channels last where the last size is 1, 3 or 4, else channels first. The scaling follows from the values:

    only {0, 1}                         binary   x = raw             (pictures of {0, 255}: raw / 255)
    pictures in [0, 1]                  unit     x = raw             (not if the largest value is below 1/4)
    whole pictures in [0, 255]          unit     x = raw / 255       (not if the largest value is below 64)
    other pictures                      unit     x = (raw - min) / (max - min)
    vectors in [0, 1]                   unit     x = raw
    other vectors                       real     x = (raw - mean) / std, per feature

Pictures are taken for fractions or bytes only where they use at least a quarter of that range: scaled by 255, digits of
0 to 16 would all be black. Whole numbers may have any type. The rule is chosen by all rows; the statistics (min, max,
mean, std) are those of the training rows only. Everything is read in chunks, once.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from nelbo.data.arrays.layout import Items
from nelbo.data.dataset import (
    Dataset,
    InMemoryDataset,
    RowSource,
    StreamedDataset,
    fits_memory,
    tensor_dtype,
    to_tensor,
)
from nelbo.data.schema import DTYPES, Schema
from nelbo.errors import UserError

LEAST_BYTE, LEAST_FRACTION = 64, 0.25  # the least of the largest values of pictures in [0, 255], in [0, 1]
BEYOND = 0.05  # of the range, as interpolation overshoots
LEAST_SHARE = 0.1  # of the range of training that other data in its units use
LEAST_ROWS = 20  # of vectors, to say that few values are far from the others
OUTLYING = 50  # times the range of nearly all values
CHUNK_BYTES = 2**22  # small enough for the cache between two passes


@dataclass(frozen=True)
class RawSplit:
    """Rows laid out as `(n, *shape)`, their name in messages, their labels if known, and their `Dataset.source`."""

    name: str
    rows: RowSource
    labels: Tensor | None = None
    source: Any = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one row."""
        return tuple(self.rows.shape[1:])


@dataclass(frozen=True)
class ArrayStats:
    """Statistics of rows: the range of all values, and the moments of the training rows.

    `is_binary`, `is_0_or_255` and `is_whole`: whether every value is in {0, 1}, in {0, 255}, a whole number (tested for
    pictures alone). `fitted_low` and `fitted_high` are the range, `mean` and `std` the moments of the training rows,
    per feature (for pictures they are not used). `whole` is the `Schema.whole` of vectors.
    """

    low: float
    high: float
    is_binary: bool
    is_0_or_255: bool
    fitted_low: float
    fitted_high: float
    mean: np.ndarray
    std: np.ndarray
    is_whole: bool = False
    whole: tuple[tuple[float, ...], ...] = ()

    def __or__(self, other: ArrayStats) -> ArrayStats:
        """The range of both, with the fitted statistics of the first."""
        return replace(
            self,
            low=min(self.low, other.low),
            high=max(self.high, other.high),
            is_binary=self.is_binary and other.is_binary,
            is_0_or_255=self.is_0_or_255 and other.is_0_or_255,
            is_whole=self.is_whole and other.is_whole,
        )


def summarise(part: RawSplit, train: np.ndarray | None = None, fast: bool = False) -> ArrayStats:
    """One pass over all rows, in order; `train` (bool, `(n,)`) marks the training rows, None means all.

    With `fast`, it stops once the other rows cannot change the scaling: for pictures of bytes, as soon as some are
    neither in {0, 1} nor in {0, 255}, and large. The ranges are then those of the rows that were read.

    Raises `UserError` naming the first value that is NaN or infinite.
    """
    seen, bad, first = _RunningStats(len(part.shape) == 3), 0, ""
    fast = fast and len(part.shape) == 3 and part.rows.dtype == np.uint8
    for start, chunk in chunks(part.rows):
        flat = _flat(chunk)
        low, high = seen.extremes(flat)
        # one NaN makes the minimum NaN: values are tested one by one only then
        if not np.isfinite([low.min(), high.max()]).all():
            found = np.argwhere(~np.isfinite(chunk))
            first = first or ", ".join(map(str, [found[0][0] + start, *found[0][1:]]))
            bad += len(found)
        elif not bad:
            seen.add(flat, low, high)
            seen.fit(flat, low, high, slice(None) if train is None else train[start : start + len(flat)])
            if fast and seen.high >= LEAST_BYTE and not (seen.only_01 or seen.only_0255):
                break
    if bad:
        raise UserError(f"{part.name}: {bad} values are NaN or infinite, the first at [{first}]: drop or fill them")
    return seen.summary()


class Moments:
    """Mean and standard deviation of each feature over the values that are not NaN, chunk by chunk.

    Source: Chan, Golub, LeVeque (1983), Algorithms for Computing the Sample Variance.
    """

    def __init__(self) -> None:
        self.count, self.mean, self.squares = np.zeros(1), np.zeros(1), np.zeros(1)

    def add(self, chunk: np.ndarray) -> None:
        """Merge float64 values `(rows, features)` in."""
        gaps = np.isnan(chunk)
        if gaps.any():
            count = (~gaps).sum(0)
            own = np.where(gaps, 0.0, chunk).sum(0) / np.maximum(count, 1)
            deviations = np.where(gaps, 0.0, chunk - own)
        else:
            count = np.full(chunk.shape[1], len(chunk))
            with np.errstate(over="ignore", invalid="ignore"):  # the schema refuses numbers that are not finite
                own = chunk.mean(0)
                deviations = chunk - own
        total = np.maximum(self.count + count, 1)
        with np.errstate(over="ignore", invalid="ignore"):
            gap = own - self.mean
            self.squares = self.squares + np.square(deviations).sum(0)
            self.squares = self.squares + np.square(gap) * self.count * count / total
            self.mean = self.mean + gap * count / total
        self.count = self.count + count

    @property
    def std(self) -> np.ndarray:
        """Per feature."""
        return np.sqrt(self.squares / np.maximum(self.count, 1))


class _RunningStats:
    """Running statistics of the rows: range, and for vectors moments, per feature."""

    def __init__(self, pictures: bool) -> None:
        self.pictures = pictures
        self.low, self.high = np.inf, -np.inf
        self.only_01 = self.only_0255 = True
        self.whole: Any = np.array(True)
        self.fitted_low, self.fitted_high = np.array(np.inf), np.array(-np.inf)
        self.moments = Moments()

    def extremes(self, flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest values: of each picture, or of each feature."""
        axis = 1 if self.pictures else 0
        return flat.min(axis), flat.max(axis)

    def add(self, flat: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
        """Update the range with all rows."""
        lowest, highest = low.min(), high.max()
        self.low, self.high = min(self.low, float(lowest)), max(self.high, float(highest))
        self.only_01 = self.only_01 and lowest >= 0 and highest <= 1 and _only(flat, 1)
        self.only_0255 = self.only_0255 and lowest >= 0 and highest <= 255 and _only(flat, 255)
        if flat.dtype.kind == "f" and np.any(self.whole):
            self.whole = self.whole & (flat == np.floor(flat)).all(None if self.pictures else 0)

    def fit(self, flat: np.ndarray, low: np.ndarray, high: np.ndarray, chosen: slice | np.ndarray) -> None:
        """Update the fitted statistics with the chosen rows."""
        if not (isinstance(chosen, slice) or chosen.any()):
            return
        if self.pictures:
            low, high = low[chosen].min(), high[chosen].max()
        else:
            flat = flat[chosen]
            low, high = self.extremes(flat)
            self.moments.add(flat.astype(np.float64))
        self.fitted_low, self.fitted_high = np.minimum(self.fitted_low, low), np.maximum(self.fitted_high, high)

    def summary(self) -> ArrayStats:
        same = self.fitted_low == self.fitted_high
        return ArrayStats(
            low=self.low,
            high=self.high,
            is_binary=bool(self.only_01),
            is_0_or_255=bool(self.only_0255),
            is_whole=bool(self.whole.all()),
            whole=() if self.pictures else whole_ranges(self.whole, self.fitted_low, self.fitted_high),
            fitted_low=float(self.fitted_low.min()),
            fitted_high=float(self.fitted_high.max()),
            mean=self.moments.mean,
            std=np.where(same, 1.0, self.moments.std),
        )


def whole_ranges(whole: np.ndarray, low: np.ndarray, high: np.ndarray) -> tuple[tuple[float, ...], ...]:
    """The `Schema.whole` of features of these ranges, of which some are whole numbers; () if none is."""
    whole = whole | (low == high)
    if not whole.any():
        return ()
    ends = zip(np.broadcast_to(whole, low.shape).tolist(), low.tolist(), high.tolist(), strict=True)
    return tuple((float(a), float(b)) if is_whole else () for is_whole, a, b in ends)


def chunks(rows: RowSource) -> Iterator[tuple[int, np.ndarray]]:
    """(index of the first row, rows) in chunks of about 4 MB."""
    step = max(1, CHUNK_BYTES // (int(np.prod(rows.shape[1:])) * rows.dtype.itemsize))
    for start in range(0, rows.shape[0], step):
        yield start, rows[start : start + step]


def _flat(chunk: np.ndarray) -> np.ndarray:
    """Rows as `(n, values)`, the values in the order of memory, so that nothing is copied."""
    order = sorted(range(1, chunk.ndim), key=lambda axis: -chunk.strides[axis])
    return chunk.transpose(0, *order).reshape(len(chunk), -1)


def _only(flat: np.ndarray, top: int) -> bool:
    """Whether all values are in {0, top}."""
    return bool(((flat == 0) | (flat == top)).all())


def type_name(dtype: np.dtype[Any]) -> str:
    """The `Schema.dtype` of an array's type."""
    name = "float64" if dtype == np.longdouble else dtype.newbyteorder("=").name
    return name if name in DTYPES else ""


def fit_schema(part: RawSplit, stats: ArrayStats, classes: tuple[str, ...], counts: bool = False) -> Schema:
    """The schema of rows like these, by the table at the top of this module; counts are neither shifted nor scaled."""
    shape = part.shape
    make = partial(Schema, "image" if len(shape) == 3 else "vector", shape, classes=classes)
    low, high = stats.low, stats.high
    if stats.is_binary:
        return make((0.0,), (1.0,), "binary")
    dtype = type_name(part.rows.dtype) if part.rows.dtype.kind in "iu" or len(shape) == 1 else ""
    make = partial(make, dtype=dtype, whole=stats.whole)
    if counts:
        check_counts(part.name, low, stats.is_whole)
        return make((0.0,), (1.0,), "real")
    if len(shape) == 1:
        if low >= 0 and high <= 1:
            return make((0.0,), (1.0,), "unit")
        _warn_of_features(part, stats)
        return make(tuple(stats.mean.tolist()), tuple(stats.std.tolist()), "real")
    if stats.is_0_or_255:
        return make((0.0,), (255.0,), "binary")
    if low >= 0 and LEAST_FRACTION <= high <= 1:
        return make((0.0,), (1.0,), "unit")
    if low >= 0 and stats.is_whole and LEAST_BYTE <= high <= 255:
        return make((0.0,), (255.0,), "unit")
    _warn_of_outliers(part, stats)
    return make((stats.fitted_low,), (stats.fitted_high - stats.fitted_low or 1.0,), "unit")


def check_counts(name: str, low: float, is_whole: bool) -> None:
    """Raise `UserError` unless all values are whole numbers from 0."""
    if low < 0 or not is_whole:
        found = f"the lowest is {low:g}" if low < 0 else "some are not whole numbers"
        raise UserError(f"{name}: counts are whole numbers from 0, and {found}: use --set model.likelihood=normal")


def _warn_of_features(part: RawSplit, stats: ArrayStats) -> None:
    """Warn of a feature whose scale is that of few values, far from the others."""
    if part.rows.shape[0] < LEAST_ROWS:
        return
    rows = part.rows[np.linspace(0, part.rows.shape[0] - 1, min(part.rows.shape[0], 100)).astype(int)]
    low, high = np.quantile(rows.astype(np.float64), (0.05, 0.95), 0, method="nearest")
    with np.errstate(over="ignore"):
        far = (stats.std > OUTLYING * (high - low)) & (high > low)
    if far.any():
        j = int(far.argmax())
        warnings.warn(
            f"{part.name}: feature {j} is scaled by few values: nearly all are from {low[j]:g} to {high[j]:g}, and its "
            f"standard deviation is {stats.std[j]:g}: replace such values if they are errors",
            stacklevel=4,
        )


def _warn_of_outliers(part: RawSplit, stats: ArrayStats) -> None:
    """Warn of a range that few values, far from the others, have made."""
    rows = part.rows[np.linspace(0, part.rows.shape[0] - 1, min(part.rows.shape[0], 100)).astype(int)]
    low, high = np.quantile(rows, (0.001, 0.999), method="nearest").astype(np.float64).tolist()
    if high > low and stats.fitted_high - stats.fitted_low > OUTLYING * (high - low):
        far = max(stats.fitted_low, stats.fitted_high, key=lambda value: abs(value - (low + high) / 2))
        warnings.warn(
            f"{part.name}: nearly all values are from {low:g} to {high:g}, but some are as far as {far:g}, and all are "
            "scaled by their range: replace such values if they are errors",
            stacklevel=4,
        )


def build(part: RawSplit, schema: Schema, stats: ArrayStats) -> Dataset:
    """The dataset of these rows: in memory if they are or fit there, else streamed."""
    rows = part.rows
    whole = type(rows) is np.ndarray
    if not (whole or fits_memory(int(np.prod(rows.shape)) * rows.dtype.itemsize)):
        streamed = StreamedDataset(rows, schema, part.labels, not isinstance(rows, Items))
        streamed.source = part.source
        return streamed
    bytes_do = schema.kind == "image" and rows.dtype.kind in "iu" and stats.low >= 0 and stats.high <= 255
    dtype = np.dtype(np.uint8) if bytes_do else tensor_dtype(rows.dtype)
    if whole:
        values = rows[:].astype(dtype, copy=False)
    else:
        values = np.empty(rows.shape, dtype)  # filled in pieces, so that memory holds one copy
        for start, chunk in chunks(rows):
            values[start : start + len(chunk)] = chunk
    resident = InMemoryDataset(to_tensor(values), schema, part.labels)
    resident.source = part.source
    return resident


def accepts_all_bytes(schema: Schema) -> bool:
    """Whether all rows of bytes fit the schema."""
    return schema.kind == "image" and (schema.support, schema.shift, schema.scale) == ("unit", (0.0,), (255.0,))


def check_range(part: RawSplit, schema: Schema, stats: ArrayStats) -> None:
    """Raise `UserError` if these values are on another scale than the schema's; warn if some lie beyond its range."""
    top = schema.scale[0]
    if schema.support == "binary" and not (stats.is_binary if top == 1 else stats.is_0_or_255):
        raise UserError(
            f"{part.name}: values range from {stats.low:g} to {stats.high:g}, and the model supports only 0 and "
            f"{top:g}: "
            "threshold them first"
        )
    if schema.support != "unit":
        return
    low, high = schema.shift[0], schema.shift[0] + top
    fixed = schema.kind == "image" and low == 0 and top in (1, 255)
    small = part.rows.dtype.kind == "f" and stats.high > 0
    near = low - BEYOND * top <= stats.low and stats.high <= high + BEYOND * top
    if fixed and not (near and not (top == 255 and small and stats.high <= 1)):
        raise UserError(
            f"{part.name}: values range from {stats.low:g} to {stats.high:g}, and the model needs {low:g} to {high:g}: "
            "rescale them"
        )
    if not near or (small and not fixed and stats.high - low < LEAST_SHARE * top):
        warnings.warn(
            f"{part.name}: values range from {stats.low:g} to {stats.high:g}, and those of training from {low:g} to "
            f"{high:g}: rescale them if they have other units",
            stacklevel=4,
        )
