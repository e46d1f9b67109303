"""Columns of a table that count the time of its rows, and columns that name their units.

A clock is read as int64 (dates and times: microseconds, or the unit of their type) or float64. Whether a column is one
is decided by its values in order of time, so that the order of the rows does not matter:

    dates, times of day, durations                  always (a time of day goes on after midnight)
    a name of `NAMES`, such as "Time (s)", "Zeit"   the first column; another one if its values rise with the rows
    steps of one size, but for holes                the first column
    seconds (or ms, us, ns) since 1970              the first column, if it rises with the rows

The times of a recording differ, but for a few repeats.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from nelbo.data import formats
from nelbo.data.formats import NO_HINTS, Hints
from nelbo.data.tables import cells
from nelbo.errors import require

NAMES = frozenset(
    (
        *("", "t", "time", "times", "timestamp", "timestamps", "ts", "date", "dates", "datetime", "clock", "epoch"),
        *("day", "days", "hour", "hours", "minute", "minutes", "second", "seconds", "sec", "secs", "ms", "elapsed"),
        *(
            "step",
            "steps",
            "cycle",
            "cycles",
            "epochs",
            "index",
            "unnamed",
            "row",
            "counter",
            "tick",
            "zeit",
            "zeitstempel",
            "datum",
            "uhrzeit",
        ),
        *("stunde", "sekunde", "temps", "heure", "fecha", "hora", "tiempo", "tempo", "ora", "tijd", "dato", "czas"),
        *("время", "дата", "时间", "日期", "時間", "日付", "時刻", "시간"),
    )
)
UNITS = re.compile(
    r"(^|[\W_])(units?|devices?|sensors?|machines?|engines?|subjects?|patients?|stations?|sessions?|trips?|users?|stores?"
    r"|runs?|symbol|ticker|site|meter|vehicle|asset|household|customer|person|animal|turbine|batch|series|id)"
    r"([\W_]?(id|nr|no|number|name|code))?$",
    re.IGNORECASE,
)
"""Names of columns that name units."""
CALENDAR = re.compile("year|month|day|date|week|hour|jahr|monat|tag|woche|stunde", re.IGNORECASE)
"""Names of columns that are parts of a time."""
BANDS = ((1e8, 5e9), (1e11, 5e12), (1e14, 5e15), (1e17, 5e18))
"""Times from 1973 to 2128 in seconds, milliseconds, microseconds and nanoseconds since 1970."""
COMPACT = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
"""Whole numbers that are dates, by the number of their digits."""
JITTER = 0.25  # the share of the usual step by which an even one may differ from it
EVEN = 0.75  # the share of steps that are even
REPEATED = 0.1  # the largest share of rows that repeat a time


@dataclass(frozen=True)
class Clock:
    """A column as a clock: its values `(rows,)`, to be compared and subtracted, and which of them are missing.

    `unit`: what dates and times are counted in, as NumPy names it; "" for numbers. `is_local`: whether they may be the
    local times of a place whose clocks change twice a year.
    """

    name: str
    values: np.ndarray
    missing: np.ndarray
    unit: str = ""
    is_local: bool = False

    @property
    def is_named(self) -> bool:
        """Whether the name is that of a clock; units of time are left out: `time_ms` and `Time [h]` are `time`."""
        return self._core in NAMES

    @property
    def is_index(self) -> bool:
        """Whether the name is that of an index, which counts rows and not time."""
        return self._core in ("", "index", "unnamed", "row")

    @property
    def _core(self) -> str:
        core = re.sub(r"[(\[].*?[)\]]", "", self.name).strip().lower()
        return re.sub(r"[\s_:.-]+(\d+|s|ms|us|ns|sec|h|utc|local)?$", "", core)

    def order(self, unit: np.ndarray) -> np.ndarray:
        """The rows that have a time, by unit, then time; rows of one time in their own order."""
        rows = np.flatnonzero(~self.missing)
        return rows[np.lexsort((self.values[rows], unit[rows]))]

    def steps(self, unit: np.ndarray) -> np.ndarray:
        """The differences of successive times of a unit; 0 where a time is repeated."""
        rows = self.order(unit)
        return np.diff(self.values[rows])[np.diff(unit[rows]) == 0]

    def repeats(self, unit: np.ndarray) -> bool:
        """Whether more rows of a unit repeat a time than by mistake."""
        steps = self.steps(unit)
        return bool(len(steps)) and (steps == 0).mean() > REPEATED

    def counts(self, unit: np.ndarray, first: bool) -> bool:
        """Whether the column counts the time of rows of these units; `first`: no other column stands before it."""
        if self.missing.mean() > REPEATED or self.unit:
            return self.missing.mean() <= REPEATED
        steps = self.steps(unit)
        if len(steps) < 2 or (steps == 0).mean() > REPEATED:
            return first and self.is_named and self.rises(unit)
        if first:
            return self.is_named or share_even(steps) >= EVEN or (self._since_1970() and self.rises(unit))
        return self.is_named and self.rises(unit)

    def rises(self, unit: np.ndarray) -> bool:
        """Whether the values never fall, or never rise, from row to row of a unit."""
        rows = np.argsort(unit, kind="stable")
        steps = np.diff(self.values[rows])[np.diff(unit[rows]) == 0]
        return bool((steps >= 0).all() or (steps <= 0).all())

    def _since_1970(self) -> bool:
        held = self.values[~self.missing]
        return any(low <= held.min() and held.max() <= high for low, high in BANDS)

    def runs(self) -> np.ndarray | None:
        """The number of each row's run, if the clock starts again and again; else None.

        Each run of rising times (or of falling ones) goes back by at least half of the one before, and overlaps it by
        at least half of the shorter one.
        """
        rows = np.flatnonzero(~self.missing)
        if len(rows) > 1 and (np.diff(self.values[rows]) < 0).mean() > 0.5:
            rows = rows[::-1]
        v = self.values[rows]
        start = np.flatnonzero(np.diff(v) < 0) + 1
        if not len(start) or np.diff(np.r_[0, start, len(v)]).min() < 3:
            return None
        first, last = v[np.r_[0, start]], v[np.r_[start, len(v)] - 1]
        span = last - first
        shared = np.minimum(last[1:], last[:-1]) - np.maximum(first[1:], first[:-1])
        back = last[:-1] - first[1:]
        if (2 * back < span[:-1]).any() or (span <= 0).any() or (2 * shared < np.minimum(span[1:], span[:-1])).any():
            return None
        run = np.zeros(len(self.values), np.int64)
        run[rows[start]] = 1
        run[rows] = run[rows].cumsum()
        return run


def share_even(steps: np.ndarray) -> float:
    """The share of the steps above 0 that differ little from the usual one."""
    positive = steps[steps > 0]
    if not len(positive):
        return 0.0
    usual = np.median(positive)
    return float((np.abs(positive - usual) <= JITTER * usual).mean())


def read(name: str, array: Any, hints: Hints = NO_HINTS) -> Clock | None:
    """A column of Arrow as a clock; None if its cells are neither numbers nor times.

    Of two ways to read dates that fit equally well (3/4/2021), the one with more even steps is taken.
    """
    types = require("pyarrow").types
    form = cells.form_of(array.type)
    if form in ("text", "choice"):
        return _of_texts(name, array, hints)
    if form == "date":
        values, unit = cells.dates(array)
        return Clock(name, values, values == cells.NONE, unit, types.is_timestamp(array.type) and not array.type.tz)
    if form == "span":
        return _of_spans(name, *cells.spans(array))
    if form != "number":
        return None
    missing = np.asarray(array.is_null(nan_is_null=True))
    if types.is_integer(array.type) and not types.is_uint64(array.type):
        return _of_numbers(name, np.asarray(array.fill_null(0)).astype(np.int64), missing)
    return _of_numbers(name, cells.numbers(array), missing)


def _of_texts(name: str, array: Any, hints: Hints) -> Clock | None:
    pa, pc = require("pyarrow"), require("pyarrow.compute")
    distinct, place = cells.texts(array)
    missing, counts = place < 0, np.bincount(place[place >= 0])
    held = np.flatnonzero(counts)
    if not len(held):
        return None
    used = distinct.take(pa.array(held))

    def placed(values: np.ndarray) -> np.ndarray:
        whole = np.zeros(len(distinct) + 1, values.dtype)
        whole[held] = values
        return whole[place]

    numbers = cells.numbers_in(used)
    if not np.isnan(numbers).any():
        if cells.matches(used, cells.WHOLE).all() and np.abs(numbers).max() < 2**63:
            numbers = np.asarray(pc.cast(pc.utf8_ltrim(used, "+"), pa.int64()))
        return _of_numbers(name, placed(numbers), missing)
    spans = cells.spans_in(used)
    if (spans != cells.NONE).all():
        return _of_spans(name, np.where(missing, cells.NONE, placed(spans)), "ns")
    dates, zoned = cells.dates_in(used)
    if (dates != cells.NONE).all():
        return Clock(name, placed(dates), missing, "us", not zoned.any())
    try:
        found: tuple[str, ...] = (formats.infer(used, counts[held], 0, hints),)
    except formats.AmbiguousFormat as error:
        found = error.formats
    one = np.zeros(len(place), np.int64)
    read_by = [_written(name, used, form, placed, missing) for form in found if form]
    fitting = [clock for clock in read_by if clock is not None]
    return max(fitting, key=lambda clock: share_even(clock.steps(one)), default=None)


def _written(name: str, used: Any, form: str, placed: Any, missing: np.ndarray) -> Clock | None:
    """Texts of a format as a clock; None if one of them has another format."""
    values = formats.parse(form).values(used)
    if not formats.is_date_format(form):
        return None if np.isnan(values).any() else _of_numbers(name, placed(values), missing)
    return None if (values == cells.NONE).any() else Clock(name, placed(values), missing, "us", True)


def _of_numbers(name: str, values: np.ndarray, missing: np.ndarray) -> Clock | None:
    """Numbers as a clock; whole ones that spell dates, such as 20240131, as dates."""
    held = values[~missing]
    if not len(held) or not np.isfinite(held).all():
        return None
    digits = len(str(int(held[0])))
    if digits in COMPACT and values.dtype == np.int64 and held.min() > 19 * 10 ** (digits - 2):
        pandas = require("pandas")
        dates = pandas.to_datetime(pandas.Series(values.astype(str)), format=COMPACT[digits], errors="coerce")
        if dates[~missing].notna().all():
            return Clock(name, dates.to_numpy("datetime64[us]").astype(np.int64), missing, "us", digits > 8)
    return Clock(name, values, missing)


def _of_spans(name: str, values: np.ndarray, unit: str) -> Clock:
    """Durations; if all are below a day, times of day, which go on after midnight (before it, where they fall)."""
    missing, day = values == cells.NONE, cells.UNITS["D"] // cells.UNITS[unit]
    rows = np.flatnonzero(~missing)
    held = values[rows]
    if len(held) and held.min() >= 0 and held.max() < day:
        jumps = np.diff(held, prepend=held[:1])
        values = values.copy()
        values[rows] += day * (np.cumsum(jumps < -day / 2) - np.cumsum(jumps > day / 2))
    return Clock(name, values, missing, unit)
