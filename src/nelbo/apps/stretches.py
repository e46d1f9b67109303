"""Where in a series it is odd: stretches of steps that together cost more nats than usual.

    e_t = what step t costs above usual  -  the standard deviation of that over usual series

Below 0 in the mean, e_t sums up to much only along an odd stretch. The odd stretches are the maximal scoring
subsequences of e_t (the largest sums of consecutive steps, none within another) beyond a limit that at most a given
share of usual series ever exceed.

Source: Ruzzo, Tompa (1999), A Linear Time Algorithm for Finding All Maximal Scoring Subsequences; Vovk, Gammerman,
Shafer (2005), Algorithmic Learning in a Random World.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nelbo.apps import conformal
from nelbo.apps.anomaly import Detector
from nelbo.data import Dataset
from nelbo.errors import UserError


@dataclass(frozen=True)
class Stretch:
    """Steps `start` to before `end` of the row of that number, and the nats that they cost above usual."""

    row: int
    start: int
    end: int
    nats: float


def heat(detector: Detector, data: Dataset) -> np.ndarray:
    """What each step costs above usual, its channels together, `(n, steps)` nats."""
    return detector.blame(data).sum(-1)


def find(detector: Detector, data: Dataset, false_alarms: float = 0.01) -> list[Stretch]:
    """The odd stretches of each row, in order. At most a share of `false_alarms` of usual rows has one.

    Steps that a row shares with the row before it, where both are cut from one recording, are that row's. Raises
    `UserError` where the data are no series, or the calibration rows too few.
    """
    if data.schema.kind != "series":
        raise UserError(f"stretches: the data are of kind {data.schema.kind}: give series")
    usual = heat(detector, detector.rows)
    spread = usual.std(0)
    limit = conformal.threshold(best_sums(usual - spread), false_alarms)
    cost = heat(detector, data)
    excess = cost - spread
    return [
        Stretch(row, start, end, float(cost[row, start:end].sum()))
        for row, (steps, shared) in enumerate(zip(excess, _shared(data), strict=True))
        for start, end in maximal(steps[shared:], limit, shared)
    ]


def best_sums(excess: np.ndarray) -> np.ndarray:
    """The largest sum of consecutive steps of each row `(n, steps)`, 0 for none.

    >>> best_sums(np.array([[1.0, -3.0, 2.0, 2.0, -1.0], [-1.0, -1.0, -1.0, -1.0, -1.0]])).tolist()
    [4.0, 0.0]
    """
    sums = np.pad(excess.astype(np.float64), ((0, 0), (1, 0))).cumsum(1)
    return (sums - np.minimum.accumulate(sums, 1)).max(1)


def maximal(excess: np.ndarray, limit: float, first: int = 0) -> Iterator[tuple[int, int]]:
    """(start, end) of the maximal scoring subsequences of sums above `limit`, in order.

    >>> list(maximal(np.array([-1.0, 3.0, -1.0, 2.0, -9.0, 5.0]), 3.0))
    [(1, 4), (5, 6)]
    """
    sums = np.concatenate([[0.0], excess.astype(np.float64)]).cumsum()
    gains = sums - np.minimum.accumulate(sums)
    end = int(gains.argmax())
    if not gains[end] > max(limit, 0.0):
        return
    start = end - 1 - int(sums[:end][::-1].argmin())  # the latest of the lowest: the shortest such stretch
    yield from maximal(excess[:start], limit, first)
    yield first + start, first + end
    yield from maximal(excess[end:], limit, first + end)


def _shared(data: Dataset) -> list[int]:
    """How many of each row's first steps the row before it has, too."""
    if data.origin is None:
        return [0] * len(data)
    steps, recording, start = data.schema.shape[0], *data.origin.numpy().T
    ahead = np.where(np.diff(recording, prepend=-1) == 0, steps - np.diff(start, prepend=0), 0)
    return ahead.clip(0, steps).tolist()
