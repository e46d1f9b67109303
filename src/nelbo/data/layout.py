"""How the dimensions of an array are told apart: the layout that `nelbo.data.arrays` speaks of."""

from __future__ import annotations

import numpy as np

from nelbo.errors import UserError

CHANNELS = (1, 3, 4)


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
