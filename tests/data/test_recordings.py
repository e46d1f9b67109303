"""Tables with a row for each step: windows equal those of an independent oracle, for any units, clock and order."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch

from fixtures.arrays import assert_user_error
from nelbo.config.registry import parse
from nelbo.data import Dataset, Schema, load, load_like
from nelbo.data.series import recordings

WINDOW, N = 8, 120
DAY = pandas.date_range("2024-01-01", periods=N, freq="min")
WAVE = np.sin(np.arange(N) / 7) + np.arange(N)


def read(frame: Any, **options: Any) -> tuple[Any, str]:
    """The splits of a table of series, and the warning of what was done."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data = load(frame, **({"window": WINDOW} | options))
    assert len(caught) <= 1 and all("\n" not in str(of.message) for of in caught)
    return data, "".join(str(of.message) for of in caught)


def rows_of(data: Dataset) -> list[tuple[float, ...]]:
    """The first channel of each row as stored, NaN as -1."""
    raw = data.read(torch.arange(len(data)))[..., 0].double().nan_to_num(-1.0)
    return [tuple(row) for row in raw.tolist()]


def test_no_window_holds_two_units_or_crosses_a_hole() -> None:
    """Over random tables: of 1 to 4 units, with absent rows, short and long holes, in any order, clocks of any kind."""
    rng = np.random.default_rng(0)
    for case in range(60):
        units = int(rng.integers(1, 5))
        present = [_ticks(rng) for _ in range(units)]
        unit = np.repeat(np.arange(units), [len(of) for of in present])
        tick = np.concatenate(present)
        frame = pandas.DataFrame({"unit": [f"u{i}" for i in unit] if case % 2 else unit})
        frame["when"] = _clock(tick, case)
        frame["v"] = unit * 1000 + tick
        if units == 1:
            frame = frame.drop(columns="unit")
        order = [np.arange(len(frame)), rng.permutation(len(frame)), np.arange(len(frame))[::-1]][case % 3]
        stride = int(rng.integers(1, WINDOW + 1))
        group = {"group": "unit"} if units > 1 else {}
        data, _ = read(frame.iloc[order].reset_index(drop=True), stride=stride, **group)
        assert data.schema.names == ("v",)
        train, test = rows_of(data.train), rows_of(data.test)
        expected = {w for i, of in enumerate(present) for w in _windows(of, i, stride)}
        if units > 1:
            assert {*train} | {*test} == expected and len({*train} & {*test}) == 0
        assert {*train} | {*test} <= expected
        assert not {v for w in train for v in w if v >= 0} & {v for w in test for v in w if v >= 0}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            again = load_like(frame.iloc[order], data.schema)
        assert {*rows_of(again)} == {w for i, of in enumerate(present) for w in _windows(of, i, WINDOW)}
        _check_places(again, frame.iloc[order]["v"].to_numpy())


def _ticks(rng: np.random.Generator) -> np.ndarray:
    """The ticks at which a unit has rows: most of a range, with a short and a long hole."""
    ticks = np.arange(int(rng.integers(3 * WINDOW, 6 * WINDOW)))
    kept = rng.random(len(ticks)) > 0.05
    kept[[0, 1, -1]] = True
    ticks = ticks[kept]
    at = int(rng.integers(2, len(ticks)))
    ticks[at:] += int(rng.choice([0, 3, WINDOW - 1, WINDOW + 1, 50]))
    return ticks


def _clock(tick: np.ndarray, case: int) -> Any:
    start = pandas.Timestamp("2024-02-28 23:50")
    return [
        tick,
        tick * 0.25 + 7,
        1_700_000_000 + 60 * tick,
        start + pandas.to_timedelta(tick, unit="min"),
        [str(start + pandas.Timedelta(minutes=int(t))) for t in tick],
        (start + pandas.to_timedelta(tick, unit="min")).tz_localize("Europe/Berlin"),
        pandas.to_timedelta(tick, unit="s"),
    ][case % 7]


def _windows(ticks: np.ndarray, unit: int, stride: int) -> set[tuple[float, ...]]:
    """The windows of a unit by the definition, step by step."""
    pieces = [[int(ticks[0])]]
    found: set[tuple[float, ...]] = set()
    for before, tick in zip(ticks[:-1].tolist(), ticks[1:].tolist(), strict=True):
        if tick - before - 1 >= WINDOW:
            pieces.append([])
        pieces[-1].append(tick)
    for piece in pieces:
        grid = [unit * 1000 + t if t in piece else -1 for t in range(piece[0], piece[-1] + 1)]
        grid += [-1] * (WINDOW - len(grid))
        starts = {*range(0, len(grid) - WINDOW + 1, stride), len(grid) - WINDOW}
        found |= {tuple(grid[s : s + WINDOW]) for s in starts}
    return found


def _check_places(rows: Dataset, values: np.ndarray) -> None:
    """Each row of the table lies where `places` has it."""
    for value, (recording, step) in zip(values.tolist(), rows.source.places.tolist(), strict=True):
        assert rows.source.values[recording][step, 0] == value


CLOCKS: dict[str, Any] = {
    "ts": np.arange(N) * 60 + 1_700_000_000,
    "cycle": np.arange(N),
    "Zeit": np.arange(N) / 10,
    "Time (s)": np.arange(N) * 0.5,
    "timestamp_ms": np.arange(N) * 1000 + 1_700_000_000_000,
    "any": np.arange(N) * 0.1 + np.random.default_rng(0).normal(0, 0.001, N),
    "date": DAY,
    "day": [int(day.strftime("%Y%m%d")) for day in pandas.date_range("2023-12-01", periods=N)],
    "at": [day.strftime("%H:%M") for day in pandas.date_range("2024-01-01 23:00", periods=N, freq="min")],
    "ns": np.arange(N) * 1_000 + 1_700_000_000_000_000_000,
}


@pytest.mark.parametrize("name", CLOCKS)
@pytest.mark.parametrize("in_file", [False, True])
def test_a_first_column_that_counts_time_is_a_clock(name: str, in_file: bool, tmp_path: Path) -> None:
    frame = pandas.DataFrame({name: CLOCKS[name], "v": WAVE})
    if in_file:
        frame.to_csv(tmp_path / "t.csv", index=False)
    data, note = read(tmp_path / "t.csv" if in_file else frame)
    assert data.schema.names == ("v",) and data.schema.clock == name
    assert ("counts the time" in note) == (name in ("any", "ns"))
    place = data.test.source.place(0, 5, 9)
    assert place == {"first_time": str(frame[name][5]), "last_time": str(frame[name][8])}


def test_a_first_column_that_does_not_count_time_is_a_channel() -> None:
    rng = np.random.default_rng(0)
    for column in (rng.normal(size=N), rng.integers(0, 50, N), rng.exponential(size=N).cumsum(), rng.random(N) > 0.5):
        data, note = read(pandas.DataFrame({"a": column, "v": WAVE}))
        assert data.schema.names == ("a", "v") and not note


def test_other_columns_that_count_time_are_left_out() -> None:
    frame = pandas.DataFrame({"time": DAY, "day": DAY.date, "ts": np.arange(N) * 60.0, "v": WAVE, "n": np.arange(N)})
    data, note = read(frame)
    assert data.schema.names == ("v", "n") and "'day', 'ts' count the time, too: left out" in note
    assert "'n' rise evenly: remove them if they count the time" in note


UNIT, CYCLE = np.repeat([1, 2, 3], N // 3), np.tile(np.arange(N // 3), 3)
NOISE = np.random.default_rng(1).normal(size=N)
UNITS: dict[str, tuple[dict[str, Any], str]] = {
    "as turbofans": ({"unit": UNIT, "cycle": CYCLE}, "column 'unit' names 3 units"),
    "of any name": ({"nr": UNIT, "k": CYCLE}, "column 'nr' names 3 units"),
    "by turns": ({"time": np.arange(N) // 3, "device": np.arange(N) % 3}, "column 'device' names 3 units"),
    "as texts": ({"time": np.arange(N) // 3, "d": list("abc") * (N // 3)}, "column 'd' names 3 units"),
    "after one another": ({"time": DAY, "session": UNIT}, "column 'session' names 3 units"),
    "by a clock that restarts": ({"cycle": CYCLE}, "'cycle' starts again 2 times"),
    "by dates that restart": ({"date": np.tile(DAY[: N // 3], 3)}, "'date' starts again 2 times"),
    "by two columns": (
        {"date": np.tile(DAY[:30], 4), "shop": np.repeat([1, 1, 2, 2], 30), "item": np.repeat([1, 2, 1, 2], 30)},
        "'shop', 'item' name 4",
    ),
    "without a clock": ({"unit": UNIT}, "column 'unit' names 3 units"),
}


@pytest.mark.parametrize("name", UNITS)
def test_units_are_inferred(name: str) -> None:
    columns, words = UNITS[name]
    data, note = read(pandas.DataFrame({**columns, "v": NOISE}))
    assert words in note and data.schema.names == ("v",)
    unit = columns.get("device", columns.get("d", UNIT))
    unit = np.repeat(range(4), 30) if "shop" in columns else unit
    seen = {str(v): str(u) for v, u in zip(NOISE, unit, strict=True)}
    for window in rows_of(data.train) + rows_of(data.test):
        assert len({seen[str(v)] for v in window}) == 1


def test_parts_of_a_date_are_not_units() -> None:
    frame = pandas.DataFrame({"year": np.arange(N) // 12, "month": np.arange(N) % 12 + 1, "v": NOISE})
    data, _ = read(frame, window=20)
    assert data.schema.names == ("year", "month", "v") and len(data.train.source.values) == 1


def test_a_column_that_may_name_units_is_named() -> None:
    frame = pandas.DataFrame({"time": DAY, "device": np.random.default_rng(0).integers(0, 3, N), "v": NOISE})
    assert "column 'device' is a channel: if it names units, give --group device" in read(frame)[1]


def test_units_are_columns_that_the_user_names() -> None:
    frame = pandas.DataFrame({"a": UNIT, "b": np.tile(np.repeat(["x", "y"], N // 6), 3), "v": WAVE})
    both, _ = read(frame, group=("a", "b"))
    assert both.schema.group == ("a", "b") and len(both.train) + len(both.test) == 6 * 3
    assert read(frame, group="a,b")[0].schema == both.schema
    assert both.train.source.place(1, 0, 1) == {"unit": "1, y"}
    odd = frame.rename(columns={"a": "a, b"}).drop(columns="b")
    assert read(odd, group="a, b")[0].schema.group == ("a, b",)
    whole, _ = read(odd, group="a, b", window=None)
    assert whole.schema.shape == (N // 3, 1) and len(whole.train) + len(whole.test) == 3
    again = parse(Schema, both.schema.to_json(), "schema")
    assert (again.group, again.clock) == (("a", "b"), "")
    assert_user_error(lambda: load(frame, window=8, group="c"), "group='c'", "known: a, b, v")
    assert_user_error(lambda: load(frame, window=8), "column 'b' holds 'x'", "--group b")
    assert_user_error(lambda: load(WAVE, window=8, group="c"), "group='c' names columns of a table")


def test_what_was_done_with_rows_is_one_line() -> None:
    at = np.r_[np.arange(40), np.arange(42, N)]
    assert "2 absent steps in a hole" in read(pandas.DataFrame({"time": DAY[at], "v": WAVE[at]}))[1]
    far = DAY[:40].append(DAY[40:] + pandas.Timedelta(days=3))
    assert "no window crosses a hole of up to 4,320 steps" in read(pandas.DataFrame({"time": far, "v": WAVE}))[1]
    for order in (np.arange(N)[::-1], np.random.default_rng(0).permutation(N)):
        data, note = read(pandas.DataFrame({"time": DAY[order], "v": WAVE[order]}))
        assert "rows are sorted by 'time'" in note
        assert rows_of(data.train)[0] == pytest.approx(WAVE[:WINDOW], abs=1e-9)
    twice = np.r_[np.arange(N), 5, 6]
    data, note = read(pandas.DataFrame({"time": DAY[twice], "v": [*WAVE, -5.0, -6.0]}))
    assert "2 rows repeat a time" in note and not any(v < -2 for w in rows_of(data.train) for v in w)
    coarse, note = read(pandas.DataFrame({"time": DAY[np.arange(N) // 10], "v": WAVE}))
    assert "each is a step" in note and len(coarse.train) + len(coarse.test) == N // WINDOW
    uneven = pandas.DataFrame({"time": np.random.default_rng(0).exponential(size=N).cumsum(), "v": WAVE})
    assert "steps of 'time' are uneven" in read(uneven)[1]
    assert (
        "rows without 'time' are left out (1)" in read(pandas.DataFrame({"time": DAY.where(WAVE > 0.5), "v": WAVE}))[1]
    )
    assert not read(pandas.DataFrame({"time": DAY, "v": WAVE}))[1]


def test_local_times_go_on_where_clocks_are_set_back() -> None:
    zoned = pandas.date_range("2024-10-26 12:00", periods=N, freq="15min", tz="Europe/Berlin")
    for time in (zoned, zoned.tz_localize(None), zoned.map(str), zoned.tz_localize(None).map(str)):
        data, note = read(pandas.DataFrame({"time": time, "v": WAVE}), stride=1)
        assert not note
        assert all(np.allclose(np.diff(w), np.diff(WAVE)[int(i) : int(i) + WINDOW - 1]) for i, w in _at(data.train))


def _at(data: Dataset) -> list[tuple[int, tuple[float, ...]]]:
    assert data.origin is not None
    return list(zip(data.origin[:, 1].tolist(), rows_of(data), strict=True))


def test_a_pandas_index_counts_time_and_names_units() -> None:
    v = pandas.Series(WAVE, DAY, name="v")
    expected = rows_of(read(pandas.DataFrame({"time": DAY, "v": WAVE}))[0].train)
    order = np.random.default_rng(0).permutation(N)
    for source in (v, v.to_frame(), v.to_frame().iloc[order], v.reset_index(drop=True).iloc[order], v.to_period("min")):
        data, _ = read(source)
        assert rows_of(data.train) == expected and data.schema.names == ("v",)
    levels = pandas.MultiIndex.from_arrays([UNIT, CYCLE], names=["unit", None])
    data, _ = read(pandas.DataFrame({"v": WAVE}, levels))
    assert (data.schema.group, data.schema.names) == (("unit",), ("v",))


def test_a_model_reads_other_tables_by_its_own_columns() -> None:
    schema = read(pandas.DataFrame({"unit": UNIT, "cycle": CYCLE, "v": WAVE, "w": NOISE}))[0].schema
    frame = pandas.DataFrame({"text": ["x"] * 9, "w": NOISE[:9], "v": WAVE[:9]})
    assert load_like(frame, schema).schema.names == ("v", "w")
    later = pandas.DataFrame({"cycle": CYCLE + 10_000, "unit": UNIT, "w": NOISE, "v": WAVE})
    rows = load_like(later, schema)
    assert rows.source.group == ("unit",) and rows.source.clock == "cycle" and len(rows.source.values) == 3
    old = {k: v for k, v in schema.to_json().items() if k not in ("group", "clock")}
    assert parse(Schema, old, "schema") == schema


def test_bad_tables_of_steps_are_refused_in_one_line() -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        n = int(rng.integers(0, 30))
        columns = {f"c{j}": _any_column(rng, n) for j in range(int(rng.integers(0, 4)))}
        frame = pandas.DataFrame(columns)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                load(frame, window=int(rng.integers(1, 9)))
            except recordings.UserError as error:
                assert "\n" not in str(error)


def _any_column(rng: np.random.Generator, n: int) -> Any:
    whole = rng.integers(-3, 3, n)
    return [
        whole,
        rng.normal(size=n),
        np.where(whole > 0, np.nan, 1.0),
        whole.astype(str),
        pandas.to_datetime(whole, unit="D"),
        pandas.to_timedelta(whole, unit="h"),
        [None] * n,
        pandas.Categorical(whole),
        whole.astype(float) * 1e300,
        whole * 10**17,
        pandas.array(whole, "Int64"),
        [[1]] * n,
        whole > 0,
    ][int(rng.integers(13))]


@pytest.mark.parametrize(
    "form", ["%d.%m.%Y %H:%M", "%m/%d/%Y %I:%M %p", "%d/%m/%y %H:%M", "%Y/%m/%d %H:%M:%S", "%b %d, %Y %H:%M"]
)
@pytest.mark.parametrize("decimal", [",", "."])
def test_times_and_numbers_are_read_as_they_are_written(form: str, decimal: str, tmp_path: Path) -> None:
    time = pandas.date_range("2024-01-31 10:00", periods=N, freq="7h")
    written = pandas.DataFrame({"Zeit": time.strftime(form), "v": [f"{v:.4f}".replace(".", decimal) for v in WAVE]})
    written.iloc[::-1].to_csv(tmp_path / "t.csv", index=False, sep=";")
    data, note = read(tmp_path / "t.csv")
    assert data.schema.names == ("v",) and note == f"{tmp_path / 't.csv'}: rows are sorted by 'Zeit'"
    assert rows_of(data.train)[0] == pytest.approx(WAVE[:WINDOW], abs=1e-3)
    assert data.train.source.place(0, 0, 1)["first_time"] == written["Zeit"][0]


def test_an_ambiguous_date_is_read_as_the_clock_that_is_even(tmp_path: Path) -> None:
    for form in ("%d/%m/%Y", "%m/%d/%Y"):
        days = pandas.date_range("2024-01-01", periods=12, freq="D")
        pandas.DataFrame({"day": days.strftime(form), "v": WAVE[:12]}).to_csv(tmp_path / "t.csv", index=False)
        data, note = read(tmp_path / "t.csv", window=4)
        assert not note and data.train.source.places[:, 1].tolist() == [*range(12)]
