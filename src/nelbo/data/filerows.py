"""The array in a `.npy` file, seen as rows that are read when they are asked for.

They are read, not mapped: a mapped file grows in the memory of the process page by page, is read far ahead of a row
taken at random (here by 8 MB for rows of 12 kB), and ends the process if it is cut short or its disk fails.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from nelbo.data.layout import Layout, lay_out
from nelbo.errors import UserError


class FileRows:
    """Rows of a mapped array in C order, laid out by `layout`; indexed by row numbers or a slice.

    Raises `UserError` if the array is not laid out so, or the file can no longer be read. Several threads may read.
    """

    def __init__(self, mapped: np.memmap[Any, Any], name: str, layout: Layout = lay_out) -> None:
        assert mapped.filename is not None
        self.path, self.name, self.offset = Path(mapped.filename), name, mapped.offset
        self.dtype, self._row, self._layout = mapped.dtype, mapped.shape[1:], layout
        self.shape: tuple[int, ...] = layout(mapped, name).shape

    def __getitem__(self, index: slice | np.ndarray) -> np.ndarray:
        if isinstance(index, slice):
            first, stop, step = index.indices(self.shape[0])
            assert step == 1, "rows are read in a run"
            runs, n = [(0, max(stop - first, 0), first)], max(stop - first, 0)
        else:
            if len(index) and not 0 <= index.min() <= index.max() < self.shape[0]:
                raise IndexError(
                    f"{self.path}: row numbers from {index.min()} to {index.max()} of {self.shape[0]} rows"
                )
            runs, n = _runs(index), len(index)
        out = np.empty((n, *self._row), self.dtype)
        try:
            with self.path.open("rb", buffering=0) as file:
                for start, stop, row in runs:
                    self._fill(file.fileno(), out[start:stop], row)
        except OSError as error:
            raise UserError(
                f"{self.path}: cannot be read ({error.strerror}): see to the file and begin again"
            ) from None
        return self._layout(out, self.name) if n else out.reshape(0, *self.shape[1:])

    def _fill(self, file: int, out: np.ndarray, row: int) -> None:
        """Read consecutive rows, `row` being the first."""
        if not len(out):
            return
        place, left = self.offset + row * out[0].nbytes, out.reshape(-1).view(np.uint8).data
        while left:
            got = os.preadv(file, [left], place)  # at most 2 GB at a time
            if not got:
                raise UserError(f"{self.path}: ends before row {row + len(out)}: it was cut short; write it again")
            place, left = place + got, left[got:]


def rows_of(array: np.ndarray, name: str, layout: Layout = lay_out) -> np.ndarray | FileRows:
    """The array, or the rows of its file if it is mapped from one that can be read row by row."""
    if sys.platform == "win32" or not isinstance(array, np.memmap) or not array.flags.c_contiguous or array.ndim < 2:
        return array
    return FileRows(array, name, layout)


def _runs(index: np.ndarray) -> list[tuple[int, int, int]]:
    """(start, stop, row): `index[start:stop]` are consecutive numbers from `row` on."""
    if not len(index):
        return []
    starts = np.flatnonzero(np.diff(index, prepend=-2) != 1)
    return list(zip(starts.tolist(), [*starts[1:].tolist(), len(index)], index[starts].tolist(), strict=True))
