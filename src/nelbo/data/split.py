"""Splits of data into training and test rows, and windows of long recordings.

    window i of a recording covers its steps [i stride, i stride + window); the last one ends with the recording

so that every step is in a window. A recording shorter than a window is padded with NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nelbo.data.dataset import Dataset, DataSplits, subset
from nelbo.errors import UserError

RANDOM_SPLIT = "chosen at random"


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
    return DataSplits(name, subset(whole, train), subset(whole, test), RANDOM_SPLIT)


def of_windows(
    rows: Windows, name: str, fraction: float, seed: int, units: np.ndarray | None = None
) -> tuple[Tensor, Tensor]:
    """Split windows so that no step is in both splits.

    Random recordings are held out, or random units if `units` has the unit of each recording; of a single unit, whose
    recordings are in order of time, the last part.
    """
    unit = (np.arange(len(rows.recordings)) if units is None else units)[rows.recording]
    count = int(unit.max()) + 1
    if count > 1:
        _, chosen = at_random(count, name, fraction, seed)
        test = np.isin(unit, chosen.numpy())
        train = ~test
    else:
        first = len(rows.start) - max(round(len(rows.start) * fraction), 1)
        same = rows.recording == rows.recording[first]
        test = (rows.recording > rows.recording[first]) | same & (rows.start >= rows.start[first])
        train = ~test & (~same | (rows.start + rows.window <= rows.start[first]))
    if not train.any():
        raise UserError(
            f"{name}: {len(rows.start)} windows of {rows.window} steps are too few for training and test windows "
            f"that share no step: use a shorter window than {rows.window}"
        )
    return torch.from_numpy(train.nonzero()[0]), torch.from_numpy(test.nonzero()[0])


class Windows:
    """Rows `(n, window, channels)` of recordings `(steps, channels)`, read on demand.

    Rows are indexed by row indices or a slice. `recording` `(n,)` is the index of a row's recording, `start` `(n,)` its
    first step there. Raises `UserError` if no recording has as many steps as a window.
    """

    def __init__(self, recordings: Sequence[np.ndarray], window: int, stride: int, name: str) -> None:
        if window < 2 or not 1 <= stride <= window:
            raise UserError(
                f"window={window}, stride={stride}: use a window of at least 2 steps, and a stride from 1 to the window"
            )
        longest = int(np.argmax([len(of) for of in recordings]))
        if (steps := len(recordings[longest])) < window:
            which = f"{name}: series {longest}" if len(recordings) > 1 else name
            raise UserError(f"{which} has {steps} steps, window={window}: use a window of {steps} or less")
        self._cut(recordings, window, stride)

    @classmethod
    def whole(cls, recordings: Sequence[np.ndarray], steps: int = 0) -> Windows:
        """Each recording as one row, or as several of `steps` steps, however short it is."""
        rows = cls.__new__(cls)
        longest = steps or max(map(len, recordings))
        rows._cut(recordings, longest, longest)
        return rows

    def _cut(self, recordings: Sequence[np.ndarray], window: int, stride: int) -> None:
        self.recordings, self.window, starts = recordings, window, []
        for steps in map(len, recordings):
            first = np.arange(0, max(steps - window, 0) + 1, stride)
            starts.append(first if first[-1] >= steps - window else np.append(first, steps - window))
        self.recording = np.repeat(np.arange(len(recordings)), [len(of) for of in starts])
        self.start = np.concatenate(starts)
        self.shape = (len(self.start), window, recordings[0].shape[1])
        short = any(len(of) < window for of in recordings)
        self.dtype: np.dtype[Any] = np.result_type(*{of.dtype for of in recordings}, *[np.float32] * short)

    def __getitem__(self, index: slice | np.ndarray) -> np.ndarray:
        chosen = list(zip(self.recording[index].tolist(), self.start[index].tolist(), strict=True))
        rows = np.full((len(chosen), *self.shape[1:]), np.nan if self.dtype.kind == "f" else 0, self.dtype)
        for row, (i, first) in zip(rows, chosen, strict=True):
            steps = self.recordings[i][first : first + self.window]
            row[: len(steps)] = steps
        return rows
