"""What the numbers in an array say about its type, and the dataset it becomes.

Layout, by the number of dimensions: 2 is vectors `(n, features)`; 3 is grey pictures `(n, height, width)`; 4 is
channels last where the last size is 1, 3 or 4, else channels first. The scaling follows from the values:

    only {0, 1}                  binary   x = raw              (pictures of {0, 255}: raw / 255)
    pictures in [0, 1]           unit     x = raw
    other pictures in [0, 255]   unit     x = raw / 255        (so too every picture of such integers)
    other pictures               unit     x = (raw - min) / (max - min)
    vectors in [0, 1]            unit     x = raw
    other vectors                real     x = (raw - mean) / std, per feature

The rule is chosen by all rows that are given; numbers that are fitted (min, max, mean, std) see the training
rows only. Everything is read in chunks, once.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from torch import Tensor

from nelbo.data.dataset import Arrays, Dataset, Rows, RowSource, fits_memory, to_tensor
from nelbo.data.schema import Schema
from nelbo.errors import UserError

CHUNK_BYTES = 2**24
CHANNELS = (1, 3, 4)


@dataclass(frozen=True)
class Part:
    """Rows laid out as `(n, *shape)`, what to call them in messages, and their labels if known."""

    name: str
    rows: RowSource
    labels: Tensor | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one row."""
        return tuple(self.rows.shape[1:])


def lay_out(array: np.ndarray, name: str) -> np.ndarray:
    """A view of the array as `(n, features)` or `(n, channels, height, width)`; `UserError` if it is neither."""
    if array.dtype.kind not in "biuf":
        raise UserError(f"{name}: holds {array.dtype} values: give plain numbers, one array of them")
    if array.ndim not in (2, 3, 4):
        raise UserError(f"{name}: has shape {array.shape}: give (n, features), (n, h, w) or (n, h, w, channels)")
    if 0 in array.shape:
        raise UserError(f"{name}: is empty, of shape {array.shape}: give at least one row and one value in it")
    if array.ndim == 3:
        return array[:, None]
    if array.ndim == 4 and array.shape[-1] in CHANNELS:
        return array.transpose(0, 3, 1, 2)
    if array.ndim == 4 and array.shape[1] not in CHANNELS:
        raise UserError(f"{name}: has shape {array.shape}: pictures have 1, 3 or 4 channels, last or first")
    return array


@dataclass(frozen=True)
class Summary:
    """What was seen of some rows: the range of all their values, and what is fitted to those to train on.

    `only_01` and `only_0255` tell whether every value is in {0, 1}, in {0, 255}. `fitted_low` and `fitted_high`
    are the range, `mean` and `std` the moments per feature (empty for pictures) of the training rows.
    """

    low: float
    high: float
    only_01: bool
    only_0255: bool
    fitted_low: float
    fitted_high: float
    mean: np.ndarray
    std: np.ndarray

    def __or__(self, other: Summary) -> Summary:
        """The range of both; what is fitted, of the first."""
        return replace(
            self,
            low=min(self.low, other.low),
            high=max(self.high, other.high),
            only_01=self.only_01 and other.only_01,
            only_0255=self.only_0255 and other.only_0255,
        )


def summarise(part: Part, train: np.ndarray | None = None) -> Summary:
    """One pass over all rows, in order; `train` (bool, `(n,)`) marks those to train on, None means all.

    Raises `UserError` naming the first value that is NaN or infinite.
    """
    seen, fitted = _Tally(), _Tally()
    bad, first = 0, ""
    for start, chunk in chunks(part.rows):
        if len(found := _not_finite(chunk)):
            first = first or ", ".join(map(str, [found[0][0] + start, *found[0][1:]]))
            bad += len(found)
        elif not bad:
            seen.add_range(chunk)
            if len(chosen := chunk if train is None else chunk[train[start : start + len(chunk)]]):
                fitted.add_range(chosen)
                fitted.add_moments(chosen)
    if bad:
        raise UserError(f"{part.name}: {bad} values are NaN or infinite, the first at [{first}]: drop or fill them")
    std = np.where(fitted.low == fitted.high, 1.0, np.sqrt(fitted.squares / max(fitted.count, 1)))
    return Summary(
        low=float(seen.low.min()),
        high=float(seen.high.max()),
        only_01=seen.only_01,
        only_0255=seen.only_0255,
        fitted_low=float(fitted.low.min()),
        fitted_high=float(fitted.high.max()),
        mean=fitted.mean,
        std=std,
    )


class _Tally:
    """Range and moments of the rows added so far: per feature for vectors, of all values for pictures."""

    def __init__(self) -> None:
        self.low, self.high = np.array(np.inf), np.array(-np.inf)
        self.only_01 = self.only_0255 = True
        self.count, self.mean, self.squares = 0, np.zeros(1), np.zeros(1)

    def add_range(self, chunk: np.ndarray) -> None:
        axis = 0 if chunk.ndim == 2 else None
        self.low = np.minimum(self.low, chunk.min(axis))
        self.high = np.maximum(self.high, chunk.max(axis))
        self.only_01 = self.only_01 and bool(((chunk == 0) | (chunk == 1)).all())
        self.only_0255 = self.only_0255 and bool(((chunk == 0) | (chunk == 255)).all())

    def add_moments(self, chunk: np.ndarray) -> None:
        """Merge mean and sum of squared deviations: Chan, Golub, LeVeque (1983), Algorithms for Computing the
        Sample Variance."""
        if chunk.ndim > 2:
            return
        chunk = chunk.astype(np.float64)
        total = self.count + len(chunk)
        with np.errstate(over="ignore", invalid="ignore"):  # the schema refuses numbers that are not finite
            mean = chunk.mean(0)
            gap = mean - self.mean
            self.squares = self.squares + np.square(chunk - mean).sum(0)
            self.squares = self.squares + np.square(gap) * self.count * len(chunk) / total
            self.mean = self.mean + gap * len(chunk) / total
        self.count = total


def chunks(rows: RowSource) -> Iterator[tuple[int, np.ndarray]]:
    """(number of the first row, rows) in pieces of about 16 MB."""
    step = max(1, CHUNK_BYTES // (int(np.prod(rows.shape[1:])) * rows.dtype.itemsize))
    for start in range(0, rows.shape[0], step):
        yield start, rows[start : start + step]


def _not_finite(chunk: np.ndarray) -> np.ndarray:
    """Where values of the chunk are NaN or infinite: `(count, dimensions)`."""
    return np.argwhere(~np.isfinite(chunk)) if chunk.dtype.kind == "f" else np.empty((0, chunk.ndim), np.int64)


def fit_schema(part: Part, seen: Summary, classes: tuple[str, ...]) -> Schema:
    """The schema of rows like these, by the table at the top of this module."""
    shape = part.shape
    make = partial(Schema, "image" if len(shape) == 3 else "vector", shape, classes=classes)
    low, high, whole = seen.low, seen.high, part.rows.dtype.kind in "iu"
    if seen.only_01:
        return make((0.0,), (1.0,), "binary")
    if len(shape) == 1:
        if low >= 0 and high <= 1:
            return make((0.0,), (1.0,), "unit")
        return make(tuple(seen.mean.tolist()), tuple(seen.std.tolist()), "real")
    if seen.only_0255:
        return make((0.0,), (255.0,), "binary")
    if low >= 0 and high <= 255:
        return make((0.0,), (255.0 if whole or high > 1 else 1.0,), "unit")
    return make((seen.fitted_low,), (seen.fitted_high - seen.fitted_low or 1.0,), "unit")


def build(part: Part, schema: Schema, seen: Summary) -> Dataset:
    """The dataset of these rows: in memory if they are or fit there, else streamed."""
    rows = part.rows
    if not (type(rows) is np.ndarray or fits_memory(int(np.prod(rows.shape)) * rows.dtype.itemsize)):
        return Rows(rows, schema, part.labels)
    values = rows[:]
    if schema.kind == "image" and values.dtype.kind in "iu" and seen.low >= 0 and seen.high <= 255:
        values = values.astype(np.uint8, copy=False)
    return Arrays(to_tensor(np.asarray(values)), schema, part.labels)


def check_range(part: Part, schema: Schema, seen: Summary) -> None:
    """Raise `UserError` if these values are on another scale than the schema's; warn if some lie beyond its range."""
    top = schema.scale[0]
    if schema.support == "binary" and not (seen.only_01 if top == 1 else seen.only_0255):
        raise UserError(
            f"{part.name}: values reach from {seen.low:g} to {seen.high:g}, the model takes only 0 and {top:g}: "
            "threshold them first"
        )
    if schema.support != "unit":
        return
    low, high = schema.shift[0], schema.shift[0] + top
    inside = low <= seen.low and seen.high <= high
    fixed = schema.kind == "image" and low == 0 and top in (1, 255)
    fraction = top == 255 and part.rows.dtype.kind == "f" and 0 < seen.high <= 1
    if fixed and (fraction or not inside):
        raise UserError(
            f"{part.name}: values reach from {seen.low:g} to {seen.high:g}, the model takes {low:g} to {high:g}: "
            "bring them to that scale"
        )
    if not inside:
        warnings.warn(
            f"{part.name}: values reach from {seen.low:g} to {seen.high:g}, beyond the {low:g} to {high:g} of training",
            stacklevel=4,
        )
