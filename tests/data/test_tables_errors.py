"""What is wrong with a table is said in one line that names the place and the remedy."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import nelbo
from conftest import Run
from fixtures.arrays import assert_user_error
from nelbo.data import load, load_like, tables

GOOD = "age,name\n31,ann\n42,bob\n27,cy\n31,ann\n"


def format_number(folder: Path, content: str | bytes, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


BAD: dict[str, tuple[str | bytes, list[str]]] = {
    "empty": ("", ["t.csv is empty: give a header"]),
    "blank": (" \n\n", ["t.csv is empty"]),
    "mark only": ("\ufeff", ["t.csv is empty"]),
    "header only": ("age,name\n", ["t.csv has a header and no rows"]),
    "one row": ("age,name\n1,x\n", ["t.csv has 1 row: give at least 2"]),
    "long line": (GOOD + "1,2,3\n", ["t.csv: line 6 has 3 cells, the header 2: fix the line", "holds commas"]),
    "short line": (GOOD + "1\n", ["t.csv: line 6 has 1 cells"]),
    "after a quoted line end": ('a,b\n"x\ny",1\n2\n', ["t.csv: line 4 has 1 cells"]),
    "semicolons": ("a;b;c\n1;2;3\n1;2\n", ["t.csv: line 3 has 2 cells", "semicolons"]),
    "names": ("a,b,a\n1,2,3\n", ["t.csv has 2 columns named 'a': rename"]),
    "trimmed names": ("a, a\n1,2\n", ["t.csv has 2 columns named 'a'"]),
    "colons": ("a:b:c\n1:2:3\n4:5:6\n", ["has one column, 'a:b:c', separated by ':'", "by , ; | or tab"]),
    "no header": ("5.1,3.5\n4.9,3.0\n", ["the first line holds numbers (5.1, ...): add a line of names"]),
    "latin": (GOOD.encode() + b"1,Ren\xe9\n", ["t.csv is not UTF-8 at byte 41 (0xe9)", "iconv -f latin1"]),
    "late latin": (GOOD.encode() * 50_000 + b"\xe9,1\n", ["t.csv is not UTF-8 at byte 1800000 (0xe9)"]),
    "utf-16": (GOOD.encode("utf-16"), ["t.csv is not UTF-8 at byte 0 (0xff)", "iconv -f utf-16"]),
    "cut letter": (GOOD.encode() + b"1,\xc3", ["t.csv is not UTF-8 at byte 38 (0xc3)"]),
    "a word": (
        "v,w\n" + "1,a\n2,b\n" * 20 + "x3,a\n",
        ["column 'v': row 41 has 'x3', which is not a number", "(1 of 41"],
    ),
    "infinite": ("v,w\n" + "1.5,a\n2,b\n" * 9 + "inf,a\n", ["column 'v': row 19 is infinite"]),
    "too large": ("v,w\n" + "1.5,a\n2,b\n" * 9 + "1e999,a\n", ["column 'v': row 19 is infinite"]),
    "no such day": (
        "d,w\n" + "2020-01-01,a\n2021-01-02,b\n" * 20 + "2021-02-30,a\n",
        ["column 'd': row 41 has '2021-02-30', which is not a date"],
    ),
    "1,234": ("p;q\n1;2\n" + "1,234;2\n" * 9, ["'p': '1,234' is 1234 or 1.234: give --decimal . or --decimal ,"]),
    "3/4": ("d,q\n" + "3/4/2021,2\n" * 9, ["'d': '3/4/2021' is a date by %d/%m/%Y and by %m/%d/%Y", "--date-format"]),
    "zones": ("d,w\n" + "2020-01-01,a\n2020-01-02T10:00Z,b\n" * 9, ["'d': 9 of 18 times have a time zone"]),
    "nothing to model": ("a,b\n1,1\n1,1\n", ["no column is left to model"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_refused_in_one_line(case: str, tmp_path: Path, run: Run) -> None:
    content, said = BAD[case]
    path = format_number(tmp_path, content)
    assert_user_error(lambda: load(path), str(path), *said)
    done = run("data", "describe", path)
    assert done.code == 2 and done.out == "" and done.err.count("\n") == 1 and said[0] in done.err
    done = run("train", path, "--out", tmp_path / "out")
    assert done.code == 2 and done.out == "" and done.err.count("\n") == 1 and said[0] in done.err


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    packed = gzip.compress((GOOD * 5000).encode())
    assert_user_error(
        lambda: load(format_number(tmp_path, packed[:-300], "t.csv.gz")), "t.csv.gz cannot be read", "again"
    )
    assert_user_error(lambda: load(format_number(tmp_path, b"nothing", "t.csv.gz")), "t.csv.gz cannot be read")
    assert_user_error(
        lambda: load(format_number(tmp_path, b"PAR1 no", "t.parquet")), "t.parquet is not a complete Parquet file"
    )


def test_a_bad_frame_is_refused() -> None:
    good = pd.DataFrame({"a": [1.5, 2.5, 4.5], "b": ["x", "y", "x"]})
    assert_user_error(lambda: load(good[:0]), "table has a header and no rows")
    assert_user_error(lambda: load(good[[]]), "table has no columns")
    assert_user_error(lambda: load(good.set_axis(["a", "a"], axis=1)), "table has 2 columns named 'a'")
    assert_user_error(
        lambda: load(pd.DataFrame({"a;b": ["1;2", "3;4"]})), "has one column, 'a;b'", "semicolons", "sep=';'"
    )
    assert_user_error(lambda: load(pd.DataFrame({"a\tb": ["1", "3"]})), "separated by tabs")
    assert_user_error(lambda: load(good.assign(a=[1.5, np.inf, 2])), "column 'a': row 2 is infinite")
    assert_user_error(lambda: load(pl.DataFrame({"a": [1.5, -np.inf, 2]})), "column 'a': row 2 is infinite")
    assert_user_error(lambda: load(good, size=64), "applies only to folders of pictures")
    assert_user_error(lambda: load(np.eye(3), columns={"a": "count"}), "applies only to tables")


def test_what_cannot_be_modelled_is_left_out_with_a_warning() -> None:
    rows = 60
    base = {"a": np.arange(rows) % 7 + 0.5}
    for values, said in (
        ([None] * rows, "column 'v' is left out .all cells are missing"),
        ([f"n{i}" for i in range(rows)], "column 'v' is left out .60 of 60 texts differ"),
        (pa.array([[i] for i in range(rows)]), "column 'v' is left out .holds list<item: int64> values"),
        (range(rows), "column 'v' is left out .counts from 0 to 59"),
    ):
        with pytest.warns(UserWarning, match=said) as heard:
            data = load(pa.table({**base, "v": values}))
        assert len(heard) == 1 and data.schema.shape == (1,)
        load(pa.table({**base, "v": values}), columns={"v": "leave out"})  # no warning where it is told
    with pytest.warns(UserWarning, match="more than 1000 categories"):
        load(pd.DataFrame({"v": [f"n{i % 1500}" for i in range(4000)], "a": np.arange(4000) % 7}))


OTHERS: list[tuple[Any, list[str]]] = [
    ({"agee": "count"}, ["columns: column 'agee' is unknown: did you mean age?"]),
    ({"zzz": "count"}, ["column 'zzz' is unknown: known: age, day, name"]),
    ({"age": "number"}, ["column 'age': kind='number': give one of continuous, count", "leave out"]),
    ({"age": {"kynd": "count"}}, ["column 'age': 'kynd' is unknown: did you mean kind?"]),
    ({"age": {"transform": "sqrt"}}, ["transform='sqrt': give one of standard, log, quantile"]),
    ({"age": 3}, ["column 'age': give a kind, or a table of"]),
    ({"age": {"kind": "binary", "transform": "log"}}, ["kind='binary' has no transform"]),
    ({"age": {"kind": "count", "categories": ["1"]}}, ["kind='count' has no categories"]),
    ({"name": "count"}, ["column 'name': kind='count', but it has no numbers: name how they are written"]),
    ({"name": "datetime"}, ["column 'name': kind='datetime', but it has no dates such as 2024-12-31: name how"]),
    ({"name": {"format": "%d/%m/%Y"}}, ["column 'name': format='%d/%m/%Y' fits few of its cells: correct it"]),
    ({"name": {"format": "12"}}, ["column 'name': format='12': write the number 1234.56 as the column does"]),
    ({"name": {"format": "%d/%m"}}, ["column 'name': format='%d/%m' has no year: give %Y or %y"]),
    ({"name": {"format": "%d/%m/%Q"}}, ["column 'name': format='%d/%m/%Q': %Q is unknown"]),
    ({"name": {"kind": "count", "format": "%d/%m/%Y"}}, ["kind='count' does not support format='%d/%m/%Y'"]),
    ({"name": "constant"}, ["kind='constant', but it has several values"]),
    ({"name": "binary"}, ["kind='binary', but it has 3 categories"]),
    ({"name": {"kind": "ordinal", "categories": ["ann", "bob"]}}, ["'cy' is not in its declared categories"]),
    ({"name": {"categories": "ann"}}, ["categories='ann': give a list"]),
    ({"age": {"kind": "continuous", "transform": "log"}}, ["transform='log', but -3 is among its values"]),
    ({"age": "count"}, ["kind='count', but -3 is among its values: use kind='continuous'"]),
    ({"day": "categorical"}, ["column 'day': kind='categorical', but it has timestamp"]),
]


@pytest.mark.parametrize(("columns", "said"), OTHERS, ids=[str(case[0])[:40] for case in OTHERS])
def test_wrong_sayings_are_refused(columns: Any, said: list[str]) -> None:
    table = pd.DataFrame({"age": [-3, 31, 27] * 4, "name": ["ann", "bob", "cy"] * 4})
    table["day"] = pd.to_datetime(["2020-01-01", "2020-01-02", "2020-01-04"] * 4)
    assert_user_error(lambda: load(table, columns=columns), *said)


def test_a_wrong_schema_file_is_refused(tmp_path: Path, run: Run) -> None:
    path = format_number(tmp_path, GOOD)
    for content, said in (
        ("kind = 3", "s.toml: give a table [columns.NAME]"),
        ("[columns", "s.toml is not TOML"),
        ('[columns.agee]\nkind = "count"', "s.toml: column 'agee' is unknown: did you mean age?"),
    ):
        schema = format_number(tmp_path, content, "s.toml")
        assert_user_error(lambda schema=schema: load(path, columns=schema), said)
        done = run("train", path, "--columns", schema, "--out", tmp_path / "out")
        assert done.code == 2 and said in done.err and done.err.count("\n") == 1
    assert_user_error(lambda: load(path, columns=tmp_path / "none.toml"), "none.toml: no such file")
    done = run("data", "describe", tmp_path / "none.csv")
    assert done.code == 2 and "none.csv is not a table" in done.err


def test_rows_that_do_not_fit_the_schema_are_refused() -> None:
    table = pd.DataFrame({"age": [31, 42, 27, 31] * 9, "city": ["ann", "bob", "cy", "di"] * 9})
    table["day"] = pd.to_datetime(["2020-01-01", "2020-01-02", "2020-01-04", "2020-03-05"] * 9)
    schema = load(table).schema
    assert_user_error(
        lambda: load_like(table.rename(columns={"age": "Age"}), schema), "lacks the columns age", "did you mean Age?"
    )
    assert_user_error(lambda: load_like(table[["day"]], schema), "table: lacks the columns age, city")
    assert_user_error(lambda: load_like(table.assign(age=np.inf), schema), "column 'age': row 1 is infinite")
    assert_user_error(
        lambda: load_like(table.assign(age=table["day"]), schema), "column 'age': holds timestamp", "not numbers"
    )
    assert_user_error(lambda: load_like(table.assign(day=3), schema), "column 'day': holds int64 values, not dates")
    assert_user_error(lambda: load_like(table[:0], schema), "table has no rows")
    assert_user_error(lambda: load_like(np.eye(3), schema), "a ndarray is not a table")
    assert_user_error(lambda: load_like("nothing.csv", schema), "nothing.csv: no such file")
    assert_user_error(lambda: load_like("mnist", schema), "mnist is not a table")
    assert_user_error(
        lambda: load_like(table, load(np.eye(3)).schema),
        "a DataFrame is a table, and the model needs data of shape (3,)",
    )
    assert_user_error(
        lambda: tables.decode(np.zeros((2, 9)), schema), "x of shape (2, 9) is not a table of this schema: give (n, 3)"
    )
    assert_user_error(
        lambda: tables.decode(np.zeros((2, 3)), schema, "excel"), "like='excel': use pandas, arrow or polars"
    )  # type: ignore[arg-type]
    assert_user_error(lambda: tables.to_bytes(table, ".xls"), "a table cannot be written as '.xls'")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "polars", None)
    schema = load(pd.DataFrame({"a": [1.5, 2.5, 4.0] * 4, "b": ["x", "y", "z"] * 4})).schema
    assert_user_error(
        lambda: tables.decode(np.zeros((2, 2)), schema, "polars"), "tables need polars", "pip install polars"
    )


def test_a_column_all_missing_is_left_out_of_training_with_a_warning(tmp_path: Path) -> None:
    rows = "".join(f"{i % 7}.5,,{i * i}\n" for i in range(40))
    (path := tmp_path / "t.csv").write_text("a,gone,b\n" + rows)
    net = {"kind": "table", "width": 8, "blocks": 0}
    with pytest.warns(UserWarning, match="column 'gone' is left out .all cells are missing"):
        model = nelbo.fit(str(path), epochs=1, samples_per_epoch=40, model__encoder=net)
    made = model.sample(5)
    assert list(made) == ["a", "gone", "b"] and made["gone"].isna().all()
