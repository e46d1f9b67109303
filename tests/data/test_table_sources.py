"""What holds a table: objects of many packages, and files of any separator; values far out of their column."""

from __future__ import annotations

import decimal
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from fixtures.arrays import assert_user_error
from nelbo.data import load, load_like, tables
from nelbo.data.tables import transforms

ROWS = 60
RNG = np.random.default_rng(0)
V, G = RNG.normal(size=ROWS).round(3), RNG.choice(["New York", "Rome", "Oslo"], ROWS)
FRAME = pd.DataFrame({"v": V, "g": G})


def quietly(make: Callable[[], Any]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make()


HOLDERS: dict[str, Callable[[], Any]] = {
    "dict of arrays": lambda: {"v": V, "g": G},
    "dict of lists": lambda: {"v": V.tolist(), "g": G.tolist()},
    "dict of Series": lambda: {"v": FRAME["v"], "g": FRAME["g"]},
    "list of dicts": lambda: FRAME.to_dict("records"),
    "structured array": lambda: np.array(list(zip(V, G, strict=True)), [("v", ">f8"), ("g", "U8")]),
    "record array": lambda: FRAME.to_records(index=False),
    "record batch": lambda: pa.RecordBatch.from_pandas(FRAME),
    "reader": lambda: pa.Table.from_pandas(FRAME).to_reader(),
    "lazy frame": lambda: pl.from_pandas(FRAME).lazy(),
    "other order of bytes": lambda: FRAME.assign(v=V.astype(">f8")),
    "sparse column": lambda: FRAME.assign(v=pd.arrays.SparseArray(V)),
    "decimals": lambda: FRAME.assign(v=[decimal.Decimal(f"{v:.3f}") for v in V]),
    "Arrow dtypes": lambda: FRAME.convert_dtypes(dtype_backend="pyarrow"),
}


@pytest.mark.parametrize("holder", HOLDERS)
def test_every_holder_is_read(holder: str) -> None:
    expected, schema = quietly(lambda: load_like(FRAME, load(FRAME).schema)), load(FRAME).schema
    made = quietly(lambda: load(HOLDERS[holder]()))
    assert [(c.name, c.kind) for c in made.schema.columns] == [("v", "continuous"), ("g", "categorical")]
    rows = quietly(lambda: load_like(HOLDERS[holder](), schema))
    np.testing.assert_array_equal(rows[range(ROWS)], expected[range(ROWS)])


@pytest.mark.parametrize("make", [lambda: pd.Series(V, name="v"), lambda: pl.Series("v", V)])
def test_a_series_is_a_table_of_one_column(make: Callable[[], Any]) -> None:
    assert [c.name for c in load(make()).schema.columns] == ["v"]


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_a_matrix_is_an_array() -> None:
    x = RNG.random((ROWS, 5)) * 9 - 1
    plain, made = load(x), load(np.matrix(x))
    assert made.schema == plain.schema
    np.testing.assert_array_equal(made.train[range(9)], plain.train[range(9)])


def test_what_is_no_table_is_refused() -> None:
    assert_user_error(lambda: load({"a": V, "b": G[:3]}), "the dict is not a table", "give columns of one length")
    assert_user_error(lambda: load({"a": np.ones((9, 2)), "b": np.ones((9, 2))}), "a dictionary of a, b: give")
    assert_user_error(lambda: load({}), "a dictionary of nothing")
    assert_user_error(lambda: load(pa.chunked_array([V])), "the ChunkedArray is not a table")
    assert_user_error(lambda: load(np.zeros(4, [("a", "f8", 3)])), "the ndarray is not a table")
    twice = pd.DataFrame(np.ones((4, 2)), columns=pd.MultiIndex.from_tuples([("a", "b"), ("a", "b")]))
    assert_user_error(lambda: load(twice), "2 columns named 'a_b': rename")


@pytest.mark.parametrize(
    "values",
    [
        pd.cut(pd.Series(RNG.uniform(0, 90, ROWS)), [0, 18, 65, 99]),
        pd.qcut(pd.Series(RNG.normal(size=ROWS)), 4),
        pd.Series(pd.IntervalIndex.from_breaks([0.0, 1.0, 2.5, 9.0], closed="left")[RNG.integers(0, 3, ROWS)]),
        pd.Series(pd.interval_range(pd.Timestamp("2020-01-01"), periods=4)[RNG.integers(0, 4, ROWS)]),
        *[pd.Series(pd.period_range("2015-01", periods=20, freq=f)[RNG.integers(0, 20, ROWS)]) for f in "MDQYWh"],
        pd.Series(pd.to_datetime(RNG.choice(["2020-01-01", "2021-05-05", "2022-01-01"], ROWS))).astype("category"),
        pd.Series(pd.period_range("2015", periods=4, freq="M")[RNG.integers(0, 4, ROWS)]).astype("category"),
        pd.Series(pd.to_timedelta(RNG.integers(1, 5, ROWS), "h")).astype("category"),
        pd.Series(RNG.integers(1, 5, ROWS) / 4).astype("category"),
        pd.Series(G).astype(pd.CategoricalDtype(["Rome", "Oslo", "New York", "Bonn"], ordered=True)),
        pd.Series(RNG.integers(0, 400, ROWS)).map(lambda i: decimal.Decimal(i) / 4),
        pd.Series(RNG.integers(0, 400, ROWS) / 4).astype(pd.ArrowDtype(pa.float64())),
        pd.Series(G).astype(pd.ArrowDtype(pa.dictionary(pa.int32(), pa.string()))),
        pd.Series([decimal.Decimal(int(i)) / 4 for i in range(ROWS)]).astype(pd.ArrowDtype(pa.decimal128(10, 2))),
    ],
    ids=lambda values: str(values.dtype),
)
@pytest.mark.parametrize("gaps", [False, True])
def test_dtypes_of_pandas_come_back(values: pd.Series, gaps: bool) -> None:
    if gaps:
        values = values.where(np.arange(ROWS) % 7 > 0, None if values.dtype == object else pd.NA)
    frame = pd.DataFrame({"v": values, "z": V})
    schema, _ = quietly(lambda: tables.infer(frame))
    assert schema.columns[0].is_feature
    pd.testing.assert_series_equal(tables.decode(tables.encode(frame, schema), schema)["v"], frame["v"])


LAYOUTS: dict[str, Callable[[Any], str]] = {
    "two blanks": lambda row: "  ".join(map(str, row)),
    "aligned": lambda row: f"{row[0]:10} {row[1]:>8}  {row[2]:>6}",
    "fixed width": lambda row: f"{row[0]:9}{row[1]:>8} {row[2]:>6}",
    "quoted": lambda row: f'"{row[0]}" {row[1]} {row[2]}',
    "tabs": lambda row: "\t".join(map(str, row)),
    "bars": lambda row: "|".join(map(str, row)),
    "sep=;": lambda row: ";".join(map(str, row)),
    "sep=:": lambda row: ":".join(map(str, row)),
    "sep=^": lambda row: "^".join(map(str, row)),
}


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_files_of_any_separator_are_read_and_written_again(layout: str, newline: str, tmp_path: Path) -> None:
    write, path = LAYOUTS[layout], tmp_path / "t.csv"
    first = [layout] if layout.startswith("sep") else []
    rows = [("town", "v", "n"), *zip(G, V.tolist(), RNG.integers(0, 99, ROWS).tolist(), strict=True)]
    path.write_bytes(newline.join([*first, *map(write, rows), ""]).encode())
    opened = tables.open_table(path)
    assert opened.names == ("town", "v", "n")
    assert opened.table.to_pylist() == [{"town": g, "v": str(v), "n": str(n)} for g, v, n in rows[1:]]
    written = tables.source_bytes(opened, ".csv")
    assert (b"\r\n" in written) == (newline == "\r\n")
    (tmp_path / "again.csv").write_bytes(written)
    assert tables.open_table(tmp_path / "again.csv").table.equals(opened.table)


def test_gaps_of_aligned_columns_and_sentences_of_one_column(tmp_path: Path) -> None:
    (path := tmp_path / "t.csv").write_text(
        "city      n     v\n" + "New York  3  1.25\nRome         2.50\nOslo     12  0.75\n" * 5
    )
    opened = tables.open_table(path)
    assert opened.table.to_pylist()[1] == {"city": "Rome", "n": "", "v": "2.50"}
    (tmp_path / "again.csv").write_bytes(tables.source_bytes(opened, ".csv"))
    assert tables.open_table(tmp_path / "again.csv").table.to_pylist()[1] == {"city": "Rome", "n": "NA", "v": "2.50"}
    path.write_text("full name\n" + "Ann Lee\nBob Ray\n" * 9)
    assert tables.open_table(path).names == ("full name",), "words have blanks between them, too"
    path.write_text("a  b\n" + "1.5  2\n" * 150 + "7\n" + "1.5  2\n" * 9)
    assert_user_error(lambda: load(path), "line 152 does not have 2 cells")
    path.write_text("1.5  2\n" * 9)
    assert_user_error(lambda: load(path), "the first line holds numbers (1.5, ...)")


@pytest.mark.parametrize("far", [1e30, -1e30, 1e300, 1e7])
@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_one_value_that_is_far_out_does_not_ruin_its_column(far: float, scale: float) -> None:
    values = V * scale
    plain = tables.infer(pd.DataFrame({"v": values}))[0].columns[0]
    values[17] = far
    with pytest.warns(UserWarning, match=rf"row 18 of 'v' has {far:g}, 1000 times further out".replace("+", r"\+")):
        schema, _ = tables.infer(pd.DataFrame({"v": values}))
    column = schema.columns[0]
    assert (column.transform, column.decimals) == (plain.transform, plain.decimals)
    assert np.sign(far) * tables.encode(pd.DataFrame({"v": values}), schema)[17, 0] == transforms.FARTHEST
    made = tables.decode(RNG.normal(0, 3, (99, 1)), schema)["v"]
    assert np.abs(made).max() < 5 * scale


@pytest.mark.parametrize(
    "values",
    [np.exp(4 * V), 1 / np.abs(V + 1e-9), np.where(V > 1.5, 5.0, 0.0), np.r_[V, V * 50], V * 1e300, V * 1e-310],
)
def test_heavy_tails_are_no_strays(values: np.ndarray) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        schema, _ = tables.infer(pd.DataFrame({"v": values}))
        tables.encode(pd.DataFrame({"v": values}), schema)


def test_infinite_columns_are_refused() -> None:
    for values in (np.full(ROWS, np.inf), np.where(V > 1, -np.inf, V)):
        assert_user_error(lambda values=values: load(pd.DataFrame({"v": values, "g": G})), "'v': row", "is infinite")


def test_wide_tables_are_named_before_training() -> None:
    with pytest.warns(UserWarning, match=r"table has 300 columns to model.*--columns.*--minutes"):
        load(pd.DataFrame(RNG.normal(size=(4, 300))))
