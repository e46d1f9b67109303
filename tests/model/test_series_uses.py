"""What is done with a model of series, on the command line too; anomalous intervals of series."""

from __future__ import annotations

import csv
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from PIL import Image

import nelbo
from conftest import Run
from nelbo.apps import imputation
from nelbo.apps.anomaly import Detector, intervals
from nelbo.config import recipe as recipes
from nelbo.config.build import resolve
from nelbo.data import load
from nelbo.model import Model
from nelbo.nets import Conv1d

WINDOW, TINY = 16, ["--epochs", 2, "--set", "training.samples_per_epoch=640", "--set", "training.batch_size=32", "-q"]


def waves(n: int, seed: int, steps: int = WINDOW) -> np.ndarray:
    """Two channels `(n, steps, 2)` of one wave, of any phase, with noise; the second in other units."""
    draw = np.random.default_rng(seed)
    t = np.arange(steps) / 2.5 + draw.uniform(0, 2 * np.pi, (n, 1))
    x = np.stack([np.sin(t), 50 + 10 * np.cos(t)], -1)
    return x + draw.normal(size=x.shape) * [0.1, 1.0]


@pytest.fixture(scope="module")
def model() -> Model:
    """Trained on waves, a tenth of the steps not observed."""
    x = waves(600, 0)
    x[np.random.default_rng(1).random(x.shape) < 0.1] = np.nan
    net: dict[str, Any] = {"kind": "mlp", "hidden": [48]}
    return nelbo.fit(x, data__kind="series", epochs=20, model__encoder=net, model__decoder=net, learning_rate=3e-3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a table that is one recording, some of its cells empty; and the table."""
    where = tmp_path_factory.mktemp("series")
    x = waves(1, 2, 1200)[0].round(4)
    x[40:44, 0] = np.nan
    time = pandas.date_range("2024-01-01", periods=len(x), freq="min")
    pandas.DataFrame({"time": time, "load": x[:, 0], "temp": x[:, 1]}).to_csv(where / "sensors.csv", index=False)
    data = {"data__window": WINDOW, "data__stride": 4}
    nelbo.fit(str(where / "sensors.csv"), out=where / "run", epochs=2, training__samples_per_epoch=640, **data)
    return where


def test_series_get_convolutions_and_a_recipe_of_their_own(folder: Path) -> None:
    schema = load(waves(30, 0), kind="series").schema
    spec = resolve(recipes.load(None).model, schema)
    assert isinstance(spec.encoder, Conv1d) and isinstance(spec.decoder, Conv1d) and spec.likelihood.kind == "normal"
    assert nelbo.load(folder / "run").recipe.description == recipes.load("series").description


@pytest.mark.parametrize("kind", ["conv1d", "recurrent", "mlp"])
def test_a_model_of_series_is_saved_and_answers_the_same(kind: str, tmp_path: Path) -> None:
    x = waves(40, 3)
    x[3, 4:9] = np.nan
    data = load((x, np.arange(40) % 2), kind="series")
    recipe = recipes.load(None, {"epochs": 1, "model.encoder": kind, "model.decoder": kind, "batch_size": 20})
    made = Model.from_recipe(recipe, data.schema)
    made.fit(data)
    made.save(tmp_path)
    back = nelbo.load(tmp_path)
    assert np.array_equal(back.embed(x), made.embed(x)) and np.isfinite(made.embed(x)).all()
    assert np.array_equal(back.sample(3, sample_likelihood=True), made.sample(3, sample_likelihood=True))
    assert made.sample(3).shape == (3, WINDOW, 2) and not np.isnan(made.sample(3)).any()
    assert np.isfinite(made.log_likelihood(x, 5)).all() and np.isfinite(made.reconstruct(x)).all()
    assert made.interpolate(x[0], x[1], steps=4).shape == (4, WINDOW, 2)
    assert made.traverse(x[0], steps=3)[0].shape == (20, 3, WINDOW, 2)


@pytest.mark.parametrize("kind", ["conv1d", "recurrent"])
def test_series_are_conditioned_on_labels(kind: str) -> None:
    x = (waves(40, 3), np.arange(40) % 2)
    net = {"model__encoder": kind, "model__decoder": kind}
    made = nelbo.fit(x, data__kind="series", epochs=1, condition="label", **net)
    assert made.condition_on(1).sample(2).shape == (2, WINDOW, 2)


def test_what_a_gap_hides_is_never_seen(model: Model) -> None:
    x = waves(20, 4)
    hidden = np.where(np.arange(WINDOW)[:, None] % 3 == 0, np.nan, x)
    assert np.array_equal(model.embed(hidden), model.embed(np.where(np.isnan(x), 0, hidden)))
    assert (
        model.log_likelihood(hidden, 20) < model.log_likelihood(x, 20)
    ).mean() > 0.9  # each step gains: sigma is below 0.24


def test_missing_steps_are_filled_from_the_others(model: Model) -> None:
    """Nearer than the channel's mean by far, kept where they are there, and about as unsure as they err."""
    x = waves(200, 5)
    missing = np.zeros(x.shape, bool)
    missing[:, 5:9, 0] = True
    filled, std = model.impute(np.where(missing, np.nan, x), return_std=True)
    np.testing.assert_allclose(filled[~missing], x[~missing], rtol=1e-5, atol=1e-4)
    assert (std[~missing] == 0).all() and (std[missing] > 0).all()
    error = np.sqrt(np.square(filled - x)[missing].mean())
    assert error < 0.4 * x[missing].std()
    assert 0.4 < np.sqrt(np.square(std[missing]).mean()) / error < 2.5
    first, second = (model.impute(np.where(missing, np.nan, x), seed, sample_posterior=True) for seed in (0, 1))
    assert not np.isnan(first).any() and not np.array_equal(first[missing], second[missing])


def test_maximal_subsequences_are_the_best_of_all() -> None:
    draw = np.random.default_rng(0)
    for excess in draw.normal(-0.3, 1, (200, 12)):
        sums = {(i, j): excess[i:j].sum() for i in range(12) for j in range(i + 1, 13)}
        best = max(sums, key=lambda ends: sums[ends])
        np.testing.assert_allclose(intervals.best_sums(excess[None])[0], max(sums[best], 0.0))
        found = list(intervals.maximal_subsequences(excess, 0.7))
        assert found == sorted(found) and all(a[1] <= b[0] for a, b in itertools.pairwise(found))
        assert all(sums[ends] > 0.7 for ends in found)
        if sums[best] > 0.7:
            assert best in found
            outside = [e for e in sums if all(e[1] <= a or b <= e[0] for a, b in found)]
            assert all(sums[e] <= 0.7 + 1e-9 for e in outside)


def test_anomalous_intervals_are_detected_and_seldom_elsewhere(model: Model) -> None:
    detector = Detector(model, calibration=waves(400, 6), samples=5)
    usual = model.as_dataset(waves(1000, 7))
    rate = len({of.row for of in intervals.find_intervals(detector, usual, 0.05).intervals}) / 1000
    assert rate < 0.05 + 4 * np.sqrt(0.05 * 0.95 * (1 / 400 + 1 / 1000))
    odd = waves(50, 8)
    odd[:, 6:9, 1] += 12.0
    found = intervals.find_intervals(detector, model.as_dataset(odd), 0.05).intervals
    hit = {of.row for of in found if of.start < 9 and of.end > 6 and of.nats > 0}
    assert len(hit) > 45
    inside = sum(max(0, min(of.end, 9) - max(of.start, 6)) for of in found)
    assert inside > 0.7 * sum(of.end - of.start for of in found)


def test_a_step_of_two_windows_is_told_of_once(folder: Path) -> None:
    model = nelbo.load(folder / "run")
    x = waves(1, 9, 2 * WINDOW + 3)[0]
    x[WINDOW + 5 : WINDOW + 8, 1] += 60
    frame = pandas.DataFrame({"load": x[:, 0], "temp": x[:, 1]})
    rows = model.as_dataset(frame)
    assert rows.origin is not None
    found = intervals.find_intervals(Detector(model, samples=5), rows, 0.2).intervals
    first = rows.origin[:, 1].numpy()
    steps = [t for of in found for t in range(first[of.row] + of.start, first[of.row] + of.end)]
    assert len(steps) == len({*steps}) and WINDOW + 6 in steps


def test_detect_lists_and_draws_the_intervals(folder: Path, run: Run, tmp_path: Path) -> None:
    x = waves(1, 10, 200)[0]
    x[90:94, 1] += 60
    pandas.DataFrame({"load": x[:, 0], "temp": x[:, 1]}).to_csv(tmp_path / "today.csv", index=False)
    out = tmp_path / "anomalies.csv"
    code, said, err = run(
        "detect", folder / "run", tmp_path / "today.csv", "--alpha", 0.1, "--samples", 5, "--out", out, "--json"
    )
    assert code == 0, err
    told = json.loads(said)
    assert any(of["recording"] == 0 and of["start"] < 94 and of["end"] > 90 for of in told["anomalous_intervals"])
    with (tmp_path / "anomalies_intervals.csv").open() as file:
        listed = list(csv.DictReader(file))
    assert [(int(of["start"]), int(of["end"])) for of in listed] == [
        (o["start"], o["end"]) for o in told["anomalous_intervals"]
    ]
    with out.open() as file:
        assert [*next(csv.reader(file))] == ["row", "item", "anomaly_score", "p_value", "is_anomaly"]
    assert Image.open(tmp_path / "anomalies.png").size[0] > 500
    assert told["out"] == [
        str(tmp_path / name) for name in ("anomalies.csv", "anomalies_intervals.csv", "anomalies.png")
    ]
    code, said, err = run("detect", folder / "run", "--alpha", 0.2, "--samples", 5, "--out", tmp_path / "o.png")
    assert code == 0 and "rows are anomalies" in said, err


def test_a_table_of_steps_is_filled_and_else_as_it_was(folder: Path, run: Run, tmp_path: Path) -> None:
    out, uncertainty = tmp_path / "filled.csv", tmp_path / "uncertainty.csv"
    code, _, err = run("impute", folder / "run", folder / "sensors.csv", "--out", out, "--uncertainty", uncertainty)
    assert code == 0, err
    before, after = ((path).read_text().splitlines() for path in (folder / "sensors.csv", out))
    changed = [i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]
    assert changed == [41, 42, 43, 44] and all(float(after[i].split(",")[1]) < 9 for i in changed)
    doubt = pandas.read_csv(uncertainty)
    assert (
        (doubt["load"][40:44] > 0).all() and doubt["load"].drop(range(40, 44)).eq(0).all() and doubt["temp"].eq(0).all()
    )


def units_of_waves() -> pandas.DataFrame:
    """Two units by turns, newest first, with a hole of an hour and empty cells."""
    minute = np.r_[np.arange(40), np.arange(100, 150)]
    parts = [
        pandas.DataFrame(
            {
                "time": pandas.Timestamp("2024-01-01") + pandas.to_timedelta(minute, unit="min"),
                "device": f"d{i}",
                "load": waves(1, 20 + i, 90)[0, :, 0].round(4),
                "temp": waves(1, 20 + i, 90)[0, :, 1].round(4),
            }
        )
        for i in range(2)
    ]
    frame = pandas.concat(parts).sort_values("time", ascending=False, kind="stable").reset_index(drop=True)
    frame.loc[[3, 50, 51, 179], "load"] = np.nan
    return frame


@pytest.mark.filterwarnings("ignore")
def test_units_in_any_order_are_filled_as_if_alone(folder: Path) -> None:
    model, frame = nelbo.load(folder / "run"), units_of_waves()
    filled = imputation.impute_table(model, frame).table.to_pandas()
    given = frame.notna()
    pandas.testing.assert_frame_equal(filled.where(given), frame, check_dtype=False)
    assert filled["load"].notna().all()
    for device, part in frame.groupby("device"):
        alone = imputation.impute_table(model, part.sort_values("time").drop(columns="device")).table.to_pandas()
        together = filled[filled["device"] == device].sort_values("time")
        np.testing.assert_allclose(alone["load"], together["load"], atol=0.1)


@pytest.mark.filterwarnings("ignore")
def test_results_name_the_unit_and_the_time_of_a_window(folder: Path, run: Run, tmp_path: Path) -> None:
    frame = units_of_waves().fillna(0)
    frame.loc[(frame["device"] == "d1") & (frame["time"].dt.hour == 2), "temp"] += 90
    frame.to_csv(tmp_path / "t.csv", index=False)
    code, said, err = run(
        "detect",
        folder / "run",
        tmp_path / "t.csv",
        "--alpha",
        0.1,
        "--samples",
        5,
        "--json",
        "--out",
        tmp_path / "o.csv",
    )
    assert code == 0, err
    found = json.loads(said)
    assert any(of["unit"] == "d1" and of["last_time"] >= "2024-01-01 02:00" for of in found["anomalous_intervals"])
    items = pandas.read_csv(tmp_path / "o.csv")["item"]
    assert items[0] == "d0: 2024-01-01 00:00:00 to 2024-01-01 00:15:00" and items.is_unique
    assert [*pandas.read_csv(tmp_path / "o_intervals.csv")] == [*found["anomalous_intervals"][0]]


def test_series_of_an_array_are_filled(folder: Path, run: Run, tmp_path: Path) -> None:
    x = waves(3, 11).astype(np.float32)
    x[1, 4:7] = np.nan
    np.save(tmp_path / "x.npy", x)
    code, _, err = run("impute", folder / "run", tmp_path / "x.npy", "--out", tmp_path / "f.npy", "--n-imputations", 2)
    assert code == 0, err
    drawn = [np.load(tmp_path / f"f_{i}.npy") for i in (1, 2)]
    assert all(np.array_equal(of[~np.isnan(x)], x[~np.isnan(x)]) for of in drawn)
    assert not np.isnan(drawn).any() and not np.array_equal(*drawn)


def test_verbs(folder: Path, run: Run, tmp_path: Path) -> None:
    for verb, name in (("sample", "s.csv"), ("sample", "s.png"), ("reconstruct", "r.png"), ("interpolate", "i.png")):
        code, _, err = run(verb, folder / "run", *(["-n", 3] if verb == "sample" else []), "--out", tmp_path / name)
        assert code == 0, err
    assert run("sample", folder / "run", "-n", 3, "--out", tmp_path / "t.csv").code == 0
    assert run("sample", folder / "run", "-n", 3, "--out", tmp_path / "T.CSV").code == 0
    assert (tmp_path / "T.CSV").read_bytes() == (tmp_path / "t.csv").read_bytes()
    with (tmp_path / "s.csv").open() as file:
        lines = list(csv.reader(file))
    assert lines[0] == ["series", "step", "load", "temp"] and len(lines) == 1 + 3 * WINDOW
    assert lines[1 + WINDOW][:2] == ["1", "0"]
    for verb in ("traverse", "plot-latent"):
        assert run(verb, folder / "run", "--out", tmp_path / f"{verb}.png").code == 0
    assert json.loads(run("evaluate", folder / "run", "--samples", 5, "--json").out)["log_likelihood"] < 1e4
    assert {p.name for p in (folder / "run").glob("*_2.png")} == {
        "reconstruction_2.png", "sample_2.png", "loss_curve_2.png"
    }  # fmt: skip


BAD: dict[str, tuple[Any, list[Any], str]] = {
    "one step": (np.zeros((9, 1)), ["--kind", "series"], "each series has 1 step"),
    "an empty channel": (np.full((9, 5, 2), [1.0, np.nan]), ["--kind", "series"], "channel 1 holds only NaN"),
    "an empty series": (
        np.where(np.arange(9)[:, None] == 3, np.nan, np.eye(9)),
        ["--kind", "series"],
        "series 3 holds",
    ),
    "a long window": (np.zeros((1, 50)), ["--window", 51], "has 50 steps"),
    "a stride alone": (np.zeros((9, 5)), ["--stride", 2], "stride=2 requires a window"),
    "words": ("a,b\n1,x\n2,y\n", ["--window", 2], "column 'b' holds 'x'"),
    "an empty file": ("", ["--window", 2], "is empty"),
    "no window": ("a,b\n1,2\n2,3\n", ["--kind", "series"], "--window"),
    "an unknown kind": (np.zeros((9, 5)), ["--kind", "sound"], "kind = 'sound'"),
    "another net": (np.eye(9), ["--set", "model.encoder=conv1d"], "a conv1d net takes series"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_in_one_line(name: str, run: Run, tmp_path: Path) -> None:
    held, options, words = BAD[name]
    path = tmp_path / ("x.csv" if isinstance(held, str) else "x.npy")
    if isinstance(held, str):
        path.write_text(held)
    else:
        np.save(path, held)
    code, out, err = run("train", path, *options, "--out", tmp_path / "run", *TINY)
    assert code == 2 and out == "" and err.startswith("Error: ") and err.count("\n") == 1, err
    assert words in err, err


def test_what_cannot_be_done_with_series_is_said(model: Model, run: Run, tmp_path: Path) -> None:
    model.save(tmp_path / "m")
    np.save(tmp_path / "x.npy", waves(3, 0)[..., :1])
    for verb, *more in (("detect", "--calibration", tmp_path / "x.npy"), ("impute",)):
        code, _, err = run(verb, tmp_path / "m", tmp_path / "x.npy", *more)
        assert code == 2 and "has 1 channels, and the model 2" in err, err
    pictures = nelbo.fit(torch.rand(30, 4), epochs=1)
    with pytest.raises(nelbo.errors.UserError, match="use a model trained on a table or series"):
        pictures.impute(np.zeros((2, 4)))
