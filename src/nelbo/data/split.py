"""Splits of data into training and test rows, and windows of long recordings.

    window i of a recording covers its steps [i stride, i stride + window); the last one ends with the recording

so that every step is in a window, without padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nelbo.data.dataset import Dataset, DataSplits, subset
from nelbo.errors import UserError


def at_random(n: int, name: str, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Split row indices at random into training and test rows, each sorted; at least one of each."""
    if n < 2:
        raise UserError(f"{name} has {n} row: give at least 2, one for training and one for testing")
    held_out = min(max(round(n * fraction), 1), n - 1)
    test = torch.zeros(n, dtype=torch.bool)
    test[torch.randperm(n, generator=torch.Generator().manual_seed(seed))[:held_out]] = True
    return (~test).nonzero().flatten(), test.nonzero().flatten()


def split_at_random(whole: Dataset, name: str, fraction: float, seed: int, label: str = "") -> DataSplits:
    """Split a dataset at random; `label` is its name in messages, if it differs from `name`."""
    train, test = at_random(len(whole), label or name, fraction, seed)
    return DataSplits(name, subset(whole, train), subset(whole, test))


def of_windows(rows: Windows, name: str, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Split windows so that no step is in both splits: whole recordings, or the last part of a single one."""
    if len(rows.recordings) > 1:
        _, chosen = at_random(len(rows.recordings), name, fraction, seed)
        test = np.isin(rows.recording, chosen.numpy())
        train = ~test
    else:
        last = rows.start[-max(round(len(rows.start) * fraction), 1)]
        test, train = rows.start >= last, rows.start + rows.window <= last
    if not train.any():
        raise UserError(
            f"{name}: {len(rows.start)} windows of {rows.window} steps are too few for training and test windows "
            f"that share no step: use a shorter window than {rows.window}"
        )
    return torch.from_numpy(train.nonzero()[0]), torch.from_numpy(test.nonzero()[0])


class Windows:
    """Rows `(n, window, channels)` of recordings `(steps, channels)`, read on demand.

    Rows are indexed by row indices or a slice. `recording` `(n,)` is the index of a row's recording, `start` `(n,)` its
    first step there. Raises `UserError` for a window that does not fit.
    """

    def __init__(self, recordings: Sequence[np.ndarray], window: int, stride: int, name: str) -> None:
        if window < 2 or not 1 <= stride <= window:
            raise UserError(
                f"window={window}, stride={stride}: use a window of at least 2 steps, and a stride from 1 to the window"
            )
        self.recordings, self.window = recordings, window
        starts = []
        for i, steps in enumerate(map(len, recordings)):
            if steps < window:
                which = f"{name}: series {i}" if len(recordings) > 1 else name
                raise UserError(f"{which} has {steps} steps, window={window}: use a window of {steps} or less")
            first = np.arange(0, steps - window + 1, stride)
            starts.append(first if first[-1] == steps - window else np.append(first, steps - window))
        self.recording = np.repeat(np.arange(len(recordings)), [len(of) for of in starts])
        self.start = np.concatenate(starts)
        self.shape = (len(self.start), window, recordings[0].shape[1])
        self.dtype: np.dtype[Any] = recordings[0].dtype

    def __getitem__(self, index: slice | np.ndarray) -> np.ndarray:
        chosen = zip(self.recording[index].tolist(), self.start[index].tolist(), strict=True)
        rows = [self.recordings[i][first : first + self.window] for i, first in chosen]
        return np.stack(rows) if rows else np.empty((0, *self.shape[1:]), self.dtype)
