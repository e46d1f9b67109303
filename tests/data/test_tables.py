"""Tables: the way to a model's numbers and back, whatever holds them; what columns are taken to be."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch

import nelbo.data.dataset as store
from conftest import Run
from nelbo.config.registry import parse
from nelbo.data import Column, Dataset, DataSplits, Schema, StreamedDataset, load, load_like, tables
from nelbo.data.tables import cells, source, transforms
from nelbo.data.tables.infer import Values, decimals_of
from nelbo.errors import UserError

ROWS = 400


def frame(seed: int = 0, rows: int = ROWS, gaps: bool = True) -> pd.DataFrame:
    """A table with a column of every kind; about a tenth of the cells of some columns missing."""
    rng = np.random.default_rng(seed)
    day = np.datetime64("2020-01-01", "D")
    columns: dict[str, Any] = {
        "normal": np.round(rng.normal(50, 10, rows), 2),
        "heavy": np.round(np.exp(rng.normal(3, 1, rows)) + 0.1, 1),
        "spiked": np.where(rng.random(rows) < 0.7, 0.0, np.round(rng.gamma(2, 30, rows), 3)),
        "count": rng.poisson(40, rows),
        "below": rng.integers(-500, 500, rows),
        "few": rng.integers(1, 6, rows),
        "flag": rng.random(rows) < 0.3,
        "sex": rng.choice(["f", "m"], rows),
        "town": rng.choice(["Rome", "New York", "a, b", 'the "Hub"', "Ürümqi"], rows),
        "size": pd.Categorical(rng.choice(["S", "M", "L"], rows), ["S", "M", "L", "XL"], ordered=True),
        "colour": pd.Categorical(rng.choice(["red", "blue"], rows), ["red", "blue", "green"]),
        "day": (day + rng.integers(0, 900, rows)).astype("datetime64[s]"),
        "moment": (day + np.timedelta64(1, "s") * rng.integers(0, 90_000, rows)).astype("datetime64[us]"),
        "same": np.full(rows, "x"),
        "id": np.arange(1, rows + 1),
    }
    table = pd.DataFrame(columns)
    if gaps:
        for name in ("normal", "spiked", "sex", "town", "size", "day", "moment"):
            table.loc[rng.random(rows) < 0.1, name] = None
    return table


def quietly(make: Callable[[], Any]) -> Any:
    """The result, without the warnings of columns that are left out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make()


def infer(source: Any, columns: Any = None) -> Schema:
    return quietly(lambda: tables.infer(source, columns))[0]


def encode(source: Any, schema: Schema) -> np.ndarray:
    return quietly(lambda: tables.encode(source, schema))


def x_of(dataset: Dataset) -> np.ndarray:
    return dataset.batch(torch.arange(len(dataset))).numpy()


def kinds(schema: Schema) -> dict[str, str]:
    return {column.name: column.kind for column in schema.columns}


def only(values: Any, columns: Any = None) -> Column:
    """The column inferred of these values, beside one that is modelled."""
    table = pd.DataFrame({"v": values, "other": np.resize(["p", "q", "r"], len(values))})
    return infer(table, columns).columns[0]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """The same table without a type of its own, in every form of text."""
    table = frame().drop(columns=["size", "colour"])
    made = {}
    for ending, sep in ((".csv", ","), (".tsv", "\t"), (".txt", "|"), (".csv.gz", ";")):
        made[ending] = tmp_path / f"table{ending}"
        table.to_csv(made[ending], sep=sep, index=False, encoding="utf-8-sig" if ending == ".txt" else "utf-8")
    return made


def test_what_columns_are_taken_to_be() -> None:
    assert kinds(infer(frame())) == {
        "normal": "continuous",
        "heavy": "continuous",
        "spiked": "continuous",
        "count": "count",
        "below": "continuous",
        "few": "ordinal",
        "flag": "binary",
        "sex": "binary",
        "town": "categorical",
        "size": "ordinal",
        "colour": "categorical",
        "day": "datetime",
        "moment": "datetime",
        "same": "constant",
        "id": "identifier",
    }


@pytest.mark.parametrize("steps", [10**4, 10**5, 10**6])
def test_numbers_are_exact_for_a_million_steps(steps: int) -> None:
    rng = np.random.default_rng(0)
    values = pd.DataFrame(
        {
            "even": rng.integers(0, steps, 20_000) / 100,
            "heavy": np.minimum(rng.lognormal(np.log(steps) - 6, 1.5, 20_000).astype(int), steps),
            "atom": np.where(rng.random(20_000) < 0.9, 0, rng.integers(0, steps, 20_000)),
        }
    )
    schema = infer(values)
    pd.testing.assert_frame_equal(tables.decode(encode(values, schema), schema), values, check_exact=True)


def test_which_transform_suits() -> None:
    chosen = {column.name: column.transform for column in infer(frame(rows=3000)).columns}
    assert (chosen["normal"], chosen["heavy"], chosen["spiked"]) == ("standard", "log", "quantile")
    assert chosen["below"] == "quantile", "a uniform is not Normal"


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1.0, 2.0, 3.0, None] * 5, "ordinal"),
        ([0, 1] * 10, "binary"),
        ([0.5, 1.5] * 10, "binary"),
        (list(range(20)) * 2, "ordinal"),
        (list(range(21)) * 2, "count"),
        (list(range(-1, 20)) * 2, "continuous"),
        (list(range(40, 20, -1)), "identifier"),
        ([5, 5, 5, 5], "constant"),
        ([f"n{i}" for i in range(51)], "identifier"),
        ([f"n{i}" for i in range(50)], "categorical"),
        ([f"n{i}" for i in range(1001)] * 3, "identifier"),
        ([f"n{i}" for i in range(1000)] * 3, "categorical"),
        (["02134", "10001", "94105"] * 5, "categorical"),
        (["true", "False"] * 5, "binary"),
        (["1", "2", "two", "3"] * 5, "categorical"),
        (["2020-01-31", "2021-02-28", "2020-03-01 10:00"] * 5, "datetime"),
        (["2020-01-31T10:00:00Z", "2021-02-28T10:00:00+02:00"] * 5, "datetime"),
        ([None, float("nan"), None], "constant"),
        (["?", " - ", "NA"], "categorical"),
    ],
)
def test_the_rules(values: list[Any], kind: str) -> None:
    assert only(values).kind == kind


def test_ids_are_told_by_their_name() -> None:
    shuffled = np.random.default_rng(0).permutation(1000)[:300]
    for name, kind in (("userId", "identifier"), ("order_id", "identifier"), ("paid", "count"), ("idle", "count")):
        assert kinds(infer(pd.DataFrame({name: shuffled, "o": np.arange(300) % 3})))[name] == kind


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("like", ["pandas", "arrow", "polars"])
def test_the_way_back_is_exact(seed: int, like: Any) -> None:
    table = frame(seed)
    given = {"pandas": lambda: table, "polars": lambda: pl.from_pandas(table), "arrow": lambda: pa.table(dict(table))}
    schema = infer(given[like]())
    x = encode(given[like](), schema)
    assert x.dtype == np.float32 and x.shape == (ROWS, *schema.shape)
    back = tables.decode(x, schema, like)
    np.testing.assert_array_equal(encode(back, schema), x)
    if like == "pandas":
        pd.testing.assert_frame_equal(back, table.drop(columns="id"))
    elif like == "polars":
        assert back.equals(given[like]().drop("id")) and back.schema == given[like]().drop("id").schema
    else:
        assert back.column_names == [name for name in table if name != "id"]
        assert [cells.dtype_name(t) for t in back.schema.types] == [c.dtype for c in schema.columns if c.name != "id"]
        for name in back.column_names:
            assert back[name].to_pylist() == given[like]()[name].to_pylist(), name


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (pd.array([1, None, 3, 7] * 9, "Int16"), "Int16"),
        (pd.array([1, 2, 3, 2**60] * 9, "UInt64"), "UInt64"),
        (pd.array([True, None, False, True] * 9, "boolean"), "boolean"),
        (np.array([True, None, False, True] * 9, object), "object"),
        (np.array(["a", None, "b", "c"] * 9, object), "object"),
        (pd.array(["a", None, "b", "c"] * 9, "string"), "string"),
        (np.array([0.1, 0.25, np.nan, 7.3] * 9, np.float32), "float32"),
        (np.array([0.5, 0.25, 1, 2] * 9, np.float16), "float16"),
        (np.array([1, 2, 3, 30] * 9, np.int8), "int8"),
        (pd.to_datetime(["2020-01-01 00:00", "2021-06-05 10:00", None, "2020-05-06 23:59"] * 9).tz_localize("UTC"), ""),
        (pd.to_timedelta([1, 2, 3, 400] * 9, "h"), ""),
        (np.array([dt.date(2020, 1, 1), None, dt.date(2021, 1, 1), dt.date(2020, 5, 5)] * 9, object), "object"),
        (np.array(["2020-01-01", "2021-06-05", None, "2020-05-06"] * 9, object), "object"),
        (np.array(["1.5", "2.25", None, "4"] * 9, object), "object"),
        (pd.Categorical([1, 2, None, 5] * 9, [5, 2, 1, 9]), "category"),
    ],
    ids=lambda v: str(v) if isinstance(v, str) else type(v).__name__,
)
def test_types_of_pandas_come_back(values: Any, dtype: str) -> None:
    column = pd.Series(values, dtype=object if dtype == "object" else None)
    table = pd.DataFrame({"v": column, "other": np.resize(["p", "q", "r"], len(values))})
    schema = infer(table)
    back = tables.decode(encode(table, schema), schema)
    assert back["v"].dtype == table["v"].dtype and (not dtype or str(back["v"].dtype) == dtype)
    pd.testing.assert_frame_equal(back, table)


def test_every_holder_gives_the_same_schema_and_numbers(files: dict[str, Path], tmp_path: Path) -> None:
    table = frame().drop(columns=["size", "colour"])
    table.to_parquet(tmp_path / "t.parquet", row_group_size=64)
    holders = [table, pl.from_pandas(table), pl.from_pandas(table).lazy(), pa.table(dict(table)), *files.values()]
    first = infer(table)
    x = encode(table, first)
    for holder in [*holders, tmp_path / "t.parquet"]:
        schema = infer(holder)
        for a, b in zip(first.columns, schema.columns, strict=True):
            if a.kind == "datetime":  # text names no type
                b = replace(b, dtype=a.dtype)
            assert a == b
        np.testing.assert_array_equal(encode(holder, schema), x)


def test_text_comes_back_as_it_was(files: dict[str, Path], tmp_path: Path) -> None:
    schema = infer(files[".csv"])
    table = tables.decode(encode(files[".csv"], schema), schema, "arrow")
    for ending in (".csv", ".tsv", ".parquet"):
        (tmp_path / f"back{ending}").write_bytes(tables.to_bytes(table, ending))
    read, back = (pd.read_csv(path) for path in (files[".csv"], tmp_path / "back.csv"))
    pd.testing.assert_frame_equal(back, read.drop(columns="id"))
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "back.tsv", sep="\t"), back)
    assert pa.parquet.read_table(tmp_path / "back.parquet").to_pylist() == table.to_pylist()


def test_what_a_model_makes_stays_in_range() -> None:
    table = frame(gaps=False)
    schema = infer(table)
    x = np.random.default_rng(0).normal(0, 9, (500, *schema.shape)).astype(np.float32)
    made = tables.decode(x, schema)
    for name in ("normal", "heavy", "spiked", "count", "below", "day", "moment"):
        assert table[name].min() == made[name].min() and made[name].max() == table[name].max()
    for name in ("few", "sex", "town", "size", "colour", "flag"):
        assert set(made[name]) <= set(table[name].cat.categories if name in ("size", "colour") else table[name])
    assert (made["heavy"].round(1) == made["heavy"]).all() and (made["same"] == "x").all()
    assert dict(made.dtypes) == dict(table.drop(columns="id").dtypes)
    np.testing.assert_array_equal(tables.decode(encode(made, schema), schema), made)


@pytest.mark.parametrize("transform", ["standard", "log", "quantile"])
@pytest.mark.parametrize("seed", range(4))
def test_transforms_rise_strictly_and_are_inverted(transform: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = [3, 40, 1000, 30_000][seed]
    values = np.concatenate([rng.lognormal(0, 2, n), np.full(n, 1.5), np.round(rng.lognormal(0, 1, n), 1) + 0.1])
    low, high = float(values.min()) / 2, float(values.max()) * 2  # as if the sample lacked the ends
    column = Column(
        "v",
        "continuous",
        "double",
        low=low,
        high=high,
        transform=transform,
        transform_params=transforms.fit(transform, values, low, high),
    )
    assert len(column.transform_params) <= 2 * transforms.KNOTS
    v = np.unique(np.concatenate([values, [low, high, low - 5, high * 10], rng.uniform(low, high, 5000)]))
    x = transforms.forward(column, v)
    assert np.isfinite(x).all() and (np.diff(x) > 0).all()
    np.testing.assert_allclose(transforms.inverse(column, x), v, rtol=1e-9, atol=1e-9)
    assert np.isnan(transforms.forward(column, np.array([np.nan]))).all()


def test_quantiles_are_normal_scores_of_middle_ranks() -> None:
    rng = np.random.default_rng(0)
    values = np.where(rng.random(100_000) < 0.6, 0.0, rng.exponential(1, 100_000))
    column = only(values)
    x = transforms.forward(column, values)
    assert abs(x).max() <= 3.5
    zero = (values == 0).mean()
    assert x[values == 0][0] == pytest.approx(transforms.NORMAL.inv_cdf(zero / 2), abs=0.01)
    assert x[values > 0].min() == pytest.approx(transforms.NORMAL.inv_cdf(zero), abs=0.01), "an atom is not smeared"
    smooth = transforms.forward(only(rng.exponential(1, 100_000), {"v": {"transform": "quantile"}}), values[values > 0])
    assert abs(smooth.mean()) < 0.02 and smooth.std() == pytest.approx(1, abs=0.02)


def test_an_outlier_is_further_out_the_larger_it_is() -> None:
    column = only(np.random.default_rng(0).gamma(1, 1, 5000), {"v": {"transform": "quantile"}})
    x = transforms.forward(column, np.array([column.high or 0, 20.0, 40.0, -1.0]))
    assert 3 < x[0] <= 3.5 and x[1] > x[0] + 1 and x[2] > x[1] + 3 and x[3] < -5


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_streamed_is_in_memory(ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / f"t{ending}"
    table = frame(rows=3000)
    table.to_csv(path, index=False) if ending == ".csv" else table.to_parquet(path, row_group_size=500)
    whole = quietly(lambda: load(path))
    monkeypatch.setattr(store, "MEMORY_BUDGET", 5000)
    monkeypatch.setattr(source, "BLOCK", 20_000)
    monkeypatch.setattr(source, "BATCH", 100)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    streamed: DataSplits = quietly(lambda: load(path))
    assert streamed.schema == whole.schema and not streamed.train.resident and whole.train.resident
    for a, b in ((streamed.train, whole.train), (streamed.test, whole.test)):
        np.testing.assert_array_equal(x_of(a), x_of(b))
        np.testing.assert_array_equal(a[[5, 1, 7]].numpy(), b[[5, 1, 7]].numpy())
    like = quietly(lambda: load_like(path, whole.schema))
    assert isinstance(like, StreamedDataset) and len(list(tmp_path.glob("*.f32"))) == 2
    del like, streamed, a
    assert not list(tmp_path.glob("*.f32")), "files go with their rows"


def test_no_file_is_left_where_encoding_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = frame(rows=300)
    schema = infer(table)
    table.loc[299, "normal"] = np.inf
    monkeypatch.setattr(store, "MEMORY_BUDGET", 50)
    monkeypatch.setattr(source, "BATCH", 100)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(UserError, match="row 300 is infinite"):
        encode(table, schema)
    assert not list(tmp_path.iterdir())


def test_the_sample_is_of_rows_that_hold_a_value() -> None:
    rows = np.arange(50_000)
    sample = Values(rows.astype(float), rows % 2 == 0, 1000).sample
    assert len(sample) == 1000 and (sample % 2 == 0).all() and (np.diff(sample) > 0).all()
    assert abs(sample.mean() - 25_000) < 2000
    assert (Values(rows, rows < 900, 1000).sample == np.arange(900)).all()


def test_decimals_are_those_of_the_values() -> None:
    for values, decimals in (([1.5, 2.25], 2), ([0.1, 1e-9], 9), ([3.0, 4.0], 0), ([1 / 3], None), ([1e15, 0.5], 1)):
        assert decimals_of(np.array(values)) == decimals
    assert decimals_of(np.array([0.1, 0.7], np.float32).astype(float), single=True) == 1


@pytest.mark.parametrize("dtype", ["int64", "Int64", "text"])
@pytest.mark.parametrize("first", [17 * 10**15 + 1, 17 * 10**17 + 1, 4911112222333344445555])
def test_whole_numbers_beyond_float64_come_back(first: int, dtype: str, tmp_path: Path) -> None:
    values = [first, first + 1, first + 2] * 9
    table: Any = pd.DataFrame({"v": pd.Series(values, dtype=dtype if first < 2**63 and dtype != "text" else object)})
    table["w"] = np.resize(["p", "q"], len(values))
    if dtype == "text":
        table.to_csv(tmp_path / "t.csv", index=False)
        table = tmp_path / "t.csv"
    schema = infer(table)
    assert schema.columns[0].kind == "categorical"
    back = tables.decode(encode(table, schema), schema)
    assert list(map(int, back["v"])) == values and (dtype == "text" or back.equals(table) or first > 2**63)


def test_categories_that_are_intervals_or_dates_are_read_as_texts() -> None:
    ages = pd.cut(pd.Series(np.arange(60) % 90), [-1, 18, 65, 99])
    column = infer(pd.DataFrame({"age": ages, "v": np.arange(60) % 7 + 0.5})).columns[0]
    assert column.kind == "ordinal" and column.categories == ("(-1, 18]", "(18, 65]", "(65, 99]")
    days = pd.Series(pd.to_datetime(["2020-01-01", "2021-05-05"] * 9)).astype("category")
    assert infer(pd.DataFrame({"day": days, "v": np.arange(18) % 7 + 0.5})).columns[0].kind == "binary"


def test_the_line_that_names_the_separator_is_understood(tmp_path: Path) -> None:
    (path := tmp_path / "t.csv").write_text("sep=;\na;b\n" + "1,5;x\n2,5;y\n" * 5 + "3;x;z\n")
    with pytest.raises(UserError, match="line 13 has 3 cells, the header 2"):
        infer(path)
    path.write_text("sep=;\ntown;n\n" + "Bonn;1\nKiel;2\n" * 5)
    assert kinds(infer(path)) == {"town": "binary", "n": "binary"}


def test_a_table_is_written_again_as_it_was(tmp_path: Path) -> None:
    content = '\ufeffsep=;\r\n id ;"v;w";when\r\n007;1.50;01/02/2020\r\n;1e3; x \r\n18446744073709551615;-0;"a\nb"\r\n'
    (path := tmp_path / "t.csv").write_bytes(content.encode())
    opened = tables.open_table(path)
    assert opened.names == ("id", "v;w", "when")
    assert tables.source_bytes(opened, ".csv") == content.encode()
    more = tables.append_rows(opened, pd.DataFrame({"v;w": [2.5]}))
    assert tables.source_bytes(more, ".csv") == content.encode() + b";2.5;\r\n"
    filled = tables.replace_cells(opened, tables.gaps(opened.table), pd.DataFrame({"id": ["a", "b", "c"]}))
    assert tables.source_bytes(filled, ".tsv").decode().splitlines()[3] == "b\t1e3\t x "


def test_schemas_are_saved_as_json() -> None:
    schema = infer(frame())
    assert parse(Schema, json.loads(json.dumps(schema.to_json())), "") == schema
    plain = Schema("vector", (2,), (0.0,), (1.0,), "real")
    assert "columns" not in plain.to_json() and parse(Schema, plain.to_json(), "") == plain
    with pytest.raises(UserError, match="colour"):
        parse(Column, {"name": "a", "kind": "count", "colour": 1}, "")


def test_the_toml_of_a_schema_says_the_same(tmp_path: Path) -> None:
    table = frame().rename(columns={"town": 'a "b" ü.c'})
    schema = infer(table)
    (tmp_path / "s.toml").write_text(tables.to_toml(schema), "utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # what is told to be left out needs no warning
        assert tables.infer(table, tmp_path / "s.toml")[0] == schema


def test_what_a_user_says_is_done(tmp_path: Path) -> None:
    said = {
        "normal": {"transform": "quantile"},
        "few": "count",
        "town": {"kind": "ordinal", "categories": ["Rome", "New York", "a, b", 'the "Hub"', "Ürümqi", "Oslo"]},
        "count": "leave out",
        "below": "categorical",
        "id": {"kind": "continuous", "transform": "standard"},
    }
    schema = infer(frame(), said)
    columns = {column.name: column for column in schema.columns}
    assert {name: columns[name].kind for name in said} == {
        "normal": "continuous",
        "few": "count",
        "town": "ordinal",
        "count": "identifier",
        "below": "categorical",
        "id": "continuous",
    }
    assert columns["normal"].transform == "quantile" and columns["id"].transform == "standard"
    assert columns["town"].categories[0] == "Rome" and columns["town"].size == 6
    assert columns["below"].categories == tuple(map(str, sorted(set(frame()["below"]))))
    back = tables.decode(encode(frame(), schema), schema)
    pd.testing.assert_frame_equal(back, frame().drop(columns="count"))
    assert infer(frame(), {"columns": said}) == schema


def test_words_among_numbers_may_be_said_to_be_missing() -> None:
    table = pd.DataFrame({"v": ["oops", *map(str, range(99))], "o": ["a", "b"] * 50})
    with pytest.warns(UserWarning, match="1 cells hold values that the schema does not know.*v 'oops'"):
        data = load(table, columns={"v": "continuous"})
    assert data.schema.columns[0].missing == 0.01
    assert infer(table, {"v": "categorical"}).columns[0].size == 100


def test_new_rows_are_read_by_name_and_what_is_unknown_is_missing() -> None:
    table = frame()
    schema = infer(table)
    x = encode(table, schema)
    shuffled = table[list(reversed(table.columns))].drop(columns=["same", "id"])
    np.testing.assert_array_equal(encode(shuffled, schema), x)
    new = table.assign(
        town=table["town"].where(table.index != 3, "Atlantis"), few=table["few"].where(table.index > 1, 77)
    )
    with pytest.warns(UserWarning, match="3 cells hold .* few '77', town 'Atlantis'") as heard:
        rows = load_like(new, schema)
    assert len(heard) == 1
    seen = {column.name: j for j, column in enumerate(schema.feature_columns)}
    got = x_of(rows)
    assert np.isnan(got[3, seen["town"]]) and np.isnan(got[:2, seen["few"]]).all()
    assert (np.isnan(got) != np.isnan(x)).sum() == 3 - np.isnan(x[3, seen["town"]])
    with pytest.warns(UserWarning, match="does not know extra"):
        load_like(table.assign(extra=1), schema)
    assert len(quietly(lambda: load_like(table[:1], schema))) == 1


def test_load_splits_a_table(tmp_path: Path) -> None:
    table = frame()
    table.to_csv(tmp_path / "people.v1.csv", index=False)
    with pytest.warns(UserWarning, match="column 'id' is left out .counts from 1 to 400") as heard:
        data = load(str(tmp_path / "people.v1.csv"), val_fraction=0.25, seed=1)
    assert len(heard) == 1
    assert (data.name, len(data.train), len(data.test)) == ("people", 300, 100)
    assert (data.schema.kind, data.schema.shape) == ("table", (13,))
    first = data.train.read(torch.tensor([0]))
    assert first.dtype == torch.float32 and data.schema.encode(first).allclose(first, 0, 0, equal_nan=True)
    again = quietly(lambda: load(str(tmp_path / "people.v1.csv"), val_fraction=0.25, seed=1))
    np.testing.assert_array_equal(x_of(again.test), x_of(data.test))


def test_text_is_trimmed_and_markers_are_missing(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a, b ,c\n" + " 1 , x ,?\n2.5, y,7\n NA ,-,  8\n,N/A, \n" * 5)
    schema = infer(path)
    assert [c.name for c in schema.columns] == ["a", "b", "c"]
    assert encode(path, schema)[:4, 1].tolist()[:2] == [0, 1]
    assert np.isnan(encode(path, schema)[:4]).tolist() == [
        [False, False, True],
        [False, False, False],
        [True, True, False],
        [True, True, True],
    ]
    assert schema.columns[1].categories == ("x", "y") and schema.columns[0].missing == 0.5


def test_an_index_column_without_a_name_is_left_out(tmp_path: Path) -> None:
    frame(rows=50)[["normal", "sex"]].to_csv(tmp_path / "t.csv")
    assert kinds(infer(tmp_path / "t.csv")) == {"Unnamed: 0": "identifier", "normal": "continuous", "sex": "binary"}


def test_a_quoted_cell_may_hold_lines_and_delimiters(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('a,b\n"x\ny",1\n"p;q,r",2\n' + '"x\ny",3\n"p;q,r",4\n' * 5)
    assert infer(tmp_path / "t.csv").columns[0].categories == ("p;q,r", "x\ny")


def test_importing_nelbo_and_loading_pictures_needs_no_table_packages(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,2\n3,4\n")
    code = f"""
import sys, torch, nelbo, nelbo.data, nelbo.experiment.run
names = "pandas", "pyarrow", "polars"
assert not set(names) & set(sys.modules)
sys.modules.update(dict.fromkeys(names))
nelbo.data.load(torch.rand(20, 8, 8))
try:
    nelbo.data.load({str(tmp_path / "t.csv")!r})
except nelbo.errors.UserError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "tables need pyarrow, which is not installed: pip install 'nelbo[table]'\n", done.stderr


def test_describe_prints_the_schema(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    frame().drop(columns=["size", "colour"]).to_csv(path, index=False)
    done = run("data", "describe", path)
    lines = done.out.splitlines()
    assert done.code == 0 and lines[0].endswith("400 rows, 13 columns, 11 to model")
    town = next(line for line in lines if line.startswith("town"))
    assert "categorical" in town and "Rome" in town and "%" in town
    assert any(line.startswith("id") and "left out: counts from 1 to 400" in line for line in lines)
    assert "2020-01-01 to 2022-0" in next(line for line in lines if line.startswith("day"))
    found = json.loads(run("data", "describe", path, "--json").out)
    assert found["rows"] == 400 and found["columns"][0]["kind"] == "continuous"
    toml = run("data", "describe", path, "--toml").out
    (tmp_path / "s.toml").write_text(toml.replace('kind = "ordinal"', 'kind = "categorical"'))
    found = json.loads(run("data", "describe", path, "--columns", tmp_path / "s.toml", "--json").out)
    assert {c["name"]: c["kind"] for c in found["columns"]}["few"] == "categorical"


@pytest.mark.parametrize(
    ("values", "unit", "steps"),
    [
        (pd.to_timedelta(np.arange(3, 300, 7).tolist() * 2, "s"), "s", 1e9),
        (pd.to_timedelta(np.arange(-90, 90, 7).tolist() * 2, "h"), "h", 3600e9),
        ([dt.time(k // 60, k % 60) for k in range(5, 1400, 33)] * 2, "m", 60e9),
    ],
    ids=["seconds", "hours", "times of day"],
)
def test_durations_and_times_of_day_are_drawn_in_their_coarsest_unit(values: Any, unit: str, steps: float) -> None:
    table = pd.DataFrame({"v": values, "o": np.resize(["p", "q"], len(values))})
    schema = infer(table)
    assert schema.columns[0].unit == unit
    pd.testing.assert_frame_equal(tables.decode(encode(table, schema), schema), table)
    drawn = tables.decode(np.random.default_rng(0).normal(0, 2, (300, 2)).astype(np.float32).clip(0), schema, "arrow")
    ticks, own = cells.ticks(drawn["v"].combine_chunks())
    assert (ticks * cells.UNITS[own] % steps == 0).all() and len(set(ticks.tolist())) > 9
    first = tables.encode_evidence({"v": table["v"][1]}, schema)
    np.testing.assert_array_equal(first[0, 0], encode(table, schema)[1, 0])


def test_samples_lie_in_the_range_to_the_last_nanosecond_and_are_not_minus_zero() -> None:
    rng = np.random.default_rng(0)
    moments = pd.to_datetime(rng.integers(1_500_000_000 * 10**9, 1_600_000_000 * 10**9, 200))
    table = pd.DataFrame({"at": moments, "v": rng.normal(0, 0.2, 200).round(1)})
    schema = infer(table)
    drawn = tables.decode(rng.normal(0, 5, (500, 2)).astype(np.float32), schema)
    assert (drawn["at"].min(), drawn["at"].max()) == (table["at"].min(), table["at"].max())
    assert not (np.signbit(drawn["v"]) & (drawn["v"] == 0)).any()


@pytest.mark.parametrize(
    ("numbers", "dtype"),
    [
        ([2**63 - 1, -(2**63), 5], "int64"),
        ([2**64 - 1, 2**63, 5], "uint64"),
        ([2**64, 3, 5], "string"),
        ([-1, 2**64 - 1, 5], "string"),
    ],
)
def test_whole_numbers_up_to_64_bits_are_never_floats(numbers: list[int], dtype: str, tmp_path: Path) -> None:
    texts = [str(number) for number in numbers] * 9
    pd.DataFrame({"v": texts, "w": np.resize(["p", "q"], 27)}).to_csv(tmp_path / "t.csv", index=False)
    schema = infer(tmp_path / "t.csv")
    assert schema.columns[0].dtype == dtype
    back = tables.decode(encode(tmp_path / "t.csv", schema), schema)
    assert list(map(str, back["v"])) == texts and "e+" not in tables.to_bytes(back, ".csv").decode()
