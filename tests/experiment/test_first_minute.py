"""The first minute with nelbo: what an editor offers, what training announces, and what a model shows of itself."""

from __future__ import annotations

import base64
import inspect
import io
import json
import logging
import subprocess
import sys
import time
import types
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import nelbo
from conftest import NET, Run
from nelbo.config import recipe as recipes
from nelbo.config.registry import arguments
from nelbo.data import DataOptions, load
from nelbo.errors import UserError
from nelbo.experiment import console, status_line
from nelbo.model import Model, description
from nelbo.model.post_hoc import fit_prior
from nelbo.training import Callback, Progress

OF_THE_RUN = {"data", "recipe", "preset", "condition", "out", "resume", "force", "verbose", "callbacks", "overrides"}
"""The arguments of `nelbo.fit` that are not short names of settings."""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)


def quick(x: Any, **more: Any) -> Model:
    return nelbo.fit(x, epochs=1, **NET, **more)


def test_what_is_public_is_offered_and_there() -> None:
    assert dir(nelbo) == sorted(nelbo.__all__)
    for name in nelbo.__all__:
        assert getattr(nelbo, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        _ = nelbo.fitt  # type: ignore[attr-defined]


def test_the_package_says_that_it_is_typed() -> None:
    assert (resources.files("nelbo") / "py.typed").is_file()
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8")
    assert (
        'packages = ["src/nelbo"]' in project
        and "exclude" not in project.partition("[tool.hatch")[2].partition("[tool.p")[0]
    )


def test_the_options_of_fit_are_settings_with_help() -> None:
    parameters = inspect.signature(nelbo.fit).parameters
    options = set(parameters) - OF_THE_RUN
    assert options and options <= recipes.short_names().keys()
    assert all(parameters[name].default is None for name in options)
    assert list(arguments(inspect.getdoc(nelbo.fit) or "")) == list(parameters)


def test_every_short_name_is_a_field_of_the_recipe() -> None:
    for path in recipes.short_names().values():
        table: Any = recipes.dump(recipes.load(None))
        parts = path.split(".")
        for part in parts[:-1]:
            table = table[part]
        fields = {"data": DataOptions, "training": recipes.TrainingConfig}
        known = table.keys() if len(parts) != 2 or parts[0] not in fields else recipes.hints(fields[parts[0]]).keys()
        assert parts[-1] in known, path


def test_short_names_mean_the_same_in_python_and_on_the_command_line(x: np.ndarray, run: Run, tmp_path: Path) -> None:
    settings = {"latent_dim": 2, "beta": 4.0, "learning_rate": 0.01, "batch_size": 20, "val_fraction": 0.2, "seed": 1}
    np.save(tmp_path / "x.npy", x)
    model = nelbo.fit(str(tmp_path / "x.npy"), epochs=1, **settings)
    given = [part for name, value in settings.items() for part in (f"--{name.replace('_', '-')}", value)]
    done = run("train", tmp_path / "x.npy", "--epochs", 1, *given, "--out", tmp_path / "out", "-q")
    assert (done.code, done.out, done.err) == (0, "", "")
    assert nelbo.load(tmp_path / "out").recipe == model.recipe
    assert model.recipe.model.latent.options["dim"] == 2 and model.recipe.objective.options["beta"] == 4.0


def test_a_recipe_takes_settings_too(x: np.ndarray) -> None:
    model = nelbo.fit(x, recipes.load(None), epochs=1, latent_dim=2)
    assert model.recipe.training.epochs == 1 and len(model.kl_per_latent) == 2


def test_overrides_leave_the_callers_dictionaries_alone() -> None:
    latent = {"kind": "flat", "dim": 3}
    recipe = recipes.load(None, {"model.latent": latent, "latent_dim": 5})
    assert latent == {"kind": "flat", "dim": 3} and recipe.model.latent.options["dim"] == 5


def test_a_condition_by_name_is_recorded() -> None:
    y = np.arange(60) % 2
    model = quick((np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32), y), condition="label")
    assert model.recipe.data.condition == "label"
    assert "2 classes: 0, 1" in repr(model)


def test_training_is_silent_where_nobody_looks(x: np.ndarray, capsys: pytest.CaptureFixture[str]) -> None:
    quick(x)
    assert tuple(capsys.readouterr()) == ("", "")
    with pytest.raises(UserError, match="use True, False or 'auto'"):
        quick(x, verbose="yes")


def test_training_says_what_it_understood_and_what_to_do_next(
    x: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    quick(x, verbose=True, latent_dim=2)
    out, err = capsys.readouterr()
    assert out == ""
    before, after = err.split("====> Epoch: 1 Average", 1)
    for word in ("vectors of 3 numbers", "54 to train on, 6 to test", "2 numbers", "elbo (beta=1.0", "1 epoch of 54"):
        assert word in before
    assert "Test loss: " in after and "model.sample(16)" in after
    assert logging.getLogger("nelbo").handlers == [] and logging.getLogger("nelbo").level == logging.NOTSET


def test_messages_go_where_a_program_sends_them(
    x: np.ndarray, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.INFO, "nelbo"):
        quick(x, verbose=True)
    assert sum("Test loss" in record.message for record in caplog.records) == 1
    assert "Test loss: " not in capsys.readouterr().err


def test_the_command_line_says_it_on_stderr(run: Run, tmp_path: Path, x: np.ndarray) -> None:
    np.save(tmp_path / "x.npy", x)
    arguments = ("train", tmp_path / "x.npy", "--epochs", 1, "--latent-dim", 2, "--out", tmp_path / "out")
    done = run(*arguments)
    assert "to train on" in done.err and f"nelbo sample {tmp_path / 'out'}" in done.err
    assert "to train on" not in done.out
    assert run(*arguments, "--force", "--json").err == ""


def in_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = types.SimpleNamespace(get_ipython=lambda: object())
    monkeypatch.setitem(sys.modules, "IPython", fake)


def test_a_notebook_has_one_line(
    x: np.ndarray, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    in_a_notebook(monkeypatch)
    monkeypatch.setattr("nelbo.training.loop.LOOK_SECONDS", 0.0)
    quick(x)
    out, err = capsys.readouterr()
    assert err == "" and "\033" not in out
    assert "\repoch 1/1 " in out and "/s  0:0" in out and "Test loss: " in out
    assert out.split("\n")[-2].startswith("Next: ")


def test_a_line_is_written_over_whole() -> None:
    file = io.StringIO()
    line = status_line.StatusLine(file)
    line.write("longer")
    line.write("short")
    line.clear()
    line.clear()
    assert file.getvalue() == "\rlonger\rshort \r     \r"


def test_the_line_of_a_notebook_shows_how_far_training_is() -> None:
    file = io.StringIO()
    line = console.EpochLine(file)
    line.on_epoch(None, 1, [{"loss": 3.0}])  # type: ignore[arg-type]
    line.on_progress(Progress(2, 4, 50, 100, {"loss": 2.0}, 10.0, 75.0))
    assert file.getvalue() == f"\repoch 2/4 {status_line.bar(0.375, 16)}  loss 2.0  10/s  1:15 left  test loss 3.00"


def test_who_watches_already_goes_on_watching(x: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    from nelbo.training.progress import on_progress

    in_a_notebook(monkeypatch)
    heard: list[Any] = []
    with on_progress(lambda *what: heard.append(what)):
        quick(x, verbose=True)
    assert heard


@pytest.mark.parametrize(
    ("fixture", "words", "shown"),
    [
        ("model", "images of 8 x 8 pixels, 1 channel", "<img"),
        ("vector_model", "vectors of 4 numbers", "<polyline"),
        ("people_model", "rows of", "<td>"),
    ],
)
def test_a_model_shows_itself(fixture: str, words: str, shown: str, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue(fixture)
    before = torch.get_rng_state()
    text, page = repr(model), model._repr_html_()
    for part in (words, "test loss", "carry more than 0.01 nats", "diagonal-normal", "parameters"):
        assert part in text and part in page
    assert shown in page and torch.equal(before, torch.get_rng_state())
    began = time.monotonic()
    model._repr_html_()
    assert time.monotonic() - began < 1


def test_the_strip_of_images_is_a_picture_of_the_samples(model: Model) -> None:
    content = model._repr_html_().partition("base64,")[2].partition('"')[0]
    strip = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))
    samples = model.schema.encode(torch.from_numpy(model.sample(description.SAMPLES))).clamp(0, 1)
    assert np.array_equal(strip, np.concatenate(list(samples[:, 0].mul(255).round().byte().numpy()), 1))


def test_series_and_text_show_themselves() -> None:
    series = np.random.default_rng(0).normal(size=(40, 16, 2)).astype(np.float32)
    model = nelbo.fit(series, recipe=None, kind="series", epochs=1, latent_dim=2)
    assert "series of 16 steps, 2 channels" in repr(model) and model._repr_html_().count("<polyline") == 16
    lines = nelbo.fit(["a <b> & c", "b", "cab"] * 10, epochs=1, samples_per_epoch=30, latent_dim=2)
    assert "lines of up to" in repr(lines) and "<pre>" in lines._repr_html_() and "<b> &" not in lines._repr_html_()


def test_what_fails_is_shown_as_text(vector_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("no memory")

    monkeypatch.setattr(Model, "sample", fail)
    assert vector_model._repr_html_() == f"<pre>{vector_model!r}</pre>"


def test_the_losses_are_saved_with_the_model(picture_run: Path, model: Model) -> None:
    rows = [json.loads(line) for line in (picture_run / "metrics.jsonl").read_text("utf-8").splitlines()]
    assert model.trained["test"]["loss"] == rows[-1]["loss"] and model.trained["epochs"] == 2
    assert (model.trained["data"], model.trained["rows"]) == ("squares", 170)
    assert model.info()["trained"] == model.trained


def test_the_losses_are_those_of_the_weights_that_are_kept(x: np.ndarray) -> None:
    heard: list[dict[str, Any]] = []

    class Rows(Callback):
        def on_epoch(self, vae: Any, epoch: int, rows: list[dict[str, Any]]) -> None:
            heard[:] = rows

    model = nelbo.fit(x, epochs=30, early_stopping_patience=2, learning_rate=0.1, callbacks=[Rows()])
    tests = [row["loss"] for row in heard if row["split"] == "test"]
    assert model.trained["test"]["loss"] == min(tests) and model.trained["epochs"] == 1 + tests.index(min(tests))


def test_a_model_saved_before_has_no_losses(model: Model, tmp_path: Path) -> None:
    model.save(tmp_path)
    values = json.loads((tmp_path / "model.json").read_text("utf-8"))
    del values["trained"]
    (tmp_path / "model.json").write_text(json.dumps(values), "utf-8")
    old = nelbo.load(tmp_path)
    assert old.trained == {} and "test loss" not in repr(old) and "likelihood" in repr(old)


def test_a_model_with_a_fitted_prior_says_when_its_losses_were_measured(
    vector_model: Model, vectors: np.ndarray
) -> None:
    fitted = fit_prior(vector_model, vectors, "normal")
    assert "before its prior was fitted" in repr(fitted) and "before its" not in repr(vector_model)


def test_info_is_json(model: Model) -> None:
    info = json.loads(json.dumps(model.info()))
    assert (info["kind"], info["shape"], info["latents"]) == ("image", [1, 8, 8], 3)
    assert info["parameters"] == sum(p.numel() for p in model.vae.parameters())
    assert [nats for _, nats in info["carrying"]] == sorted((r for r in model.kl_per_latent if r > 0.01), reverse=True)
    assert info["versions"]["torch"] == torch.__version__


def test_an_untrained_model_describes_itself() -> None:
    from fixtures.tiny_model import small

    model = small()[0]
    assert "0 of" not in repr(model) and "test loss" not in repr(model)


@pytest.mark.parametrize("latent", ["flat", "binary", "categorical", "vq", "fsq", "lfq", "ladder"])
def test_a_model_of_each_latent_describes_itself(latent: str) -> None:
    x = np.random.default_rng(0).random((20, 8, 8), np.float32)
    model = Model.from_recipe(recipes.load(None, {"model.latent": latent}), load(x).schema)
    assert latent in repr(model) and "<img" in description.as_html(model)
    json.dumps(model.info())


def test_the_first_message_waits_for_no_torch() -> None:
    code = "import sys, nelbo, nelbo.cli, nelbo.experiment.status_line; dir(nelbo); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
