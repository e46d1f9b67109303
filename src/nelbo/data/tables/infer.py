"""What a column is, by all of its cells: the rules that `nelbo.data.tables` lists."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from nelbo.data.columns import CHOICES, NUMBERS, Column, Transform
from nelbo.data.tables import cells, transforms
from nelbo.data.tables.overrides import Override
from nelbo.errors import UserError

MOST = 1000
"""Categories that a column may have."""
ODD = 0.05  # a share of words among numbers, up to which they are mistakes
FEW = 20  # distinct whole numbers, up to which they are ordinal
PLENTY = 50  # distinct texts, up to which a column is a choice whatever their share
SEQUENCE = 10  # rows, from which numbers in sequence are identifiers
FINEST = 12  # decimals; numbers with more have as many as there are
SAMPLE, ALL_SAMPLES = 200_000, 2**26  # values that quantiles are of: in a column, and over all columns
COMMAS = re.compile(r"[+-]?\d+(?:,\d+)*(?:\.\d+)?$")
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
        self.rows, self.size = np.flatnonzero(at), size
        self.all, self.count = values[self.rows], len(self.rows)
        ends: Any = (self.all.min().item(), self.all.max().item()) if self.count else (0, 0)
        self.low, self.high = ends

    @cached_property
    def unique(self) -> np.ndarray:
        return np.unique(self.all)

    @cached_property
    def sample(self) -> np.ndarray:
        """All, sorted; where there are more than `size`, those of the rows whose numbers have the lowest hashes."""
        if self.count <= self.size:
            return np.sort(self.all)
        return np.sort(self.all[np.argpartition(priorities(self.rows), self.size - 1)[: self.size]])


def decimals_of(values: np.ndarray, single: bool = False) -> int | None:
    """The decimals that the numbers are written with, `single` if they were float32; None if those are too many.

    >>> decimals_of(np.array([1.5, 2.25])), decimals_of(np.array([1 / 3]))
    (2, None)
    """
    kind = np.float32 if single else np.float64
    written = values.astype(kind)
    return next((d for d in range(FINEST + 1) if (np.round(values, d).astype(kind) == written).all()), None)


class TypedStats:
    """What the cells of a column show.

    `form` is that of its type (see `cells.form_of`), but "text" for whole numbers beyond float64. `numbers` and `dates`
    hold those cells that are such, in a column of texts too. `texts` are the distinct texts that cells have, None where
    there are more than 1000, and `declared` the categories that the type itself names.
    """

    def __init__(self, name: str, array: Any, frame: str = "", untyped: bool = False, size: int = SAMPLE) -> None:
        self.name, self.frame, self.untyped, self.type = name, frame, untyped, array.type
        self.typed = cells.form_of(array.type) != "text"
        self.form = "text" if cells.beyond_float(array) else cells.form_of(array.type)
        self.single = str(array.type) in ("float", "halffloat")
        self.rows = len(array)
        self.texts: list[str] | None = None
        self.declared: tuple[str, ...] = ()
        self.first_word: tuple[int, str] | None = None
        self.first_undated: tuple[int, str] | None = None
        self.zoned, self.integers, self.padded, self.unit = 0, True, False, "us"
        v, t = np.full(self.rows, np.nan), np.full(self.rows, cells.NONE)
        if self.form in ("text", "choice", "bool"):
            v, t, known = self._read_texts(array.cast("string") if self.form in ("text", "bool") else array)
        elif self.form == "number":
            v = cells.numbers(array)
            known = ~np.isnan(v)
        elif self.form == "date":
            t, self.unit = cells.dates(array)
            known = t != cells.NONE
        else:
            known = np.asarray(array.is_valid())
        self.known = int(known.sum())
        infinite = np.isinf(v)
        self.first_infinite = int(infinite.argmax()) + 1 if infinite.any() else None
        self.numbers = Values(v, ~np.isnan(v) & ~infinite, size)
        self.dates = Values(t, t != cells.NONE, size)

    def _read_texts(self, array: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(the numbers that cells are, the dates that cells are, whether each cell holds anything)."""
        distinct, place = cells.texts(array)
        known = place >= 0
        used = np.unique(place[known])
        self.texts = distinct.take(used).to_pylist() if len(used) <= MOST else None
        if self.form != "text":
            self.declared = tuple(distinct.to_pylist()) if self.form == "choice" else ()
            return np.full(len(place), np.nan), np.full(len(place), cells.NONE), known
        numbers = cells.numbers_in(distinct)
        dates, zoned = cells.dates_in(distinct)
        whole = cells.matches(distinct, cells.WHOLE)
        self.integers = bool(whole[~np.isnan(numbers)].all())
        self.padded = bool(cells.matches(distinct, cells.PADDED).any())
        self.zoned = int(np.append(zoned & (dates != cells.NONE), False)[place].sum())
        v, t = np.append(numbers, np.nan)[place], np.append(dates, cells.NONE)[place]
        for name, other in (("first_word", np.isnan(v)), ("first_undated", t == cells.NONE)):
            if (chosen := known & other).any():
                at = int(chosen.argmax())
                setattr(self, name, (at + 1, distinct[int(place[at])].as_py()))
        return v, t, known

    @cached_property
    def decimals(self) -> int | None:
        return decimals_of(self.numbers.all, self.single)

    @property
    def whole(self) -> bool:
        return self.decimals == 0

    @property
    def as_numbers(self) -> bool:
        """Whether numerals are numbers: postcodes (02134) and whole numbers beyond float64 are texts."""
        v = self.numbers
        return not self.padded and not (self.integers and max(-v.low, v.high) > cells.EXACT)

    def coarsest(self) -> tuple[str, int]:
        """(the largest unit that divides all dates, how many of the source's it holds)."""
        own = cells.UNITS[self.unit]
        held = {name: size // own for name, size in cells.UNITS.items() if size >= own}
        return max(((n, k) for n, k in held.items() if not (self.dates.all % k).any()), key=lambda item: item[1])


def column_of(typed: TypedStats, said: Override) -> Column:
    """The column, as inferred or, where a user says something of it, as said.

    Raises `UserError` naming the value and its row if the column's cells are of several types, or infinite.
    """
    try:
        form = _form(typed)
        natural = _natural(typed, form)
    except UserError:
        if not said.kind:
            raise
        natural = None
    if said.kind == "identifier":
        told = replace(_bare(typed), note="left out as told")
        return natural if natural is not None and natural.kind == said.kind else told
    if natural is None or said.kind not in ("", natural.kind):
        return _made(typed, _forced_form(typed, said), said)
    if natural.is_feature and (said.transform or said.categories):
        return _made(typed, form, replace(said, kind=natural.kind))
    return natural


def _bare(typed: TypedStats) -> Column:
    """What needs no inference."""
    missing = (typed.rows - typed.known) / max(typed.rows, 1)
    return Column(typed.name, "identifier", cells.dtype_name(typed.type), typed.frame, missing=missing)


def _form(typed: TypedStats) -> str:
    """What the cells are. Raises `UserError` for a few words among numbers or dates, and for infinite numbers."""
    if typed.first_infinite is not None and typed.numbers.count:
        raise UserError(
            f"column {typed.name!r}: row {typed.first_infinite} is infinite: drop or fill it, or leave the column out"
        )
    if typed.form != "text" or not typed.known:
        return typed.form
    if {text.lower() for text in typed.texts or ()} == {"true", "false"}:
        return "bool"
    for what, count, first in (
        ("number", typed.numbers.count, typed.first_word),
        ("date", typed.dates.count, typed.first_undated),
    ):
        if count == typed.known and (typed.as_numbers or what != "number"):
            return _one_zone(typed) if what == "date" else what
        if first and 0 < typed.known - count <= ODD * typed.known and (typed.as_numbers or what != "number"):
            others = typed.known - count
            raise UserError(
                f"column {typed.name!r}: row {first[0]} has {first[1]!r}, which is no {what} as others are "
                f"({others} of {typed.known} cells are none): mend it, or say kind={_remedy(what)} in --columns"
            )
    if typed.first_word and all(COMMAS.match(text) for text in (typed.first_word[1], *(typed.texts or ()))):
        row, text = typed.first_word
        raise UserError(
            f"column {typed.name!r}: row {row} has {text!r}, a comma within a number: write 1.5 for 1,5 and 1234 for "
            '1,234, or say kind="categorical" (or "leave out") in --columns'
        )
    return "text"


def _remedy(what: str) -> str:
    """Kinds that take odd cells as missing, or as what they are."""
    return f'"{"continuous" if what == "number" else "datetime"}" (missing then) or "categorical"'


def _one_zone(typed: TypedStats) -> str:
    if 0 < typed.zoned < typed.known:
        raise UserError(
            f"column {typed.name!r}: {typed.zoned} of {typed.known} times name a time zone, others none: give all one"
        )
    return "date"


def _forced_form(typed: TypedStats, said: Override) -> str:
    """What the cells are taken as under a kind that a user names."""
    if typed.form != "text":
        return typed.form
    if said.kind == "datetime":
        return "date"
    if said.kind in NUMBERS:
        return "number"
    return "number" if typed.numbers.count == typed.known and typed.as_numbers else "text"


def _natural(typed: TypedStats, form: str) -> Column:
    """The column as inferred."""
    bare = _bare(typed)
    if form == "other":
        return replace(bare, note=f"holds {typed.type} values")
    if not typed.known:
        return replace(bare, kind="constant", note="all cells are missing")
    if form == "date":
        return _constant(typed, form) if typed.dates.low == typed.dates.high else _date(typed, "")
    distinct = len(typed.numbers.unique) if form == "number" else MOST + 1 if typed.texts is None else len(typed.texts)
    if distinct == 1:
        return _constant(typed, form)
    if form == "number":
        return _natural_number(typed, distinct)
    n = max(distinct, len(typed.declared))
    if n > MOST:
        return replace(bare, note=f"has more than {MOST} categories")
    if n > PLENTY and distinct > typed.known / 2:
        return replace(bare, note=f"{distinct} of {typed.known} texts differ")
    ordered = form == "choice" and typed.type.ordered
    return _choice(typed, form, "binary" if n == 2 else "ordinal" if ordered else "categorical", ())


def _natural_number(typed: TypedStats, distinct: int) -> Column:
    v, known = typed.numbers, typed.known
    bare = replace(_bare(typed), dtype=_number_dtype(typed))
    if known >= SEQUENCE and typed.whole and not bare.missing:
        if distinct == v.count == v.high - v.low + 1:
            return replace(bare, note=f"counts from {v.low:g} to {v.high:g}")
        if ID_NAME.search(bare.name) and (np.diff(v.sample) > 0).all():
            return replace(bare, note=f"is named {bare.name!r}, and no two values are alike")
    if distinct == 2 and known >= 4:
        return _choice(typed, "number", "binary", ())
    if typed.whole and distinct <= FEW and 2 * distinct <= known:
        return _choice(typed, "number", "ordinal", ())
    return _number(typed, "count" if typed.whole and v.low >= 0 else "continuous", "")


def _constant(typed: TypedStats, form: str) -> Column:
    bare = _bare(typed)
    if form == "number":
        value, dtype = cells.canonical(typed.numbers.low, typed.single), _number_dtype(typed)
    elif form == "date":
        unit, size = typed.coarsest()
        value, dtype, bare = str(typed.dates.low // size), _date_dtype(typed, unit), replace(bare, unit=unit)
    else:
        value, dtype = (typed.texts or [""])[0], bare.dtype
    return replace(bare, kind="constant", constant=value, dtype=dtype, categories=typed.declared)


def _made(typed: TypedStats, form: str, said: Override) -> Column:
    """The column of a kind that a user names, if its cells can be that."""
    kind, name = said.kind, typed.name
    if kind == "constant":
        raise UserError(f"column {name!r}: kind='constant', but it has several values: leave it out instead")
    if kind == "datetime" and (form != "date" or not typed.dates.count):
        raise UserError(f"column {name!r}: kind='datetime', but it holds no ISO dates such as 2024-12-31")
    if kind in ("continuous", "count") and (form != "number" or not typed.numbers.count):
        raise UserError(f"column {name!r}: kind={kind!r}, but it holds no numbers")
    if kind == "count" and not (typed.whole and typed.numbers.low >= 0):
        raise UserError(f"column {name!r}: kind='count', but {typed.numbers.low:g} is among its values: say continuous")
    if kind in CHOICES:
        return _choice(typed, form, kind, said.categories)
    if said.categories:
        raise UserError(f"column {name!r}: kind={kind!r} has no categories: say kind='ordinal' too")
    return _date(typed, said.transform) if kind == "datetime" else _number(typed, kind, said.transform)


def _number(typed: TypedStats, kind: str, transform: Transform) -> Column:
    v, dtype = typed.numbers, _number_dtype(typed)
    bare = replace(_bare(typed), dtype=dtype, decimals=typed.decimals, missing=(typed.rows - v.count) / typed.rows)
    return _scaled(replace(bare, low=v.low, high=v.high), kind, transform, v.sample)


def _date(typed: TypedStats, transform: Transform) -> Column:
    v, (unit, size) = typed.dates, typed.coarsest()
    missing = (typed.rows - v.count) / typed.rows
    bare = replace(_bare(typed), dtype=_date_dtype(typed, unit), decimals=0, missing=missing)
    bare = replace(bare, low=float(v.low // size), high=float(v.high // size), unit=unit)
    return _scaled(bare, "datetime", transform, (v.sample // size).astype(np.float64))


def _scaled(bare: Column, kind: Any, transform: Transform, values: np.ndarray) -> Column:
    """A column of numbers with its range, and now its transform."""
    low, high = bare.low or 0.0, bare.high or 0.0
    if low == high:
        raise UserError(f"column {bare.name!r}: kind={kind!r}, but its only value is {low:g}: leave the column out")
    if transform == "log" and low <= 0:
        raise UserError(f"column {bare.name!r}: transform='log', but {low:g} is among its values: say quantile")
    chosen = transform or transforms.choose(values)
    return replace(bare, kind=kind, transform=chosen, transform_params=transforms.fit(chosen, values, low, high))


def _number_dtype(typed: TypedStats) -> str:
    if typed.typed or not typed.untyped:
        return cells.dtype_name(typed.type)
    return "int64" if typed.integers and max(-typed.numbers.low, typed.numbers.high) < 2**63 else "double"


def _date_dtype(typed: TypedStats, unit: str) -> str:
    if typed.typed or not typed.untyped:
        return cells.dtype_name(typed.type)
    if unit == "D" and not typed.zoned:
        return "date32[day]"
    return f"timestamp[{unit if unit in ('ms', 'us') else 's'}{', tz=UTC' if typed.zoned else ''}]"


def _choice(typed: TypedStats, form: str, kind: Any, said: tuple[str, ...]) -> Column:
    """A column of categories: those that are said, else those declared by its type, else those seen, sorted."""
    bare = _bare(typed)
    found: Sequence[str] | None = None
    if form == "number":
        bare = replace(bare, dtype=_number_dtype(typed))
        if len(values := typed.numbers.unique) <= MOST:
            found = [cells.canonical(value, typed.single) for value in values.tolist()]
        said = tuple(map(_written_as_number, said))
    elif form == "bool" and (typed.typed or typed.untyped):
        found, bare = ["False", "True"], replace(bare, dtype="bool")
    elif form == "choice":
        found = typed.declared
    elif form != "date" and typed.texts is not None:
        found = sorted(typed.texts)
    if found is None:
        why = f"more than {MOST} values" if form != "date" else f"{typed.type} values"
        raise UserError(f"column {bare.name!r}: kind={kind!r}, but it holds {why}: leave it out")
    if said and (unlisted := [category for category in found if category not in said]):
        raise UserError(f"column {bare.name!r}: {unlisted[0]!r} is not among the categories that are said: add it")
    categories = said or tuple(found)
    if len(categories) < 2 or (kind == "binary" and len(categories) > 2):
        raise UserError(f"column {bare.name!r}: kind={kind!r}, but it has {len(categories)} categories: say another")
    return replace(bare, kind=kind, categories=categories)


def _written_as_number(category: str) -> str:
    """A category that a user says, as those of numbers are written."""
    try:
        return cells.canonical(float(category))
    except (ValueError, OverflowError):
        return category
