"""The first pass over a table: what each column holds, in memory that does not grow with the rows.

Of numbers that stream by it keeps their range, how they are written, a few counts, and a sample of the rows. The sample
is of the rows whose numbers have the lowest hashes: the same rows, however the table is cut into batches.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nelbo.data.tables import cells
from nelbo.data.tables.source import Source
from nelbo.errors import UserError, require

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


ALL_SAMPLES = 2**26  # values, over all columns


class Tally:
    """What was seen of one column.

    `form` is what its type says (see `cells.form_of`); for texts, `numbers` and `dates` hold those that are such,
    and the first that is none is in `first_word` and `first_undated`, as (row, text). `counts` has the cells of each
    text, None where there are more than 1000; `declared` the categories that the type itself names.
    """

    def __init__(self, name: str, kind: Any, size: int) -> None:
        self.name, self.kind, self.form = name, kind, cells.form_of(kind)
        self.rows = self.known = 0
        self.numbers = Numbers(size, single=str(kind) in ("float", "halffloat"))
        self.dates = Dates(size)
        self.zoned = 0
        self.integers, self.padded = True, False
        self.counts: dict[str, int] | None = {}
        self.declared: dict[str, None] = {}
        self.first_word: tuple[int, str] | None = None
        self.first_undated: tuple[int, str] | None = None
        self.first_infinite: int | None = None

    def add(self, array: Any, priority: np.ndarray) -> None:
        """Take the next rows."""
        if self.form in ("text", "choice"):
            self._add_texts(array, priority)
        elif self.form == "bool":
            self._add_texts(array.cast("string"), priority)
        elif self.form == "number":
            v = cells.numbers(array)
            self._add_numbers(v, ~np.isnan(v), priority)
        elif self.form == "date":
            v, unit = cells.dates(array)
            self._add_dates(v, v != cells.NONE, unit, priority)
        elif self.form == "other":
            self.known += len(array) - array.null_count
        self.rows += len(array)

    def _add_numbers(self, v: np.ndarray, known: np.ndarray, priority: np.ndarray) -> None:
        if self.form == "number":
            self.known += int(known.sum())
        infinite = np.isinf(v)
        if self.first_infinite is None and infinite.any():
            self.first_infinite = self.rows + int(infinite.argmax()) + 1
        known = known & ~infinite
        self.numbers.add(v[known], priority[known])

    def _add_dates(self, v: np.ndarray, known: np.ndarray, unit: str, priority: np.ndarray) -> None:
        if self.form == "date":
            self.known += int(known.sum())
        own = cells.UNITS[unit]
        divisors = {name: size // own for name, size in cells.UNITS.items() if size >= own}
        self.dates.add(v[known], unit, divisors, priority[known])

    def _add_texts(self, array: Any, priority: np.ndarray) -> None:
        distinct, place = cells.texts(array)
        present = place >= 0
        self.known += int(present.sum())
        self._count(distinct, np.bincount(place[present], minlength=len(distinct)))
        if self.form != "text" or not len(distinct):
            if self.form == "choice":
                self.declared |= dict.fromkeys(t for t in distinct.to_pylist() if t and t not in cells.MARKERS)
            return
        found = cells.numbers_in(distinct)
        moments, zoned = cells.dates_in(distinct)
        self._look_at_numerals(distinct, ~np.isnan(found), place)
        self.zoned += int((zoned & (moments != cells.NONE))[place[present]].sum())
        v, t = np.append(found, np.nan)[place], np.append(moments, cells.NONE)[place]
        self.first_word = self.first_word or self._first(present & np.isnan(v), distinct, place)
        self.first_undated = self.first_undated or self._first(present & (t == cells.NONE), distinct, place)
        self._add_numbers(v, ~np.isnan(v), priority)
        self._add_dates(t, t != cells.NONE, "us", priority)

    def _count(self, distinct: Any, counts: np.ndarray) -> None:
        """Count the cells of each text while there are not too many."""
        if self.counts is None:
            return
        used = np.flatnonzero(counts)
        for text, count in zip(distinct.take(used).to_pylist(), counts[used].tolist(), strict=True):
            self.counts[text] = self.counts.get(text, 0) + count
            if len(self.counts) > MOST:
                self.counts = None
                return

    def _look_at_numerals(self, distinct: Any, numeral: np.ndarray, place: np.ndarray) -> None:
        """Whether all numerals are whole ones, and any has zeros in front, as in a postcode."""
        pc = require("pyarrow.compute")
        used = np.zeros(len(distinct) + 1, bool)
        used[place] = True
        numeral = numeral & used[:-1]
        whole = pc.match_substring_regex(distinct, cells.INTEGER).fill_null(False).to_numpy(zero_copy_only=False)
        padded = pc.match_substring_regex(distinct, cells.PADDED).fill_null(False).to_numpy(zero_copy_only=False)
        self.integers = self.integers and bool(whole[numeral].all())
        self.padded = self.padded or bool((padded & whole)[numeral].any())

    def _first(self, chosen: np.ndarray, distinct: Any, place: np.ndarray) -> tuple[int, str] | None:
        """(row, text) of the first chosen cell, rows counted from 1."""
        if not chosen.any():
            return None
        at = int(chosen.argmax())
        return self.rows + at + 1, distinct[int(place[at])].as_py()


def survey(source: Source) -> tuple[list[Tally], int]:
    """(the tally of each column, the number of rows). Raises `UserError` if there are fewer than 2 rows."""
    tallies: list[Tally] = []
    size = min(SAMPLE, max(SAMPLE // 10, ALL_SAMPLES // len(source.names)))
    rows = 0
    for batch in source.batches():
        if not tallies:
            tallies = [Tally(name, kind, size) for name, kind in zip(source.names, batch.schema.types, strict=True)]
        priority = priorities(np.arange(rows, rows + batch.num_rows))
        for tally, array in zip(tallies, batch.columns, strict=True):
            tally.add(array, priority)
        rows += batch.num_rows
    if rows == 0:
        raise UserError(f"{source.name}: has a header and no rows: give at least 2 rows")
    if rows < 2:
        raise UserError(f"{source.name}: holds 1 row: give at least 2, one to train on and one to hold out")
    return tallies, rows
