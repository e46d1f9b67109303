"""Which rows are held out of training."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from nelbo.data.dataset import Data, Dataset, subset
from nelbo.data.series.windows import Windows
from nelbo.errors import UserError


def at_random(n: int, name: str, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Row numbers to train on and to hold out, each in order; at least one of each."""
    if n < 2:
        raise UserError(f"{name}: holds {n} row: give at least 2, one to train on and one to hold out")
    held_out = min(max(round(n * fraction), 1), n - 1)
    test = torch.zeros(n, dtype=torch.bool)
    test[torch.randperm(n, generator=torch.Generator().manual_seed(seed))[:held_out]] = True
    return (~test).nonzero().flatten(), test.nonzero().flatten()


def split_at_random(whole: Dataset, name: str, fraction: float, seed: int, label: str = "") -> Data:
    """The rows in two splits; `label` is what messages call them, if it is not the name."""
    train, test = at_random(len(whole), label or name, fraction, seed)
    return Data(name, subset(whole, train), subset(whole, test))


def of_windows(rows: Windows, name: str, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """The same of windows, no two of which share a step: whole recordings, or of only one the last part."""
    if len(rows.recordings) > 1:
        _, chosen = at_random(len(rows.recordings), name, fraction, seed)
        test = np.isin(rows.recording, chosen.numpy())
        train = ~test
    else:
        last = rows.start[-max(round(len(rows.start) * fraction), 1)]
        test, train = rows.start >= last, rows.start + rows.window <= last
    if not train.any():
        raise UserError(
            f"{name}: is cut into {len(rows.start)} windows, of which none is left to train on beside one to hold out: "
            f"give a shorter window than {rows.window}"
        )
    return torch.from_numpy(train.nonzero()[0]), torch.from_numpy(test.nonzero()[0])
