"""Cells of an Arrow array as NumPy values: numbers, dates, or texts with a place for each; what is missing marked.

Texts are trimmed. A text is missing if it is empty or one of `MARKERS`; a number, if it is NaN.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from nelbo.errors import UserError, require

MARKERS = (
    *("", "?", "-", "NA", "N/A", "na", "n/a", "NaN", "nan", "NAN", "null", "NULL", "Null", "None", "none", "NONE"),
    *("<NA>", "NaT", "#N/A"),
)  # fmt: skip
NUMBER = r"^[+-]?(?:\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?|inf|Inf|INF|[Ii]nfinity)$"
INTEGER = r"^[+-]?\d{1,18}$"
PADDED = r"^[+-]?0\d"
DATE = r"^\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,6})?)?)?$"
ZONED = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,6})?)?(?:Z|[+-]\d{2}:?\d{2})$"
UNITS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9, "D": 86400 * 10**9}
"""What a datetime may be counted in, as NumPy names it, with its nanoseconds."""
NONE = np.iinfo(np.int64).min


def form_of(kind: Any) -> str:
    """What the cells of an Arrow type are: text, number, bool, date, choice, nothing, or other."""
    types = require("pyarrow").types
    if types.is_dictionary(kind):
        return "choice" if form_of(kind.value_type) in ("text", "number", "bool") else "other"
    if types.is_string(kind) or types.is_large_string(kind) or str(kind) == "string_view":
        return "text"
    if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
        return "number"
    if types.is_duration(kind) or types.is_time(kind):
        return "number"
    if types.is_timestamp(kind) or types.is_date(kind):
        return "date"
    return "bool" if types.is_boolean(kind) else "nothing" if types.is_null(kind) else "other"


def dtype_name(kind: Any) -> str:
    """The name of an Arrow type in a schema: texts and dictionaries of every width alike."""
    types = require("pyarrow").types
    if types.is_dictionary(kind):
        return f"dictionary<{dtype_name(kind.value_type)}{', ordered' if kind.ordered else ''}>"
    return "string" if form_of(kind) == "text" else str(kind)


def arrow_type(name: str) -> Any:
    """The Arrow type of that name: the inverse of `dtype_name`."""
    pa = require("pyarrow")
    if found := re.fullmatch(r"dictionary<(.*?)(, ordered)?>", name):
        return pa.dictionary(pa.int32(), arrow_type(found[1]), bool(found[2]))
    if found := re.fullmatch(r"timestamp\[(\w+), tz=(.+)\]", name):
        return pa.timestamp(found[1], found[2])
    if found := re.fullmatch(r"decimal(\d+)\((\d+), (-?\d+)\)", name):
        return getattr(pa, f"decimal{found[1]}")(int(found[2]), int(found[3]))
    return pa.type_for_alias(name)


def texts(array: Any) -> tuple[Any, np.ndarray]:
    """(distinct texts, trimmed; the place of each cell's among them, -1 for a missing one).

    Two of the texts may be alike. Numbers are written as Arrow writes them.
    """
    pa, pc = require("pyarrow"), require("pyarrow.compute")
    if form_of(array.type) == "other":
        raise UserError(f"holds {array.type} values: give texts or numbers")
    encoded = array if pa.types.is_dictionary(array.type) else pc.dictionary_encode(array)
    distinct = pc.utf8_trim_whitespace(encoded.dictionary.cast(pa.string()))
    absent = pc.is_in(distinct, value_set=pa.array(MARKERS)).to_numpy(zero_copy_only=False)
    absent |= distinct.is_null().to_numpy(zero_copy_only=False)
    place = encoded.indices.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False)
    places = np.where(absent, -1, np.arange(len(distinct)))
    return distinct, np.append(places, -1)[place]


def numbers_in(distinct: Any) -> np.ndarray:
    """The numbers that texts stand for, float64; NaN for one that is no number."""
    pa, pc = require("pyarrow"), require("pyarrow.compute")
    found = pc.match_substring_regex(distinct, NUMBER)
    kept = pc.if_else(found, distinct, pa.scalar(None, pa.string()))
    return pc.cast(pc.utf8_ltrim(kept, "+"), pa.float64()).to_numpy(zero_copy_only=False)


def dates_in(distinct: Any) -> tuple[np.ndarray, np.ndarray]:
    """(microseconds since 1970 of ISO dates and times, `NONE` where a text is none; whether it names a time zone)."""
    pa, pc = require("pyarrow"), require("pyarrow.compute")
    out = np.full(len(distinct), NONE)
    zoned = pc.match_substring_regex(distinct, ZONED).fill_null(False).to_numpy(zero_copy_only=False)
    plain = pc.match_substring_regex(distinct, DATE).fill_null(False).to_numpy(zero_copy_only=False)
    for chosen, kind in ((plain, pa.timestamp("us")), (zoned, pa.timestamp("us", "UTC"))):
        if chosen.any():
            out[chosen] = _microseconds(distinct.filter(pa.array(chosen)), kind)
    return out, zoned


def _microseconds(written: Any, kind: Any) -> np.ndarray:
    """Texts that look like dates -> microseconds; `NONE` for a day that no calendar has."""
    pa = require("pyarrow")
    try:
        return written.cast(kind).cast(pa.int64()).to_numpy()
    except pa.ArrowInvalid:
        if len(written) == 1:
            return np.array([NONE])
        half = len(written) // 2
        return np.concatenate([_microseconds(written[:half], kind), _microseconds(written[half:], kind)])


def numbers(array: Any) -> np.ndarray:
    """The cells as float64, NaN for a missing one or what is no number; raises `UserError` for dates."""
    pa = require("pyarrow")
    form = form_of(array.type)
    if form == "nothing":
        return np.full(len(array), np.nan)
    if form in ("text", "choice"):
        distinct, place = texts(array)
        return np.append(numbers_in(distinct), np.nan)[place]
    if form == "other" or form == "date":
        raise UserError(f"holds {array.type} values, not numbers")
    if pa.types.is_time32(array.type):
        array = array.cast(pa.int32())
    if form == "bool" or pa.types.is_duration(array.type) or pa.types.is_time64(array.type):
        array = array.cast(pa.int64())
    safe = not pa.types.is_integer(array.type)  # an integer beyond 2^53 is rounded
    return array.cast(pa.float64(), safe=safe).to_numpy(zero_copy_only=False)


def dates(array: Any) -> tuple[np.ndarray, str]:
    """(the cells as int64, `NONE` for a missing one or what is no date; the unit they are counted in).

    Raises `UserError` for an array that holds no dates.
    """
    pa = require("pyarrow")
    form = form_of(array.type)
    if form == "nothing":
        return np.full(len(array), NONE), "us"
    if form in ("text", "choice"):
        distinct, place = texts(array)
        return np.append(dates_in(distinct)[0], NONE)[place], "us"
    if form != "date":
        raise UserError(f"holds {array.type} values, not dates")
    unit = "D" if pa.types.is_date32(array.type) else "ms" if pa.types.is_date64(array.type) else array.type.unit
    whole = array.cast(pa.int32()) if unit == "D" else array
    return whole.cast(pa.int64()).fill_null(NONE).to_numpy(zero_copy_only=False), unit


def canonical(value: float, single: bool = False) -> str:
    """A number as the name of a category.

    >>> canonical(3.0), canonical(0.1)
    ('3', '0.1')
    """
    if value == int(value) and abs(value) < 2**63:
        return str(int(value))
    return str(np.float32(value)) if single else repr(float(value))
