"""What a column is, by all of its cells: the rules that `nelbo.data.tables` lists."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from nelbo.data import formats
from nelbo.data.columns import CHOICES, NUMBERS, Column, Transform
from nelbo.data.formats import Hints
from nelbo.data.tables import cells, transforms
from nelbo.data.tables.overrides import Override
from nelbo.errors import UserError, require

TIMES = ("date", "span")
"""The forms that are counted in the coarsest unit of their column."""
MOST = 1000
"""Categories that a column may have."""
ODD = 0.05  # a share of words among numbers, up to which they are mistakes
FEW = 20  # distinct whole numbers, up to which they are ordinal
PLENTY = 50  # distinct texts, up to which a column is a choice whatever their share
SEQUENCE = 10  # rows, from which numbers in sequence are identifiers
FINEST = 12  # decimals; numbers with more have as many as there are
SAMPLE, ALL_SAMPLES = 200_000, 2**26  # values that quantiles are of: in a column, and over all columns
WIDE = re.compile(r"(?:0|-?[1-9]\d{,19})$")  # a whole number of up to 64 bits
ID_NAME = re.compile(r"(?:^|[\W_])(?i:id|index|uuid|guid)$|[a-z](?:Id|ID)$")


def sample_size(columns: int) -> int:
    """The values of a column that its quantiles are of, in a table of so many columns."""
    return min(SAMPLE, max(SAMPLE // 10, ALL_SAMPLES // columns))


def priorities(rows: np.ndarray) -> np.ndarray:
    """The hash of each row number (Steele, Lea, Flood, 2014, Fast Splittable Pseudorandom Number Generators)."""
    word = np.uint64
    z = (rows.astype(word) + word(1)) * word(0x9E3779B97F4A7C15)
    z = (z ^ (z >> word(30))) * word(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> word(27))) * word(0x94D049BB133111EB)
    return z ^ (z >> word(31))


class Values:
    """The numbers of a column, or its dates as whole numbers: those of the cells `at`, in order."""

    def __init__(self, values: np.ndarray, at: np.ndarray, size: int = SAMPLE) -> None:
        self.at, self.size = at, size
        self.all = values[at]
        ends: Any = (self.all.min().item(), self.all.max().item()) if len(self.all) else (0.0, 0.0)
        self.low, self.high = ends

    @cached_property
    def unique(self) -> np.ndarray:
        ordered = np.sort(self.all)  # faster than np.unique, which hashes
        return ordered[np.diff(ordered, prepend=-np.inf) > 0]

    @cached_property
    def sample(self) -> np.ndarray:
        """All, sorted; where there are more than `size`, those of the rows whose numbers have the lowest hashes."""
        if len(self.all) <= self.size:
            return np.sort(self.all)
        rows = priorities(np.flatnonzero(self.at))
        return np.sort(self.all[np.argpartition(rows, self.size - 1)[: self.size]])


def decimals_of(values: np.ndarray, single: bool = False) -> int | None:
    """The decimals that the numbers are written with, `single` if they were float32; None if those are too many.

    >>> decimals_of(np.array([1.5, 2.25])), decimals_of(np.array([1 / 3]))
    (2, None)
    """
    kind = np.float32 if single else np.float64
    written = values.astype(kind)
    with np.errstate(over="ignore", invalid="ignore"):
        return next((d for d in range(FINEST + 1) if (np.round(values, d).astype(kind) == written).all()), None)


def _wide(distinct: Any) -> str:
    """The type of 64 bits that has all of these texts, as whole numbers that are written as it writes them; else ""."""
    numbers = [int(text) for text in distinct.to_pylist() if WIDE.match(text)]
    if not numbers or len(numbers) < len(distinct):
        return ""
    low, high = min(numbers), max(numbers)
    return "int64" if low >= -(2**63) and high < 2**63 else "uint64" if low >= 0 and high < 2**64 else ""


class ColumnStats:
    """What the cells of a column show.

    `form` is that of its type (see `cells.form_of`), but "text" for whole numbers beyond float64. `present` marks the
    cells that are not missing; `numbers` and `dates` are those that are such, in a column of texts too; `dates` has
    durations and times of day too, if that is the type. `texts` are the distinct texts of cells, None where there are
    more than 1000; `declared` the categories that the type itself names. `grouped`: the dots in numbers may as well
    part thousands. `stray` describes a value that lies too far out for the column's scale.
    """

    def __init__(
        self,
        name: str,
        array: Any,
        frame: str = "",
        untyped: bool = False,
        size: int = SAMPLE,
        said: Override | None = None,
        hints: Hints | None = None,
    ) -> None:
        self.name, self.array, self.frame, self.untyped, self.type = name, array, frame, untyped, array.type
        self.said, self.hints = said or Override(), hints or Hints()
        self.form = "text" if cells.beyond_float(array) else cells.form_of(array.type)
        self.single, self.unit, self.zoned, self.padded, self.whole_texts, self.wide = False, "us", 0, False, True, ""
        self.format, self.stray, self.grouped, self.markers = "", "", False, Counter[str]()
        self.written_decimals: int | None = None
        self.texts: list[str] | None = None
        self.declared: tuple[str, ...] = ()
        self.present = np.asarray(array.is_valid())
        v, t = np.full(len(array), np.nan), np.full(len(array), cells.NONE)
        if self.form in ("text", "choice", "bool"):
            distinct, place = self._distinct()
            self.present = place >= 0
            counts = np.bincount(place[self.present], minlength=len(distinct))
            used = np.flatnonzero(counts)
            self.texts = distinct.take(used).to_pylist() if len(used) <= MOST else None
            self.declared = tuple(distinct.to_pylist()) if self.form == "choice" else ()
        if self.form == "text":
            numbers, dates = self._read(distinct, counts)
            v, t = np.append(numbers, np.nan)[place], np.append(dates, cells.NONE)[place]
        elif self.form == "number":
            v, self.single = cells.numbers(array), str(array.type) in ("float", "halffloat")
            self.present = ~np.isnan(v)
        elif self.form in ("date", "span"):
            t, self.unit = cells.ticks(array)
        self.infinite = np.isinf(v)
        self.numbers = Values(v, ~np.isnan(v) & ~self.infinite, size)
        if self.form in ("number", "text") and (form := self._of_whole()):
            self.format, self.form, t = form, "date", cells.dates(array, form)[0]
            self.numbers = Values(v, np.zeros(len(v), bool), size)
        self.dates = Values(t, t != cells.NONE, size)
        self.known = int(self.present.sum())

    def _distinct(self) -> tuple[Any, np.ndarray]:
        """(the distinct texts of cells, the place of each cell's); `markers` counts the words that mean missing."""
        array = self.array if self.form == "choice" else self.array.cast("string")
        listed = self.said.categories
        every = [word for word in cells.MARKERS if word not in listed]
        if not self.untyped and self.form == "text":
            distinct, place = cells.texts(array, ())
            words = np.asarray(require("pyarrow.compute").is_in(distinct, value_set=require("pyarrow").array(every)))
            others = distinct.filter(require("pyarrow").array(~words))
            if not (words.any() and len(others) and self._are_values(others)):
                return distinct, place
        elif not self.untyped:
            return cells.texts(array, ())
        distinct, place = cells.texts(array, every)
        if (place < 0).any():
            self.markers = cells.words_of(array, place < 0)
        return distinct, place

    def _are_values(self, distinct: Any) -> bool:
        """Whether all texts are numbers, or all are dates."""
        if not np.isnan(cells.numbers_in(distinct)).any() or (cells.dates_in(distinct)[0] != cells.NONE).all():
            return True
        return bool(self._infer_format(distinct, np.ones(len(distinct), np.int64), 0))

    def _read(self, distinct: Any, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The numbers and the dates that texts stand for; sets how they are written."""
        numbers = cells.numbers_in(distinct)
        dates, zoned = np.full(len(distinct), cells.NONE), np.zeros(len(distinct), bool)
        if np.isnan(numbers).any():
            dates, zoned = cells.dates_in(distinct)
        usual = [int(counts[~np.isnan(numbers)].sum()), int(counts[dates != cells.NONE].sum())]
        self.format = self.said.format or self._infer_format(distinct, counts, max(usual))
        if not self.format:
            self.zoned = int(counts[zoned & (dates != cells.NONE)].sum())
            self.whole_texts = bool(cells.matches(distinct, cells.WHOLE)[~np.isnan(numbers)].all())
            self.padded = bool(cells.matches(distinct, cells.PADDED).any())
            self.grouped = bool(len(distinct) and cells.matches(distinct, cells.GROUPED).all())
            if not np.isnan(numbers).any() and (abs(numbers) > cells.EXACT).any():
                self.wide = _wide(distinct)
            return numbers, dates
        known = formats.parse(self.format)
        if isinstance(known, formats.DateFormat):
            return np.full(len(distinct), np.nan), known.values(distinct)
        numbers = known.values(distinct)
        decimals = known.decimals(distinct.filter(require("pyarrow").array(~np.isnan(numbers))))
        self.written_decimals, self.whole_texts = decimals, decimals == 0
        return numbers, np.full(len(distinct), cells.NONE)

    def _infer_format(self, distinct: Any, counts: np.ndarray, usual: int) -> str:
        """How the texts are written; "" for plain numbers, ISO dates and words."""
        if self.said.kind in ("binary", "categorical", "identifier", "constant"):
            return ""
        kind = "date" if self.said.kind == "datetime" else "number" if self.said.kind else ""
        try:
            return formats.infer(distinct, counts, usual, self.hints, kind)
        except formats.AmbiguousFormat as error:
            if self.said.kind == "ordinal":
                return ""
            remedy = "or format = in --columns"
            raise formats.AmbiguousFormat(f"column {self.name!r}: {error}, {remedy}", error.formats) from None

    def _of_whole(self) -> str:
        """The format in which all whole numbers are dates (20210304); "" for none."""
        v = self.numbers
        if not len(v.all) or self.said.kind not in ("", "datetime") or self.infinite.any() or self.format:
            return ""
        if self.form == "text" and (self.padded or not self.whole_texts or len(v.all) < self.present.sum()):
            return ""
        if formats.is_date_format(self.said.format):
            return self.said.format
        if self.decimals != 0:
            return ""
        for form in self.hints.dates if max(-v.low, v.high) < cells.EXACT else ():
            texts = require("pyarrow").array(v.unique.astype(np.int64)).cast("string")
            if (formats.parse(form).values(texts) != cells.NONE).all():
                return form
        return formats.of_whole_numbers(v.unique, self.said.kind == "datetime")

    @cached_property
    def decimals(self) -> int | None:
        if self.written_decimals is not None and self.written_decimals <= FINEST:
            return self.written_decimals
        return decimals_of(self.numbers.all, self.single)

    @property
    def as_numbers(self) -> bool:
        """Whether numerals are numbers: postcodes (02134) and whole numbers beyond float64 are texts."""
        v = self.numbers
        return not self.padded and not (self.whole_texts and max(-v.low, v.high) > cells.EXACT)

    @cached_property
    def coarsest(self) -> str:
        """The largest unit that divides all dates."""
        own = cells.UNITS[self.unit]
        fitting = [n for n, size in cells.UNITS.items() if size >= own and not (self.dates.all % (size // own)).any()]
        return fitting[-1]

    def first(self, chosen: np.ndarray) -> tuple[int, str]:
        """(row, text) of the first chosen cell, rows counted from 1."""
        at = int(chosen.argmax())
        return at + 1, str(self.array[at].as_py()).strip()


def column_of(stats: ColumnStats, said: Override) -> Column:
    """The column, as inferred or, where a user says something of it, as said.

    Raises `UserError` naming the value and its row if the column's cells are of several types, or infinite.
    """
    try:
        form = _form(stats)
        natural = _natural(stats, form)
    except UserError:
        if not said.kind:
            raise
        natural = None
    if said.kind == "identifier":
        told = replace(_bare(stats, "text"), note="left out as told")
        return natural if natural is not None and natural.kind == said.kind else told
    if natural is None or said.kind not in ("", natural.kind):
        return _of_kind(stats, _forced_form(stats, said), said)
    if natural.is_feature and (said.transform or said.categories):
        return _of_kind(stats, form, replace(said, kind=natural.kind))
    return natural


def _form(stats: ColumnStats) -> str:
    """What the cells are. Raises `UserError` for a few words among numbers or dates, and for infinite numbers."""
    where = f"column {stats.name!r}:"
    if stats.infinite.any():
        row = int(stats.infinite.argmax()) + 1
        raise UserError(f"{where} row {row} is infinite: drop or fill it, or leave the column out")
    words = stats.present & ~stats.numbers.at
    undated = stats.present & ~stats.dates.at
    if stats.form == "date" and stats.format:
        _check_strays(stats, "date", "datetime", undated)
    if stats.form != "text" or not stats.known:
        return stats.form
    if {text.lower() for text in stats.texts or ()} == {"true", "false"}:
        return "bool"
    for form, kind, others in (("number", "continuous", words), ("date", "datetime", undated)):
        if (form == "number" and not stats.as_numbers) or others.sum() > ODD * stats.known:
            continue
        if form == "date" and 0 < stats.zoned < stats.known:
            part = f"{stats.zoned} of {stats.known} times have a time zone, the others have none"
            raise UserError(f"{where} {part}: give one to all")
        _check_strays(stats, form, kind, others)
        return form
    if stats.said.format:
        raise UserError(f"{where} format={stats.said.format!r} fits few of its cells: correct it, or leave it out")
    return "text"


def _check_strays(stats: ColumnStats, form: str, kind: str, others: np.ndarray) -> None:
    """Raise `UserError` if some cells among numbers or dates are words."""
    if n := int(others.sum()):
        row, text = stats.first(others)
        raise UserError(
            f"column {stats.name!r}: row {row} has {text!r}, which is not a {form} ({n} of {stats.known} cells are "
            f'not): fix it, or declare kind="{kind}" (such cells are then missing) or "categorical" in --columns'
        )


def _forced_form(stats: ColumnStats, said: Override) -> str:
    """What the cells are taken as under a kind that a user names."""
    if stats.form != "text" or said.kind == "datetime":
        return "date" if stats.form == "text" else stats.form
    all_numbers = stats.as_numbers and not (stats.present & ~stats.numbers.at).any()
    return "number" if said.kind in NUMBERS or all_numbers else "text"


def _bare(stats: ColumnStats, form: str) -> Column:
    """The column as far as its form says what it is."""
    dtype, unit = cells.dtype_name(stats.type), stats.coarsest if form in TIMES else ""
    if stats.untyped and form == "bool":
        dtype = "bool"
    elif stats.untyped and stats.format:
        dtype = "int64" if stats.form == "date" else "string"
    elif stats.untyped and form == "text":
        dtype = stats.wide or dtype
    elif stats.untyped and form == "number":
        dtype = "int64" if stats.whole_texts and max(-stats.numbers.low, stats.numbers.high) < 2**63 else "double"
    elif stats.untyped and form == "date":
        days, fine = unit == "D" and not stats.zoned, unit if unit in ("ms", "us") else "s"
        dtype = "date32[day]" if days else f"timestamp[{fine}{', tz=UTC' if stats.zoned else ''}]"
    missing = (len(stats.array) - stats.known) / max(len(stats.array), 1)
    written = stats.format if form == ("date" if formats.is_date_format(stats.format) else "number") else ""
    return Column(stats.name, "identifier", dtype, stats.frame, unit=unit, format=written, missing=missing)


def _natural(stats: ColumnStats, form: str) -> Column:
    """The column as inferred."""
    bare = _bare(stats, form)
    if form == "other":
        return replace(bare, note=f"holds {stats.type} values")
    if not stats.known:
        return replace(bare, kind="constant", note="all cells are missing", unit="")
    if form in TIMES:
        kind = "datetime" if form == "date" else "continuous"
        return _constant(stats, form) if stats.dates.low == stats.dates.high else _scaled(stats, form, kind, "")
    distinct = len(stats.numbers.unique) if form == "number" else MOST + 1 if stats.texts is None else len(stats.texts)
    if distinct == 1:
        return _constant(stats, form)
    if form == "number":
        return _natural_number(stats, distinct)
    n = max(distinct, len(stats.declared))
    if n > MOST:
        return replace(bare, note=f"has more than {MOST} categories")
    if n > PLENTY and distinct > stats.known / 2:
        return replace(bare, note=f"{distinct} of {stats.known} texts differ")
    ordered = form == "choice" and stats.type.ordered
    return _choice(stats, form, "binary" if n == 2 else "ordinal" if ordered else "categorical", ())


def _natural_number(stats: ColumnStats, distinct: int) -> Column:
    v, known, whole, bare = stats.numbers, stats.known, stats.decimals == 0, _bare(stats, "number")
    if known >= SEQUENCE and whole and not bare.missing:
        if distinct == known == v.high - v.low + 1:
            return replace(bare, note=f"counts from {v.low:g} to {v.high:g}")
        if ID_NAME.search(bare.name) and (np.diff(v.sample) > 0).all():
            return replace(bare, note=f"is named {bare.name!r}, and no two values are alike")
    if distinct == 2 and known >= 4:
        return _choice(stats, "number", "binary", ())
    if whole and distinct <= FEW and 2 * distinct <= known:
        return _choice(stats, "number", "ordinal", ())
    return _scaled(stats, "number", "count" if whole and v.low >= 0 else "continuous", "")


def _constant(stats: ColumnStats, form: str) -> Column:
    bare, value = _bare(stats, form), (stats.texts or [""])[0]
    if bare.format:
        number, unit = (stats.dates.low, stats.unit) if form == "date" else (stats.numbers.low, "")
        value, bare = formats.write(bare.format, np.array([number]), stats.decimals, unit)[0], replace(bare, unit="")
    elif form == "number":
        value = cells.canonical(stats.numbers.low, stats.single)
    elif form in TIMES:
        value = str(int(stats.dates.low) // (cells.UNITS[bare.unit] // cells.UNITS[stats.unit]))
    return replace(bare, kind="constant", constant=value, categories=stats.declared)


def _of_kind(stats: ColumnStats, form: str, said: Override) -> Column:
    """The column of a kind that a user names, if its cells can be that."""
    kind, where = said.kind, f"column {stats.name!r}: kind={said.kind!r}"
    if kind == "constant":
        raise UserError(f"{where}, but it has several values: leave it out instead")
    if kind == "datetime" and (form != "date" or not stats.dates.at.any()):
        written = 'name how they are written, such as format = "%d/%m/%Y", or use another kind'
        raise UserError(f"{where}, but it has no dates such as 2024-12-31: {written}")
    if kind in ("continuous", "count") and form != "span" and (form != "number" or not stats.numbers.at.any()):
        written = 'name how they are written, such as format = "1234.56 kg", or use another kind'
        raise UserError(f"{where}, but it has no numbers: {written}")
    if kind == "count" and form != "span" and not (stats.decimals == 0 and stats.numbers.low >= 0):
        raise UserError(f"{where}, but {stats.numbers.low:g} is among its values: use kind='continuous'")
    if kind in CHOICES:
        return _choice(stats, form, kind, said.categories)
    if said.categories:
        raise UserError(f"{where} has no categories: declare kind='ordinal' too")
    return _scaled(stats, form, kind, said.transform)


def _scaled(stats: ColumnStats, form: str, kind: Any, transform: Transform) -> Column:
    """A column of numbers or dates, with its range and transform."""
    bare, v, decimals = _bare(stats, form), stats.numbers, stats.decimals
    values, low, high = v.sample, v.low, v.high
    if form in TIMES:
        v, decimals, size = stats.dates, 0, cells.UNITS[bare.unit] // cells.UNITS[stats.unit]
        values, low, high = (v.sample // size).astype(np.float64), v.low // size, v.high // size
    elif not (near := transforms.bulk(v.all)).all():
        row, kept = np.flatnonzero(v.at)[~near], v.all[near]
        stats.stray = f"row {row[0] + 1} of {bare.name!r} has {v.all[~near][0]:g}" + _more(len(row) - 1)
        values, low, high = v.sample[(v.sample >= kept.min()) & (v.sample <= kept.max())], kept.min(), kept.max()
        decimals = stats.written_decimals if stats.format else decimals_of(kept, stats.single)
        low, high = float(low), float(high)
    if low == high:
        raise UserError(f"column {bare.name!r}: kind={kind!r}, but its only value is {low:g}: leave the column out")
    if transform == "log" and low <= 0:
        raise UserError(
            f"column {bare.name!r}: transform='log', but {low:g} is among its values: use transform='quantile'"
        )
    missing = (len(v.at) - len(v.all)) / len(v.at)
    with np.errstate(over="ignore", invalid="ignore"):
        chosen = transform or transforms.choose(values)
        numbers = transforms.fit(chosen, values, low, high)
    bare = replace(bare, low=low, high=high, decimals=decimals, missing=missing)
    return replace(bare, kind=kind, transform=chosen, transform_params=numbers)


def _more(n: int) -> str:
    """How many more there are."""
    return f" (and {n} more)" if n else ""


def _choice(stats: ColumnStats, form: str, kind: Any, said: tuple[str, ...]) -> Column:
    """A column of categories: the declared ones, else those of its type, else those in the data."""
    bare, found = _bare(stats, form), None if stats.texts is None else sorted(stats.texts)
    if form == "number":
        values, said = stats.numbers.unique, tuple(map(_written_as_number, said))
        found = [cells.canonical(value, stats.single) for value in values.tolist()] if len(values) <= MOST else None
    elif form == "bool" and bare.dtype == "bool":
        found = ["False", "True"]
    elif form == "choice":
        found = list(stats.declared)
    if found is None:
        why = f"more than {MOST} values" if form not in TIMES else f"{stats.type} values"
        raise UserError(f"column {bare.name!r}: kind={kind!r}, but it has {why}: leave it out")
    if said and (unlisted := [category for category in found if category not in said]):
        raise UserError(
            f"column {bare.name!r}: the value {unlisted[0]!r} is not in its declared categories: "
            "add it to the columns file"
        )
    categories = said or tuple(found)
    if len(categories) < 2 or (kind == "binary" and len(categories) > 2):
        raise UserError(
            f"column {bare.name!r}: kind={kind!r}, but it has {len(categories)} categories: declare another kind"
        )
    return replace(bare, kind=kind, categories=categories)


def _written_as_number(category: str) -> str:
    """A category that a user says, as those of numbers are written."""
    try:
        return cells.canonical(float(category))
    except (ValueError, OverflowError):
        return category
