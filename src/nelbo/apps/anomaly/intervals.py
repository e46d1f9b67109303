"""Anomalous intervals of series: consecutive steps whose scores together exceed those of normal series.

    e_t = score of step t above its mean over normal series  -  the standard deviation of that over normal series

As e_t has a mean below 0, only anomalous intervals have large sums. The intervals are the maximal scoring subsequences
of e_t (the largest sums of consecutive steps, none within another) beyond a limit that at most a given share of normal
series ever exceed. An anomaly shifts the embedding, so that the rest of its series looks anomalous, too: if there is
such an interval, its steps of highest score are hidden from the encoder, and all steps are scored again, given the
rest of the series.

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

from nelbo.apps.anomaly import scores
from nelbo.apps.anomaly.detector import Detector, threshold
from nelbo.data import Dataset

CORE = 0.25  # fraction of the highest score of an interval: steps with a higher score are hidden


@dataclass(frozen=True)
class AnomalousInterval:
    """Steps `start` to before `end` of the row with index `row`, and their score in nats above the mean."""

    row: int
    start: int
    end: int
    nats: float


@dataclass(frozen=True)
class IntervalResult:
    """The anomalous `intervals` of n series, row by row.

    `step_scores` `(n, steps)` is the score of each step above the mean, nats; `expected` `(n, steps, channels)`, in the
    data's units, is the expectation given the rest of the series.
    """

    intervals: list[AnomalousInterval]
    step_scores: np.ndarray
    expected: np.ndarray


def find_intervals(detector: Detector, data: Dataset, alpha: float = 0.01) -> IntervalResult:
    """Find the anomalous intervals of each row.

    A step that successive rows of one recording share belongs to the earlier row.

    Args:
        detector: the detector, calibrated on normal series.
        data: the series.
        alpha: the largest share of normal rows that have an interval.

    Raises `UserError` if the data are not series, or the calibration rows are too few.
    """
    data.schema.require_kind("find_intervals", "series")
    normal = detector.feature_scores(detector.calibration_data).sum(-1)
    spread = normal.std(0)
    limit = threshold(best_sums(normal - spread), alpha)

    def intervals_in(cost: np.ndarray, shared: int = 0) -> list[tuple[int, int]]:
        return list(maximal_subsequences((cost - spread)[shared:], limit, shared))

    with torch.no_grad():
        told = detector.model.map_batches(data, partial(_judge, detector, intervals_in))
    first, again, expected = told[..., 0], told[..., 1], told[..., 2:]
    found, heat = [], first.copy()
    for row, shared in enumerate(_shared(data)):
        if own := intervals_in(first[row], shared):
            if closer := intervals_in(again[row], shared):
                own, heat[row] = closer, again[row]
            found += [AnomalousInterval(row, start, end, float(heat[row, start:end].sum())) for start, end in own]
    return IntervalResult(found, heat, expected)


def _judge(
    detector: Detector, intervals_in: Callable[[np.ndarray], list[tuple[int, int]]], x: Tensor, c: Tensor | None
) -> Tensor:
    """Scores of the steps above the mean, also given the rest, and expectations: `(batch, steps, 2 + channels)`."""
    vae, baseline = detector.model.vae, torch.from_numpy(detector.baseline).to(x)
    first = (scores.of_elements(vae, x, c) - baseline).sum(-1)
    hidden = torch.zeros_like(first, dtype=torch.bool)
    for i, cost in enumerate(first.cpu().numpy()):
        for start, end in intervals_in(cost):
            hidden[i, start:end] = torch.from_numpy(cost[start:end] > CORE * cost[start:end].max())
    d = scores.at_mean(vae, x.masked_fill(hidden.unsqueeze(-1), torch.nan), c)
    again = (scores.elements_under(d, x) - baseline).sum(-1)
    return torch.cat([torch.stack([first, again], -1), detector.model.schema.decode(d.mean)], -1)


def best_sums(excess: np.ndarray) -> np.ndarray:
    """The largest sum of consecutive steps of each row `(n, steps)`, at least 0.

    >>> best_sums(np.array([[1.0, -3.0, 2.0, 2.0, -1.0], [-1.0, -1.0, -1.0, -1.0, -1.0]])).tolist()
    [4.0, 0.0]
    """
    sums = np.pad(excess.astype(np.float64), ((0, 0), (1, 0))).cumsum(1)
    return (sums - np.minimum.accumulate(sums, 1)).max(1)


def maximal_subsequences(excess: np.ndarray, limit: float, first: int = 0) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of the maximal scoring subsequences with sums above `limit`, in order.

    >>> list(maximal_subsequences(np.array([-1.0, 3.0, -1.0, 2.0, -9.0, 5.0]), 3.0))
    [(1, 4), (5, 6)]
    """
    sums = np.concatenate([[0.0], excess.astype(np.float64)]).cumsum()
    gains = sums - np.minimum.accumulate(sums)
    end = int(gains.argmax())
    if not gains[end] > max(limit, 0.0):
        return
    start = end - 1 - int(sums[:end][::-1].argmin())  # the latest minimum: the shortest such interval
    yield from maximal_subsequences(excess[:start], limit, first)
    yield first + start, first + end
    yield from maximal_subsequences(excess[end:], limit, first + end)


def _shared(data: Dataset) -> list[int]:
    """The number of first steps that each row shares with the row before it."""
    if data.origin is None:
        return [0] * len(data)
    steps, recording, start = data.schema.shape[0], *data.origin.numpy().T
    ahead = np.where(np.diff(recording, prepend=-1) == 0, steps - np.diff(start, prepend=0), 0)
    return ahead.clip(0, steps).tolist()
