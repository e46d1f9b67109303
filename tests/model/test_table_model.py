"""Tables from end to end: train, save, resume, and every verb on a small mixed file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from test_resume import StopAt

import nelbo
from conftest import Run
from fixtures.tiny_model import assert_equal, weights
from nelbo.config.recipe import load as load_recipe
from nelbo.data import load
from nelbo.errors import UserError
from nelbo.model import Model
from nelbo.training import players
from nelbo.training.replay import ReplayedFunction

ROWS = 160
NET = {"kind": "table", "width": 16, "blocks": 1, "dropout": 0.2, "bins": 8}
SMALL: dict[str, Any] = {
    "model.encoder": NET,
    "model.decoder": NET,
    "model.latent.dim": 3,
    "epochs": 3,
    "samples_per_epoch": 400,
    "batch_size": 64,
    "ema_decay": 0.9,
}


def frame() -> pd.DataFrame:
    """Whole, skew and few-valued numbers, categories, booleans, dates and a constant; a fifth of some is missing."""
    rng = np.random.default_rng(0)
    made = pd.DataFrame(
        {
            "pay": rng.gamma(2, 100, ROWS).round(2),
            "age": pd.array(rng.integers(18, 90, ROWS), "Int64"),
            "city": rng.choice(["Oslo", "Rome, IT", 'The "Hague"'], ROWS),
            "unit": "kg",
            "member": rng.random(ROWS) < 0.3,
            "day": (np.datetime64("2021-01-01") + rng.integers(0, 700, ROWS)).astype(str),
            "grade": rng.integers(1, 6, ROWS),
        }
    )
    for name in ("age", "city", "day"):
        made.loc[rng.random(ROWS) < 0.2, name] = None
    return made


@pytest.fixture(scope="module")
def table_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    frame().to_csv(path := tmp_path_factory.mktemp("table") / "people.csv", index=False)
    return path


@pytest.fixture(scope="module")
def table_run(table_file: Path) -> Path:
    """The folder of a run. Not to be changed."""
    nelbo.fit(table_file, out=table_file.parent / "run", **{k.replace(".", "__"): v for k, v in SMALL.items()})
    return table_file.parent / "run"


@pytest.fixture(scope="module")
def table_model(table_run: Path) -> Model:
    return nelbo.load(table_run)


def settings() -> list[str]:
    """The same as options of the command line."""
    net = '{ kind = "table", width = 16, blocks = 1, dropout = 0.2, bins = 8 }'
    options = [f"model.encoder={net}", f"model.decoder={net}", "model.latent.dim=3", "training.ema_decay=0.9"]
    return [part for option in options for part in ("--set", option)]


def untrained(data: Any, **more: Any) -> Model:
    return Model.from_recipe(load_recipe("table", {**SMALL, **more}), data.schema)


def test_a_table_is_trained_on_by_its_recipe(table_file: Path, tmp_path: Path, run: Run) -> None:
    """`nelbo train people.csv`, and what it writes."""
    out = tmp_path / "out"
    done = run("train", table_file, *settings(), "--epochs", 2, "--samples-per-epoch", 400, "--quiet", "--out", out)
    assert (done.code, done.err) == (0, "")
    recipe = load_recipe(str(out / "recipe.toml"))
    assert recipe.description == load_recipe("table").description and recipe.training.samples_per_epoch == 400
    rows = [json.loads(line) for line in (out / "metrics.jsonl").open()]
    assert [(row["epoch"], row["split"]) for row in rows] == [(e, s) for e in (1, 2) for s in ("train", "test")]
    assert rows[2]["loss"] < rows[0]["loss"]
    for name in ("sample_2.png", "reconstruction_2.png", "loss_curve_2.png"):
        assert min(Image.open(out / name).size) > 200
    page = (out / "report.html").read_text("utf-8")
    assert "beside the training data" in page and "64 draws" not in page and page.count("data:image/png") == 3


def test_one_line_trains_on_a_frame() -> None:
    model = nelbo.fit(frame(), **{k.replace(".", "__"): v for k, v in {**SMALL, "epochs": 1}.items()})
    made = model.sample(20)
    assert list(made) == list(frame()) and (made["unit"] == "kg").all()


def test_saved_and_loaded_it_draws_and_scores_the_same(table_run: Path, table_model: Model, tmp_path: Path) -> None:
    table_model.save(tmp_path)
    again, data = nelbo.load(tmp_path), frame()
    assert_equal(weights(table_model), weights(again))
    pd.testing.assert_frame_equal(table_model.sample(50, seed=3), again.sample(50, seed=3))
    for a, b in zip(table_model.impute(data, return_std=True), again.impute(data, return_std=True), strict=True):
        pd.testing.assert_frame_equal(a, b)
    np.testing.assert_array_equal(table_model.log_likelihood(data, 3), again.log_likelihood(data, 3))
    np.testing.assert_array_equal(table_model.embed(data), again.embed(data))


@pytest.mark.parametrize(
    "more", [{}, {"gradient_accumulation_steps": 2, "samples_per_epoch": 100, "max_grad_norm": 1.0}]
)
def test_interrupted_and_resumed_is_the_uninterrupted_run(
    more: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With dropout, hidden cells, an average, and epochs of more rows than there are, or fewer."""
    monkeypatch.setattr("nelbo.training.loop.LOOK_SECONDS", 0.0)
    data = load(frame())
    whole = untrained(data, **more)
    rows = whole.fit(data, tmp_path / "whole").rows
    stops = 0
    for _ in range(20):
        model = untrained(data, **more)
        state = model.fit(data, tmp_path / "cut", [StopAt(3)], resume=(tmp_path / "cut").exists())
        stops += state.reason == "interrupted"
        if state.reason != "interrupted":
            break
    assert stops > 1 and state.reason == "done"
    assert_equal(weights(whole), weights(model))
    timeless = [{k: v for k, v in row.items() if k != "seconds"} for row in state.rows]
    assert timeless == [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def test_its_steps_are_replayed_from_a_tape(monkeypatch: pytest.MonkeyPatch) -> None:
    """Missing cells (NaN) notwithstanding; and the weights are those of steps that are not."""
    proved: list[ReplayedFunction] = []

    class Watched(ReplayedFunction):
        def _prove(self, *arguments: Any) -> Any:
            proved.append(self)
            return super()._prove(*arguments)

    class Plain(ReplayedFunction):
        def __call__(self, *inputs: Any) -> Any:
            return self.function(*inputs)

    ends = []
    for kind in (Watched, Plain):
        monkeypatch.setattr(players, "ReplayedFunction", kind)
        model = untrained(data := load(frame()))
        model.fit(data)
        ends.append(weights(model))
    assert proved and proved[0].proved
    assert_equal(*ends)


@pytest.mark.slow
def test_two_processes_train_as_well_as_one(table_file: Path, tmp_path: Path) -> None:
    """Each hides cells by its own draws, so not the same model; but one model, saved once, of about the same loss."""
    options = ["train", table_file, *settings(), "--epochs", "2", "--samples-per-epoch", "3000", "--quiet"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "nelbo"]
    starts = {"one": [sys.executable, "-m", "nelbo"], "two": torchrun}
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen([*start, *map(str, options), "--out", str(tmp_path / name)], env=environment)
        for name, start in starts.items()
    ]
    assert [process.wait(120) for process in processes] == [0, 0]
    losses = [[json.loads(line)["loss"] for line in (tmp_path / name / "metrics.jsonl").open()][-1] for name in starts]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)
    names = [load_file(tmp_path / name / "model/weights.safetensors").keys() for name in starts]
    assert names[0] == names[1]
    assert len(nelbo.load(tmp_path / "two").sample(5)) == 5


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".parquet"])
def test_samples_are_a_table_like_the_source(ending: str, table_run: Path, tmp_path: Path, run: Run) -> None:
    out, source = tmp_path / f"rows{ending}", frame()
    done = run("sample", table_run, "-n", 700, "--out", out)
    assert (done.code, done.out) == (0, f"Wrote {out} (700, 7)\n")
    if ending == ".parquet":
        kinds = {field.name: str(field.type).removeprefix("large_") for field in pyarrow.parquet.read_schema(out)}
        assert (kinds["pay"], kinds["age"], kinds["city"], kinds["member"]) == ("double", "int64", "string", "bool")
        made = pd.read_parquet(out)
    else:
        made = pd.read_csv(out, sep="," if ending == ".csv" else "\t")
        original = pd.read_csv(table_run.parent / "people.csv")
        assert (made.dtypes == original.dtypes).all()
        assert made["day"].dropna().str.fullmatch(r"\d{4}-\d\d-\d\d").all()
    assert list(made) == list(source) and len(made) == 700
    for name in ("pay", "age", "grade"):
        assert made[name].between(source[name].min(), source[name].max()).loc[made[name].notna()].all(), name
    assert (made["pay"].round(2) == made["pay"]).all() and made["pay"].nunique() > 100
    assert set(made["city"].dropna()) <= set(source["city"].dropna()) and (made["unit"] == "kg").all()
    days = pd.to_datetime(made["day"]).dropna()
    assert days.between(*pd.to_datetime(source["day"]).agg(["min", "max"])).all()
    lacking = made.isna().mean()
    assert (lacking[["age", "city", "day"]] > 0.05).all() and (lacking.drop(["age", "city", "day"]) == 0).all()


def test_samples_are_read_back_as_what_they_are(table_run: Path, table_model: Model, tmp_path: Path, run: Run) -> None:
    out = tmp_path / "rows.csv"
    run("sample", table_run, "-n", 90, "--out", out, "--seed", 5)
    made = table_model.sample(90, seed=5)
    np.testing.assert_allclose(table_model.elbo(out), table_model.elbo(made), rtol=1e-5)


def test_samples_under_a_condition(table_run: Path, tmp_path: Path, run: Run) -> None:
    out = tmp_path / "rows.csv"
    done = run("sample", table_run, "-n", 60, "--condition", "city=Rome, IT,grade=2,day=2021-05-31", "--out", out)
    assert done.code == 0
    made = pd.read_csv(out)
    assert (made["city"] == "Rome, IT").all() and (made["grade"] == 2).all() and (made["day"] == "2021-05-31").all()
    assert made["pay"].nunique() > 20
    first = out.read_bytes()
    run("sample", table_run, "-n", 60, "--condition", "city=Rome, IT,grade=2,day=2021-05-31", "--out", out)
    assert out.read_bytes() == first


def test_the_other_verbs(table_run: Path, table_file: Path, tmp_path: Path, run: Run) -> None:
    assert run("reconstruct", table_run, table_file, "--out", tmp_path / "r.csv").code == 0
    rebuilt = pd.read_csv(tmp_path / "r.csv")
    assert list(rebuilt) == list(frame()) and len(rebuilt) == ROWS and rebuilt.notna().all().all()
    assert run("embed", table_run, table_file, "--out", tmp_path / "e.csv").code == 0
    assert pd.read_csv(tmp_path / "e.csv").shape == (ROWS, 4), "the row, or its id, and the embedding"
    found = json.loads(run("evaluate", table_run, table_file, "--samples", 20, "--json").out)
    assert found["n"] == ROWS and -found["log_likelihood"] <= found["loss"] + 0.5
    assert found["standard_error"] > 0
    assert json.loads(run("evaluate", table_run, "--json").out)["n"] == ROWS // 10  # what training held out
    assert run("interpolate", table_run, 0, 3, "--steps", 7, "--out", tmp_path / "i.csv").code == 0
    assert pd.read_csv(tmp_path / "i.csv").shape == (7, 7)
    assert run("plot-latent", table_run, table_file, "--out", tmp_path / "m.png").code == 0
    assert min(Image.open(tmp_path / "m.png").size) > 200
    assert run("interpolate", table_run, 0, 99).err == "Error: item 99: the data have 16 rows: use 0 to 15\n"


def test_a_map_of_two_latents_is_of_points_too(table_file: Path, tmp_path: Path) -> None:
    model = nelbo.fit(frame(), **{k.replace(".", "__"): v for k, v in {**SMALL, "model.latent.dim": 2}.items()})
    assert model.decode_manifold(3).shape == (9, 7) and model.pca_projection(frame())[0].shape == (ROWS, 2)


def test_columns_are_found_by_name_and_odd_values_are_missing(table_model: Model, table_run: Path, run: Run) -> None:
    """Another order and more columns change nothing; a category that training never saw is a missing cell."""
    data = frame()
    shuffled = data[sorted(data)].assign(more=1)
    with pytest.warns(UserWarning, match="the model does not know more: passed over"):
        np.testing.assert_array_equal(table_model.elbo(shuffled), table_model.elbo(data))
    odd, blank = data.copy(), data.copy()
    odd.loc[:9, "city"], blank.loc[:9, "city"] = "Atlantis", None
    with pytest.warns(UserWarning, match="10 cells hold values that the schema does not know.*city 'Atlantis'"):
        scores = table_model.elbo(odd)
    np.testing.assert_array_equal(scores, table_model.elbo(blank))
    odd.to_csv(path := table_run.parent / "odd.csv", index=False)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        done = run("evaluate", table_run, path)
    assert done.code == 0 and done.err.startswith("Warning: ") and "city 'Atlantis'" in done.err


def test_numbers_unlike_any_of_training_are_very_surprising_but_finite(table_model: Model) -> None:
    data = frame()
    strange = data.assign(pay=data["pay"] + 1e7)
    before, after = table_model.log_likelihood(data, 5), table_model.log_likelihood(strange, 5)
    assert np.isfinite(after).all() and after.mean() < before.mean() - 5


HEAD = "pay,age,city,unit,member,day,grade\n"
ROW = "9.5,31,Oslo,kg,True,2021-05-31,2\n"
UNFIT: dict[str, tuple[str, str]] = {
    "empty": ("", "is empty: give a header"),
    "header only": (HEAD, "has no rows"),
    "ragged": (HEAD + ROW + "1,2\n", "line 3 has 2 cells, the header 7"),
    "names": (HEAD.replace("age", "pay") + ROW, "has 2 columns named 'pay'"),
    "delimiter": ((HEAD + ROW).replace(",", ":"), "has one column"),
    "encoding": ((HEAD + ROW).replace("Oslo", "\udce9"), "is not UTF-8 at byte"),
    "infinite": (HEAD + ROW.replace("9.5", "inf"), "column 'pay': row 1 is infinite"),
    "lacking": (HEAD.replace("city", "town") + ROW, "lacks the columns city; it has town that the model does not know"),
    "lacking two": ("a,pay,age,unit,member\n1,2,3,kg,True\n", "lacks the columns city, day, grade"),
}


@pytest.mark.parametrize("case", UNFIT)
def test_rows_that_do_not_fit_the_model_are_refused_in_one_line(
    case: str, table_run: Path, tmp_path: Path, run: Run
) -> None:
    content, said = UNFIT[case]
    path = tmp_path / "rows.csv"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    for verb in ("evaluate", "reconstruct", "embed"):
        done = run(verb, table_run, path)
        assert done.code == 2 and done.out == "" and done.err.count("\n") == 1, done.err
        assert done.err.startswith("Error: ") and said in done.err and "rows.csv" in done.err


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("ctiy=Oslo", "condition on 'ctiy': the model has no such column: did you mean city?"),
        ("unit=kg", "condition on 'unit': the model has no such column: known: age, city, day, grade, member, pay"),
        ("city=Olso", "condition city=Olso: did you mean Oslo?"),
        ("grade=8", "condition grade=8: known: 1, 2, 3, 4, 5"),
        ("age=old", "condition age=old: give a number"),
        ("age=900", "condition age=900: training saw 18 to 89: give a value in between"),
        ("pay=inf", "condition: column 'pay': row 1 is infinite"),
        ("day=2021-02-30", "condition day=2021-02-30: give a date, such as 2021-01-02"),
        ("city=", "condition city=: known: Oslo"),
        ("Oslo", "condition 'Oslo': give column=value, such as income=>50K,sex=Female"),
    ],
)
def test_a_wrong_condition_is_refused_in_one_line(
    condition: str, said: str, table_run: Path, tmp_path: Path, run: Run
) -> None:
    done = run("sample", table_run, "--condition", condition, "--out", tmp_path / "rows.csv")
    assert done.code == 2 and said in done.err and done.err.count("\n") == 1 and not list(tmp_path.iterdir())


def test_what_a_verb_cannot_do_with_a_table_is_refused(table_run: Path, tmp_path: Path, run: Run) -> None:
    for arguments, said in (
        (["traverse", table_run], "the model is of a table: use plot-latent or interpolate"),
        (["sample", table_run, "--out", tmp_path / "a.png"], "the file must end in .csv, .tsv or .parquet"),
        (
            ["sample", table_run, "--condition", "grade=2", "--temperature", 0.5],
            "sampling given cells does not support it",
        ),
        (["evaluate", table_run, "--condition", "grade=2"], "a condition on cells works for samples only"),
        (["train", "mnist", "--recipe", "table", "--out", tmp_path / "o"], "a table net takes tables"),
        (
            ["train", table_run.parent / "people.csv", "--recipe", "mnist", "--out", tmp_path / "o"],
            "does not support a table",
        ),
        (["train", table_run.parent / "people.csv", "--condition", "label", "--out", tmp_path / "o"], "no labels"),
    ):
        done = run(*arguments)
        assert done.code == 2 and said in done.err and done.err.count("\n") == 1, done.err


def test_a_table_net_has_sensible_sizes() -> None:
    wrong = {
        "width": (0, "1 or more"),
        "blocks": (-1, "0 or more"),
        "bins": (1, "2 or more and at most 4096"),
        "dropout": (1.0, "below 1"),
    }
    for name, (value, remedy) in wrong.items():
        with pytest.raises(UserError, match=rf"^model\.encoder\.{name} = {value}: give .*{remedy}$"):
            load_recipe("table", {"model.encoder": {"kind": "table", name: value}})


def test_tables_of_any_make_are_trained_on() -> None:
    """Two rows; one column; columns of one kind; a column nearly all missing; more columns than a figure has."""
    rng = np.random.default_rng(1)
    for table in (
        pd.DataFrame({"a": [1.5, 2.5], "b": ["x", "y"]}),
        pd.DataFrame({"a": rng.normal(size=30)}),
        pd.DataFrame({"a": rng.choice(["x", "y", "z"], 30), "b": rng.choice(["u", "v"], 30)}),
        pd.DataFrame({"a": [3.5, 4.5, *[None] * 28], "b": rng.normal(size=30)}),
        pd.DataFrame(rng.normal(size=(30, 50)), columns=[f"c{j}" for j in range(50)]),
    ):
        quick = {**SMALL, "epochs": 1, "samples_per_epoch": 64, "model.latent.dim": 2}
        model = nelbo.fit(table, **{k.replace(".", "__"): v for k, v in quick.items()})
        made = model.sample(30)
        assert list(made) == list(table) and np.isfinite(model.elbo(table)).all()
        assert torch.isfinite(torch.from_numpy(model.embed(table))).all()
