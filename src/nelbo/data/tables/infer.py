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


class Seen:
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


def column_of(seen: Seen, said: Override) -> Column:
    """The column, as inferred or, where a user says something of it, as said.

    Raises `UserError` naming the value and its row if the column's cells are of several types, or infinite.
    """
    try:
        form = _form(seen)
        natural = _natural(seen, form)
    except UserError:
        if not said.kind:
            raise
        natural = None
    if said.kind == "identifier":
        told = replace(_bare(seen), note="left out as told")
        return natural if natural is not None and natural.kind == said.kind else told
    if natural is None or said.kind not in ("", natural.kind):
        return _made(seen, _forced_form(seen, said), said)
    if natural.modelled and (said.transform or said.categories):
        return _made(seen, form, replace(said, kind=natural.kind))
    return natural


def _bare(seen: Seen) -> Column:
    """What needs no inference."""
    missing = (seen.rows - seen.known) / max(seen.rows, 1)
    return Column(seen.name, "identifier", cells.dtype_name(seen.type), seen.frame, missing=missing)


def _form(seen: Seen) -> str:
    """What the cells are. Raises `UserError` for a few words among numbers or dates, and for infinite numbers."""
    if seen.first_infinite is not None and seen.numbers.count:
        raise UserError(
            f"column {seen.name!r}: row {seen.first_infinite} is infinite: drop or fill it, or leave the column out"
        )
    if seen.form != "text" or not seen.known:
        return seen.form
    if {text.lower() for text in seen.texts or ()} == {"true", "false"}:
        return "bool"
    for what, count, first in (
        ("number", seen.numbers.count, seen.first_word),
        ("date", seen.dates.count, seen.first_undated),
    ):
        if count == seen.known and (seen.as_numbers or what != "number"):
            return _one_zone(seen) if what == "date" else what
        if first and 0 < seen.known - count <= ODD * seen.known and (seen.as_numbers or what != "number"):
            others = seen.known - count
            raise UserError(
                f"column {seen.name!r}: row {first[0]} has {first[1]!r}, which is no {what} as others are "
                f"({others} of {seen.known} cells are none): mend it, or say kind={_remedy(what)} in --schema"
            )
    if seen.first_word and all(COMMAS.match(text) for text in (seen.first_word[1], *(seen.texts or ()))):
        row, text = seen.first_word
        raise UserError(
            f"column {seen.name!r}: row {row} has {text!r}, a comma within a number: write 1.5 for 1,5 and 1234 for "
            '1,234, or say kind="categorical" (or "leave out") in --schema'
        )
    return "text"


def _remedy(what: str) -> str:
    """Kinds that take odd cells as missing, or as what they are."""
    return f'"{"continuous" if what == "number" else "datetime"}" (missing then) or "categorical"'


def _one_zone(seen: Seen) -> str:
    if 0 < seen.zoned < seen.known:
        raise UserError(
            f"column {seen.name!r}: {seen.zoned} of {seen.known} times name a time zone, others none: give all one"
        )
    return "date"


def _forced_form(seen: Seen, said: Override) -> str:
    """What the cells are taken as under a kind that a user names."""
    if seen.form != "text":
        return seen.form
    if said.kind == "datetime":
        return "date"
    if said.kind in NUMBERS:
        return "number"
    return "number" if seen.numbers.count == seen.known and seen.as_numbers else "text"


def _natural(seen: Seen, form: str) -> Column:
    """The column as inferred."""
    bare = _bare(seen)
    if form == "other":
        return replace(bare, note=f"holds {seen.type} values")
    if not seen.known:
        return replace(bare, kind="constant", note="all cells are missing")
    if form == "date":
        return _constant(seen, form) if seen.dates.low == seen.dates.high else _date(seen, "")
    distinct = len(seen.numbers.unique) if form == "number" else MOST + 1 if seen.texts is None else len(seen.texts)
    if distinct == 1:
        return _constant(seen, form)
    if form == "number":
        return _natural_number(seen, distinct)
    n = max(distinct, len(seen.declared))
    if n > MOST:
        return replace(bare, note=f"has more than {MOST} categories")
    if n > PLENTY and distinct > seen.known / 2:
        return replace(bare, note=f"{distinct} of {seen.known} texts differ")
    ordered = form == "choice" and seen.type.ordered
    return _choice(seen, form, "binary" if n == 2 else "ordinal" if ordered else "categorical", ())


def _natural_number(seen: Seen, distinct: int) -> Column:
    v, known = seen.numbers, seen.known
    bare = replace(_bare(seen), dtype=_number_dtype(seen))
    if known >= SEQUENCE and seen.whole and not bare.missing:
        if distinct == v.count == v.high - v.low + 1:
            return replace(bare, note=f"counts from {v.low:g} to {v.high:g}")
        if ID_NAME.search(bare.name) and (np.diff(v.sample) > 0).all():
            return replace(bare, note=f"is named {bare.name!r}, and no two values are alike")
    if distinct == 2 and known >= 4:
        return _choice(seen, "number", "binary", ())
    if seen.whole and distinct <= FEW and 2 * distinct <= known:
        return _choice(seen, "number", "ordinal", ())
    return _number(seen, "count" if seen.whole and v.low >= 0 else "continuous", "")


def _constant(seen: Seen, form: str) -> Column:
    bare = _bare(seen)
    if form == "number":
        value, dtype = cells.canonical(seen.numbers.low, seen.single), _number_dtype(seen)
    elif form == "date":
        unit, size = seen.coarsest()
        value, dtype, bare = str(seen.dates.low // size), _date_dtype(seen, unit), replace(bare, unit=unit)
    else:
        value, dtype = (seen.texts or [""])[0], bare.dtype
    return replace(bare, kind="constant", constant=value, dtype=dtype, categories=seen.declared)


def _made(seen: Seen, form: str, said: Override) -> Column:
    """The column of a kind that a user names, if its cells can be that."""
    kind, name = said.kind, seen.name
    if kind == "constant":
        raise UserError(f"column {name!r}: kind='constant', but it has several values: leave it out instead")
    if kind == "datetime" and (form != "date" or not seen.dates.count):
        raise UserError(f"column {name!r}: kind='datetime', but it holds no ISO dates such as 2024-12-31")
    if kind in ("continuous", "count") and (form != "number" or not seen.numbers.count):
        raise UserError(f"column {name!r}: kind={kind!r}, but it holds no numbers")
    if kind == "count" and not (seen.whole and seen.numbers.low >= 0):
        raise UserError(f"column {name!r}: kind='count', but {seen.numbers.low:g} is among its values: say continuous")
    if kind in CHOICES:
        return _choice(seen, form, kind, said.categories)
    if said.categories:
        raise UserError(f"column {name!r}: kind={kind!r} has no categories: say kind='ordinal' too")
    return _date(seen, said.transform) if kind == "datetime" else _number(seen, kind, said.transform)


def _number(seen: Seen, kind: str, transform: Transform) -> Column:
    v, dtype = seen.numbers, _number_dtype(seen)
    bare = replace(_bare(seen), dtype=dtype, decimals=seen.decimals, missing=(seen.rows - v.count) / seen.rows)
    return _scaled(replace(bare, low=v.low, high=v.high), kind, transform, v.sample)


def _date(seen: Seen, transform: Transform) -> Column:
    v, (unit, size) = seen.dates, seen.coarsest()
    missing = (seen.rows - v.count) / seen.rows
    bare = replace(_bare(seen), dtype=_date_dtype(seen, unit), decimals=0, missing=missing)
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
    return replace(bare, kind=kind, transform=chosen, numbers=transforms.fit(chosen, values, low, high))


def _number_dtype(seen: Seen) -> str:
    if seen.typed or not seen.untyped:
        return cells.dtype_name(seen.type)
    return "int64" if seen.integers and max(-seen.numbers.low, seen.numbers.high) < 2**63 else "double"


def _date_dtype(seen: Seen, unit: str) -> str:
    if seen.typed or not seen.untyped:
        return cells.dtype_name(seen.type)
    if unit == "D" and not seen.zoned:
        return "date32[day]"
    return f"timestamp[{unit if unit in ('ms', 'us') else 's'}{', tz=UTC' if seen.zoned else ''}]"


def _choice(seen: Seen, form: str, kind: Any, said: tuple[str, ...]) -> Column:
    """A column of categories: those that are said, else those declared by its type, else those seen, sorted."""
    bare = _bare(seen)
    found: Sequence[str] | None = None
    if form == "number":
        bare = replace(bare, dtype=_number_dtype(seen))
        if len(values := seen.numbers.unique) <= MOST:
            found = [cells.canonical(value, seen.single) for value in values.tolist()]
        said = tuple(map(_written_as_number, said))
    elif form == "bool" and (seen.typed or seen.untyped):
        found, bare = ["False", "True"], replace(bare, dtype="bool")
    elif form == "choice":
        found = seen.declared
    elif form != "date" and seen.texts is not None:
        found = sorted(seen.texts)
    if found is None:
        why = f"more than {MOST} values" if form != "date" else f"{seen.type} values"
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
