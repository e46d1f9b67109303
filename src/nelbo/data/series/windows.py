"""Long recordings cut into windows of the same number of steps.

    window i of a recording covers its steps [i stride, i stride + window); the last one ends with the recording

so that every step is in a window, and none is made up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nelbo.errors import UserError


class Windows:
    """Rows `(n, window, channels)` of recordings `(steps, channels)`, read when they are asked for.

    Indexed by row numbers or a slice; `recording` `(n,)` is the number of the recording that a row is of, `start`
    `(n,)` its first step there. Raises `UserError` for a window that does not fit.
    """

    def __init__(self, recordings: Sequence[np.ndarray], window: int, stride: int, name: str) -> None:
        if window < 2 or not 1 <= stride <= window:
            raise UserError(
                f"window={window}, stride={stride}: give a window of 2 steps or more and a stride from 1 to it"
            )
        self.recordings, self.window = recordings, window
        starts = []
        for i, steps in enumerate(map(len, recordings)):
            if steps < window:
                which = f"{name}: series {i}" if len(recordings) > 1 else name
                raise UserError(f"{which} has {steps} steps, window={window}: give one of {steps} or less")
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
