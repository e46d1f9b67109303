"""Conditions on the cells of a table: names and values of any characters, values of any type."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fixtures.arrays import assert_user_error
from nelbo.data import tables

NAMES = ["a", "a=b", "x,y", "p<q", 'the "x"', "town", " z"]


@pytest.mark.parametrize(
    ("text", "cells"),
    [
        ("a=5", {"a": "5"}),
        ("a=b=5", {"a=b": "5"}),
        ("a = b", {"a": "b"}),
        ("x,y=p", {"x,y": "p"}),
        ('"x,y"=p', {"x,y": "p"}),
        ('a=1,"x,y"="p, q",town=Washington, DC', {"a": "1", "x,y": "p, q", "town": "Washington, DC"}),
        ("p<q=3,a=<4", {"p<q": "3", "a": "<4"}),
        ('the "x"=y', {'the "x"': "y"}),
        ('"the ""x"""=y', {'the "x"': "y"}),
        ('town=the "Hub"', {"town": 'the "Hub"'}),
        ('town="the ""Hub"""', {"town": 'the "Hub"'}),
        ("unknown=1", {"unknown": "1"}),
        ("town=", {"town": ""}),
    ],
)
def test_names_that_are_known_come_first(text: str, cells: dict[str, str]) -> None:
    assert tables.parse_condition(text, NAMES) == cells


@pytest.mark.parametrize("text", ["", "a", ",", "Washington, DC", '"a'])
def test_what_is_no_condition_is_refused(text: str) -> None:
    assert_user_error(lambda: tables.parse_condition(text, NAMES), "condition", "give column=value")


FRAME = pd.DataFrame(
    {
        "few": [1, 2, 3] * 20,
        "number": np.arange(60) * 1.5,
        "flag": [True, False] * 30,
        "zero": [0, 1] * 30,
        "word": ["NA", "b", "c"] * 20,
        "when": pd.to_datetime("2020-01-01") + pd.to_timedelta(np.arange(60), "h"),
        "written": [f"{1 + i % 28}.3.2021" for i in range(60)],
        "price": [f"${i},000.50" for i in range(1, 61)],
        "day": [20210301 + i % 28 for i in range(60)],
        "age": pd.cut(np.arange(60), [-1, 18, 65]),
    }
)


@pytest.fixture(scope="module")
def schema() -> Any:
    with pytest.warns(UserWarning, match="reads"):
        return tables.infer(FRAME)[0]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("few", [1, "1", np.str_("1"), np.int32(1), np.float64(1), 1.0, np.array(1), np.array([1]), True]),
        ("number", [1.5, "1.5", np.float32(1.5), np.array(1.5)]),
        ("flag", [True, "True", "true", np.True_]),
        ("zero", [1, True, np.True_, "1"]),
        ("word", ["NA", np.str_("NA")]),
        ("when", ["2020-01-01 05:00", dt.datetime(2020, 1, 1, 5), pd.Timestamp("2020-01-01 05:00")]),
        ("when", [np.datetime64("2020-01-01T05:00:00.000000000"), "2020-01-01T05:00:00"]),
        ("written", ["4.3.2021", "2021-03-04", dt.date(2021, 3, 4), np.datetime64("2021-03-04")]),
        ("price", ["$4,000.50", 4000.5, "4000.5", np.float64(4000.5)]),
        ("day", [20210304, "20210304", np.int64(20210304), dt.date(2021, 3, 4)]),
        ("age", ["(-1, 18]", pd.Interval(-1, 18)]),
    ],
)
def test_any_scalar_is_the_cell_that_it_equals(name: str, values: list[Any], schema: Any) -> None:
    j = [column.name for column in schema.feature_columns].index(name)
    found = [tables.encode_evidence({name: value}, schema)[0, j] for value in values]
    assert not np.isnan(found).any() and len(set(found)) == 1
    assert found[0] in tables.encode(FRAME, schema)[:, j]


@pytest.mark.parametrize("value", [None, float("nan"), pd.NA, pd.NaT, "x", object(), [1], np.arange(2), "inf", {}])
@pytest.mark.parametrize("name", ["few", "number", "when", "written", "price", "day"])
def test_other_values_are_refused(name: str, value: Any, schema: Any) -> None:
    assert_user_error(lambda: tables.encode_evidence({name: value}, schema), "condition")
