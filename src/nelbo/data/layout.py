"""How the dimensions of an array are told apart: the layouts that `nelbo.data.arrays` and `.series` speak of."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nelbo.errors import UserError

Layout = Callable[[np.ndarray, str], np.ndarray]
CHANNELS = (1, 3, 4)


def lay_out(array: np.ndarray, name: str) -> np.ndarray:
    """A view of the array as `(n, features)` or `(n, channels, height, width)`; `UserError` if it is neither."""
    _check(array, name, (2, 3, 4), "(n, features), (n, h, w) or (n, h, w, channels)")
    if array.ndim == 3:
        return array[:, None]
    if array.ndim == 4 and array.shape[-1] in CHANNELS:
        return array.transpose(0, 3, 1, 2)
    if array.ndim == 4 and array.shape[1] not in CHANNELS:
        raise UserError(f"{name}: has shape {array.shape}: pictures have 1, 3 or 4 channels, last or first")
    return array


def lay_out_series(array: np.ndarray, name: str) -> np.ndarray:
    """A view of the array as `(n, steps, channels)`; `UserError` if it is neither that nor `(n, steps)`."""
    _check(array, name, (2, 3), "series as (n, steps) or (n, steps, channels)")
    return array[..., None] if array.ndim == 2 else array


def _check(array: np.ndarray, name: str, dimensions: tuple[int, ...], wanted: str) -> None:
    if array.dtype.kind not in "biuf":
        raise UserError(f"{name}: holds {array.dtype} values: give plain numbers, one array of them")
    if array.ndim not in dimensions:
        raise UserError(f"{name}: has shape {array.shape}: give {wanted}")
    if 0 in array.shape:
        raise UserError(f"{name}: is empty, of shape {array.shape}: give at least one row and one value in it")
