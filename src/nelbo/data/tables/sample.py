"""What is kept of numbers that stream by: their range, how they are written, a few counts, and a sample of the rows.

The sample is of the rows whose numbers have the lowest hashes: the same rows, however the table is cut into batches.
"""

from __future__ import annotations

import numpy as np

MOST = 1000
"""Categories that a column may have."""
SAMPLE = 200_000
FINEST = 12  # decimals; numbers with more have as many as there are
WRAP = 2**64 - 1
Words = np.uint64


def priorities(rows: np.ndarray) -> np.ndarray:
    """The hash of each row number (Steele, Lea, Flood, 2014, Fast Splittable Pseudorandom Number Generators)."""
    z = (rows.astype(Words) + Words(1)) * Words(0x9E3779B97F4A7C15)
    z = (z ^ (z >> Words(30))) * Words(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> Words(27))) * Words(0x94D049BB133111EB)
    return z ^ (z >> Words(31))


class Sample:
    """Up to `size` values of those added, chosen by the priority of their rows."""

    def __init__(self, size: int) -> None:
        self.size, self.bound = size, WRAP
        self._parts: list[tuple[np.ndarray, np.ndarray]] = []
        self._held = 0

    def add(self, values: np.ndarray, priority: np.ndarray) -> None:
        if self.bound < WRAP:
            chosen = priority <= Words(self.bound)
            values, priority = values[chosen], priority[chosen]
        self._parts.append((values, priority))
        self._held += len(values)
        if self._held > 2 * self.size:
            self._cut()

    def _cut(self) -> None:
        values, priority = (np.concatenate(part) for part in zip(*self._parts, strict=True))
        if len(values) > self.size:
            chosen = np.argpartition(priority, self.size - 1)[: self.size]
            values, priority = values[chosen], priority[chosen]
            self.bound = int(priority.max())
        self._parts, self._held = [(values, priority)], len(values)

    def values(self) -> np.ndarray:
        """The sample, sorted."""
        self._cut()
        return np.sort(self._parts[0][0])


class Numbers:
    """Finite numbers that were added: `count`, `low`, `high`, `whole`, `decimals`, their `distinct` values if few."""

    def __init__(self, size: int, single: bool = False) -> None:
        self.count, self.low, self.high = 0, np.inf, -np.inf
        self.whole, self.single = True, single
        self.decimals: int | None = 0
        self.distinct: dict[float, int] | None = {}
        self.sample = Sample(size)
        self._sum = self._squares = 0

    def add(self, v: np.ndarray, priority: np.ndarray) -> None:
        if not len(v):
            return
        self.count += len(v)
        self.low, self.high = min(self.low, float(v.min())), max(self.high, float(v.max()))
        self._look_at_decimals(v)
        if self.whole:
            steps = np.clip(v, -(2.0**62), 2.0**62).astype(np.int64)
            self._sum, self._squares = self._sum + int(steps.sum()), self._squares + int((steps * steps).sum())
        if self.distinct is not None:
            for value, count in zip(*map(np.ndarray.tolist, np.unique(v, return_counts=True)), strict=True):
                self.distinct[value] = self.distinct.get(value, 0) + count
                if len(self.distinct) > MOST:
                    self.distinct = None
                    break
        self.sample.add(v, priority)

    def _look_at_decimals(self, v: np.ndarray) -> None:
        wide = v.astype(np.float32) if self.single else v
        while self.decimals is not None:
            rounded = np.round(v, self.decimals)
            if ((rounded.astype(np.float32) if self.single else rounded) == wide).all():
                break
            self.whole = False
            self.decimals = self.decimals + 1 if self.decimals < FINEST else None

    def in_sequence(self) -> bool:
        """Whether they are the whole numbers from `low` to `high`, each once, in any order."""
        if not self.whole or self.high - self.low != self.count - 1 or abs(self.low) > 2**53:
            return False
        low, n = int(self.low), self.count
        total = n * low + n * (n - 1) // 2
        squares = n * low * low + low * n * (n - 1) + (n - 1) * n * (2 * n - 1) // 6
        return (self._sum - total) & WRAP == 0 and (self._squares - squares) & WRAP == 0


class Dates:
    """Datetimes that were added, whole numbers of the source's unit: `count`, `low`, `high` and the coarser units
    that divide all of them."""

    def __init__(self, size: int) -> None:
        self.count, self.low, self.high = 0, 2**63 - 1, -(2**63)
        self.unit = ""
        self.divisors: dict[str, int] = {}
        self.sample = Sample(size)

    def add(self, v: np.ndarray, unit: str, divisors: dict[str, int], priority: np.ndarray) -> None:
        """Values in `unit`; `divisors` has the units to try with how many of `unit` they hold."""
        if not self.unit:
            self.unit, self.divisors = unit, dict(divisors)
        if not len(v):
            return
        self.count += len(v)
        self.low, self.high = min(self.low, int(v.min())), max(self.high, int(v.max()))
        for name, divisor in list(self.divisors.items()):
            if (v % divisor).any():
                del self.divisors[name]
        self.sample.add(v, priority)

    def coarsest(self) -> tuple[str, int]:
        """(the largest unit that divides all, how many of the source's it holds)."""
        return max(self.divisors.items(), key=lambda item: item[1])
