"""Any frame, and any text of a file, is read or refused by a `UserError`: nothing else leaves `load` and `describe`."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from nelbo.data import load, load_like, tables
from nelbo.errors import UserError

hypothesis = pytest.importorskip("hypothesis", reason="pip install -e '.[test]'")
st: Any = pytest.importorskip("hypothesis.strategies")

CELLS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["NA", "", "-", "1,5", "1.234", "1,234", "$5", "5%", "(3)", "inf", "nan", "1e999", "-0", "007"]),
    st.sampled_from(["3/4/2021", "31.12.2020", "2021-02-30", "2021-01-01T10:00Z", "20210304", "0000-00-00", "1/1/01"]),
    st.dates(),
    st.datetimes(),
    st.timedeltas(),
    st.times(),
    st.decimals(allow_nan=True),
    st.complex_numbers(max_magnitude=9),
    st.binary(max_size=3),
    st.sampled_from(
        [np.float16(1.5), np.int8(3), np.datetime64("NaT"), pd.NaT, pd.NA, pd.Interval(0, 1), [1], {"a": 1}]
    ),
)
KINDS = [
    st.integers(-(2**63), 2**63 - 1),
    st.integers(0, 5),
    st.floats(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([1e30, 0.0, 1.0, 1e-300, np.nan]),
    st.text(max_size=6),
    st.sampled_from(["a", "b", None]),
    st.booleans(),
    st.dates(),
    st.datetimes(),
    st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-99, max_value=10**6),
    st.sampled_from(["1,5", "2,25", "1.000,75"]),
    st.sampled_from(["3/4/2021", "4/13/2021", "12/1/2020"]),
    st.sampled_from([dt.time(3), dt.time(4, 5)]),
    st.sampled_from([decimal.Decimal("1.5"), decimal.Decimal("NaN")]),
    CELLS,
]
NAMES = st.one_of(st.text(max_size=4), st.integers(), st.tuples(st.text(max_size=2)))
DTYPES = ["object", "category", "string", "Int64", "Float64", "boolean", "float32", "uint8", "datetime64[ns]", "Sparse"]


@st.composite
def frames(draw: Any) -> pd.DataFrame:
    """A frame of a few columns, each of one kind of cells, or of any."""
    rows = draw(st.integers(0, 12))
    columns = {}
    for name in draw(
        st.lists(st.one_of(st.text(max_size=4), st.integers(), st.tuples(st.text(max_size=2))), max_size=4)
    ):
        cells = draw(st.lists(draw(st.sampled_from(KINDS)), min_size=rows, max_size=rows))
        columns[name] = series = pd.Series(cells, dtype=object)
        if draw(st.booleans()):
            try:
                columns[name] = series.astype(draw(st.sampled_from(DTYPES)))
            except (TypeError, ValueError, ArithmeticError, NotImplementedError):
                columns[name] = series.infer_objects()
    repeats = draw(st.sampled_from([1, 1, 4]))
    return pd.concat([pd.DataFrame(columns)] * repeats)


def tried(source: Any, **options: Any) -> None:
    """Read a source, encode it and decode it: every fault is a `UserError`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            schema, _ = tables.infer(source)
            json.dumps(tables.describe(schema))
            assert tables.to_text(schema) and tables.to_toml(schema)
            data = load(source, **options)
            rows = load_like(source, data.schema)
            x = rows[range(len(rows))].numpy()
            assert not np.isinf(x).any()
            tables.decode(x, schema)
        except UserError as error:
            assert "\n" not in str(error) and ": " in str(error), error


SETTINGS = hypothesis.settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)


@SETTINGS
@hypothesis.given(frames())
def test_any_frame_is_read_or_refused(frame: pd.DataFrame) -> None:
    tried(frame)


HEADS = st.sampled_from(["", "\ufeff", "sep=;\n", "sep=\t\n", "a,b\n", "a;b\n", "a  b\n"])
LINES = st.lists(
    st.one_of(
        st.text(max_size=30),
        st.lists(st.sampled_from(["1", "2.5", "1,5", "a", "", '"x"', "NA", "3/4/21", "é", '"']), max_size=5).map(
            ",".join
        ),
        st.lists(st.sampled_from(["1", "2.5", "x", '"a b"']), max_size=4).map("  ".join),
    ),
    max_size=15,
)


@SETTINGS
@hypothesis.given(
    LINES, st.sampled_from(["", "\ufeff", "sep=;\n", "sep=\t\n", "a,b\n", "a;b\n", "a  b\n"]), st.binary(max_size=3)
)
def test_any_file_is_read_or_refused(lines: list[str], first: str, last: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        path.write_bytes((first + "\n".join(lines)).encode("utf-8", "surrogatepass") + last)
        tried(path)


@SETTINGS
@hypothesis.given(st.dictionaries(st.text(max_size=4), CELLS, max_size=3), st.text(max_size=20))
def test_any_condition_is_understood_or_refused(cells: dict[str, Any], text: str) -> None:
    frame = pd.DataFrame({"a": [1, 2, 3] * 9, "b": ["x", "y", "z"] * 9, "": [f"{i}.3.2021" for i in range(1, 28)]})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        schema, _ = tables.infer(frame)
    for condition in (cells, dict(zip(["a", "b", ""], cells.values(), strict=False))):
        try:
            assert tables.encode_evidence(condition, schema).shape == (1, 3)
        except UserError as error:
            assert "condition" in str(error)
    try:
        assert isinstance(tables.parse_condition(text, ["a", "b=", ""]), dict)
    except UserError as error:
        assert "condition" in str(error)
