"""A Torch map-style dataset, seen as an array of rows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nelbo.data.layout import Layout, lay_out
from nelbo.errors import UserError


class Items:
    """Rows of a Torch dataset whose items are x or (x, y); x is a tensor, an array or a PIL picture.

    Indexing with row numbers, or a slice, gives rows laid out by `layout`. Items are read every time they are asked
    for. Raises `UserError` if their shapes differ.
    """

    def __init__(self, items: Any, name: str, layout: Layout = lay_out) -> None:
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
            raise UserError(f"{self.name}: item {i} has shape {array.shape}, item 0 {self._shape}: make them alike")
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
