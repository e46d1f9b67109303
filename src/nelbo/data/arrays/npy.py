"""NumPy files: `.npy` and `.npz`. Nothing is ever unpickled.

Rows of a `.npy` file are read when they are needed. They are read, not mapped: a mapped file grows in the memory of the
process page by page, is read far ahead of a row taken at random (here by 8 MB for rows of 12 kB), and ends the process
if it is cut short or its disk fails. np.memmap was weighed: memory stays flat here, at two to three times the time of a
mapped batch.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nelbo.data.arrays.layout import Layout, as_batch_layout
from nelbo.data.dataset import RowSource
from nelbo.data.split_names import HELD_OUT, LABELS, ROWS, part_of
from nelbo.errors import UserError
from nelbo.reading import RESTORE, check_file, check_unpacked, damaged

LOG = logging.getLogger(__name__)


class FileRows:
    """Rows of a mapped array in C order, laid out by `layout`; indexed by row numbers or a slice.

    Raises `UserError` if the array is not laid out so, or the file can no longer be read. Several threads may read.
    """

    def __init__(self, mapped: np.memmap[Any, Any], name: str, layout: Layout = as_batch_layout) -> None:
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
            raise UserError(f"{self.path} cannot be read ({error.strerror}): restore the file, and run again") from None
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


def rows_of(array: np.ndarray, name: str, layout: Layout = as_batch_layout) -> np.ndarray | FileRows:
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


SUFFIXES = (".npy", ".npz")


@dataclass(frozen=True)
class LoadedArrays:
    """The arrays of a source: rows and labels of the training split, and of the test split if any.

    `classes` are the names of the classes that whole labels index, if known.
    """

    name: str
    x: RowSource
    y: Any = None
    x_test: np.ndarray | None = None
    y_test: Any = None
    classes: tuple[str, ...] = ()


def read(path: Path, member: str = "", layout: Layout = as_batch_layout) -> LoadedArrays:
    """The arrays of a NumPy file; a `.npy` is not read yet; `member` selects one of an `.npz`.

    In an `.npz`, the names choose the arrays: see `chosen_names`. Raises `UserError` if the file is damaged, needs
    pickle, or has several arrays, none of such a name, and `member` is empty.
    """
    loaded = _open(path)
    if isinstance(loaded, np.ndarray):
        if member:
            raise UserError(f"{path}:{member}: the file has one unnamed array: leave :{member} out")
        return LoadedArrays(str(path), rows_of(loaded, str(path), layout))
    with loaded:
        if not member:
            return _splits(path, loaded)
        if member not in loaded.files:
            raise UserError(f"{path} has no array {member!r}: choose among {', '.join(loaded.files)}")
        return LoadedArrays(f"{path}:{member}", _array(path, loaded, member))


def _open(path: Path) -> Any:
    check_file(path)
    with _without_pickle(path):
        return np.load(path, mmap_mode="r", allow_pickle=False)


@contextmanager
def _without_pickle(name: str | Path) -> Iterator[None]:
    """Within it, what a damaged file raises is a `UserError`; one for a pickle says that none is loaded."""
    with damaged(name):
        try:
            yield
        except ValueError as error:
            if any(word in str(error) for word in ("pickle", "Object arrays", "Python objects")):
                remedy = "save numbers with numpy.save"
                raise UserError(f"{name} is not an array of numbers (pickle is never loaded): {remedy}") from None
            raise


def _array(path: Path, loaded: Any, name: str) -> np.ndarray:
    """One array of an `.npz`."""
    for entry in loaded.zip.infolist():
        if entry.filename in (name, f"{name}.npy"):
            check_unpacked(f"{path}:{name}", entry.compress_size, entry.file_size)
    with _without_pickle(f"{path}:{name}"):
        found = loaded[name]
    if not isinstance(found, np.ndarray):
        raise UserError(f"{path}:{name} is not an array: {RESTORE}")
    return found


def _splits(path: Path, loaded: Any) -> LoadedArrays:
    """The arrays that the names in an `.npz` point out."""
    x, y, x_test, y_test = (
        _array(path, loaded, name) if name else None for name in chosen_names(loaded.files, str(path))
    )
    assert x is not None
    return LoadedArrays(str(path), x, y, x_test, y_test)


def chosen_names(names: Sequence[str], source: str) -> tuple[str, str, str, str]:
    """The names of the rows, their labels, the test rows and their labels among the names of arrays; "" for none.

    `x_train` and `x_test`, `train_images` and `val_images`, `train` and `test` are splits (see
    `nelbo.data.split_names`). Rows are called as in `ROWS`, labels as in `LABELS`; the only array has rows.

    >>> chosen_names(["train_images", "train_labels", "val_images", "test_images"], "a.npz")
    ('train_images', 'train_labels', 'test_images', '')
    """
    if len(names) == 1:
        return names[0], "", "", ""
    parts: dict[str, dict[str, str]] = {}  # the names of each part by the rest of the name
    for name in names:
        part, own_name = part_of(name) or ("", name.lower())
        parts.setdefault(part, {}).setdefault(own_name, name)
    train = "train" if _rows_name(parts.get("train", {})) is not None else ""
    own = parts.get(train, {})
    rest = _rows_name(own)
    if rest is None:
        raise UserError(
            f"{source} holds {', '.join(names) or 'nothing'}: choose an array, as in "
            f"{Path(source).name}:{next(iter(names), 'x')}"
        )
    test = next((part for part in HELD_OUT if rest in parts.get(part, {})), None)
    if test == "test" and rest in parts.get("val", {}):
        LOG.info("%s: %s is not used: the test data are %s", source, parts["val"][rest], parts["test"][rest])
    labels = next((name for name in LABELS if name in own), "")
    held_out = parts[test] if test else {}
    return own[rest], own.get(labels, ""), held_out.get(rest, ""), held_out.get(labels, "")


def _rows_name(own: Mapping[str, str]) -> str | None:
    """The name of the rows among the names of a part, without that of the part; None if it is ambiguous."""
    others = [name for name in own if name not in LABELS]
    return next((name for name in ROWS if name in own), others[0] if len(others) == 1 else None)
