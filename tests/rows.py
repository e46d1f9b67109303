"""Small pictures and vectors, and how to see all of a dataset, for the tests of data."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset as TorchDataset

from nelbo.data import (
    Arrays,
    Data,
    Dataset,
    Schema,
    Subset,
)
from nelbo.errors import UserError

RNG = np.random.default_rng(0)
GREYS = np.concatenate([np.arange(256), RNG.integers(0, 256, 194)]).astype(np.uint8).reshape(15, 5, 6)
COLOURS = RNG.integers(0, 256, (12, 5, 6, 3), dtype=np.uint8)
VECTORS = RNG.normal([3.0, -50.0, 1e6], [2.0, 0.1, 30.0], (40, 3))
BYTES = Schema("image", (1, 5, 6), (0.0,), (255.0,), "unit")


def everything(dataset: Dataset) -> torch.Tensor:
    return dataset.batch(torch.arange(len(dataset)))


def both(data: Data) -> torch.Tensor:
    """All rows of a random split, in the order of the source."""
    rows = torch.empty(len(data.train) + len(data.test), *data.schema.shape)
    rows[index(data.train)], rows[index(data.test)] = everything(data.train), everything(data.test)
    return rows


def whole(part: Dataset) -> Dataset:
    return part.whole if isinstance(part, Subset) else part


def index(part: Dataset) -> torch.Tensor:
    assert isinstance(part, Subset)
    return part.index


def raw(part: Dataset) -> torch.Tensor:
    """What lies in memory: of a split, the rows of both sides."""
    resident = whole(part)
    assert isinstance(resident, Arrays)
    return resident.raw


def labels(part: Dataset) -> torch.Tensor:
    assert part.labels is not None
    return part.labels


def save(folder: Path, pictures: np.ndarray, suffix: str = ".png") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i, pixels in enumerate(pictures):
        Image.fromarray(pixels).save(folder / f"{i:03d}{suffix}")
    return folder


def refused(action: Callable[[], Any], *says: str) -> None:
    with pytest.raises(UserError) as caught:
        action()
    message = str(caught.value)
    assert "\n" not in message and re.search(r": .+", message), message
    assert all(part in message for part in says), message


def cut(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])


class Numbered(TorchDataset):  # type: ignore[type-arg]
    """Items (x, y) of a Torch dataset, some of them of another shape."""

    def __init__(self, x: np.ndarray, odd: int = -1) -> None:
        self.x, self.odd = x, odd

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> tuple[Any, int]:
        return (self.x[i, :-1] if i == self.odd else self.x[i]), i


class Listed(TorchDataset):  # type: ignore[type-arg]
    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: int) -> Any:
        return self.items[i]
