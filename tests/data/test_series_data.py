"""Series as data: what is one, how it is scaled, padded, cut and split; what is wrong is said in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch

from fixtures.arrays import all_rows, assert_user_error, labels_of, rows_in_source_order
from nelbo.config.registry import parse
from nelbo.data import Dataset, DataSplits, Schema, Subset, dataset, load, load_like, mean
from nelbo.data.split import Windows

RNG = np.random.default_rng(0)
STEPS = RNG.normal([5.0, -1e4], [2.0, 300.0], (20, 9, 2))
RAGGED = [RNG.normal(size=(int(n), 2)) for n in RNG.integers(3, 12, 30)]


def gapped(x: np.ndarray = STEPS) -> np.ndarray:
    missing = np.random.default_rng(1).random(x.shape) < 0.3
    missing[:, 0] = False
    return np.where(missing, np.nan, x)


def origin(rows: Dataset) -> np.ndarray:
    assert rows.origin is not None
    return rows.origin.numpy()


def test_an_array_is_of_series_only_if_it_is_said_to_be() -> None:
    flat = STEPS[..., 0]
    assert load(flat).schema.kind == "vector"
    with pytest.warns(UserWarning, match=r"grey pictures of 9x2: if it has series, set kind to series"):
        assert load(STEPS).schema.kind == "image"
    assert load(flat, kind="series").schema.shape == (9, 1)
    assert load(STEPS, kind="series").schema.shape == (9, 2)
    assert load(torch.from_numpy(STEPS), kind="series").schema.kind == "series"


def test_each_channel_is_scaled_by_its_observed_training_values() -> None:
    x = gapped()
    data = load(x, kind="series")
    assert isinstance(data.train, Subset)
    seen = x[data.train.index.numpy()].reshape(-1, 2)
    np.testing.assert_allclose(data.schema.shift, np.nanmean(seen, 0))
    np.testing.assert_allclose(data.schema.scale, np.nanstd(seen, 0))
    np.testing.assert_allclose(
        rows_in_source_order(data), (x - np.nanmean(seen, 0)) / np.nanstd(seen, 0), rtol=1e-4, atol=1e-5
    )
    whole = all_rows(data.train).numpy().astype(np.float64)
    np.testing.assert_allclose(mean(data.train), np.nanmean(whole, 0), atol=1e-5)
    back = data.schema.decode(rows_in_source_order(data)).numpy()
    np.testing.assert_allclose(back, x, rtol=1e-5, atol=1e-2)


def test_zeros_and_ones_with_gaps_are_binary() -> None:
    data = load(np.where(np.isnan(gapped()), np.nan, STEPS > 5), kind="series")
    assert (data.schema.support, data.schema.shift, data.schema.scale) == ("binary", (0.0,), (1.0,))
    assert_user_error(lambda: load_like(STEPS, data.schema), "the model supports only 0 and 1: threshold them first")


def test_a_channel_that_never_changes_is_centred() -> None:
    x = STEPS.copy()
    x[..., 1] = 7.0
    data = load(x, kind="series")
    assert (
        data.schema.shift[1] == 7.0 and data.schema.scale[1] == 1.0 and (rows_in_source_order(data)[..., 1] == 0).all()
    )


def test_a_list_is_ended_by_nan() -> None:
    data = load((RAGGED, [f"{len(of) % 2}" for of in RAGGED]), kind="series")
    longest = max(map(len, RAGGED))
    assert data.schema.shape == (longest, 2) and data.schema.classes == ("0", "1")
    back = data.schema.decode(rows_in_source_order(data)).numpy()
    for row, series in zip(back, RAGGED, strict=True):
        np.testing.assert_allclose(row[: len(series)], series, rtol=1e-4, atol=1e-5)
        assert np.isnan(row[len(series) :]).all()
    assert load([of[:, 0] for of in RAGGED], kind="series").schema.shape == (longest, 1)


@pytest.mark.parametrize(("window", "stride"), [(7, 7), (7, 3), (40, 9), (2, 1)])
def test_windows_hold_every_step_and_nothing_else(window: int, stride: int) -> None:
    recordings = [RNG.normal(size=(n, 3)) for n in (40, 53, 47)]
    rows = Windows(recordings, window, stride, "x")
    seen = [np.zeros(len(of), int) for of in recordings]
    for i, first, values in zip(rows.recording, rows.start, rows[:], strict=True):
        np.testing.assert_array_equal(values, recordings[i][first : first + window])
        seen[i][first : first + window] += 1
    assert all(of.min() >= 1 for of in seen)
    np.testing.assert_array_equal(rows[np.array([3, 0])], rows[:][[3, 0]])
    assert rows.shape == rows[:].shape and len({*zip(rows.recording, rows.start, strict=True)}) == len(rows.start)


def _steps(rows: Dataset, window: int) -> set[tuple[int, int]]:
    return {(i, first + k) for i, first in origin(rows).tolist() for k in range(window)}


@pytest.mark.parametrize("recordings", [1, 5])
def test_no_step_is_both_trained_on_and_held_out(recordings: int) -> None:
    x = [RNG.normal(size=(60 + n, 1)) for n in range(recordings)]
    data = load(x, window=8, stride=2, val_fraction=0.3)
    train, test = _steps(data.train, 8), _steps(data.test, 8)
    assert not train & test
    if recordings == 1:
        assert max(train) < min(test) and max(test) == (0, 59)
    else:
        assert {i for i, _ in train} | {i for i, _ in test} == set(range(5))


def test_windows_keep_the_label_of_their_recording() -> None:
    data = load(([np.full(30, k) + RNG.normal(size=30) / 99 for k in range(4)], [0, 1, 2, 3]), window=10)
    assert {*labels_of(data.train).tolist()} | {*labels_of(data.test).tolist()} == {0, 1, 2, 3}
    for rows in (data.train, data.test):
        assert labels_of(rows).tolist() == origin(rows)[:, 0].tolist()
        np.testing.assert_allclose(data.schema.decode(all_rows(rows))[:, 0, 0].round(), labels_of(rows))


def test_series_of_a_model_are_ended_or_cut_to_its_length() -> None:
    schema = load(RAGGED, kind="series").schema
    short, whole = RAGGED[0][:2], schema.shape[0]
    rows = all_rows(load_like([short, RAGGED[1]], schema))
    assert rows.shape == (2, *schema.shape) and rows[0, 2:].isnan().all()
    assert all_rows(load_like(short[None], schema)).shape == (1, *schema.shape)
    long = load_like([RNG.normal(size=(2 * whole + 3, 2)), short], schema)
    assert origin(long).tolist() == [[0, 0], [0, whole], [0, whole + 3], [1, 0]]
    one = load(STEPS[..., :1], kind="series").schema
    assert origin(load_like(np.zeros(20), one))[:, 1].tolist() == [0, 9, 11]


def table(tmp_path: Path, **columns: Any) -> Path:
    pandas.DataFrame(columns).to_csv(tmp_path / "sensors.csv", index=False)
    return tmp_path / "sensors.csv"


def test_a_table_is_one_recording(tmp_path: Path) -> None:
    a, b = RNG.normal(size=(2, 50))
    a[7] = np.nan
    time = pandas.date_range("2024-01-01", periods=50, freq="min")
    path = table(tmp_path, time=time, load=a, temp=b)
    data = load(path, window=10, stride=5)
    assert data.schema.names == ("load", "temp") and data.schema.shape == (10, 2) and data.name == "sensors"
    rows = load_like(path, data.schema)
    np.testing.assert_allclose(
        data.schema.decode(all_rows(rows)).reshape(50, 2), np.stack([a, b], 1), rtol=1e-4, atol=1e-5
    )
    turned = all_rows(load_like(pandas.DataFrame({"temp": b, "other": a, "load": a}), data.schema))
    assert torch.equal(turned.nan_to_num(9.0), all_rows(rows).nan_to_num(9.0)), "channels are found by name"
    assert parse(Schema, data.schema.to_json(), "") == data.schema
    frame = pandas.DataFrame({"step": range(50), "load": a})
    assert load(frame, window=10).schema.names == ("load",)


def test_a_file_that_exceeds_memory_is_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "x.npy", gapped())
    here: DataSplits = load(tmp_path / "x.npy", kind="series")
    cut = load(tmp_path / "x.npy", window=4)
    monkeypatch.setattr(dataset, "MEMORY_BUDGET", 10)
    far, far_cut = load(tmp_path / "x.npy", kind="series"), load(tmp_path / "x.npy", window=4)
    assert far.schema == here.schema and not far.train.resident and not far_cut.train.resident
    for one, other in ((here, far), (cut, far_cut)):
        for split in ("train", "test"):
            a, b = (all_rows(getattr(data, split)) for data in (one, other))
            assert torch.equal(a.nan_to_num(9.0), b.nan_to_num(9.0)) and a.isnan().any()


def test_splits_of_a_file_are_kept(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x_train=STEPS[:15], x_test=STEPS[15:], y_train=np.arange(15), y_test=np.arange(5))
    data = load(tmp_path / "x.npz", kind="series")
    assert (len(data.train), len(data.test)) == (15, 5) and labels_of(data.test).tolist() == [0, 1, 2, 3, 4]
    assert len(load_like(tmp_path / "x.npz", data.schema)) == 5


def test_what_is_wrong_with_series_is_said() -> None:
    channel, series, infinite = STEPS.copy(), STEPS.copy(), STEPS.copy()
    channel[..., 1], series[3], infinite[4, 2, 1] = np.nan, np.nan, np.inf
    said = lambda x, *words, **how: assert_user_error(lambda: load(x, **({"kind": "series"} | how)), *words)  # noqa: E731
    said(STEPS[:, :1], "each series has 1 step")
    said(channel, "channel 1 holds only NaN in the training part: leave it out")
    said(series, "series 3 holds only NaN: leave it out")
    said(infinite, "infinite values, the first at [4, 2, 1]")
    said(STEPS[None], "has shape (1, 20, 9, 2): give series as (n, steps)")
    said([np.zeros((3, 2)), np.zeros((3, 1))], "item 1 of the list has 1 channels, item 0 2: give all the same number")
    said([np.zeros((3, 2, 1))], "item 0 of the list has shape (3, 2, 1)")
    said([["a", "b"]], "item 0 of the list", "give numbers")
    said([], "the list of series is empty")
    said(STEPS, "window=10", "array: series 0 has 9 steps, window=10: use a window of 9 or less", window=10)
    said(STEPS, "window=1, stride=1", window=1)
    said(STEPS, "window=4, stride=5", window=4, stride=5)
    said(STEPS[:1, :4], "use a shorter window than 4", window=4)
    assert_user_error(lambda: load(STEPS, stride=3), "stride=3 requires a window")
    assert_user_error(lambda: load(STEPS, kind="serie"), "kind='serie'")  # type: ignore[arg-type]
    assert_user_error(lambda: load(STEPS, kind="series", size=3), "applies only to folders of pictures")
    schema = load(STEPS, kind="series").schema
    assert_user_error(lambda: load_like(STEPS[..., :1], schema), "has 1 channels, and the model 2")
    assert_user_error(lambda: load_like("nowhere.npy", schema), "nowhere.npy: no such file")


def test_what_is_wrong_with_a_table_of_steps_is_said(tmp_path: Path) -> None:
    a = RNG.normal(size=20)
    path = table(tmp_path, load=a, pump=["on"] * 19 + ["off"])
    assert_user_error(lambda: load(path, window=5), "sensors.csv: column 'pump' holds 'on', which is not a number")
    assert_user_error(lambda: load(table(tmp_path, load=a), kind="series"), "is one series of 20 steps", "--window 128")
    assert_user_error(lambda: load(table(tmp_path, load=a), window=21), "sensors.csv has 20 steps", "window=21")
    day = pandas.date_range("2024-01-01", periods=20)
    assert_user_error(lambda: load(table(tmp_path, day=day), window=5), "has only columns of times")
    assert load(table(tmp_path, a=a, day=day), window=5).schema.names == ("a",)
    assert_user_error(lambda: load(table(tmp_path, load=a[:0]), window=5), "sensors.csv has no rows")
    (tmp_path / "sensors.csv").write_text("")
    assert_user_error(lambda: load(tmp_path / "sensors.csv", window=5), "sensors.csv is empty")
    schema = load(pandas.DataFrame({"load": a, "temp": a}), window=5).schema
    assert_user_error(
        lambda: load_like(table(tmp_path, load=a), schema), "has 1 channels, and the model 2 (load, temp)"
    )
