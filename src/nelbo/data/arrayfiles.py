"""NumPy files: `.npy` and `.npz`. Nothing is ever unpickled."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nelbo.data.filerows import FileRows, rows_of
from nelbo.data.items import Items
from nelbo.data.layout import Layout, lay_out
from nelbo.errors import UserError

SUFFIXES = (".npy", ".npz")
PAIRS = (("x_train", "x_test", "y_train", "y_test"), ("train", "test", "", ""))
SINGLES = ("x", "X", "data", "images", "train")
LABELS = ("y", "Y", "labels")


@dataclass(frozen=True)
class Stored:
    """The arrays that a source holds: rows and labels of the training split, and of the test split if any."""

    name: str
    x: np.ndarray | Items | FileRows
    y: Any = None
    x_test: np.ndarray | None = None
    y_test: Any = None


def read(path: Path, member: str = "", layout: Layout = lay_out) -> Stored:
    """The arrays of a NumPy file; a `.npy` is not read yet; `member` selects one of an `.npz`.

    In an `.npz`, `x_train`, `x_test` (and `y_train`, `y_test`) or `train`, `test` are splits; otherwise `x`, `X`,
    `data`, `images` or `train` are rows and `y`, `Y` or `labels` their labels; otherwise the only array is it.
    Raises `UserError` if the file is damaged, needs pickle, or does not say which array is meant.
    """
    loaded = _open(path)
    if isinstance(loaded, np.ndarray):
        if member:
            raise UserError(f"{path}:{member}: the file holds one array without a name: leave :{member} out")
        return Stored(str(path), rows_of(loaded, str(path), layout))
    with loaded:
        if not member:
            return _splits(path, loaded)
        if member not in loaded.files:
            raise UserError(f"{path}: holds no array {member!r}: choose among {', '.join(loaded.files)}")
        return Stored(f"{path}:{member}", _array(path, loaded, member))


def _open(path: Path) -> Any:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # a damaged file fails in many ways
        raise _damaged(path, error) from None


def _damaged(path: str | Path, error: Exception) -> UserError:
    if "pickle" in str(error) or "Object arrays" in str(error):
        return UserError(f"{path}: is no array of numbers (pickle is never loaded): save plain numbers by numpy.save")
    reason = (str(error) or type(error).__name__).splitlines()[0]
    return UserError(f"{path}: cannot be read ({reason}): if it is damaged or cut off, save or download it again")


def _array(path: Path, loaded: Any, name: str) -> np.ndarray:
    try:
        return loaded[name]
    except Exception as error:
        raise _damaged(f"{path}:{name}", error) from None


def _splits(path: Path, loaded: Any) -> Stored:
    """The arrays that the names in an `.npz` point out."""
    names = loaded.files

    def get(name: str) -> np.ndarray | None:
        return _array(path, loaded, name) if name in names else None

    for x, x_test, y, y_test in PAIRS:
        if x in names and x_test in names:
            return Stored(str(path), _array(path, loaded, x), get(y), get(x_test), get(y_test))
    if "x_train" in names:
        return Stored(str(path), _array(path, loaded, "x_train"), get("y_train"))
    single = next((name for name in SINGLES if name in names), names[0] if len(names) == 1 else "")
    if not single:
        listed = ", ".join(names) or "nothing"
        raise UserError(f"{path}: holds {listed}: say which array is meant, as in {path.name}:{next(iter(names), 'x')}")
    return Stored(str(path), _array(path, loaded, single), get(next((y for y in LABELS if y in names), "")))
