"""What the tutorial takes from torchvision, done as torchvision does it: data set, transforms, grids; and its curves.

torchvision itself cannot be installed beside the torch that is pinned here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import common
import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F
from torch.utils.data import Dataset


def to_tensor(image: Image.Image) -> torch.Tensor:
    """uint8 (height, width, channel) to float (channel, height, width) in [0, 1]."""
    raw = torch.from_numpy(np.array(image, np.uint8, copy=True)).view(image.size[1], image.size[0], 1)
    return raw.permute(2, 0, 1).contiguous().to(torch.get_default_dtype()).div(255)


def normalize(x: torch.Tensor, mean: tuple[float, ...] = (0.5,), std: tuple[float, ...] = (0.5,)) -> torch.Tensor:
    """(x - mean) / std, channel by channel: [0, 1] to [-1, 1]."""
    middle, scale = torch.as_tensor(mean, dtype=x.dtype), torch.as_tensor(std, dtype=x.dtype)
    if (scale == 0).any():
        raise ValueError("std has a zero")
    return x.clone().sub_(middle.view(-1, 1, 1)).div_(scale.view(-1, 1, 1))


class Digits(Dataset[tuple[torch.Tensor, int]]):
    """Each digit becomes a PIL image and goes through both transforms whenever it is asked for."""

    def __init__(self, path: Path, split: str) -> None:
        self.images, self.labels = (torch.from_numpy(common.array(path, f"{name}_{split}")) for name in "xy")

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image, label = Image.fromarray(self.images[index].numpy()), int(self.labels[index])
        return normalize(to_tensor(image)), label


def save_image(images: torch.Tensor, path: Path) -> None:
    """A grid of digits in [0, 1], eight a row, two black pixels between them."""
    cells = F.pad(images.reshape(-1, 8, 28, 28), (2, 0, 2, 0))
    sheet = F.pad(cells.permute(0, 2, 1, 3).reshape(-1, 8 * 30), (0, 2, 0, 2))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sheet.mul(255).add(0.5).clamp(0, 255).to(torch.uint8).numpy()).save(path)


def save_curves(train: Sequence[float], test: Sequence[float], path: Path) -> None:
    """The losses of each epoch."""
    plt.figure(figsize=(10, 5))
    plt.plot(train, label="Training Loss")
    plt.plot(test, label="Test Loss")
    plt.title("Training and Test Loss")
    plt.xlabel("Epoch")
    plt.ylabel("Loss")
    plt.legend()
    plt.savefig(path)
    plt.close()
