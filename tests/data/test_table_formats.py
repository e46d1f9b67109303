"""Numbers and dates as people write them: read where that is unambiguous, said in one line, written back."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from conftest import Run
from fixtures.arrays import assert_user_error
from nelbo.data import Column, Schema, formats, load, tables
from nelbo.data.formats import Hints

ROWS = 60
RNG = np.random.default_rng(0)
NUMBERS = RNG.uniform(900, 9_999, ROWS).round(2)
SHARES = RNG.uniform(-40, 40, ROWS).round(1) + 0.0  # not -0
TIMES = pd.to_datetime(RNG.integers(1_550_000_000, 1_600_000_000, ROWS), unit="s").floor("min")


def european(text: str) -> str:
    return text.translate({ord(","): ".", ord("."): ","})


WRITTEN: dict[str, tuple[str, Callable[[Any], str]]] = {
    "decimal comma": ("1234,56", lambda v: f"{v:.2f}".replace(".", ",")),
    "European": ("1.234,56", lambda v: european(f"{v:,.2f}")),
    "English": ("1,234.56", lambda v: f"{v:,.2f}"),
    "Swiss": ("1'234.56", lambda v: f"{v:,.2f}".replace(",", "'")),
    "French": ("1\u202f234,56", lambda v: f"{v:,.2f}".replace(",", "\u202f").replace(".", ",")),
    "dollars": ("$1,234.56", lambda v: f"{'-' if v < 0 else ''}${abs(v):,.2f}"),
    "euros": ("1.234,56 €", lambda v: european(f"{v:,.2f} €")),
    "francs": ("CHF 1,234.56", lambda v: f"CHF {v:,.2f}"),
    "accounting": ("(1,234.56)", lambda v: f"({-v:,.2f})" if v < 0 else f"{v:,.2f}"),
    "millions": ("1,234.56", lambda v: f"{1000 * round(v):,}"),
}
DATED = {
    "%d/%m/%Y": "%d/%m/%Y",
    "%-m/%-d/%Y": "%m/%d/%Y",
    "%d.%m.%Y": "%d.%m.%Y",
    "%-d.%-m.%Y %H:%M": "%d.%m.%Y %H:%M",
    "%m/%d/%y": "%m/%d/%y",
    "%m/%d/%Y %I:%M %p": "%m/%d/%Y %I:%M %p",
    "%m/%d/%Y %-I:%M%P": "%m/%d/%Y %I:%M%p",
    "%Y/%m/%d": "%Y/%m/%d",
    "%-d %b %Y": "%d %b %Y",
    "%d-%^b-%y": "%d-%b-%y",
    "%B %-d, %Y": "%B %d, %Y",
}


def quietly(make: Callable[[], Any]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make()


def column_of(values: Any, said: Any = None, **options: Any) -> Column:
    frame = pd.DataFrame({"v": values, "z": np.arange(len(values)) % 7 + 0.5})
    return quietly(lambda: load(frame, columns=said, **options)).schema.columns[0]


def through(values: Any, holder: Path | None = None) -> tuple[Column, list[Any]]:
    """The column of these values, and the values after the way to a model's numbers and back."""
    table: Any = pd.DataFrame({"v": values, "z": np.arange(len(values)) % 7 + 0.5})
    if holder is not None:
        table.to_csv(holder, index=False, sep=";")
        table = holder
    schema, _ = quietly(lambda: tables.infer(table))
    back = tables.decode(tables.encode(table, schema), schema, "arrow")
    return schema.columns[0], back["v"].to_pylist()


@pytest.mark.parametrize("in_file", [False, True])
@pytest.mark.parametrize("name", WRITTEN)
def test_numbers_come_back_as_they_are_written(name: str, in_file: bool, tmp_path: Path) -> None:
    form, write = WRITTEN[name]
    values = np.where(np.arange(ROWS) % 3 == 0, -NUMBERS, NUMBERS) if name in ("dollars", "accounting") else NUMBERS
    texts = [None if i % 11 == 5 else write(v) for i, v in enumerate(values)]
    column, back = through(texts, tmp_path / "t.csv" if in_file else None)
    assert (column.kind, column.format, column.dtype) == (
        "count" if name == "millions" else "continuous",
        form,
        "string",
    )
    assert back == texts
    lowest = values[np.arange(ROWS) % 11 != 5].min()
    assert column.low == (1000 * round(lowest) if name == "millions" else lowest)


@pytest.mark.parametrize("write", [lambda v: f"{v:.1f}%", lambda v: f"{v:.1f} %".replace(".", ",")])
def test_percent(write: Callable[[float], str]) -> None:
    column, back = through([write(v) for v in SHARES])
    assert (column.kind, column.decimals, column.low) == ("continuous", 1, SHARES.min())
    assert back == [write(v) for v in SHARES]
    few = [f"{v}%" for v in (5, 10, 20)] * 9
    column, back = through(few)
    assert (column.kind, column.categories, back) == ("ordinal", ("5", "10", "20"), few)


def stamped(form: str) -> list[str]:
    return formats.DateFormat(form).write(TIMES.to_numpy())


@pytest.mark.parametrize("in_file", [False, True])
@pytest.mark.parametrize("form", DATED)
def test_dates_come_back_as_they_are_written(form: str, in_file: bool, tmp_path: Path) -> None:
    texts = stamped(form)
    read = pd.to_datetime(texts, format=DATED[form])
    column, back = through(texts, tmp_path / "t.csv" if in_file else None)
    assert (column.kind, column.format, back) == ("datetime", form, texts)
    unit: Any = column.unit
    assert np.datetime64(int(column.low or 0), unit) == read.min()
    assert np.datetime64(int(column.high or 0), unit) == read.max()


@pytest.mark.parametrize("form", ["%Y%m%d", "%Y%m", "%y%m%d", "%Y%m%d%H%M", "%Y%m%d%H%M%S"])
@pytest.mark.parametrize("holder", ["int64", "float64", "file"])
def test_dates_that_are_whole_numbers(form: str, holder: str, tmp_path: Path) -> None:
    times = TIMES - pd.DateOffset(years=22) if form == "%y%m%d" else TIMES  # 97 is neither a day nor a month
    numbers = [int(text) for text in formats.DateFormat(form).write(times.to_numpy())]
    values = pd.Series(numbers, dtype="int64" if holder == "file" else holder)
    column, back = through(values, tmp_path / "t.csv" if holder == "file" else None)
    assert (column.kind, column.format, back) == ("datetime", form, numbers)
    made = tables.decode(np.random.default_rng(1).normal(0, 2, (99, 1)), Schema.table((column,)), "arrow")["v"]
    written = pa.array([str(int(v)) for v in made.to_pylist()])
    assert (formats.DateFormat(form).values(written) != formats.NONE).all(), "what a model draws is a date"
    assert quietly(lambda: column_of(values, {"v": "continuous"})).format == "", "and the remedy of the warning works"


@pytest.mark.parametrize(
    "values",
    [
        range(1950, 2021),
        RNG.integers(10_000_000, 99_999_999, ROWS),
        1_600_000_000 + RNG.integers(0, 10**7, ROWS),
        1_600_000_000_000 + RNG.integers(0, 10**10, ROWS),
        [20210101, 20210102] * 9,
        [20210101, 20210102, 20211301] * 9,
        RNG.integers(100_000, 999_999, ROWS),
        [201301, 201302, 201303, 201304, 201305, 201306] * 4,
    ],
)
def test_other_whole_numbers_stay_numbers(values: Any) -> None:
    assert column_of(np.asarray(values)).kind != "datetime"


@pytest.mark.parametrize(
    "texts",
    [
        [f"P{i:03}" for i in range(40)],
        [f"{i}.{j}.2" for i in range(6) for j in range(6)],
        ["555 123 456", "555 123 457", "555 999 111"] * 9,
        [f"{i:05}" for i in range(40)],
        [f"192.168.0.{i}" for i in range(40)],
        ["12 kg", "13 kg", "15 kg"] * 9,
        ["1-2", "3-4", "5-6"] * 9,
        ["10%", "low", "high"] * 9,
    ],
)
def test_codes_and_words_stay_texts(texts: list[str]) -> None:
    assert column_of(texts).kind in ("categorical", "identifier")


def test_what_is_ambiguous_is_asked_for_or_shown_by_other_columns(tmp_path: Path) -> None:
    groups = [f"{v:,.0f}" for v in NUMBERS + 100]
    days = [f"{1 + i % 12}/{1 + i % 5}/2021" for i in range(ROWS)]
    assert_user_error(lambda: column_of(groups), "column 'v'", "--decimal . or --decimal ,", "format = in --columns")
    assert_user_error(lambda: column_of(days), "column 'v'", "--date-format '%d/%m/%Y' or '%m/%d/%Y'")
    assert column_of(groups, decimal=".").low == round(NUMBERS.min() + 100)
    assert column_of(groups, decimal=",").low == round(NUMBERS.min() + 100) / 1000
    assert column_of(groups, {"v": {"format": "1,234.56"}}).low == round(NUMBERS.min() + 100)
    assert column_of(days, date_format="%d/%m/%Y").format == "%-d/%-m/%Y"
    assert column_of(days, {"v": {"format": "%m/%d/%Y"}}).low == 18628, "the first of January"
    for said in ("categorical", "leave out"):
        assert column_of(groups, {"v": said}).format == ""
    frame = pd.DataFrame({"v": groups, "d": days, "p": SHARES.astype(str), "e": stamped("%-d/%-m/%Y")})
    found = {c.name: c.format for c in quietly(lambda: load(frame)).schema.columns}
    assert found == {"v": "1,234.56", "d": "%-d/%-m/%Y", "p": "", "e": "%-d/%-m/%Y"}
    frame = pd.DataFrame({"v": [f"{v}.{v + 200}" for v in range(2, 29)], "p": ["1,5", "0,25", "3,75"] * 9})
    frame.to_csv(tmp_path / "t.csv", sep=";", index=False)
    first, second = quietly(lambda: load(tmp_path / "t.csv")).schema.columns
    assert (first.low, first.high, second.low) == (2202, 28_228, 0.25), "a dot parts thousands beside decimal commas"


def test_days_of_six_digits_that_may_begin_with_the_day_stay_numbers_unless_told() -> None:
    numbers = np.array([int(text) for text in stamped("%y%m%d")])
    assert column_of(numbers).kind == "count"
    assert column_of(numbers, date_format="%y%m%d").format == "%y%m%d"
    assert column_of(numbers, {"v": {"format": "%y%m%d"}}).low == column_of(numbers, date_format="%y%m%d").low


def test_what_was_understood_is_said_in_one_line() -> None:
    frame = pd.DataFrame({"p": ["1,5", "2,25", "3,75"] * 9, "d": ["31.12.2020", "1.1.2021", "2.1.2021"] * 9})
    with pytest.warns(UserWarning) as heard:
        load(frame)
    assert [str(w.message) for w in heard] == [
        "table: reads 'p' as numbers written as 1234,56, 'd' as dates written as %-d.%-m.%Y: --columns can name "
        "another kind or format"
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(frame, columns={"p": {"format": "1234,56"}, "d": {"format": "%d.%m.%Y"}})
        load(frame, decimal=",", date_format="%d.%m.%Y")


def test_options_that_fit_nothing_are_refused() -> None:
    frame = pd.DataFrame({"v": ["a", "b", "c"] * 9})
    assert_user_error(lambda: load(frame, date_format="%d/%m/%Y"), "no column holds dates written as '%d/%m/%Y'")
    assert_user_error(lambda: load(frame, date_format="dd/mm"), "date_format='dd/mm': use codes")
    assert_user_error(lambda: load(frame, decimal=";"), "decimal=';': use . or ,")
    assert_user_error(lambda: load(np.eye(3), decimal=","), "decimal=, applies only to tables")


def test_the_command_line_has_the_options(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "t.csv"
    path.write_text("v;d\n" + "1,234;3/4/2021\n2,500;4/4/2021\n7,125;5/3/2021\n" * 9)
    done = run("data", "describe", path, "--decimal", ",", "--date-format", "%d/%m/%Y")
    assert done.code == 0 and "1,234" in done.out and "5/3/2021 to 4/4/2021" in done.out
    done = run("data", "describe", path, "--decimal", ",", "--date-format", "%d/%m/%Y", "--toml")
    (toml := tmp_path / "s.toml").write_text(done.out)
    assert run("data", "describe", path, "--columns", toml).code == 0, "and its TOML says the same"


def test_a_format_that_a_user_names() -> None:
    assert through_format(["5 kg", "6.5 kg", "1,200 kg"] * 9, "1,234.56 kg") == [5.0, 6.5, 1200.0] * 9
    assert through_format(["week of 2021-03", "week of 2021-04"] * 9, "week of %Y-%m")[0] == 18687 * 86_400 * 10**6


def through_format(texts: list[str], form: str) -> list[Any]:
    return list(formats.parse(form).values(pa.array(texts)).tolist())


@pytest.mark.parametrize("form", ["1.234,56", "$1,234.56", "(1 234,56 €)", "1234.56%", "1234,56"])
def test_formats_of_numbers_are_inverses(form: str) -> None:
    values = np.concatenate([RNG.normal(0, 10.0**k, 40) for k in range(-2, 9)]).round(3)
    texts = pa.array(formats.write(form, values, 3))
    np.testing.assert_array_equal(formats.parse(form).values(texts), values + 0.0)
    assert str(formats.parse(form)) == form


def test_formats_of_dates_refuse_days_that_are_none() -> None:
    texts = pa.array(["31/02/2021", "29/02/2020", "29/02/2021", "1/13/2020", "12/12/2020", "x", "", None])
    found = formats.parse("%d/%m/%Y").values(texts) != formats.NONE
    assert found.tolist() == [False, True, False, False, True, False, False, False]
    assert formats.infer(texts.drop_null(), np.zeros(7, np.int64), 0, Hints()) == ""


@pytest.mark.parametrize("word", ["NA", "None", "null", "nan", "-", "?", "", "N/A"])
def test_a_word_in_a_frame_is_what_it_says(word: str, tmp_path: Path) -> None:
    frame = pd.DataFrame({"c": [word, "ZA", "BW", None] * 9, "z": np.arange(36) % 7 + 0.5})
    column = quietly(lambda: tables.infer(frame))[0].columns[0]
    assert (set(column.categories), column.missing) == ({word, "ZA", "BW"}, 0.25)
    schema, _ = quietly(lambda: tables.infer(frame))
    assert tables.decode(tables.encode(frame, schema), schema)["c"].dropna().tolist() == [word, "ZA", "BW"] * 9
    parquet = tmp_path / "t.parquet"
    frame.to_parquet(parquet)
    assert quietly(lambda: tables.infer(parquet))[0].columns[0].missing == 0.25
    if not word:
        return
    frame.dropna().to_csv(tmp_path / "t.csv", index=False)
    with pytest.warns(UserWarning, match=r"takes as missing 9 cells .* of 'c': to keep them as texts, list them"):
        assert tables.infer(tmp_path / "t.csv")[0].columns[0].missing == pytest.approx(1 / 3)
    said = {"c": {"kind": "categorical", "categories": ["BW", word, "ZA"]}}
    schema, _ = tables.infer(tmp_path / "t.csv", said)
    assert (schema.columns[0].categories, schema.columns[0].missing) == (("BW", word, "ZA"), 0)
    assert not np.isnan(tables.encode(tmp_path / "t.csv", schema)).any(), "what the schema lists is a category"
    assert not np.isnan(tables.encode(frame.dropna(), schema)).any()


def test_words_among_numbers_in_a_frame_are_missing() -> None:
    column = column_of(["15", "?", "225", "4"] * 9)
    assert (column.categories, column.missing) == (("4", "15", "225"), 0.25)
