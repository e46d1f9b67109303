"""How rare the cells of a row are, each by itself.

    score(x) = - sum_j log p_j(x_j),    p_j a histogram of column j

over x_j brought to sign(u) log(1 + |u|), u = (x_j - median) / robust standard deviation, so that a long tail does not
leave all rows in one bin. A bin's share is that of its rows plus one; a value beyond the ends has half a row's. A cell
that is missing, or what a constant column always is, adds nothing.

PyOD's was weighed: it takes no missing cells and no constant columns.

Source: Goldstein, Dengel (2012), Histogram-based Outlier Score (HBOS).
"""

from __future__ import annotations

import numpy as np

BINS = 10
QUARTILES = 1.349  # between the quartiles of N(0, 1)


class HBOS:
    """The histograms of the rows x, float64 `(n, D)`, NaN where a cell is missing."""

    def __init__(self, x: np.ndarray) -> None:
        with np.errstate(all="ignore"):
            low, self.middle, high = np.nan_to_num(np.nanquantile(_seen(x), [0.25, 0.5, 0.75], axis=0))
            wide = np.nan_to_num(np.nanstd(_seen(x), axis=0))
        spread = (high - low) / QUARTILES
        spread = np.where(spread > 1e-3 * wide, spread, wide)
        self.spread = np.where(spread > 1e-8 * np.maximum(np.abs(self.middle), 1), spread, 1.0)
        v = self._even(x)
        self.low, self.high = np.nan_to_num(np.fmin.reduce(v)), np.nan_to_num(np.fmax.reduce(v))
        places, n = self._places(v), np.isfinite(v).sum(0)
        counts = np.stack([(places == k).sum(0) for k in range(BINS)])
        self.costs = np.log(n + BINS) - np.log(np.concatenate([counts + 1, np.full((1, len(n)), 0.5)]))
        self.costs[:-1, self.high <= self.low] = 0  # a constant is as it always is

    def anomaly_score(self, x: np.ndarray) -> np.ndarray:
        """The scores of rows, nats `(n,)`."""
        v = self._even(x)
        costs = np.take_along_axis(self.costs, np.clip(self._places(v), 0, BINS), 0)
        return np.where(np.isfinite(v), costs, 0.0).sum(1)

    def _even(self, x: np.ndarray) -> np.ndarray:
        u = (x - self.middle) / self.spread
        return np.sign(u) * np.log1p(np.abs(u))

    def _places(self, v: np.ndarray) -> np.ndarray:
        """The bin of each cell; `BINS` of one beyond the ends, and of a missing one -1."""
        width = np.where(self.high > self.low, self.high - self.low, 1.0)
        places = np.floor(np.nan_to_num((v - self.low) / width) * BINS).clip(0, BINS - 1).astype(int)
        beyond = (v < self.low) | (v > self.high)
        return np.where(np.isnan(v), -1, np.where(beyond, BINS, places))


def _seen(x: np.ndarray) -> np.ndarray:
    """x with a row of zeros in place of columns that are all missing."""
    return np.where(np.isnan(x).all(0), 0.0, x)
