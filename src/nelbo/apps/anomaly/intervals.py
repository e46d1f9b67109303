"""Where in a series it is odd: stretches of steps that together cost more nats than usual.

    e_t = what step t costs above usual  -  the standard deviation of that over usual series

Below 0 in the mean, e_t sums up to much only along an odd stretch. The odd stretches are the maximal scoring
subsequences of e_t (the largest sums of consecutive steps, none within another) beyond a limit that at most a given
share of usual series ever exceed. What is odd draws the code away from the rest of its series, which then looks odd,
too: so where there is such a stretch, the costliest of its steps are hidden from the encoder, and all steps are judged
once more, by what the rest of the series says.

Source: Ruzzo, Tompa (1999), A Linear Time Algorithm for Finding All Maximal Scoring Subsequences; Vovk, Gammerman,
Shafer (2005), Algorithmic Learning in a Random World.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from nelbo.apps.anomaly import detector as conformal
from nelbo.apps.anomaly import scores
from nelbo.apps.anomaly.detector import Detector
from nelbo.data import Dataset

CORE = 0.25  # of the costliest step of a stretch: steps that cost more are hidden


@dataclass(frozen=True)
class AnomalousInterval:
    """Steps `start` to before `end` of the row of that number, and the nats that they cost above usual."""

    row: int
    start: int
    end: int
    nats: float


@dataclass(frozen=True)
class IntervalResult:
    """The odd `intervals` of n series, row by row, and what they were told by.

    `step_scores` `(n, steps)` is what each step costs above usual, nats; `expected` `(n, steps, channels)`, in the data's
    units, is what the rest of the series says of it.
    """

    intervals: list[AnomalousInterval]
    step_scores: np.ndarray
    expected: np.ndarray


def find_intervals(detector: Detector, data: Dataset, alpha: float = 0.01) -> IntervalResult:
    """The odd stretches of each row. At most a share of `alpha` of usual rows has one.

    Steps that a row shares with the row before it, where both are cut from one recording, are that row's. Raises
    `UserError` where the data are no series, or the calibration rows too few.
    """
    data.schema.require_kind("stretches", "series")
    usual = detector.feature_scores(detector.calibration_data).sum(-1)
    spread = usual.std(0)
    limit = conformal.threshold(best_sums(usual - spread), alpha)

    def stretches_in(cost: np.ndarray, shared: int = 0) -> list[tuple[int, int]]:
        return list(maximal_subsequences((cost - spread)[shared:], limit, shared))

    with torch.no_grad():
        told = detector.model.map_batches(data, partial(_judge, detector, stretches_in))
    first, again, expected = told[..., 0], told[..., 1], told[..., 2:]
    found, heat = [], first.copy()
    for row, shared in enumerate(_shared(data)):
        if own := stretches_in(first[row], shared):
            if closer := stretches_in(again[row], shared):
                own, heat[row] = closer, again[row]
            found += [AnomalousInterval(row, start, end, float(heat[row, start:end].sum())) for start, end in own]
    return IntervalResult(found, heat, expected)


def _judge(
    detector: Detector, stretches_in: Callable[[np.ndarray], list[tuple[int, int]]], x: Tensor, c: Tensor | None
) -> Tensor:
    """What each step costs above usual, the same by what the rest says; and that: `(batch, steps, 2 + channels)`."""
    vae, usual = detector.model.vae, torch.from_numpy(detector.baseline).to(x)
    first = (scores.of_elements(vae, x, c) - usual).sum(-1)
    hidden = torch.zeros_like(first, dtype=torch.bool)
    for i, cost in enumerate(first.cpu().numpy()):
        for start, end in stretches_in(cost):
            hidden[i, start:end] = torch.from_numpy(cost[start:end] > CORE * cost[start:end].max())
    d = scores.at_mean(vae, x.masked_fill(hidden.unsqueeze(-1), torch.nan), c)
    again = (scores.elements_under(d, x) - usual).sum(-1)
    return torch.cat([torch.stack([first, again], -1), detector.model.schema.decode(d.mean)], -1)


def best_sums(excess: np.ndarray) -> np.ndarray:
    """The largest sum of consecutive steps of each row `(n, steps)`, 0 for none.

    >>> best_sums(np.array([[1.0, -3.0, 2.0, 2.0, -1.0], [-1.0, -1.0, -1.0, -1.0, -1.0]])).tolist()
    [4.0, 0.0]
    """
    sums = np.pad(excess.astype(np.float64), ((0, 0), (1, 0))).cumsum(1)
    return (sums - np.minimum.accumulate(sums, 1)).max(1)


def maximal_subsequences(excess: np.ndarray, limit: float, first: int = 0) -> Iterator[tuple[int, int]]:
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
    yield from maximal_subsequences(excess[:start], limit, first)
    yield first + start, first + end
    yield from maximal_subsequences(excess[end:], limit, first + end)


def _shared(data: Dataset) -> list[int]:
    """How many of each row's first steps the row before it has, too."""
    if data.origin is None:
        return [0] * len(data)
    steps, recording, start = data.schema.shape[0], *data.origin.numpy().T
    ahead = np.where(np.diff(recording, prepend=-1) == 0, steps - np.diff(start, prepend=0), 0)
    return ahead.clip(0, steps).tolist()
