"""Numbers to about standard Normal units and back: three strictly increasing maps of a value v.

    standard   x = (v - mean) / std
    log        x = (log v - mean) / std, and below the lowest v of training on along the tangent there
    quantile   x = the Normal score of the mid-rank of v: linear between at most 257 knots, and on beyond them

`choose` takes "standard" where the values are nearly Normal (skewness within 1/2, excess kurtosis within 1), "log"
where all are above 0 and their logarithms nearly Normal, else "quantile"; so too where one value has over 5 % of rows.

The score of a share p of the rows is Phi^-1(e + (1 - 2 e) p) with e = Phi(-3.5), so the lowest and the highest value
are near -3.5 and 3.5. A value that many rows have is a knot, at the middle of its rows, and so are the values beside
it. Beyond the knots the slope is the mean one between the middle and the end: what is further out stays so.

A few values that lie `STRAY` times further from the median than all others would leave no room for these: `bulk` finds
the others, of which the transform and the range of a column are.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from nelbo.data.columns import Column, Transform

KNOTS = 257
ATOMS, ATOM = 40, 0.005  # so many values at most are knots with their neighbours, if so large a share has them
REPEATED = 0.05
GRID = 64
REACH = 3.5
NORMAL = NormalDist()
STRAY, FEW = 1000.0, 0.01  # how much further out than all others, and the largest share of values that may be
STEEPEST = float(np.finfo(np.float64).max)
FARTHEST = 100.0  # in x; what is further out is as far
BIGGEST = 700.0  # exp of it is about the largest number


def bulk(values: np.ndarray) -> np.ndarray:
    """Which values do not lie `STRAY` times further from the median than the others: a mask, all True for most data."""
    whole = np.ones(len(values), bool)
    if len(values) < 10:
        return whole
    away = np.abs(values / 2 - np.median(values / 2))  # halves, whose differences are finite
    most = int(FEW * len(values)) + 1
    furthest = np.sort(np.partition(away, -most - 1)[-most - 1 :])
    if not np.partition(away, int(0.9 * len(away)))[int(0.9 * len(away))] > 0 or not furthest[0] > 0:
        return whole
    steps = np.log(furthest[1:]) - np.log(furthest[:-1])
    return away <= furthest[int(steps.argmax())] if steps.max() >= np.log(STRAY) else whole


def choose(values: np.ndarray) -> Transform:
    """The transform that suits these values; see above."""
    if np.unique(values, return_counts=True)[1].max() > REPEATED * len(values):
        return "quantile"
    if _nearly_normal(values):
        return "standard"
    if values.min() > 0 and _nearly_normal(np.log(values)):
        return "log"
    return "quantile"


def _nearly_normal(values: np.ndarray) -> bool:
    spread = values.std()
    if not (spread > 0 and np.isfinite(spread)):
        return False
    z = (values - values.mean()) / spread
    return abs(np.mean(z**3)) < 0.5 and abs(np.mean(z**4) - 3) < 1


def fit(transform: Transform, values: np.ndarray, low: float, high: float) -> tuple[float, ...]:
    """The numbers of a transform for these values (of a sample) of a column that reaches from low to high."""
    if transform == "standard":
        return float(values.mean()), float(values.std()) or 1.0
    if transform == "log":
        logs = np.log(values)
        return float(logs.mean()), float(logs.std()) or 1.0, low
    knots, scores = _quantile_knots(values, low, high)
    return (*knots.tolist(), *scores.tolist())


def _quantile_knots(values: np.ndarray, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    ends = [end for end in (low, high) if end not in (values.min(), values.max())]  # a sample may lack them
    distinct, counts = np.unique(np.concatenate([values, ends]), return_counts=True)
    shares = counts / counts.sum()
    ranks = np.cumsum(shares) - shares / 2
    if len(distinct) > KNOTS:
        kept = _kept(ranks, shares)
        distinct, ranks = distinct[kept], ranks[kept]
    tail = NORMAL.cdf(-REACH)
    scores = np.array([NORMAL.inv_cdf(tail + (1 - 2 * tail) * rank) for rank in ranks.tolist()])
    return distinct, scores


def _kept(ranks: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """The places of the knots: the ends, what many rows have and its neighbours, an even grid of ranks and scores."""
    last = len(ranks) - 1
    atoms = np.argsort(-shares, kind="stable")[:ATOMS]
    atoms = atoms[shares[atoms] > ATOM]
    even = np.linspace(0, 1, GRID)
    scores = [NORMAL.cdf(score) for score in np.linspace(-REACH, REACH, GRID)]
    grid = np.searchsorted(ranks, np.concatenate([even, scores]))
    return np.unique(np.clip(np.concatenate([[0, last], atoms - 1, atoms, atoms + 1, grid]), 0, last))


def forward(column: Column, v: np.ndarray) -> np.ndarray:
    """Values (float64; NaN stays) -> x, float64."""
    if column.transform == "quantile":
        knots, scores = _tables(column)
        return _piecewise(v, knots, scores)
    mean, std = column.transform_params[:2]
    if column.transform == "log":
        low = column.transform_params[2]
        v = np.where(v < low, np.log(low) + (v - low) / low, np.log(np.maximum(v, low)))
    return (v - mean) / std


def inverse(column: Column, x: np.ndarray) -> np.ndarray:
    """x (NaN stays) -> values, float64: the inverse of `forward`."""
    x = x.astype(np.float64)
    if column.transform == "quantile":
        knots, scores = _tables(column)
        return _piecewise(x, scores, knots)
    mean, std = column.transform_params[:2]
    v = x * std + mean
    if column.transform == "log":
        low = column.transform_params[2]
        v = np.where(v < np.log(low), low + low * (v - np.log(low)), np.exp(np.minimum(v, BIGGEST)))
    return v


def _tables(column: Column) -> tuple[np.ndarray, np.ndarray]:
    """(knots, scores) of a quantile transform."""
    half = len(column.transform_params) // 2
    return np.array(column.transform_params[:half]), np.array(column.transform_params[half:])


def _piecewise(v: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The piecewise linear map through the points (a, b), both strictly increasing, and on beyond its ends."""
    y = np.interp(v, a, b)
    middle, end = len(a) // 2, len(a) // 2 if len(a) > 2 else 0
    with np.errstate(over="ignore", invalid="ignore"):
        below = min((b[middle] - b[0]) / (a[middle] - a[0]), STEEPEST)
        above = min((b[-1] - b[end]) / (a[-1] - a[end]), STEEPEST)
        y = np.where(v < a[0], b[0] + (v - a[0]) * below, y)
        return np.where(v > a[-1], b[-1] + (v - a[-1]) * above, y)
