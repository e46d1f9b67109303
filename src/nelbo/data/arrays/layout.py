"""Layouts of arrays: the dimensions of rows, channels and steps; and Torch datasets as arrays of rows."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nelbo.data.split_names import LABELS, ROWS
from nelbo.errors import UserError

Layout = Callable[[np.ndarray, str], np.ndarray]
CHANNELS = (1, 3, 4)
NARROW = 8  # pixels: pictures that are this narrow, and four times as high, may be series of so many channels
REMEDIES = {
    "c": "its real and imaginary parts, as numpy.concatenate([x.real, x.imag], -1)",
    "M": "numbers, such as x.astype('int64'), or a table with a column of dates",
    "m": "numbers, such as x / numpy.timedelta64(1, 's')",
    "V": "a table, such as pandas.DataFrame(x)",
    "U": "numbers, such as x.astype(float), or one-dimensional text",
}
"""What to give in place of an array of a type, by NumPy's letter."""


def as_batch_layout(array: np.ndarray, name: str) -> np.ndarray:
    """A view of the array as `(n, features)` or `(n, channels, height, width)`; `UserError` if it is neither."""
    _check(array, name, (2, 3, 4), "(n, features), (n, h, w) or (n, h, w, channels)")
    if array.ndim == 3:
        n, height, width = array.shape
        if width <= NARROW and height >= 4 * width:
            warnings.warn(
                f"{name}: of shape {array.shape}, it is taken for {n} grey pictures of {height}x{width}: if it has "
                "series, set kind to series (--kind series); if it is a colour picture, give a list of it",
                stacklevel=2,
            )
        return array[:, None]
    if array.ndim == 4 and channels_axis(array.shape, name) == 3:
        return array.transpose(0, 3, 1, 2)
    return array


def channels_axis(shape: tuple[int, ...], name: str) -> int:
    """The axis of the channels of pictures, 1 or 3: of 1, 3 or 4 channels, else beside a square, else the smaller.

    Warns if that is in doubt, as with 1, 3 or 4 at both ends. Raises `UserError` if the axes do not differ.

    >>> [channels_axis(shape, "x") for shape in ((9, 32, 32, 3), (9, 1, 5, 6), (9, 2, 48, 64), (9, 64, 64, 13))]
    [3, 1, 1, 3]
    """
    usual = [axis for axis in (1, 3) if shape[axis] in CHANNELS]
    if len(usual) == 1:
        return usual[0]
    square = [axis for axis in (1, 3) if len({shape[other] for other in (1, 2, 3) if other != axis}) == 1]
    chosen = square[0] if len(square) == 1 else 3 if usual or shape[3] < shape[1] else 1
    if not usual and shape[1] == shape[3]:
        raise UserError(
            f"{name} has shape {shape}: which axis has the channels is not clear: pad the pictures to another height "
            "or width"
        )
    clear = len(square) == 1 or 2 * shape[chosen] <= min(shape[2], shape[4 - chosen])
    if max(shape[1:]) > 1 and (usual or not clear):
        warnings.warn(
            f"{name}: of shape {shape}, {shape[chosen]} is taken for the number of channels, which come "
            f"{'last' if chosen == 3 else 'first'}: transpose the array if they do not",
            stacklevel=3,
        )
    return chosen


def as_series_layout(array: np.ndarray, name: str) -> np.ndarray:
    """A view of the array as `(n, steps, channels)`; `UserError` if it is neither that nor `(n, steps)`."""
    _check(array, name, (2, 3), "series as (n, steps) or (n, steps, channels)")
    if array.ndim == 3 and array.shape[2] > 2 * array.shape[1] > 2:
        warnings.warn(
            f"{name}: {array.shape[0]} series of {array.shape[1]} steps and {array.shape[2]} channels: if these are "
            f"{array.shape[2]} steps of {array.shape[1]} channels, give x.swapaxes(1, 2)",
            stacklevel=4,
        )
    return array[..., None] if array.ndim == 2 else array


def _check(array: np.ndarray, name: str, dimensions: tuple[int, ...], wanted: str) -> None:
    if array.dtype.kind not in "biuf":
        remedy = REMEDIES.get(array.dtype.kind, "one array of numbers")
        raise UserError(f"{name} has type {str(array.dtype)[:60]}: give {remedy}")
    if array.ndim not in dimensions:
        one = "; one recording as --kind series with a --window" if array.ndim == 1 else ""
        raise UserError(f"{name} has shape {array.shape}: give {wanted}{one}")
    if 0 in array.shape:
        raise UserError(f"{name} is empty, of shape {array.shape}: give at least one row and one value in it")


class Items:
    """Rows of a dataset whose items are x, (x, y) or dictionaries; x is a tensor, an array or a PIL picture.

    Indexing with row numbers, or a slice, gives rows laid out by `layout`. Items are read every time they are asked
    for. Raises `UserError` if their shapes differ.
    """

    def __init__(self, items: Any, name: str, layout: Layout = as_batch_layout) -> None:
        self.items, self.name, self._layout = items, name, layout
        self._shape = tuple(np.shape(_split(items[0])[0]))
        laid_out = self[[0]]
        self.shape: tuple[int, ...] = (len(items), *laid_out.shape[1:])
        self.dtype = laid_out.dtype

    def __getitem__(self, index: slice | Iterable[int]) -> np.ndarray:
        numbers = range(*index.indices(len(self.items))) if isinstance(index, slice) else index
        return self._layout(np.stack([self._checked(int(i))[0] for i in numbers]), self.name)

    def read(self) -> tuple[np.ndarray, list[Any] | None]:
        """All x as they are, and the y of every item (None if items have none), reading each item once."""
        pairs = [self._checked(i) for i in range(len(self.items))]
        return np.stack([x for x, _ in pairs]), _labels(y for _, y in pairs)

    def labels(self) -> list[Any] | None:
        """The y of every item, in order; None if items have none."""
        return _labels(_split(self.items[i])[1] for i in range(len(self.items)))

    def _checked(self, i: int) -> tuple[np.ndarray, Any]:
        x, y = _split(self.items[i])
        if isinstance(x, dict | str | None):
            raise UserError(f"{self.name}: item {i} is a {type(x).__name__}: give items x or (x, y), x an array")
        array = to_numpy(x) if isinstance(x, Tensor) else np.asarray(x)
        if array.shape != self._shape:
            raise UserError(
                f"{self.name}: item {i} has shape {array.shape}, item 0 {self._shape}: give all the same shape, or a "
                "list of pictures, which size=64 resizes"
            )
        return array, y


def _split(item: Any) -> tuple[Any, Any]:
    """(x, y) of an item, by the names in a dictionary; y is None if it has none."""
    if isinstance(item, Mapping):
        named = {str(name).lower(): value for name, value in item.items()}
        x, y = (next((named[name] for name in names if name in named), None) for names in (ROWS, LABELS))
        return (item, None) if x is None else (x, y)
    return (item[0], item[1] if len(item) > 1 else None) if isinstance(item, tuple | list) else (item, None)


def _labels(values: Iterable[Any]) -> list[Any] | None:
    known = list(values)
    return None if known[0] is None else known


def to_numpy(tensor: Tensor) -> np.ndarray:
    """The values of a tensor on any device; bfloat16, which NumPy lacks, becomes float32."""
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
