"""From what a user names to arrays: names, strings, paths, arrays, tensors, Torch datasets.

The named data sets are MNIST (bundled) and Fashion-MNIST (from the four IDX files).

Source: LeCun, Bottou, Bengio, Haffner (1998), Gradient-Based Learning Applied to Document Recognition; Xiao, Rasul,
Vollgraf (2017), Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset
from torch.utils.data import Dataset as TorchDataset

from nelbo.data.arrays import npy
from nelbo.data.arrays.infer import RawSplit
from nelbo.data.arrays.layout import Items, Layout, as_batch_layout, to_numpy
from nelbo.data.arrays.npy import LoadedArrays
from nelbo.data.dataset import fits_memory
from nelbo.data.labels import labels_of
from nelbo.errors import UserError
from nelbo.reading import damaged, exists, is_file, not_read, opened

CLASSES = {
    "mnist": tuple("0123456789"),
    "fashion-mnist": (
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    ),
}  # fmt: skip
BUNDLED = Path(__file__).parent / "files" / "mnist.npz"
SYSTEM_FASHION = Path("/usr/share/datasets/fashion-mnist")
IDX_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def read_named(name: str, data_root: str | Path | None = None) -> LoadedArrays:
    """The arrays of a data set named in `CLASSES`.

    IDX files, plain or `.gz`, are looked for in `data_root` as torchvision lays them out (`MNIST/raw`,
    `FashionMNIST/raw`) and in `data_root` itself. Raises `UserError` if they are nowhere.
    """
    folder = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST"}[name]
    places = [Path(data_root) / folder / "raw", Path(data_root)] if data_root is not None else []
    if name == "fashion-mnist":
        places.append(SYSTEM_FASHION)
    for place in places:
        if found := _idx_files(place):
            x, y, x_test, y_test = map(read_idx, found)
            return LoadedArrays(name, x, y, x_test, y_test)
    if name == "mnist":
        return replace(npy.read(BUNDLED), name=name)
    looked = ", ".join(map(str, places))
    raise UserError(
        f"{name}: not found in {looked}: apt install dataset-fashion-mnist, or --data-root with the four IDX files"
    )


def _idx_files(place: Path) -> list[Path]:
    """Training rows and labels, test rows and labels; empty unless all four are there."""
    choices = [(place / name, place / f"{name}.gz") for name in IDX_FILES]
    found = [next((path for path in pair if path.is_file()), None) for pair in choices]
    return [path for path in found if path] if all(found) else []


def read_idx(path: Path) -> np.ndarray:
    """The uint8 array in an IDX file, plain or gzipped; `UserError` if it is damaged."""
    with opened(path) as file, damaged(path, "cannot be read as IDX", "download it again"):
        data = file.read()
        zeros, code, ndim = struct.unpack_from(">HBB", data)
        shape = struct.unpack_from(f">{ndim}I", data, 4)
    start = 4 + 4 * ndim
    if (zeros, code) != (0, 8) or len(data) - start != math.prod(shape):
        raise UserError(f"{path} is not a complete IDX file of bytes, {len(data)} bytes for {shape}: download it again")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def locate(source: Any) -> Path | None:
    """The folder or picture that a source names; None for any other source.

    Raises `UserError` for a string that is neither a known name nor an existing path.
    """
    if not isinstance(source, str | Path) or _known_name(source) or _array_file(source):
        return None
    path = Path(source).expanduser()
    if str(source) and exists(path):
        return path
    close = get_close_matches(str(source).lower(), CLASSES, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}?" if close else "give a path that exists"
    raise UserError(f"{str(source) or repr(source)}: no such file or folder, nor one of {', '.join(CLASSES)}: {hint}")


def read(source: Any, data_root: str | Path | None = None, layout: Layout = as_batch_layout) -> LoadedArrays:
    """Read the arrays of any source other than picture files; raises `UserError` if it has none."""
    if isinstance(source, str | Path):
        if name := _known_name(source):
            return read_named(name, data_root)
        if found := _array_file(source):
            return npy.read(*found, layout)
        raise not_read(source)
    if isinstance(source, DataLoader):
        return read(source.dataset, data_root, layout)
    if isinstance(source, Mapping):
        return _of_names(source)
    if isinstance(source, tuple):
        return _of_tuple(source)
    if isinstance(source, TorchDataset) or _is_map_style(source):
        return _items(source, layout)
    return LoadedArrays("array", _array(source))


def _of_names(source: Mapping[Any, Any]) -> LoadedArrays:
    """The arrays of a dictionary, by their names; see `npy.chosen_names`."""
    try:
        chosen = npy.chosen_names([str(name) for name in source], "the dictionary")
    except UserError:
        raise UserError(
            f"a dictionary of {', '.join(map(str, source)) or 'nothing'}: give rows and labels as x and y, or as "
            "x_train, y_train, x_test and y_test; or columns as pandas.DataFrame(dictionary)"
        ) from None
    found = {str(name): value for name, value in source.items()}
    x, y, x_test, y_test = (found.get(name) for name in chosen)
    return LoadedArrays("array", _array(x), y, None if x_test is None else _array(x_test), y_test)


def _of_tuple(source: tuple[Any, ...]) -> LoadedArrays:
    """(x, y), or the pairs of a training, perhaps a validation, and a test part."""
    if len(source) in (2, 3) and all(isinstance(part, tuple) and len(part) == 2 for part in source):
        (x, y), (x_test, y_test) = source[0], source[-1]
        return LoadedArrays("array", _array(x), y, _array(x_test), y_test)
    if len(source) != 2:
        raise UserError(
            f"a tuple of {len(source)} is not a data source: give (x, y), rows and their labels, or "
            "((x, y), (x_test, y_test))"
        )
    return LoadedArrays("array", _array(source[0]), source[1])


def _is_map_style(source: Any) -> bool:
    """Whether a source is a dataset of another class than torch's, or a list of pairs (x, y) or dictionaries."""
    if isinstance(source, list) and source and all(isinstance(item, tuple) and len(item) == 2 for item in source):
        return bool(np.ndim(source[0][0]))
    if isinstance(source, list) and source and all(isinstance(item, Mapping) for item in source):
        return True
    other = str | bytes | bytearray | Sequence | np.ndarray | Tensor
    methods = all(callable(getattr(source, name, None)) for name in ("__len__", "__getitem__"))
    return methods and not isinstance(source, other) and getattr(source, "shape", None) is None


def parts(
    stored: LoadedArrays, classes: tuple[str, ...] = (), layout: Layout = as_batch_layout
) -> tuple[RawSplit, RawSplit | None, tuple[str, ...]]:
    """Training rows, test rows if any, and the names of the classes: `classes`, then new ones in order.

    Raises `UserError` for inconsistent shapes or labels.
    """
    classes = classes or stored.classes or CLASSES.get(stored.name, ())
    found = [(stored.name, stored.x, stored.y)]
    if stored.x_test is not None:
        found = [(f"{stored.name} train", stored.x, stored.y), (f"{stored.name} test", stored.x_test, stored.y_test)]
    found = [(name, layout(x, name) if isinstance(x, np.ndarray) else x, y) for name, x, y in found]
    labels, classes = labels_of([None if y is None else (name, y, x.shape[0]) for name, x, y in found], classes)
    made = [RawSplit(name, x, y) for (name, x, _), y in zip(found, labels, strict=True)]
    train, test = made[0], made[1] if len(made) == 2 else None
    if test is not None and train.shape != test.shape:
        raise UserError(
            f"{stored.name}: train rows have shape {train.shape}, test rows {test.shape}: give both the same shape"
        )
    return train, test, classes


def _known_name(source: str | Path) -> str:
    name = str(source).lower().replace("_", "-") if isinstance(source, str) else ""
    return name if name in CLASSES else ""


def _array_file(source: str | Path) -> tuple[Path, str] | None:
    """(path, member) if the source names a NumPy file that exists, as `file.npz` or `file.npz:member`."""
    text = str(Path(source).expanduser())
    for path, member in ((text, ""), text.rpartition(":")[::2]):
        if path.endswith(npy.SUFFIXES) and is_file(path):
            return Path(path), member
    return None


def _array(x: Any) -> np.ndarray:
    """An array of an object that holds one; raises `UserError`, with a remedy, for any other."""
    name = type(x).__name__
    if isinstance(x, Tensor):
        if x.layout != torch.strided:
            raise UserError(f"a {name} of layout {x.layout} is not a data source: give x.to_dense()")
        return to_numpy(x)
    if isinstance(x, np.ma.MaskedArray):
        raise UserError("a masked array is not a data source: fill it with x.filled(0), or drop its masked rows")
    if callable(getattr(x, "toarray", None)):  # SciPy
        raise UserError(f"a {name} is sparse: give x.toarray()")
    if isinstance(x, Iterator):
        raise UserError(f"a {name} is not a data source, as it has no length: give list(x)")
    if isinstance(x, list | tuple):
        x = _stacked(x)
    elif not isinstance(x, np.ndarray) and not (
        callable(getattr(x, "__array__", None)) and len(getattr(x, "shape", ())) > 0
    ):
        raise UserError(f"a {name} is not a data source: give an array, a table, (x, y), a Torch dataset, a path")
    with damaged(f"a {name}", "is not an array", "give a NumPy array"):
        array = np.asarray(x)
    if array.dtype == object and array.size and all(isinstance(value, int | float | np.number) for value in array.flat):
        return array.astype(np.float64)
    return array


def _stacked(items: list[Any] | tuple[Any, ...]) -> np.ndarray:
    """The items of a list as rows of one array."""
    with damaged("a list", "is not a data source", "give arrays or numbers of one shape, an array, or a table"):
        rows = [to_numpy(item) if isinstance(item, Tensor) else np.asarray(item) for item in items]
        shapes = {row.shape for row in rows}
        if len(shapes) > 1:
            raise UserError(
                f"a list has items of the shapes {sorted(shapes)[0]} and {sorted(shapes)[-1]}: give one "
                "shape; pictures as Pillow pictures or files, with size=64 (--size 64)"
            )
        if not rows or rows[0].dtype.kind not in "biufc":
            held = f"items of type {type(items[0]).__name__}" if items else "no item"
            raise UserError(f"a list of {held} is not a data source: give arrays or numbers of one shape, or strings")
        return np.stack(rows)


def _items(source: Any, layout: Layout) -> LoadedArrays:
    """A Torch dataset: read into memory if it fits, else read on demand."""
    name = type(source).__name__
    if isinstance(source, IterableDataset) or not callable(getattr(source, "__len__", None)):
        raise UserError(f"{name} is not a map-style dataset: give one with a length, whose items are x or (x, y)")
    if len(source) == 0:
        raise UserError(f"{name} is empty: give at least one item")
    names = getattr(source, "classes", None)
    classes = tuple(names) if isinstance(names, list | tuple) and all(isinstance(c, str) for c in names) else ()
    items = Items(source, name, layout)
    if fits_memory(int(np.prod(items.shape)) * items.dtype.itemsize):
        return LoadedArrays(name, *items.read(), classes=classes)
    return LoadedArrays(name, items, items.labels(), classes=classes)
