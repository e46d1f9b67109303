"""Imputation: what is there stays text for text, what is missing is what the model says."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest

from conftest import Run
from fixtures import census_table
from nelbo.apps import imputation
from nelbo.data import tables
from nelbo.model import Model

pytestmark = pytest.mark.usefixtures("quiet")


def cells(path: str | Path, delimiter: str = ";") -> list[list[str]]:
    with Path(path).open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file, delimiter=delimiter))


def test_cells_that_are_there_stay_text_for_text(
    run: Run, people_run: Path, people_file: Path, people_model: Model
) -> None:
    code, out, _ = run("impute", people_run, people_file, "--out", "f.csv", "--uncertainty", "u.csv")
    assert (code, out) == (0, "Wrote f.csv (400, 5)\n")
    expected, std = people_model.impute(people_file, return_std=True)
    missing = 0
    for i, (was, now) in enumerate(zip(cells(people_file)[1:], cells("f.csv")[1:], strict=True)):
        for name, a, b in zip(census_table.HEADER.split(";"), was, now, strict=True):
            gap = a in ("", "?")
            missing += gap
            if gap and name == "age":
                assert float(b) == expected[name][i] and "." not in b
            else:
                assert b == (expected[name][i] if gap else a)
            assert gap == (name in std and bool(std[name][i] > 0))
    assert missing > 60 and cells("f.csv")[0] == cells(people_file)[0]
    doubt = pandas.read_csv("u.csv")
    assert list(doubt) == ["age", "sex", "income"]
    np.testing.assert_allclose(doubt.to_numpy(), std.to_numpy(), rtol=1e-5)
    assert Path("f.csv").read_text().splitlines()[8].startswith("8; ")  # spaces, too


def test_filled_cells_are_near_what_others_say(people_model: Model) -> None:
    frame = pandas.DataFrame(
        {"age": [None, None, 60.0], "sex": ["Female", "Male", None], "income": ["<=50K", ">50K", None]}
    )
    filled, std = imputation.impute_table(people_model, frame, return_std=True)
    age, _, income = (filled.table[name].to_pylist() for name in ("age", "sex", "income"))
    assert abs(age[0] - 30) < 8 and abs(age[1] - 60) < 8 and age[2] == 60
    assert income[2] == ">50K" and 0 < std["income"][2] < 0.5 and std["income"][0] == 0


def test_draws_alone_compute_no_means(
    run: Run, people_run: Path, people_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nelbo.model.imputation.expected_values", lambda *_: pytest.fail("the means are thrown away"))
    assert run("impute", people_run, people_file, "--n-imputations", 1, "--out", "one.csv").code == 0


def test_draws_differ_and_have_their_seed(run: Run, people_run: Path, people_file: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert (
            run("impute", people_run, people_file, "--n-imputations", 2, "--seed", seed, "--out", f"{name}.csv").code
            == 0
        )
    text = {path.stem: path.read_bytes() for path in Path().glob("*.csv")}
    assert sorted(text) == ["a_1", "a_2", "b_1", "b_2", "c_1", "c_2"]
    assert text["a_1"] == text["b_1"] and text["a_2"] == text["b_2"]
    assert len({text["a_1"], text["a_2"], text["c_1"], text["c_2"]}) == 4
    ages = [np.array([float(row[1]) for row in cells(f"a_{k}.csv")[1:]]) for k in (1, 2)]
    gaps = np.array([row[1] == "?" for row in cells(people_file)[1:]])
    assert (ages[0] == ages[1])[~gaps].all() and (ages[0] != ages[1])[gaps].mean() > 0.5


def test_other_forms_of_file(run: Run, people_run: Path, people_file: Path) -> None:
    run("impute", people_run, people_file, "--out", "f.csv")
    assert json.loads(run("impute", people_run, people_file, "--out", "f.tsv", "--json").out) == {
        "out": "f.tsv",
        "shape": [400, 5],
    }
    assert cells("f.tsv", "\t") == cells("f.csv")
    frame = pandas.DataFrame(
        {
            "age": [31, None],
            "sex": pandas.Categorical(["Male", None], ["Male", "Female", "Other"], ordered=True),
            "income": ["<=50K", "<=50K"],
        }
    )
    frame.to_parquet("small.parquet")
    assert run("impute", people_run, "small.parquet", "--out", "f.parquet").code == 0
    filled = pandas.read_parquet("f.parquet")
    assert list(filled.dtypes) == list(frame.dtypes) and filled.notna().all(None) and filled["age"][0] == 31


@pytest.mark.parametrize("kind", ["pandas", "polars", "arrow"])
def test_gaps_are_those_of_the_rules(kind: str) -> None:
    values: dict[str, Any] = {"a": ["x", "NA", " "], "b": [1.0, float("nan"), None], "c": [None, True, False]}
    frame: Any = pandas.DataFrame(values)
    if kind == "polars":
        frame = pytest.importorskip("polars").DataFrame(values, strict=False)
    elif kind == "arrow":
        frame = pytest.importorskip("pyarrow").table(values)
    assert tables.gaps(frame).tolist() == [[False, False, True], [True, True, False], [True, True, False]]
