"""Data sets known by name: MNIST (bundled) and Fashion-MNIST (from the four IDX files).

Sources: LeCun, Bottou, Bengio, Haffner (1998), Gradient-Based Learning Applied to Document Recognition; Xiao,
Rasul, Vollgraf (2017), Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms.
"""

from __future__ import annotations

import math
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from nelbo.data.arrays import npy
from nelbo.data.arrays.npy import LoadedArrays
from nelbo.data.text.files import opened
from nelbo.errors import UserError

CLASSES = {
    "mnist": tuple("0123456789"),
    "fashion-mnist": (
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    ),
}  # fmt: skip
BUNDLED = Path(__file__).parents[1] / "files" / "mnist.npz"
SYSTEM_FASHION = Path("/usr/share/datasets/fashion-mnist")
IDX_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def read(name: str, data_root: str | Path | None = None) -> LoadedArrays:
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
            return LoadedArrays(name, *map(read_idx, found))
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
    try:
        with opened(path) as file:
            data = file.read()
        zeros, code, ndim = struct.unpack_from(">HBB", data)
        shape = struct.unpack_from(f">{ndim}I", data, 4)
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise UserError(f"{path}: cannot be read as IDX ({error}): download it again") from None
    start = 4 + 4 * ndim
    if (zeros, code) != (0, 8) or len(data) - start != math.prod(shape):
        raise UserError(f"{path}: is no whole IDX file of bytes, {len(data)} bytes for {shape}: download it again")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)
