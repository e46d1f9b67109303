"""What a column is, by what was seen of it: the rules that `nelbo.data.tables` lists."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from nelbo.data.columns import CHOICES, NUMBERS, Column, Transform
from nelbo.data.tables import cells, transforms
from nelbo.data.tables.overrides import Override
from nelbo.data.tables.statistics import MOST, Tally
from nelbo.errors import UserError

ODD = 0.05  # a share of words among numbers, up to which they are mistakes
FEW = 20  # distinct whole numbers, up to which they are ordinal
PLENTY = 50  # distinct texts, up to which a column is a choice whatever their share
SEQUENCE = 10  # rows, from which numbers in sequence are identifiers
COMMAS = re.compile(r"[+-]?\d+(?:,\d+)*(?:\.\d+)?$")
ID_NAME = re.compile(r"(?:^|[\W_])(?i:id|index|uuid|guid)$|[a-z](?:Id|ID)$")


@dataclass(frozen=True)
class Seen:
    """A tally with what its cells are, texts having been looked into: number, bool, date or text."""

    tally: Tally
    form: str
    untyped: bool
    frame: str

    @property
    def distinct(self) -> int:
        """The number of values seen, up to one more than 1000."""
        counted = self.tally.numbers.distinct if self.form == "number" else self.tally.counts
        if self.form == "date":
            return min(len(np.unique(self.tally.dates.sample.values())), MOST + 1)
        return MOST + 1 if counted is None else len(counted)


def column(tally: Tally, said: Override, untyped: bool, frame: str) -> Column:
    """The column, as inferred or, where a user says something of it, as said.

    Raises `UserError` naming the value and its row if the column's cells are of several types, or infinite.
    """
    try:
        seen = Seen(tally, _form(tally), untyped, frame)
        natural = _natural(seen)
    except UserError:
        if not said.kind:
            raise
        natural = None
    if said.kind == "identifier":
        told = replace(_bare(tally, frame), note="left out as told")
        return natural if natural is not None and natural.kind == said.kind else told
    if natural is None or said.kind not in ("", natural.kind):
        return _made(Seen(tally, _forced_form(tally, said), untyped, frame), said)
    if natural.modelled and (said.transform or said.categories):
        return _made(seen, replace(said, kind=natural.kind))
    return natural


def _bare(tally: Tally, frame: str) -> Column:
    """What needs no inference."""
    dtype = "string" if tally.form == "text" else cells.dtype_name(tally.kind)
    return Column(tally.name, "identifier", dtype, frame, missing=(tally.rows - tally.known) / max(tally.rows, 1))


def _form(tally: Tally) -> str:
    """What the cells are. Raises `UserError` for a few words among numbers or dates, and for infinite numbers."""
    if tally.first_infinite is not None and tally.numbers.count:
        raise UserError(
            f"column {tally.name!r}: row {tally.first_infinite} is infinite: drop or fill it, or leave the column out"
        )
    if tally.form != "text" or not tally.known:
        return tally.form
    if tally.counts is not None and {text.lower() for text in tally.counts} == {"true", "false"}:
        return "bool"
    for what, count, first in (
        ("number", tally.numbers.count, tally.first_word),
        ("date", tally.dates.count, tally.first_undated),
    ):
        if count == tally.known and not (what == "number" and tally.padded):
            return _one_zone(tally) if what == "date" else what
        if first and 0 < tally.known - count <= ODD * tally.known and not (what == "number" and tally.padded):
            others = tally.known - count
            raise UserError(
                f"column {tally.name!r}: row {first[0]} has {first[1]!r}, which is no {what} as others are "
                f"({others} of {tally.known} cells are none): mend it, or say kind={_remedy(what)} in --schema"
            )
    if tally.first_word and all(COMMAS.match(text) for text in (tally.first_word[1], *(tally.counts or ()))):
        row, text = tally.first_word
        raise UserError(
            f"column {tally.name!r}: row {row} has {text!r}, a comma within a number: write 1.5 for 1,5 and 1234 for "
            '1,234, or say kind="categorical" (or "leave out") in --schema'
        )
    return "text"


def _remedy(what: str) -> str:
    """Kinds that take odd cells as missing, or as what they are."""
    return f'"{"continuous" if what == "number" else "datetime"}" (missing then) or "categorical"'


def _one_zone(tally: Tally) -> str:
    if 0 < tally.zoned < tally.known:
        raise UserError(
            f"column {tally.name!r}: {tally.zoned} of {tally.known} times name a time zone, others none: give all one"
        )
    return "date"


def _forced_form(tally: Tally, said: Override) -> str:
    """What the cells are taken as under a kind that a user names."""
    if tally.form != "text":
        return tally.form
    if said.kind == "datetime":
        return "date"
    if said.kind in NUMBERS:
        return "number"
    whole = tally.numbers.count == tally.known and not tally.padded
    return "number" if whole else "text"


def _natural(seen: Seen) -> Column:
    """The column as inferred."""
    tally, bare = seen.tally, _bare(seen.tally, seen.frame)
    if seen.form == "other":
        return replace(bare, note=f"holds {tally.kind} values")
    if not tally.known:
        return replace(bare, kind="constant", note="all cells are missing")
    if seen.form == "date":
        return _constant(seen) if tally.dates.low == tally.dates.high else _date(seen, "")
    declared = len(tally.declared) if seen.form == "choice" else 0
    if seen.distinct == 1:
        return _constant(seen)
    if seen.form == "number":
        return _natural_number(seen)
    n = max(seen.distinct, declared)
    if n > MOST:
        return replace(bare, note=f"has more than {MOST} categories")
    if n > PLENTY and seen.distinct > tally.known / 2:
        return replace(bare, note=f"{seen.distinct} of {tally.known} texts differ")
    ordered = seen.form == "choice" and tally.kind.ordered
    return _choice(seen, "binary" if n == 2 else "ordinal" if ordered else "categorical", ())


def _natural_number(seen: Seen) -> Column:
    v, known = seen.tally.numbers, seen.tally.known
    bare = replace(_bare(seen.tally, seen.frame), dtype=_number_dtype(seen))
    if known >= SEQUENCE and v.whole and not bare.missing:
        if v.in_sequence():
            return replace(bare, note=f"counts from {v.low:g} to {v.high:g}")
        if ID_NAME.search(bare.name) and (np.diff(v.sample.values()) > 0).all():
            return replace(bare, note=f"is named {bare.name!r}, and no two values are alike")
    if seen.distinct == 2 and known >= 4:
        return _choice(seen, "binary", ())
    if v.whole and seen.distinct <= FEW and 2 * seen.distinct <= known:
        return _choice(seen, "ordinal", ())
    return _number(seen, "count" if v.whole and v.low >= 0 else "continuous", "")


def _constant(seen: Seen) -> Column:
    tally, bare = seen.tally, _bare(seen.tally, seen.frame)
    if seen.form == "number":
        value, dtype = cells.canonical(tally.numbers.low, tally.numbers.single), _number_dtype(seen)
    elif seen.form == "date":
        unit, size = tally.dates.coarsest()
        value, dtype, bare = str(tally.dates.low // size), _date_dtype(seen, unit), replace(bare, unit=unit)
    else:
        value, dtype = next(iter(tally.counts or {"": 0})), bare.dtype
    kept = tuple(tally.declared) if seen.form == "choice" else ()
    return replace(bare, kind="constant", constant=value, dtype=dtype, categories=kept)


def _made(seen: Seen, said: Override) -> Column:
    """The column of a kind that a user names, if its cells can be that."""
    kind, tally, name = said.kind, seen.tally, seen.tally.name
    if kind == "constant":
        raise UserError(f"column {name!r}: kind='constant', but it has several values: leave it out instead")
    if kind == "datetime" and (seen.form != "date" or not tally.dates.count):
        raise UserError(f"column {name!r}: kind='datetime', but it holds no ISO dates such as 2024-12-31")
    if kind in ("continuous", "count") and (seen.form != "number" or not tally.numbers.count):
        raise UserError(f"column {name!r}: kind={kind!r}, but it holds no numbers")
    if kind == "count" and not (tally.numbers.whole and tally.numbers.low >= 0):
        raise UserError(f"column {name!r}: kind='count', but {tally.numbers.low:g} is among its values: say continuous")
    if kind in CHOICES:
        return _choice(seen, kind, said.categories)
    if said.categories:
        raise UserError(f"column {name!r}: kind={kind!r} has no categories: say kind='ordinal' too")
    return _date(seen, said.transform) if kind == "datetime" else _number(seen, kind, said.transform)


def _number(seen: Seen, kind: str, transform: Transform) -> Column:
    v = seen.tally.numbers
    decimals = 0 if v.whole else v.decimals
    missing = (seen.tally.rows - v.count) / seen.tally.rows
    bare = replace(_bare(seen.tally, seen.frame), dtype=_number_dtype(seen), decimals=decimals, missing=missing)
    return _scaled(replace(bare, low=v.low, high=v.high), kind, transform, v.sample.values())


def _date(seen: Seen, transform: Transform) -> Column:
    v = seen.tally.dates
    unit, size = v.coarsest()
    missing = (seen.tally.rows - v.count) / seen.tally.rows
    bare = replace(_bare(seen.tally, seen.frame), dtype=_date_dtype(seen, unit), decimals=0, missing=missing)
    bare = replace(bare, low=float(v.low // size), high=float(v.high // size), unit=unit)
    return _scaled(bare, "datetime", transform, (v.sample.values() // size).astype(np.float64))


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
    tally = seen.tally
    if tally.form != "text":
        return cells.dtype_name(tally.kind)
    return "string" if not seen.untyped else "int64" if tally.integers else "double"


def _date_dtype(seen: Seen, unit: str) -> str:
    if seen.tally.form != "text":
        return cells.dtype_name(seen.tally.kind)
    if not seen.untyped:
        return "string"
    if unit == "D" and not seen.tally.zoned:
        return "date32[day]"
    return f"timestamp[{unit if unit in ('ms', 'us') else 's'}{', tz=UTC' if seen.tally.zoned else ''}]"


def _choice(seen: Seen, kind: Any, said: tuple[str, ...]) -> Column:
    """A column of categories: those that are said, else those declared by its type, else those seen, sorted."""
    tally, bare = seen.tally, _bare(seen.tally, seen.frame)
    dtype = bare.dtype
    if seen.form == "number":
        found = None if tally.numbers.distinct is None else [*map(_number_name(seen), sorted(tally.numbers.distinct))]
        said, dtype = tuple(map(_written_as_number, said)), _number_dtype(seen)
    elif seen.form == "bool" and (tally.form == "bool" or seen.untyped):
        found, dtype = ["False", "True"], "bool"
    elif seen.form == "choice":
        found = list(tally.declared)
    else:
        found = None if tally.counts is None or seen.form == "date" else sorted(tally.counts)
    if found is None:
        why = f"more than {MOST} values" if seen.form != "date" else f"{tally.kind} values"
        raise UserError(f"column {bare.name!r}: kind={kind!r}, but it holds {why}: leave it out")
    if said and (unlisted := [category for category in found if category not in said]):
        raise UserError(f"column {bare.name!r}: {unlisted[0]!r} is not among the categories that are said: add it")
    categories = said or tuple(found)
    if len(categories) < 2 or (kind == "binary" and len(categories) > 2):
        raise UserError(f"column {bare.name!r}: kind={kind!r}, but it has {len(categories)} categories: say another")
    return replace(bare, kind=kind, categories=categories, dtype=dtype)


def _number_name(seen: Seen) -> Callable[[float], str]:
    return partial(cells.canonical, single=seen.tally.numbers.single)


def _written_as_number(category: str) -> str:
    """A category that a user says, as those of numbers are written."""
    try:
        return cells.canonical(float(category))
    except (ValueError, OverflowError):
        return category
