"""How texts write numbers and dates: `1.234,56`, `$1,200.00`, `12.5%`, `3/14/2021 2:30 PM`; to values and back.

The format of numbers is the number 1234.56 as the column writes it: `1.234,56`, `$1,234.56`, `1234.56%`; in
parentheses, `($1,234.56)`, if they mark negative numbers. The format of dates has the codes of `strptime`:

    %Y 2021, %y 21, %m 03, %b Mar, %B March, %d 04, %a Thu, %A Thursday, %H 14, %I 02, %M 30, %S 59, %f 123456, %p PM

As in the C library, `%-m`, `%-d`, `%-H` and `%-I` have no zero in front, `%^b` has capitals, and `%P` is pm. Whole
numbers may be dates, too: 20210304 is `%Y%m%d`.

`infer` tries the formats that the first texts suggest, and takes the one that fits most texts. Two that fit equally
well but disagree (1,234 is 1234 or 1.234; 3/4/2021 is in March or April) are an `AmbiguousFormat`, until other columns
or the user decide. A dot alone is a decimal point (1.234), and dates with dots begin with the day.

pandas, dateutil and babel were considered: the first two guess each text by itself, the last needs a locale.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np

from nelbo.errors import UserError, require

NONE = np.iinfo(np.int64).min
LOOK, FIT = 200, 2000  # texts that suggest a format, and by which its padding is chosen
LONGEST = 100  # characters of a format
ENOUGH = 0.95  # the share of texts that a format must fit
SIGN = "[+\\-\u2212]"
BLANK = "[ \u00a0\u202f]"
CURRENCIES = "USD|EUR|GBP|JPY|CHF|CNY|INR|CAD|AUD|BRL|SEK|NOK|DKK|PLN|CZK|RUB|MXN|KRW|ZAR|R\\$|US\\$|kr|zł|Kč|Rs\\.?"
UNIT = f"[$\u00a2-\u00a5\u20a0-\u20c0]|%|\u2030|{CURRENCIES}"
"""What stands beside numbers: signs and names of currencies, per cent, per mille."""
CODE = re.compile(r"%([-^]?)([a-zA-Z])")
MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
PATTERNS = {
    "Y": r"\d{4}", "y": r"\d{2}", "m": r"\d{1,2}", "d": r"\d{1,2}", "H": r"\d{1,2}", "I": r"\d{1,2}",
    "M": r"\d{2}", "S": r"\d{2}", "f": r"\d{1,6}", "p": r"[AaPp]\.?[Mm]\.?", "P": r"[AaPp]\.?[Mm]\.?",
    "b": r"[A-Za-z]{3,4}\.?", "B": r"[A-Za-z]{3,9}", "a": r"[A-Za-z]{3}", "A": r"[A-Za-z]{6,9}",
}  # fmt: skip
YEARS = (1900, 2100)  # of dates that are whole numbers


class AmbiguousFormat(UserError):
    """Several formats fit a column's texts, and disagree.

    Args:
        message: what is ambiguous, and how to decide it.
        formats: the formats that fit.
    """

    def __init__(self, message: str, formats: tuple[str, ...]) -> None:
        super().__init__(message)
        self.formats = formats


@dataclass(frozen=True)
class Hints:
    """What decides between formats: the decimal mark, and the formats of dates; empty where nothing does."""

    decimal: str = ""
    dates: tuple[str, ...] = ()

    def name(self, text: str) -> bool:
        """Whether they name this format: the same codes of a date, or numbers with their decimal mark."""
        form = parse(text)
        if isinstance(form, DateFormat):
            return form.plain in {DateFormat(known).plain for known in self.dates}
        return bool(self.decimal) and form.decimal == self.decimal and form != NumberFormat()


NO_HINTS = Hints()


def hints_of(columns: list[str], points: bool, said: Hints) -> Hints:
    """What the columns of a table that are not ambiguous show.

    Args:
        columns: their formats.
        points: whether other texts are numbers with a decimal point.
        said: what the user says, which comes first.
    """
    known = [parse(form) for form in columns]
    marks = {form.decimal for form in known if isinstance(form, NumberFormat)} | ({"."} if points else set())
    dates = tuple(form.plain for form in known if isinstance(form, DateFormat))
    return Hints(said.decimal or (marks.pop() if len(marks) == 1 else ""), said.dates or dates)


def is_date_format(text: str) -> bool:
    """Whether a format is one of dates.

    >>> is_date_format("%d/%m/%Y"), is_date_format("1234.56%")
    (True, False)
    """
    return CODE.search(text) is not None


def parse(text: str) -> NumberFormat | DateFormat:
    """The format that a user writes. Raises `UserError` for a text that is none.

    >>> parse("1.234,56 €")
    NumberFormat(prefix='', thousands='.', decimal=',', suffix=' €', accounting=False)
    """
    if len(text) > LONGEST:
        raise UserError(f"format={text[:20]!r}... has {len(text)} characters: use up to {LONGEST}")
    if is_date_format(text):
        if unknown := [code for _, code in CODE.findall(text) if code not in PATTERNS]:
            raise UserError(f"format={text!r}: %{unknown[0]} is unknown: give codes such as %d/%m/%Y %H:%M")
        if not {"Y", "y"} & {code for _, code in CODE.findall(text)}:
            raise UserError(f"format={text!r} has no year: give %Y or %y, too, or model the column as categories")
        return DateFormat(text)
    found = re.fullmatch(r"(\()?(\D*?)1(\D?)234(?:(\D)56)?(\D*?)(\))?", text)
    if not found or (found[1] is None) != (found[6] is None) or (found[3] and found[3] == found[4]):
        raise UserError(
            f"format={text!r}: write the number 1234.56 as the column does, such as 1.234,56 or $1,234.56, or a date "
            "by codes, such as %d/%m/%Y"
        )
    decimal = found[4] or ("," if found[3] == "." else ".")
    return NumberFormat(found[2], found[3], decimal, found[5], found[1] is not None)


@dataclass(frozen=True)
class NumberFormat:
    """How numbers are written: what stands before and after them, and what parts thousands and decimals.

    Args:
        prefix: the text before each number, such as "$".
        thousands: what parts groups of three digits; "" for nothing.
        decimal: what begins the decimals.
        suffix: the text after each number, such as "%".
        accounting: whether negative numbers are in parentheses.
    """

    prefix: str = ""
    thousands: str = ""
    decimal: str = "."
    suffix: str = ""
    accounting: bool = False

    def __str__(self) -> str:
        text = f"{self.prefix}1{self.thousands}234{self.decimal}56{self.suffix}"
        return f"({text})" if self.accounting else text

    @cached_property
    def pattern(self) -> str:
        """A regular expression of a number in this format; `body` is its digits."""
        t, d = re.escape(self.thousands), re.escape(self.decimal)
        whole = rf"(?:[1-9]\d{{0,2}}(?:{t}\d{{3}})+|\d+)" if self.thousands else r"\d+"
        body = rf"(?P<body>{whole}(?:{d}\d*)?(?:[eE][+-]?\d+)?|{d}\d+)"
        before, after = (re.escape(text.strip(" \u00a0\u202f")) for text in (self.prefix, self.suffix))
        signed = rf"(?P<sign>{SIGN}?){before}{BLANK}*(?P<inner>{SIGN}?){body}{BLANK}*{after}"
        return rf"^(?P<open>\(?){signed}(?P<close>\)?)$"

    def values(self, texts: Any) -> np.ndarray:
        """The numbers of an Arrow array of texts, float64; NaN for a text that is not in this format."""
        pa, pc = require("pyarrow"), require("pyarrow.compute")
        parts = pc.extract_regex(texts.cast(pa.string()), self.pattern)
        body = pc.struct_field(parts, "body")
        if self.thousands:
            body = pc.replace_substring(body, self.thousands, "")
        body = pc.replace_substring(body, self.decimal, ".")
        values = np.asarray(pc.cast(body, pa.float64()).fill_null(np.nan))
        signs = pc.binary_join_element_wise(*(pc.struct_field(parts, name) for name in ("sign", "inner", "open")), "")
        brackets = pc.equal(
            pc.struct_field(parts, "open"), pc.replace_substring(pc.struct_field(parts, "close"), ")", "(")
        )
        minus = np.asarray(pc.match_substring_regex(signs, "[-\u2212(]").fill_null(False))
        single = np.asarray(pc.less_equal(pc.utf8_length(signs), 1).fill_null(False))
        return np.where(np.asarray(brackets.fill_null(False)) & single, np.where(minus, -values, values), np.nan)

    def decimals(self, texts: Any) -> int:
        """The most decimals that one of the texts has."""
        pc = require("pyarrow.compute")
        tail = rf"{re.escape(self.decimal)}(?P<tail>\d+)\D*$"
        lengths = pc.utf8_length(pc.struct_field(pc.extract_regex(texts, tail), "tail"))
        return int(pc.max(lengths).as_py() or 0)

    def looks_like_codes(self, texts: Any) -> bool:
        """Whether blanks and the like part all texts of one length, as in telephone numbers: 555 123 456."""
        pc = require("pyarrow.compute")
        lengths = pc.utf8_length(texts)
        odd = self.thousands not in (",", ".", "") and not self.decimals(texts) and not self.prefix + self.suffix
        return odd and pc.min(lengths).as_py() == pc.max(lengths).as_py()

    def write(self, value: float, decimals: int | None) -> str:
        """A number in this format, with so many decimals; None: as many as it has.

        >>> NumberFormat("$", ",", accounting=True).write(-1234.5, 2)
        '($1,234.50)'
        """
        digits = (
            f"{abs(value):,.{decimals}f}" if decimals is not None else f"{abs(value):,.12f}".rstrip("0").rstrip(".")
        )
        whole, _, rest = digits.partition(".")
        body = whole.replace(",", self.thousands) + (self.decimal + rest if rest else "")
        text = f"{self.prefix}{body}{self.suffix}"
        if value < 0 and digits.strip("0.,"):
            return f"({text})" if self.accounting else f"-{text}"
        return text


@dataclass(frozen=True)
class DateFormat:
    """How dates and times are written: a text with the codes of `strptime`."""

    text: str

    def __str__(self) -> str:
        return self.text

    @property
    def plain(self) -> str:
        """The format without the marks of padding and capitals."""
        return CODE.sub(r"%\2", self.text).replace("%P", "%p")

    @cached_property
    def parts(self) -> list[tuple[str, str, str]]:
        """(literal text, flag, code) in order; the last code may be empty."""
        pieces = CODE.split(self.text)
        return [(pieces[i], *(pieces[i + 1 : i + 3] or ("", ""))) for i in range(0, len(pieces), 3)]  # type: ignore[misc]

    @cached_property
    def pattern(self) -> str:
        """A regular expression of a date in this format; a group for each code, by its place."""
        found = "^"
        for i, (literal, _, code) in enumerate(self.parts):
            one = PATTERNS.get(code, "")
            after = self.parts[i + 1] if i + 1 < len(self.parts) else ("", "", "")
            touches = (i > 0 and not literal) or (not after[0] and after[2])
            one = one.replace("{1,2}", "{2}") if touches else one  # 20210304 has two digits for each
            found += re.escape(literal) + (f"(?P<g{i}>{one})" if code else "")
        return found + "$"

    def values(self, texts: Any) -> np.ndarray:
        """Microseconds since 1970 of an Arrow array of texts, `NONE` for a text that is not a date in this format."""
        pa, pc = require("pyarrow"), require("pyarrow.compute")
        fields = pc.extract_regex(texts.cast(pa.string()), self.pattern)
        found = np.asarray(fields.is_valid())
        n = {name: np.full(len(found), 1 if name in "md" else 0, np.int64) for name in "YmdHMSf"}
        late, twelve = np.zeros(len(found), bool), False
        for i, (_, _, code) in enumerate(self.parts):
            if not code or code in "aA":
                continue
            field = pc.struct_field(fields, f"g{i}")
            if code in "pP":
                late, twelve = np.asarray(pc.match_substring_regex(field, "^[Pp]").fill_null(False)), True
            elif code in "bB":
                names = pc.utf8_slice_codeunits(pc.utf8_lower(field), 0, 3)
                place = pc.index_in(names, value_set=pa.array([name[:3].lower() for name in MONTHS]))
                n["m"] = np.asarray(place.cast(pa.int64()).fill_null(-1)) + 1
            else:
                field = pc.utf8_rpad(field, 6, "0") if code == "f" else field
                number = np.asarray(pc.cast(field, pa.int64()).fill_null(0))
                number = number + np.where(number < 69, 2000, 1900) if code == "y" else number
                n[{"y": "Y", "I": "H"}.get(code, code)] = number
        if twelve:
            found &= (n["H"] >= 1) & (n["H"] <= 12)
            n["H"] = n["H"] % 12 + 12 * late
        found &= (n["m"] >= 1) & (n["m"] <= 12) & (n["H"] < 24) & (n["M"] < 60) & (n["S"] < 60) & (n["Y"] > 0)
        months = ((n["Y"] - 1970) * 12 + n["m"] - 1).clip(-24_000, 100_000).astype("datetime64[M]")
        days = months.astype("datetime64[D]") + (n["d"] - 1)
        found &= (n["d"] >= 1) & (days.astype("datetime64[M]") == months)
        seconds = (n["H"] * 60 + n["M"]) * 60 + n["S"]
        return np.where(found, (days.astype(np.int64) * 86_400 + seconds) * 10**6 + n["f"], NONE)

    def write(self, moments: np.ndarray) -> list[str]:
        """Datetimes (datetime64) in this format.

        >>> DateFormat("%-d %b %Y, %I:%M %p").write(np.array(["2021-03-04T14:30"], "datetime64[m]"))
        ['4 Mar 2021, 02:30 PM']
        """
        moments = moments.astype("datetime64[us]")
        days, months = moments.astype("datetime64[D]"), moments.astype("datetime64[M]").astype(np.int64)
        micros = (moments - days).astype(np.int64)
        hours = micros // (3600 * 10**6)
        number = {
            "Y": months // 12 + 1970,
            "y": (months // 12 + 1970) % 100,
            "m": months % 12 + 1,
            "d": (days - moments.astype("datetime64[M]").astype("datetime64[D]")).astype(np.int64) + 1,
            "H": hours,
            "I": (hours + 11) % 12 + 1,
            "M": micros // (60 * 10**6) % 60,
            "S": micros // 10**6 % 60,
            "f": micros % 10**6,
        }
        weekdays = (days.astype(np.int64) + 3) % 7
        columns: list[list[str]] = []
        for literal, flag, code in self.parts:
            if code in ("p", "P"):
                texts = [
                    ("pm" if hour >= 12 else "am") if code == "P" else ("PM" if hour >= 12 else "AM") for hour in hours
                ]
            elif code in ("b", "B", "a", "A"):
                words, places = (MONTHS, number["m"] - 1) if code in ("b", "B") else (DAYS, weekdays)
                texts = [words[k][: 3 if code in ("b", "a") else None] for k in places.tolist()]
            elif code:
                width = 1 if flag == "-" else {"Y": 4, "f": 6}.get(code, 2)
                texts = [f"{k:0{width}}" for k in number[code].tolist()]
            else:
                texts = [""] * len(moments)
            columns.append([literal + (text.upper() if flag == "^" else text) for text in texts])
        return ["".join(row) for row in zip(*columns, strict=True)]

    def fitted(self, texts: Any) -> DateFormat:
        """The format with the zeros in front, and the capitals, that most of these texts have."""
        pa = require("pyarrow")
        head = texts.take(pa.array(np.flatnonzero(self.values(texts) != NONE)[:FIT]))
        moments, written = self.values(head).astype("datetime64[us]"), head.to_pylist()
        codes = {code for _, _, code in self.parts}
        days, hours, names = (
            ("", mark) if codes & set(of) else ("",) for mark, of in (("-", "md"), ("-", "HI"), ("^", "bBaA"))
        )
        halves = ("p", "P") if codes & set("pP") else ("p",)
        best, most = self, -1
        for day, hour, name, half in product(days, hours, names, halves):
            flags = {**dict.fromkeys("md", day), **dict.fromkeys("HI", hour), **dict.fromkeys("bBaA", name)}
            plain = re.sub("%[pP]", f"%{half}", self.text)
            form = DateFormat("".join(_flagged(piece, flags) for piece in re.split("(%[-^]?[a-zA-Z])", plain)))
            if (hits := sum(a == b for a, b in zip(form.write(moments), written, strict=True))) > most:
                best, most = form, hits
        return best


def _flagged(piece: str, flags: dict[str, str]) -> str:
    """A code with its flag; any other text as it is."""
    return CODE.sub(rf"%{flags.get(piece[-1:], '')}\2", piece)


def infer(texts: Any, counts: np.ndarray, usual: int, hints: Hints, kind: str = "") -> str:
    """The format that fits most cells of a column of texts; "" if none does, or the usual writing fits as well.

    Args:
        texts: the distinct texts, an Arrow array.
        counts: the cells of each text, 0 for a missing one.
        usual: the cells that are plain numbers, or ISO dates.
        hints: what decides between formats.
        kind: "number" or "date" if the user wants one of them, however few cells fit.

    Raises:
        AmbiguousFormat: if two formats fit as many cells, and their values differ.
    """
    used = counts > 0
    written = [text for text in texts.take(np.flatnonzero(used)[:LOOK]).to_pylist() if text]
    suggested = (form for text in written for form in (*_of_numbers(text, hints), *_of_dates(text)))
    tried: dict[str, np.ndarray] = {}
    for form in (*hints.dates, *suggested):
        if form not in tried and (not kind or is_date_format(form) == (kind == "date")):
            values = parse(form).values(texts)
            tried[form] = np.where(values == NONE, np.nan, values) if values.dtype == np.int64 else values
    scores = {form: int(counts[~np.isnan(values)].sum()) for form, values in tried.items()}
    most = max(scores.values(), default=0)
    best = [form for form in tried if scores[form] == most]
    wanted = [form for form in best if hints.name(form)]
    if most < max(usual, 1 if kind else ENOUGH * counts.sum(), 1) or (most == usual and not wanted):
        return ""
    first = tried[(best := wanted or best)[0]]
    for form in best[1:]:
        differ = used & (tried[form] != first) & ~np.isnan(first)
        if differ.any():
            raise AmbiguousFormat(_ambiguity(texts[int(differ.argmax())].as_py(), best[0], form), tuple(best))
    chosen = parse(best[0])
    if isinstance(chosen, DateFormat):
        return str(chosen.fitted(texts.take(np.flatnonzero(used))))
    return "" if chosen.looks_like_codes(texts.take(np.flatnonzero(used))) else str(chosen)


def _ambiguity(text: str, first: str, second: str) -> str:
    """Why a text is ambiguous, and the remedy."""
    if is_date_format(first) and is_date_format(second):
        return f"{text!r} is a date by {first} and by {second}: give --date-format {first!r} or {second!r}"
    one, other = (parse(form).values(require("pyarrow").array([text]))[0] for form in (first, second))
    return f"{text!r} is {one:.10g} or {other:.10g}: give --decimal . or --decimal ,"


WRITTEN = re.compile(
    rf"(?P<open>\()?(?:{SIGN}?(?P<before>(?:{UNIT})?{BLANK}?){SIGN}?)"
    rf"(?P<body>\d[\d.,'\u2019_\u00a0\u202f ]*\d|\d|[.,]\d+)"
    rf"(?P<after>{BLANK}?(?:{UNIT})?)(?(open)\))"
)


def _of_numbers(text: str, hints: Hints) -> list[str]:
    """The formats of numbers that a text may be in."""
    found = WRITTEN.fullmatch(text)
    if not found:
        return []
    marks = [mark for mark in dict.fromkeys(found["body"]) if not mark.isdigit()]
    if len(marks) == 2:
        pairs = [(marks[0], marks[1])] if marks[1] in ".," else []
    elif not marks:
        pairs = [("", hints.decimal or ".")]
    elif marks == ["."]:
        pairs = [("", "."), *([(".", ",")] if hints.decimal == "," else [])]
    elif marks == [","]:
        pairs = [(",", "."), ("", ",")]
    else:
        pairs = [(marks[0], hints.decimal or ".")] if len(marks) == 1 else []
    return [
        str(NumberFormat(found["before"], thousands, decimal, found["after"], found["open"] is not None))
        for thousands, decimal in pairs
    ]


WORDS = re.compile(
    r"(?P<first>\d{1,4}|[A-Za-z]{3,9}\.?)(?P<one>[-/. ])(?P<second>\d{1,2}|[A-Za-z]{3,9}\.?)"
    r"(?P<two>[-/. ]|, ?)(?P<third>\d{4}|\d{1,2})"
    r"(?:(?P<gap>,? |T)(?P<hour>\d{1,2}):\d{2}(?P<seconds>:\d{2}(?:(?P<point>[.,])\d{1,6})?)?(?P<half> ?[AaPp][Mm])?)?"
)


def _of_dates(text: str) -> list[str]:
    """The formats of dates that a text may be in; those with two digits for the year come last."""
    found = WORDS.fullmatch(text)
    if not found:
        return []
    first, second, third = found["first"], found["second"], found["third"]
    year = "%Y" if len(third) == 4 else "%y"
    if first[0].isalpha():
        orders = [("%B" if len(first) > 3 else "%b", "%d", year)] if second.isdigit() else []
    elif second[0].isalpha():
        orders = [("%d", "%B" if len(second) > 3 else "%b", year)]
    elif len(first) == 4:
        orders = [("%Y", "%m", "%d")]
    elif len(first) == 3 or len(third) == 1:
        orders = []
    elif found["one"] == ".":
        orders = [("%d", "%m", year)]
    else:
        orders = [("%d", "%m", year), ("%m", "%d", year), *([("%y", "%m", "%d")] if year == "%y" else [])]
    clock = ""
    if found["hour"]:
        seconds = ":%S" + (f"{found['point']}%f" if found["point"] else "") if found["seconds"] else ""
        half = found["half"] or ""
        clock = f"{found['gap']}{'%I' if half else '%H'}:%M{seconds}{half and half[:-2] + '%p'}"
    return [f"{a}{found['one']}{b}{found['two']}{c}{clock}" for a, b, c in orders]


def of_whole_numbers(values: np.ndarray, wanted: bool = False) -> str:
    """The format of dates in which all distinct whole numbers are dates, such as 20210304; "" if there is none.

    Few numbers may be dates by chance: it takes 3 of 8 digits or more, 6 months of several years (202103), or 10 dates
    of 6 digits; fewer if the user wants dates.
    """
    digits = len(str(int(values[-1]))) if len(values) and values[0] > 0 and values[-1] < 1e15 else 0
    if digits not in (6, 8, 12, 14) or len(str(int(values[0]))) != digits:
        return ""
    texts = require("pyarrow").array(values.astype(np.int64)).cast("string")
    if digits == 6:
        months = len(values) >= 6 and values[0] // 100 != values[-1] // 100
        if (wanted or months) and _all_dates("%Y%m", texts):
            return "%Y%m"
        fitting = [
            form for form in ("%y%m%d", "%d%m%y", "%m%d%y") if (wanted or len(values) >= 10) and _all_dates(form, texts)
        ]
        return fitting[0] if fitting == ["%y%m%d"] else ""
    form = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}[digits]
    return form if (wanted or len(values) >= 3) and _all_dates(form, texts) else ""


def _all_dates(form: str, texts: Any) -> bool:
    """Whether all texts are dates in this format, in the years of our time."""
    values = DateFormat(form).values(texts)
    years = values.astype("datetime64[us]").astype("datetime64[Y]").astype(np.int64) + 1970
    return bool((values != NONE).all() and (years >= YEARS[0]).all() and (years <= YEARS[1]).all())


def write(form: str, values: np.ndarray, decimals: int | None = None, unit: str = "") -> list[str]:
    """Values as texts in a format.

    Args:
        form: the format.
        values: numbers, or datetimes counted in `unit` since 1970.
        decimals: the decimals of numbers; None: as many as each has.
        unit: the unit of datetimes, as NumPy names it.
    """
    known = parse(form)
    if isinstance(known, DateFormat):
        return known.write(values.astype(np.int64).astype(f"datetime64[{unit}]"))
    return [known.write(value, decimals) for value in values.tolist()]
