"""Layouts of arrays: the dimensions of rows, channels and steps; and Torch datasets as arrays of rows."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nelbo.errors import UserError

Layout = Callable[[np.ndarray, str], np.ndarray]
CHANNELS = (1, 3, 4)
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
        return array[:, None]
    if array.ndim == 4 and array.shape[-1] in CHANNELS:
        return array.transpose(0, 3, 1, 2)
    if array.ndim == 4 and array.shape[1] not in CHANNELS:
        raise UserError(f"{name} has shape {array.shape}: pictures have 1, 3 or 4 channels, last or first")
    return array


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
    """Rows of a Torch dataset whose items are x or (x, y); x is a tensor, an array or a PIL picture.

    Indexing with row numbers, or a slice, gives rows laid out by `layout`. Items are read every time they are asked
    for. Raises `UserError` if their shapes differ.
    """

    def __init__(self, items: Any, name: str, layout: Layout = as_batch_layout) -> None:
        self.items, self.name, self._layout = items, name, layout
        first = _split(items[0])[0]
        self._shape = tuple(np.shape(first))
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
                f"{self.name}: item {i} has shape {array.shape}, item 0 {self._shape}: give all the same shape"
            )
        return array, y


def _split(item: Any) -> tuple[Any, Any]:
    """(x, y) of an item; y is None if it has none."""
    return (item[0], item[1] if len(item) > 1 else None) if isinstance(item, tuple | list) else (item, None)


def _labels(values: Iterable[Any]) -> list[Any] | None:
    known = list(values)
    return None if known[0] is None else known


def to_numpy(tensor: Tensor) -> np.ndarray:
    """The values of a tensor on any device; bfloat16, which NumPy lacks, becomes float32."""
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
