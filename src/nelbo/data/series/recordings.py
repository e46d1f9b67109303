"""A table with a row for each step -> its recordings: by unit and in order of time, holes marked or cut.

    unit      a column (or several) that the user names; else one within which the clock does not repeat; else, a clock
              that starts again and again begins a new unit each time
    clock     see `nelbo.data.series.clocks`; it is left out of the channels, and so are other columns that count time
    order     rows are sorted by the clock; of rows of one time, the first value of each channel is used
    hole      steps that are absent are NaN if there are fewer than a window holds; a longer hole ends the recording
    channels  all other columns, which must hold numbers

The usual step is the median. Without a clock, rows are steps in their own order.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np

from nelbo.data import formats, tables
from nelbo.data.formats import NO_HINTS, Hints
from nelbo.data.schema import Schema
from nelbo.data.series import clocks
from nelbo.data.series.clocks import Clock
from nelbo.data.tables import cells
from nelbo.data.tables.source import Source, open_table
from nelbo.errors import UserError, nearest, require

HOLE = 1.5  # steps of the usual size, from which on a step is a hole


@dataclass(frozen=True)
class Recordings:
    """The recordings of a table.

    Args:
        name: the table's name in messages.
        channels: the names of the channels.
        values: of each recording, `(steps, channels)`; NaN where a cell is empty or a step is absent.
        places: the recording and the step of each row of the table, `(rows, 2)`; -1 for a row without a time.
        unit: the unit of each recording, as an index of `units`.
        units: the names of the units; empty if there is one.
        group: the columns that name the units.
        clock: the column that counts time; "" if there is none.
        times: the cells of the clock, an Arrow array; None if there is none.
    """

    name: str
    channels: tuple[str, ...]
    values: tuple[np.ndarray, ...]
    places: np.ndarray
    unit: np.ndarray
    units: tuple[str, ...] = ()
    group: tuple[str, ...] = ()
    clock: str = ""
    times: Any = None

    def place(self, recording: int, start: int, end: int) -> dict[str, str]:
        """The unit, and the first and last time as the table has them, of the steps `start` to before `end`.

        Without units or a clock, these are left out.
        """
        found = {"unit": self.units[self.unit[recording]]} if self.units else {}
        if self.times is not None:
            rows = self._rows[recording][start:end]
            rows = rows[rows >= 0]
            found["first_time"], found["last_time"] = map(self._time_of, rows[[0, -1]]) if len(rows) else ("", "")
        return found

    @cached_property
    def _rows(self) -> list[np.ndarray]:
        """Of each recording, the first row of each step; -1 for an absent step."""
        found = [np.full(len(values), -1) for values in self.values]
        for row in np.flatnonzero(self.places[:, 0] >= 0)[::-1].tolist():
            recording, step = self.places[row]
            found[recording][step] = row
        return found

    def _time_of(self, row: int) -> str:
        cell = self.times[int(row)].as_py()
        return cell.isoformat(" ") if isinstance(cell, datetime) else str(cell).strip()


def is_table(source: Any) -> bool:
    """Whether a source is a table, or a Series of pandas or polars: one channel."""
    return tables.is_table(source) or (type(source).__name__ == "Series" and _package(source) in ("pandas", "polars"))


def read(
    source: Any,
    group: str | Sequence[str] | None = None,
    longest: int | None = None,
    like: Schema | None = None,
    hints: Hints = NO_HINTS,
) -> Recordings:
    """Read the recordings of a table.

    Args:
        source: a DataFrame, a Series, an Arrow table, or a file.
        group: the columns that name the units, or their names in one text, with commas; None: they are inferred.
        longest: the number of absent steps from which on a hole ends the recording; None: the number of rows.
        like: the schema of a model, whose channels, clock and units are used where the table has them.
        hints: how texts write numbers and dates, as far as the user says it.

    Warns, in one line, of what was inferred or changed. Raises `UserError` for a table without rows or channels, and
    naming a column that does not hold numbers.
    """
    whole, index = with_index(source)
    table = open_table(whole)
    if not table.table.num_rows:
        raise UserError(f"{table.name} has no rows: give at least 2 steps")
    reader = _Reader(table, _columns(group, table) or index[:-1], like, index, hints)
    if not reader.channels:
        raise UserError(f"{table.name} has only columns of times and units: add a column of numbers")
    values = np.stack([reader.numbers(name) for name in reader.channels], 1)
    found = reader.recordings(values, longest or table.table.num_rows)
    if reader.notes:
        warnings.warn(f"{table.name}: {'; '.join(reader.notes)}", stacklevel=5)
    return found


def _columns(group: str | Sequence[str] | None, table: Source) -> tuple[str, ...]:
    """The columns that an option names. Raises `UserError` for one that the table lacks."""
    names: list[str] = [group] if isinstance(group, str) else list(group or ())
    if isinstance(group, str) and group not in table.names:
        names = [name.strip() for name in group.split(",")]
    for name in names:
        if name not in table.names:
            raise UserError(f"group={name!r}: {table.name} has no such column: {nearest(str(name), table.names)}")
    return tuple(names)


def _package(source: Any) -> str:
    return type(source).__module__.partition(".")[0]


def with_index(source: Any) -> tuple[Any, tuple[str, ...]]:
    """(A table whose index is in columns, their names); a default index is left out, a nameless one comes last."""
    if _package(source) == "polars" and type(source).__name__ == "Series":
        return source.to_frame(source.name or "value"), ()
    if _package(source) != "pandas":
        return source, ()
    pandas = require("pandas")
    frame = source.to_frame("value" if source.name is None else source.name) if source.ndim == 1 else source
    index = frame.index.to_timestamp() if isinstance(frame.index, pandas.PeriodIndex) else frame.index
    if isinstance(index, pandas.RangeIndex) and index.name is None:
        return frame, ()
    single = index.nlevels == 1
    named = [("index" if single else f"level {i}") if name is None else str(name) for i, name in enumerate(index.names)]
    levels = {name: index.get_level_values(i) for i, name in enumerate(named) if name not in frame.columns}
    values, columns = frame.reset_index(drop=True), pandas.DataFrame(levels).reset_index(drop=True)
    last = single and index.name is None and index.dtype.kind in "iu"
    return pandas.concat([values, columns] if last else [columns, values], axis=1), tuple(levels)


class _Reader:
    """Finds the units, the clock and the channels of a table; `notes` is what a user should know."""

    def __init__(
        self, table: Source, group: tuple[str, ...], like: Schema | None, index: tuple[str, ...], hints: Hints
    ) -> None:
        self.table, self.index, self.hints, self.notes = table, index, hints, list[str]()
        self.rows = table.table.num_rows
        known = like.names if like is not None and set(like.names) <= set(table.names) else ()
        group = group or (like.group if like is not None and set(like.group) <= set(table.names) else ())
        self.free = [name for name in table.names if name not in known and name not in group]
        read = ((name, clocks.read(name, table.table.column(name), hints)) for name in self.free)
        found = [(name, clock) for name, clock in read if clock is not None]
        self.clocks = dict(sorted(found, key=lambda item: item[1].is_index))
        self.group, self.unit, self.units = group, np.zeros(self.rows, np.int64), tuple[str, ...]()
        leads = [name for name in self.free if not self._is_like_unit(name)][: len(self.free) - 1]
        self.leads = index or tuple(leads[:1])
        self.clock: Clock | None = None
        if group:
            self._name_units(group)
            self.clock = self._clock_of(self.unit)
        else:
            self._infer()
        if like is not None and like.clock in self.clocks:
            self.clock = self.clocks[like.clock]
        others = [
            name
            for name, clock in self.clocks.items()
            if clock is not self.clock and name not in self.group and clock.counts(self.unit, False)
        ]
        if self.clock and like is None and not (self.clock.is_named or self.clock.unit):
            self.notes.append(f"column {self.clock.name!r} counts the time, so it is not a channel")
        if others and like is None:
            self.notes.append(f"{', '.join(map(repr, others))} count the time, too: left out")
        if like is None and (even := [n for n in self.free if n not in others and self._is_second_clock(n)]):
            self.notes.append(f"{', '.join(map(repr, even))} rise evenly: remove them if they count the time")
        out = {*others, *index, *self.group, *([self.clock.name] if self.clock else [])}
        self.channels = known or tuple(name for name in self.free if name not in out)

    def _is_second_clock(self, name: str) -> bool:
        """Whether a column beside the clock rises by equal steps."""
        clock = self.clocks.get(name)
        if clock is None or self.clock is None or clock is self.clock or not clock.rises(self.unit):
            return False
        steps = clock.steps(self.unit)
        return len(steps) > 1 and steps[0] != 0 and bool(np.allclose(steps, steps[0], rtol=1e-6, atol=0))

    def numbers(self, name: str) -> np.ndarray:
        """The cells of a channel as float64, NaN for missing ones."""
        clock = self.clocks.get(name)
        if clock is not None and not clock.unit:  # its numbers are known
            return np.where(clock.missing, np.nan, clock.values)
        try:
            return _numbers(self.table.table.column(name), self.hints)
        except UserError as error:
            remedy = f"remove the column, convert it to numbers, or, if it names units, give --group {name}"
            raise UserError(f"{self.table.name}: column {name!r} {error}: {remedy}") from None

    def _name_units(self, group: tuple[str, ...]) -> None:
        """Take the columns `group` as the units, in the order of their first rows."""
        labels = [cells.texts(self.table.table.column(name)) for name in group]
        codes = np.stack([place for _, place in labels], 1)
        unit = _joint([*codes.T])
        first = np.empty(int(unit.max()) + 1, np.int64)
        first[unit[::-1]] = np.arange(len(unit))[::-1]
        self.group, self.unit = group, unit
        cell = [distinct.to_pylist() for distinct, _ in labels]
        self.units = tuple(
            ", ".join("missing" if i < 0 else str(of[i]) for of, i in zip(cell, codes[row].tolist(), strict=True))
            for row in first.tolist()
        )

    def _clock_of(self, unit: np.ndarray) -> Clock | None:
        """The first column that counts the time of these units."""
        return next((clock for name, clock in self.clocks.items() if clock.counts(unit, name in self.leads)), None)

    def _is_like_unit(self, name: str) -> bool:
        """Whether a column's cells are texts that are not times, or whole numbers that come in runs of one value."""
        clock = self.clocks.get(name)
        if clock is None:
            return cells.form_of(self.table.table.column(name).type) in ("text", "choice")
        return not clock.unit and not clock.is_named and _is_whole(clock) and _is_staircase(clock.values)

    def _infer(self) -> None:
        """Find the clock, and the units that it needs or that a column names.

        The index of a frame, or else the first column that is not one of units, may count time under any name.
        """
        one = np.zeros(self.rows, np.int64)
        for name, clock in self.clocks.items():
            first = name in self.leads
            may_be = bool(clock.unit) or clock.is_named or first
            runs = clock.runs() if may_be else None
            runs = runs if runs is not None and clock.counts(runs, first) else None
            if runs is not None or (may_be and clock.repeats(one)):
                nouns = self._nouns(name, runs)
                sure = [u for u in nouns if runs is not None or u not in self.clocks or clocks.UNITS.search(u)]
                if self._take_units(clock, first, [*((u,) for u in nouns), *combinations(sure, 2)]):
                    return
                if runs is not None and not self._is_calendar(runs):
                    self._take_runs(clock, runs)
                    return
            elif clock.counts(one, first):
                self.clock = clock
                break
        self.clock = self.clock or self._clock_of(one)
        said = [n for n in self._nouns(self.clock.name if self.clock else "", None) if clocks.UNITS.search(n)]
        if named := next(filter(self._is_like_unit, said), ""):
            self._take((named,), self.clock)
        elif said:
            self.notes.append(f"column {said[0]!r} is a channel: if it names units, give --group {said[0]}")

    def _take_units(self, clock: Clock, first: bool, groups: list[tuple[str, ...]]) -> bool:
        """Take the first group of columns within whose units a clock does not repeat; whether there is one."""
        for group in groups:
            codes = _joint([self._codes(name) for name in group])
            if int(codes.max()) < self.rows // 3 and not clock.repeats(codes) and clock.counts(codes, first):
                self._take(group, clock)
                return True
        return False

    def _take(self, group: tuple[str, ...], clock: Clock | None) -> None:
        self._name_units(group)
        self.clock = clock
        name = f"column {group[0]!r} names" if len(group) == 1 else f"columns {', '.join(map(repr, group))} name"
        self.notes.append(f"{name} {len(self.units):,} units, and no window holds two of them")

    def _take_runs(self, clock: Clock, runs: np.ndarray) -> None:
        self.clock, self.unit = clock, runs
        self.units = tuple(str(i) for i in range(int(runs.max()) + 1))
        again = f"{len(self.units) - 1:,} times" if len(self.units) > 2 else "once"
        self.notes.append(f"{clock.name!r} starts again {again}: each time begins another unit")

    def _nouns(self, clock: str, runs: np.ndarray | None) -> list[str]:
        """The columns that may name units: texts and whole numbers, 3 rows or more of each on average.

        They do not count time, and do not change within one of the `runs`.
        """
        found = []
        for name in self.free:
            own = self.clocks.get(name)
            form = cells.form_of(self.table.table.column(name).type)
            if name == clock or form not in ("text", "choice", "number") or clocks.CALENDAR.fullmatch(name.strip()):
                continue
            if own is None or (not own.unit and _is_whole(own)):
                codes = self._codes(name)
                inside = runs is None or (np.diff(codes)[np.diff(runs) == 0] == 0).all()
                if inside and 1 < np.count_nonzero(np.bincount(codes + 1)) <= self.rows / 3:
                    found.append(name)
        return sorted(found, key=lambda name: clocks.UNITS.search(name) is None)

    def _is_calendar(self, runs: np.ndarray) -> bool:
        """Whether a column such as "year" counts the runs, so that these follow each other."""
        calendar = [self._codes(name) for name in self.free if clocks.CALENDAR.fullmatch(name.strip())]
        return any((np.diff(codes)[np.diff(runs) == 0] == 0).all() for codes in calendar)

    def _codes(self, name: str) -> np.ndarray:
        return cells.texts(self.table.table.column(name))[1]

    def recordings(self, values: np.ndarray, longest: int) -> Recordings:
        """Cut the rows `(rows, channels)` into recordings; see the top of this module."""
        order, new, absent = self._steps(longest)
        ends = np.diff(self.unit[order], prepend=-1) != 0
        cut = ends | (absent >= longest)
        step = np.where(cut, 0, np.where(new, 1 + absent, 0)).cumsum()
        recording = cut.cumsum() - 1
        starts = np.flatnonzero(cut)
        step -= step[starts][recording]
        places = np.full((self.rows, 2), -1)
        places[order] = np.stack([recording, step], 1)
        lengths = np.zeros(len(starts), np.int64)
        np.maximum.at(lengths, recording, step + 1)
        offsets = np.r_[0, lengths.cumsum()]
        flat = np.full((offsets[-1], values.shape[1]), np.nan)
        at = (offsets[recording] + step)[::-1]  # the first row of a step is written last
        for j, column in enumerate(values[order][::-1].T):
            seen = ~np.isnan(column)
            flat[at[seen], j] = column[seen]
        parts = tuple(flat[a:b] for a, b in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True))
        times = self.table.table.column(self.clock.name) if self.clock else None
        return Recordings(
            self.table.name,
            self.channels,
            parts,
            places,
            self.unit[order[starts]],
            self.units,
            self.group,
            self.clock.name if self.clock else "",
            times,
        )

    def _steps(self, longest: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(the rows in order; whether each begins a step; the number of absent steps before it)."""
        if self.clock is None:
            order = np.argsort(self.unit, kind="stable")
            return order, np.ones(len(order), bool), np.zeros(len(order), np.int64)
        clock = _without_clock_changes(self.clock, self.unit)
        order = clock.order(self.unit)
        if len(order) < self.rows:
            self.notes.append(f"rows without {clock.name!r} are left out ({self.rows - len(order):,})")
        if not len(order):
            raise UserError(f"{self.table.name}: column {clock.name!r} is empty: remove it, or fill it")
        if (np.diff(order)[np.diff(self.unit[order]) == 0] < 0).any():
            self.notes.append(f"rows are sorted by {clock.name!r}")
        inside = np.diff(self.unit[order], prepend=-1) == 0
        steps = np.where(inside, np.diff(clock.values[order], prepend=clock.values[order][:1]), 0)
        repeated = inside & (steps == 0)
        usual = _usual_steps(steps, self.unit[order])
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(inside & (usual > 0), steps / usual, 1.0)
        absent = np.where(ratio > HOLE, np.rint(np.minimum(ratio, 2**40)) - 1, 0).astype(np.int64)
        filled = absent < longest
        if absent[filled].sum() > self.rows:  # too many to be holes
            absent[filled] = 0
        self._note_holes(clock, steps[inside & ~repeated], absent, longest)
        return order, self._new(repeated), absent

    def _new(self, repeated: np.ndarray) -> np.ndarray:
        """Whether each row begins a step; a row that repeats a time does not, unless there are many of them."""
        n = int(repeated.sum())
        if not n:
            return ~repeated
        assert self.clock is not None
        rows = f"{n:,} rows repeat" if n > 1 else "1 row repeats"
        if n > clocks.REPEATED * self.rows:
            remedy = "" if self.group else " (if there are several units, give --group)"
            self.notes.append(f"{rows} a time of {self.clock.name!r}: each is a step{remedy}")
            return np.ones(len(repeated), bool)
        self.notes.append(f"{rows} a time of {self.clock.name!r}: the first value of each is used")
        return ~repeated

    def _note_holes(self, clock: Clock, steps: np.ndarray, absent: np.ndarray, longest: int) -> None:
        if len(steps) and clocks.share_even(steps) < clocks.EVEN:
            low, usual, high = (_step_text(clock, float(v)) for v in (steps.min(), np.median(steps), steps.max()))
            self.notes.append(f"steps of {clock.name!r} are uneven ({low} to {high}, usually {usual})")
        short, long = absent[(absent > 0) & (absent < longest)], absent[absent >= longest]
        if len(short):
            holes = f"{len(short):,} holes" if len(short) > 1 else "a hole"
            steps_in = f"{int(short.sum()):,} absent steps in" if short.sum() > 1 else "1 absent step in"
            self.notes.append(f"missing values stand for {steps_in} {holes}")
        if len(long):
            holes = f"{len(long):,} holes" if len(long) > 1 else "a hole"
            self.notes.append(f"no window crosses {holes} of up to {int(long.max()):,} steps")


def _without_clock_changes(clock: Clock, unit: np.ndarray) -> Clock:
    """Local times that go on where clocks were set back by an hour in autumn: rows of that hour are not sorted."""
    if not clock.is_local or cells.UNITS[clock.unit] >= cells.UNITS["h"]:
        return clock
    hour = cells.UNITS["h"] // cells.UNITS[clock.unit]
    rows = np.argsort(unit, kind="stable")
    rows = rows[~clock.missing[rows]]
    inside = np.diff(unit[rows], prepend=-1) == 0
    steps = np.where(inside, np.diff(clock.values[rows], prepend=0), 0)
    back = steps < 0
    if not back.any() or (back | ~inside).all() or not (steps[back] + hour == np.median(steps[inside & ~back])).all():
        return clock
    shift = back.cumsum()
    first = np.maximum.accumulate(np.where(inside, 0, np.arange(len(rows))))
    values = clock.values.copy()
    values[rows] += hour * (shift - shift[first])
    return Clock(clock.name, values, clock.missing, clock.unit)


def _usual_steps(steps: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """The median step of each row's unit, or of all if it has fewer than 10; steps of 0 do not count."""
    positive = steps > 0
    if not positive.any():
        return np.zeros(len(steps))
    usual = np.full(int(unit.max()) + 1, float(np.median(steps[positive])))
    of, own = unit[positive], steps[positive]
    rank = np.lexsort((own, of))
    names, first, count = np.unique(of[rank], return_index=True, return_counts=True)
    usual[names[count >= 10]] = own[rank][(first + count // 2)[count >= 10]]
    return usual[unit]


def _step_text(clock: Clock, step: float) -> str:
    """A step in words: 5, or 90 s.

    >>> _step_text(Clock("time", np.zeros(1), np.zeros(1, bool), "ms"), 90_000.0)
    '90 s'
    """
    if not clock.unit:
        return f"{step:g}"
    nanoseconds = step * cells.UNITS[clock.unit]
    names = {"D": "days", "h": "hours", "m": "min", "s": "s", "ms": "ms", "us": "us", "ns": "ns"}
    unit = next(unit for unit in names if nanoseconds >= 2 * cells.UNITS[unit] or unit == "ns")
    return f"{nanoseconds / cells.UNITS[unit]:g} {names[unit]}"


def _is_whole(clock: Clock) -> bool:
    held = clock.values[~clock.missing]
    return bool((held == np.floor(held)).all())


def _is_staircase(values: np.ndarray) -> bool:
    """Whether equal values stand together, 3 or more on average."""
    changes = int((np.diff(values) != 0).sum())
    return 0 < changes <= len(values) / 3 - 1 and changes == len(np.unique(values)) - 1


def _joint(codes: list[np.ndarray]) -> np.ndarray:
    """The number of each row's combination of codes, in the order of their first rows."""
    whole = np.zeros(len(codes[0]), np.int64)
    for code in codes:
        whole = whole * (int(code.max()) + 2) + code + 1
    return require("pandas").factorize(whole)[0]


def _numbers(column: Any, hints: Hints) -> np.ndarray:
    """The cells as float64, NaN for missing ones; raises `UserError` for words and dates."""
    if cells.form_of(column.type) not in ("text", "choice"):
        return cells.numbers(column)
    distinct, place = cells.texts(column)
    counts = np.bincount(place[place >= 0])
    held = np.flatnonzero(counts)
    used = distinct.take(require("pyarrow").array(held))
    numbers = cells.numbers_in(used)
    if (words := np.isnan(numbers)).any():
        form = formats.infer(used, counts[held], int((~words).sum()), hints, "number")
        numbers = formats.parse(form).values(used) if form else numbers
        if (words := np.isnan(numbers)).any():
            raise UserError(f"holds {used[int(words.argmax())].as_py()!r}, which is not a number")
    whole = np.full(len(distinct) + 1, np.nan)
    whole[held] = numbers
    return whole[place]
