"""Text from end to end: train, save, resume, and every verb on a small language."""

from __future__ import annotations

import csv
import itertools
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from test_resume import StopAt

import nelbo
from conftest import Run
from fixtures.tiny_model import assert_equal, weights
from nelbo.apps.anomaly import Detector
from nelbo.apps.synthesis.neighbours import sample_novel_lines
from nelbo.config.recipe import load as load_recipe
from nelbo.data import load, load_like
from nelbo.distributions import AutoregressiveText
from nelbo.errors import UserError
from nelbo.experiment import run as runs
from nelbo.model import Model
from nelbo.plotting import figures
from nelbo.plotting import text as plots_text
from nelbo.plotting.figures import figures_of
from nelbo.training import players
from nelbo.training.replay import ReplayedFunction
from zoo import assert_mean

# Two halves that depend on one another in nothing: a code must say which of each it is.
WORDS = [f"{a}{b}" for a, b in itertools.product(["dodo", "ii", "papapa", "lu"], ["", "nn", "rere", "sasa"])]
LINES = WORDS * 25
TINY: dict[str, Any] = {
    "epochs": 3,
    "samples_per_epoch": 2400,
    "batch_size": 16,
    "learning_rate": 1e-2,
    "model.latent.dim": 4,
    "model.encoder": {"kind": "text-gru", "width": 24, "dropout": 0.0, "word_dropout": 0.2},
    "objective.floor": 0.5,
    "early_stopping_patience": 0,
    "seed": 1,
}


def dotted(settings: dict[str, Any]) -> dict[str, Any]:
    return {name.replace(".", "__"): value for name, value in settings.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the lines, with the file beside it. Not to be changed."""
    folder = tmp_path_factory.mktemp("text")
    (folder / "words.txt").write_text("\n".join(LINES))
    nelbo.fit(folder / "words.txt", out=folder / "words", **dotted(TINY))
    return folder / "words"


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return nelbo.load(folder)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_it_learns_the_language(model: Model) -> None:
    """Samples are its words, codes tell them apart, and -log p is near that of 16 words of equal chance."""
    samples = model.sample(200, seed=3)
    assert sum(line in WORDS for line in samples) > 160 and set(WORDS) <= set(samples)
    assert sum(a == b for a, b in zip(model.reconstruct(WORDS), WORDS, strict=True)) > 12
    assert np.log(16) - 0.01 < -model.log_likelihood(WORDS, 100).mean() < np.log(16) + 0.4
    assert model.log_likelihood(["sasadodo"], 100)[0] < -8


def test_new_lines_are_the_draws_that_are_not_known(model: Model) -> None:
    """Of 8 words that are not known, each comes as often as among all draws; of none, the model says so."""
    known, rest = WORDS[:8], set(WORDS[8:])
    made = sample_novel_lines(model, 8, [f" {word}\n" for word in known], temperature=0.5)
    assert len(set(made)) == 8 and not set(made) & set(known) and len(set(made) & rest) > 5
    assert made == sample_novel_lines(model, 8, known, temperature=0.5)
    firsts = [sample_novel_lines(model, 1, known, seed)[0] for seed in range(300)]
    drawn = [line for line in model.sample(3000, seed=9) if line not in known]
    for word in rest:
        p = drawn.count(word) / len(drawn)
        assert abs(firsts.count(word) / 300 - p) < 5 * np.sqrt(p / 300)
    with pytest.raises(UserError, match=r"n=5: the model drew \d lines that are new.*raise the temperature"):
        sample_novel_lines(model, 5, WORDS, temperature=0.01)
    with pytest.raises(UserError, match="n=0: use at least 1 line"):
        sample_novel_lines(model, 0, WORDS)


def test_everything_is_lines(model: Model) -> None:
    assert model.sample(3, seed=5) == model.sample(3, seed=5) and isinstance(model.sample(1)[0], str)
    remade = model.reconstruct("dodonn")
    way = model.interpolate("dodonn", "lurere", steps=5)
    assert len(way) == 5 and way[0] == remade[0] and way[-1] == model.reconstruct(["lurere"])[0]
    assert model.decode(model.encode(["ii"])) == model.reconstruct(["ii"])
    assert model.embed(["ii", "lu"]).shape == (2, 4)
    assert set(model.sample(60, temperature=0.01)) < set(model.sample(60, temperature=1.0))


def test_a_line_is_rebuilt_from_a_code_like_the_draws_of_its_posterior(model: Model) -> None:
    """The mean's direction, and the length of draws; it tells the line better than the mean, which lies inside."""
    rows = model.as_dataset(WORDS)
    x = rows.batch(torch.arange(len(rows)))
    with torch.no_grad():
        q = model.vae.latent.posterior(x)  # type: ignore[operator]
        code = torch.from_numpy(model.encode(WORDS))
        assert_mean(q.sample((20_000,)).square().sum(-1), code.square().sum(-1))
        torch.testing.assert_close(code / code.norm(dim=1, keepdim=True), q.mean / q.mean.norm(dim=1, keepdim=True))
        distortion = [-model.vae.decode(z).log_prob(x).mean() for z in (code, q.mean)]
    assert distortion[0] < distortion[1]


def test_the_score_is_that_of_the_likelihood(model: Model) -> None:
    """One draw: -log p(x | z) + log q - log p, with the decoder's own log p(x | z), whatever the rows beside it."""
    rows = model.as_dataset(WORDS)
    x = rows.batch(torch.arange(len(rows)))
    with torch.no_grad():
        d = model.vae.decode(model.vae.latent.embed(x))
        assert isinstance(d, AutoregressiveText)
        alone = [AutoregressiveText(d.net, begun).log_prob(row) for begun, row in zip(d.line_state, x, strict=True)]
    torch.testing.assert_close(d.log_prob(x), torch.stack(alone))


@pytest.mark.parametrize("kind", ["text-gru", "text-transformer"])
def test_a_saved_model_is_the_model(kind: str) -> None:
    lines = [f"a line about the number {n}" for n in range(60)]
    net = {"kind": kind, "width": 8, "layers": 2}
    recipe = load_recipe("text", {"model.encoder": net, "epochs": 1, "samples_per_epoch": 0})
    data = load(lines, vocabulary=270)
    made = Model.from_recipe(recipe, data.schema)
    made.fit(data)
    made.save("made")
    again = nelbo.load("made")
    assert again.schema == made.schema and again.sample(4, seed=2) == made.sample(4, seed=2)
    np.testing.assert_array_equal(again.log_likelihood(lines[:5], 3), made.log_likelihood(lines[:5], 3))


def test_interrupted_and_resumed_is_the_uninterrupted_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With dropout of numbers and of words."""
    monkeypatch.setattr("nelbo.training.loop.LOOK_SECONDS", 0.0)
    data = load(LINES)
    settings = {**TINY, "epochs": 2, "samples_per_epoch": 0, "model.encoder.dropout": 0.3}
    whole = Model.from_recipe(load_recipe("text", settings), data.schema)
    whole.fit(data, tmp_path / "whole")
    for _ in range(30):
        model = Model.from_recipe(load_recipe("text", settings), data.schema)
        state = model.fit(data, tmp_path / "cut", [StopAt(9)], resume=(tmp_path / "cut").exists())
        if state.reason == "done":
            break
    assert state.reason == "done"
    assert_equal(weights(whole), weights(model))


def test_a_step_is_never_replayed_for_longer_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """How far a batch is read depends on its longest line: training is the same without tapes."""

    class Plain(ReplayedFunction):
        def __call__(self, *inputs: Any) -> Any:
            return self.function(*inputs)

    lines, ends = [*["a"] * 96, *["ababababa"] * 4], []
    for kind in (ReplayedFunction, Plain):
        monkeypatch.setattr(players, "ReplayedFunction", kind)
        data = load(lines)
        model = Model.from_recipe(
            load_recipe("text", {**TINY, "epochs": 2, "samples_per_epoch": 0, "batch_size": 5}), data.schema
        )
        model.fit(data)
        ends.append(weights(model))
    assert_equal(*ends)


def test_a_run_shows_sentences(folder: Path) -> None:
    for name in ("reconstruction_3.png", "sample_3.png"):
        picture = np.asarray(Image.open(folder / name).convert("L"))
        assert 200 < (picture < 128).sum() < 0.2 * picture.size, "words on white"
        assert (picture[:, [0, -1]] == 255).all() and (picture[[0, -1]] == 255).all(), "nothing is cut"
    report = (folder / "report.html").read_text()
    assert "Test lines (grey) and their reconstructions (black)" in report
    assert runs.default_recipe(folder.parent / "words.txt") == runs.default_recipe(["a", "b"]) == "text"


def test_lines_are_drawn_as_they_are() -> None:
    """Dollar signs are no formula; long lines are shortened; columns are filled from the left."""
    figure = plots_text.listed(["$x_1$ and $", "b" * 500, "c"], 2)
    texts = [text.get_text() for text in figure.texts]
    assert texts[0] == "$x_1$ and $" and 40 < len(texts[1]) < 90 and texts[1].endswith("…")
    places = [text.get_position() for text in figure.texts]
    assert places[0][0] == places[1][0] < places[2][0] and places[0][1] == places[2][1] > places[1][1]
    assert figures.figure_image(figure).size[0] == 1100


def test_characters_that_the_font_lacks_are_no_warning() -> None:
    schema = load(["日本", "本日"] * 9).schema
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figures_of(schema).samples(["日本"], np.zeros((1, *schema.shape)), schema)


def test_verbs_print_lines(folder: Path, model: Model, run: Run) -> None:
    assert run("sample", folder, "-n", 4).out.splitlines() == model.sample(4)
    assert json.loads(run("sample", folder, "-n", 4, "--json").out) == {"lines": model.sample(4)}
    Path("known.txt").write_text("\n".join(WORDS[3:]))
    new = run("sample", folder, "-n", 2, "--exclude", "known.txt", "--temperature", 0.5).out.splitlines()
    assert new == sample_novel_lines(model, 2, WORDS[3:], temperature=0.5)
    missing = run("sample", folder, "--exclude", "nowhere.txt")
    assert missing.code == 2 and "nowhere.txt: no such file" in missing.err
    assert run("reconstruct", folder, "lurere").out == f"lurere\n  -> {model.reconstruct('lurere')[0]}\n"
    held = runs.load_test_data(model)
    remade = run("reconstruct", folder, "-n", 3, "--json").out
    assert json.loads(remade)["lines"] == model.reconstruct(held)[:3]
    found = run("interpolate", folder, "dodonn", 0, "--steps", 4).out.splitlines()
    assert len(found) == 4 and found[0] == model.reconstruct("dodonn")[0] and found[-1] == model.reconstruct(held)[0]


def test_verbs_write_lines(folder: Path, model: Model, run: Run) -> None:
    assert run("sample", folder, "-n", 40, "--out", "made.txt").out == "Wrote made.txt (40,)\n"
    assert Path("made.txt").read_text().splitlines() == model.sample(40)
    Path("two.txt").write_text("lurere\ndodo\n")
    assert run("reconstruct", folder, "two.txt", "--out", "remade.txt").code == 0
    assert Path("remade.txt").read_text().splitlines() == model.reconstruct(["lurere", "dodo"])
    assert run("embed", folder, "two.txt", "--out", "codes.npy").code == 0
    np.testing.assert_array_equal(np.load("codes.npy"), model.embed("two.txt"))
    result = json.loads(run("evaluate", folder, "two.txt", "--samples", 20, "--json").out)
    assert result["n"] == 2 and result["log_likelihood"] == pytest.approx(
        model.log_likelihood("two.txt", 20, seed=1).mean(), rel=1e-5
    )
    assert run("plot-latent", folder).code == 0 and Path("map.png").is_file()


def test_what_is_odd_is_blamed_on_its_tokens(folder: Path, model: Model, run: Run) -> None:
    Path("new.txt").write_text("lurere\ndodosasa\nlurrre\n")
    assert run("detect", folder, "new.txt", "--alpha", "0.05").code == 0
    rows = list(csv.DictReader(Path("anomalies.csv").read_text().splitlines()))
    assert [row["is_anomaly"] for row in rows] == ["0", "0", "1"]
    assert any(rows[2][f"top_feature_{k}"].startswith(("token 3=r", "token 4=r")) for k in (1, 2, 3))
    detector = Detector(model, "reconstruction", samples=1)
    blame = detector.feature_scores(["lurrre"])[0]
    assert blame.shape == model.schema.shape and blame[2:5].max() == blame.max() > 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["traverse"],
            "traverse supports curves and pictures, and the model is of text: use plot-latent or interpolate",
        ),
        (["sample", "--out", "a.png"], "--out a.png: the file must end in .txt"),
        (["reconstruct", "missing.txt"], "missing.txt: no such file: give a path that exists, or a line of text"),
        (["interpolate", "9999"], "item 9999: the data have 40 rows"),
        (["augment"], "augment does not support text: use a model trained on pictures"),
        (["sample", "--condition", "3"], "the model was trained without --condition"),
    ],
)
def test_what_makes_no_sense_is_one_line(folder: Path, run: Run, arguments: list[str], message: str) -> None:
    result = run(arguments[0], folder, *arguments[1:])
    assert result.code == 2 and message in result.err and "Traceback" not in result.err


def test_what_makes_no_sense_from_python(model: Model) -> None:
    with pytest.raises(UserError, match="impute does not support text: use a model trained on a table"):
        model.impute(["lu"])
    with pytest.raises(UserError, match="is text, and the model needs data of shape"):
        load_like(["lu"], load(np.eye(4)).schema)
    with pytest.raises(UserError, match="label"):
        nelbo.fit(LINES, condition="label", epochs=1)
