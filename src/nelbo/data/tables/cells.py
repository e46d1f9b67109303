"""Cells of an Arrow array as NumPy values: numbers, dates, or texts with a place for each; what is missing marked.

Texts are trimmed. In a text file, a text is missing if it is empty or one of `MARKERS`, unless it is a category that
the schema lists; elsewhere, only null is missing, except for `MARKERS` among texts that are numbers or dates. A number
is missing if it is NaN.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from nelbo.data import formats
from nelbo.data.columns import Column
from nelbo.errors import UserError, require

MARKERS = (
    *("", "?", "-", "NA", "N/A", "na", "n/a", "NaN", "nan", "NAN", "null", "NULL", "Null", "None", "none", "NONE"),
    *("<NA>", "NaT", "#N/A"),
)  # fmt: skip
NUMBER = r"^[+-]?(?:\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?|inf|Inf|INF|[Ii]nfinity)$"
WHOLE = r"^[+-]?\d+$"
PADDED = r"^[+-]?0\d+$"
GROUPED = r"^[+-]?(?:[1-9]\d{0,2}\.\d{3}|\d{1,3})$"
EXACT = 2**53
"""Up to it float64 has every whole number; a column with larger ones is one of texts."""
DATE = r"^\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,6})?)?)?$"
ZONED = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,6})?)?(?:Z|[+-]\d{2}:?\d{2})$"
UNITS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9, "D": 86400 * 10**9}
"""What a datetime may be counted in, as NumPy names it, with its nanoseconds."""
NONE = formats.NONE
SPAN = re.compile(r"(?:([+-]?\d+) days?,? )?(-?)\+?(\d+):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?")
"""A duration or a time of day: `2 days 03:04:05.6`, `-1 day, 3:04:05`, `03:04`."""


def form_of(kind: Any) -> str:
    """What the cells of an Arrow type are: text, number, bool, date, span, choice, nothing, or other.

    A span is a duration, or a time of day.
    """
    types = require("pyarrow").types
    if types.is_dictionary(kind):
        return "choice" if form_of(kind.value_type) in ("text", "number", "bool") else "other"
    if types.is_string(kind) or types.is_large_string(kind) or str(kind) == "string_view":
        return "text"
    if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
        return "number"
    if types.is_duration(kind) or types.is_time(kind):
        return "span"
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


def unit_of(kind: Any) -> str:
    """The unit that a type of dates or spans counts in."""
    types = require("pyarrow").types
    return "D" if types.is_date32(kind) else "ms" if types.is_date64(kind) else kind.unit


def missing_words(column: Column, in_file: bool) -> tuple[str, ...]:
    """The texts that mean a missing cell of a column, in a text file or elsewhere."""
    if column.is_categorical and not numeric(column):
        return tuple(word for word in MARKERS if word not in column.categories) if in_file else ()
    return MARKERS


def numeric(column: Column) -> bool:
    """Whether the categories of a column are numbers."""
    try:
        return all(c == canonical(float(c)) for c in column.categories) or column.dtype in ("float", "halffloat")
    except (ValueError, OverflowError):
        return False


def texts(array: Any, missing: Sequence[str] = MARKERS) -> tuple[Any, np.ndarray]:
    """(the distinct texts of the cells, trimmed; the place of each cell's among them, -1 for a missing one).

    A dictionary's texts keep their order, those that no cell has included. Numbers are written as Arrow writes them.

    Args:
        array: the cells.
        missing: the texts that mean a missing cell.
    """
    pa, pc = require("pyarrow"), require("pyarrow.compute")
    if form_of(array.type) == "other":
        raise UserError(f"holds {array.type} values: give texts or numbers")
    encoded = array if pa.types.is_dictionary(array.type) else pc.dictionary_encode(array)
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.unify_dictionaries().combine_chunks()
    written, place = encoded.dictionary.cast(pa.string()), encoded.indices
    trimmed = pc.utf8_trim_whitespace(written)
    distinct = pc.if_else(
        pc.is_in(trimmed, value_set=pa.array(missing, pa.string())), pa.scalar(None, pa.string()), trimmed
    )
    if not distinct.equals(written):
        again = distinct.dictionary_encode()
        distinct, place = again.dictionary, again.indices.take(place)
    return distinct, np.asarray(place.fill_null(-1))


def words_of(array: Any, chosen: np.ndarray) -> Counter[str]:
    """The texts of the chosen cells, trimmed, with their counts; those that are empty or null are passed over."""
    pa, pc, found = require("pyarrow"), require("pyarrow.compute"), Counter[str]()
    for cell in pc.value_counts(array.filter(pa.array(chosen)).cast(pa.string())).to_pylist():
        found[(cell["values"] or "").strip()] += cell["counts"]
    del found[""]
    return found


def numbers_in(distinct: Any) -> np.ndarray:
    """The numbers that texts stand for, float64; NaN for one that is not a number."""
    pa, pc = require("pyarrow"), require("pyarrow.compute")
    found = pc.match_substring_regex(distinct, NUMBER)
    kept = pc.if_else(found, distinct, pa.scalar(None, pa.string()))
    return np.asarray(pc.cast(pc.utf8_ltrim(kept, "+"), pa.float64()))


def matches(distinct: Any, pattern: str) -> np.ndarray:
    """Whether each text matches a regular expression."""
    return np.asarray(require("pyarrow.compute").match_substring_regex(distinct, pattern))


def beyond_float(array: Any) -> bool:
    """Whether an array's type is one of whole numbers, and one of them is beyond what float64 holds exactly."""
    pa, pc = require("pyarrow"), require("pyarrow.compute")
    wide = pa.types.is_integer(array.type) and array.type.bit_width == 64
    if not wide and not (pa.types.is_decimal(array.type) and array.type.scale <= 0):
        return False
    ends = pc.min_max(array).as_py()
    return max(-(ends["min"] or 0), ends["max"] or 0) > EXACT


def dates_in(distinct: Any) -> tuple[np.ndarray, np.ndarray]:
    """(microseconds since 1970 of ISO dates and times, `NONE` where a text is none; whether it names a time zone)."""
    pa = require("pyarrow")
    out, zoned = np.full(len(distinct), NONE), matches(distinct, ZONED)
    for chosen, kind in ((matches(distinct, DATE), pa.timestamp("us")), (zoned, pa.timestamp("us", "UTC"))):
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


def integers(array: Any) -> Any:
    """Booleans, dates, times or durations as the whole numbers that Arrow makes of them."""
    pa = require("pyarrow")
    return array.cast(pa.int32() if array.type.bit_width == 32 else pa.int64())


def spans_in(distinct: Any) -> np.ndarray:
    """The nanoseconds of the durations and times of day that texts stand for, `NONE` where a text is none."""
    out = np.full(len(distinct), NONE)
    for i, text in enumerate(distinct.to_pylist()):
        if found := SPAN.fullmatch(text or ""):
            days, sign, hours, minutes, seconds, fraction = found.groups()
            clock = (int(hours) * 60 + int(minutes)) * 60 + int(seconds or 0)
            size = clock * 10**9 + int((fraction or "").ljust(9, "0"))
            value = int(days or 0) * UNITS["D"] + (-size if sign else size)
            out[i] = value if abs(value) < 2**63 else NONE
    return out


def span_text(nanoseconds: int) -> str:
    """A duration or a time of day as a text that `spans_in` reads.

    >>> span_text(3_600_000_000_000), span_text(-1_500_000_000)
    ('01:00:00', '-1 days 23:59:58.5')
    """
    days, rest = divmod(nanoseconds, UNITS["D"])
    seconds, rest = divmod(rest, UNITS["s"])
    clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    fraction = f".{rest:09}".rstrip("0") if rest else ""
    return f"{f'{days} days ' if days else ''}{clock}{fraction}"


def numbers(array: Any, written: str = "") -> np.ndarray:
    """The cells as float64, NaN for a missing one or one that is not a number; raises `UserError` for dates.

    Args:
        array: the cells.
        written: the format of numbers in texts; "" for plain ones.
    """
    pa = require("pyarrow")
    form = form_of(array.type)
    if form == "nothing":
        return np.full(len(array), np.nan)
    if form in ("text", "choice"):
        distinct, place = texts(array)
        return np.append(formats.parse(written).values(distinct) if written else numbers_in(distinct), np.nan)[place]
    if form == "other" or form == "date":
        raise UserError(f"holds {array.type} values, not numbers")
    if form in ("bool", "span"):
        array = integers(array)
    if pa.types.is_decimal(array.type):  # as texts, since Arrow's own product 41 * 0.01 is not 0.41
        array = array.cast(pa.string())
    safe = not pa.types.is_integer(array.type)  # an integer beyond 2^53 is rounded
    return np.asarray(array.cast(pa.float64(), safe=safe))


def dates(array: Any, written: str = "") -> tuple[np.ndarray, str]:
    """(the cells as int64, `NONE` for a missing one or one that is not a date; the unit they are counted in).

    Args:
        array: the cells.
        written: the format of dates in texts and whole numbers; "" for ISO dates in texts.

    Raises `UserError` for an array that holds no dates.
    """
    form = form_of(array.type)
    if form == "nothing":
        return np.full(len(array), NONE), "us"
    if form == "number" and written:
        array, form = whole_texts(array), "text"
    if form in ("text", "choice"):
        distinct, place = texts(array)
        found = formats.parse(written).values(distinct) if written else dates_in(distinct)[0]
        return np.append(found, NONE)[place], "us"
    if form != "date":
        raise UserError(f"holds {array.type} values, not dates")
    return ticks(array)


def spans(array: Any) -> tuple[np.ndarray, str]:
    """Durations or times of day in the form of `dates`."""
    form = form_of(array.type)
    if form == "nothing":
        return np.full(len(array), NONE), "ns"
    if form in ("text", "choice"):
        distinct, place = texts(array)
        return np.append(spans_in(distinct), NONE)[place], "ns"
    if form != "span":
        raise UserError(f"holds {array.type} values, not durations or times of day")
    return ticks(array)


def ticks(array: Any) -> tuple[np.ndarray, str]:
    """The cells of a type of dates or spans, as `dates` returns them."""
    pa = require("pyarrow")
    return np.asarray(integers(array).cast(pa.int64()).fill_null(NONE)), unit_of(array.type)


def whole_texts(array: Any) -> Any:
    """Whole numbers of any type as texts; null for a number that is not whole."""
    pa, values = require("pyarrow"), numbers(array)
    whole = np.isfinite(values) & (values == np.rint(values)) & (np.abs(values) < EXACT)
    return pa.array(np.where(whole, values, 0).astype(np.int64), mask=~whole).cast(pa.string())


def canonical(value: float, single: bool = False) -> str:
    """A number as the name of a category.

    >>> canonical(3.0), canonical(0.1)
    ('3', '0.1')
    """
    if value == int(value) and abs(value) < 2**63:
        return str(int(value))
    return str(np.float32(value)) if single else repr(float(value))
