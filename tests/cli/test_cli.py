"""`nelbo train` and `nelbo recipes`, end to end: what a run leaves, and what it never does to what is there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import nelbo
from conftest import SIDE, Run
from nelbo.cli import model_commands
from nelbo.config import recipe as recipes
from nelbo.model import Model
from nelbo.plotting.images import PAD

FIELDS = ["epoch", "split", "loss", "distortion", "rate", "seconds", "lr"]
TINY = ["--batch-size", 25, "--set", "model.encoder=mlp", "--set", "model.encoder.hidden=[8]", "--latent-dim", 2]


def metrics(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def without_seconds(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


@pytest.fixture
def begun(run: Run, picture_file: Path, tmp_path: Path) -> Path:
    """The folder of a run of one epoch, made by the command."""
    out = tmp_path / "run"
    assert run("train", picture_file, "--out", out, "--epochs", 1, *TINY, "--quiet") == (0, "", "")
    return out


def test_a_run_leaves_every_file_of_every_epoch(picture_run: Path) -> None:
    files = set(contents(picture_run))
    pictures = {f"{name}_{epoch}.png" for name in ("reconstruction", "sample", "loss_curve") for epoch in (1, 2)}
    kept = {"model/weights.safetensors", "model/model.json", "checkpoints/last.safetensors"}
    assert files == pictures | kept | {"checkpoints/best.safetensors", "metrics.jsonl", "recipe.toml", "report.html"}


def test_metrics_have_one_object_per_epoch_and_split(picture_run: Path) -> None:
    rows = metrics(picture_run)
    assert [(row["epoch"], row["split"]) for row in rows] == [(1, "train"), (1, "test"), (2, "train"), (2, "test")]
    for row in rows:
        assert list(row) == FIELDS
        assert row["loss"] == pytest.approx(row["distortion"] + row["rate"], rel=1e-6)
        assert row["rate"] > 0 and row["seconds"] >= 0 and row["lr"] == 3e-3


def test_the_recipe_of_a_run_is_resolved_and_makes_it_again(picture_run: Path, tmp_path: Path) -> None:
    recipe = recipes.load(str(picture_run / "recipe.toml"))
    assert recipe.training.seed == 3 and recipe.versions.keys() == {"nelbo", "torch", "python"}
    assert recipe.model.likelihood and recipe.model.encoder and recipe.model.decoder
    again = tmp_path / "again"
    nelbo.fit(recipe.data.source, recipe, out=again)
    for name in (
        "model/weights.safetensors",
        "model/model.json",
        "recipe.toml",
        "sample_2.png",
        "reconstruction_2.png",
    ):
        assert (again / name).read_bytes() == (picture_run / name).read_bytes(), name
    assert without_seconds(metrics(again)) == without_seconds(metrics(picture_run))


def test_the_pictures_of_a_run_show_the_data_as_they_are(picture_run: Path, pictures: np.ndarray) -> None:
    zoom, step = 7, 7 * SIDE + PAD
    sheet = np.asarray(Image.open(picture_run / "reconstruction_2.png"))
    assert sheet.shape == (2 * step + PAD, 8 * step + PAD)
    for i in range(8):
        cell = sheet[PAD : PAD + zoom * SIDE, PAD + i * step : PAD + i * step + zoom * SIDE]
        np.testing.assert_array_equal(cell[::zoom, ::zoom], pictures[i])
    assert Image.open(picture_run / "sample_2.png").size == (8 * step + PAD, 8 * step + PAD)
    assert Image.open(picture_run / "loss_curve_2.png").size[0] > 600


def test_the_report_needs_no_other_file(picture_run: Path, model: Model) -> None:
    page = (picture_run / "report.html").read_text("utf-8")
    assert not re.search(r"https?://|@import|url\(|<script|<link", page)
    sources = re.findall(r'src="([^"]{5})', page)
    assert len(sources) == 3 and set(sources) == {"data:"}
    assert "$" not in re.sub(r"base64,[^\"]*", "", page)
    count = sum(p.numel() for p in model.vae.parameters())
    for words in (
        f"{count:,} parameters",
        "learning_rate = 0.003",
        "hidden = [32]",
        "is not a density",
        "nats per example",
    ):
        assert words in page, words
    for row in metrics(picture_run):
        assert f"{row['loss']:.2f}" in page
    for name in ("loss", "distortion", "rate", "seconds", "lr"):
        assert f"<dt>{name}</dt>" in page


def test_train_prints_plain_lines_where_there_is_no_terminal(run: Run, picture_file: Path, tmp_path: Path) -> None:
    code, out, err = run("train", picture_file, "--out", tmp_path / "r", "--epochs", 2, *TINY)
    assert code == 0 and "Data: " in err
    lines = out.splitlines()
    words = ["Average training loss", "Test set loss"] * 2
    assert [
        f"====> Epoch: {1 + i // 2} {word}: " in line for i, (word, line) in enumerate(zip(words, lines, strict=False))
    ]
    assert all(line.startswith("====> Epoch: ") for line in lines[:4])
    assert lines[4] == f"Done. Wrote {tmp_path / 'r'}/: pictures, report.html, model/"


def test_train_prints_json(run: Run, picture_file: Path, tmp_path: Path) -> None:
    result = run("train", picture_file, "--out", tmp_path / "r", "--epochs", 2, *TINY, "--json")
    *rows, end = map(json.loads, result.out.splitlines())
    assert rows == metrics(tmp_path / "r")
    assert end == {"reason": "done", "out": str(tmp_path / "r"), "best": rows[3]["loss"], "best_epoch": 2}


def test_train_on_an_array_of_pictures_and_of_vectors(
    run: Run, pictures: np.ndarray, vectors: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("squares.npy", pictures)
    np.savez("rows.npz", x=vectors)
    for file, shape in (("squares.npy", (1, SIDE, SIDE)), ("rows.npz", (4,))):
        assert run("train", file, "--epochs", 1, *TINY, "-q").code == 0
        out = Path("results") / Path(file).stem
        assert nelbo.load(out).schema.shape == shape
        assert {f"{name}_1.png" for name in ("reconstruction", "sample", "loss_curve")} <= set(contents(out))


@pytest.mark.filterwarnings("default")
def test_train_on_a_folder_of_pictures(run: Run, pictures: np.ndarray, tmp_path: Path) -> None:
    for i, value in enumerate(pictures[:40]):
        path = tmp_path / "shapes" / ("left" if i % 2 else "right") / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(value).resize((9 + i % 3, 12)).save(path)
    (tmp_path / "shapes" / "left" / "bad.png").write_bytes(b"")
    arguments = ["train", tmp_path / "shapes", "--out", tmp_path / "r", "--epochs", 1, *TINY]
    result = run(*arguments, "--size", "8x6", "--resize-mode", "pad", "--val-fraction", 0.25, "--skip-unreadable", "-q")
    assert result.code == 0 and "1 of 41 pictures cannot be read and are left out" in result.err
    assert result.err.startswith("Warning: ") and result.err.count("\n") == 1
    m = nelbo.load(tmp_path / "r")
    assert (m.schema.shape, m.schema.classes, m.schema.resize_mode) == ((1, 8, 6), ("left", "right"), "pad")
    data = json.loads(run("evaluate", tmp_path / "r", "--json").out)
    assert data["n"] == 10 and data["distortion"] == pytest.approx(metrics(tmp_path / "r")[-1]["distortion"], rel=1e-6)


def test_options_reach_the_recipe(run: Run, picture_file: Path, tmp_path: Path) -> None:
    options = ["--lr", 1e-2, "--schedule", "cosine", "--beta", 2, "--seed", 5, "--max-grad-norm", 3, "--ema-decay", 0.9]
    code, _, err = run(
        "train", picture_file, "--out", tmp_path / "r", "--epochs", 1, *TINY, *options, "--recipe", "mnist", "-q"
    )
    assert (code, err) == (0, "")
    recipe = nelbo.load(tmp_path / "r").recipe
    settings = recipe.training
    assert (settings.learning_rate, settings.seed, settings.max_grad_norm, settings.ema_decay) == (1e-2, 5, 3, 0.9)
    assert type(settings.schedule).__name__ == "Cosine" and recipe.data.source == str(picture_file)
    assert settings.optimizer == recipes.load("mnist").training.optimizer
    assert recipe.objective.options["beta"] == 2


def test_a_folder_with_files_is_refused_naming_both_ways(run: Run, begun: Path, picture_file: Path) -> None:
    before = contents(begun)
    code, out, err = run("train", picture_file, "--out", begun, "--epochs", 1, *TINY, "-q")
    assert (code, out) == (2, "") and err.count("\n") == 1
    assert err.startswith("Error: ") and "--resume" in err and "--force" in err and str(begun) in err
    assert contents(begun) == before


def test_force_replaces_the_run_and_keeps_the_users_files(run: Run, begun: Path, picture_file: Path) -> None:
    mine = [
        "notes.txt",
        "holiday_2024.png",
        "sample_of_mine.png",
        "model/card.md",
        "checkpoints/mine.bin",
        "sub/x_1.png",
    ]
    for name in mine:
        (begun / name).parent.mkdir(exist_ok=True)
        (begun / name).write_text(name)
    (begun / "sample_9.png").write_text("of an earlier run")
    assert run("train", picture_file, "--out", begun, "--force", "--epochs", 1, "--seed", 8, *TINY, "-q").code == 0
    after = contents(begun)
    assert [after[name] for name in mine] == [name.encode() for name in mine]
    assert "sample_9.png" not in after
    assert nelbo.load(begun).recipe.training.seed == 8 and len(metrics(begun)) == 2


def test_force_loses_nothing_when_the_new_run_cannot_begin(run: Run, begun: Path, tmp_path: Path) -> None:
    before = contents(begun)
    np.save(tmp_path / "nan.npy", np.full((9, 3), np.nan))
    for arguments in ([tmp_path / "missing"], [tmp_path / "nan.npy"], [begun / "x.npy", "--set", "modle.x=1"]):
        code, _, err = run("train", *arguments, "--out", begun, "--force", "-q")
        assert code == 2 and err.startswith("Error: ")
    assert contents(begun) == before


def test_resuming_a_finished_run_changes_nothing(run: Run, begun: Path) -> None:
    before = contents(begun)
    assert run("train", "--resume", "--out", begun).code == 0
    assert contents(begun) == before


def test_resume_with_more_epochs_goes_on(run: Run, begun: Path, picture_file: Path) -> None:
    rows, first = metrics(begun), (begun / "sample_1.png").read_bytes()
    assert run("train", picture_file, "--out", begun, "--resume", "--epochs", 3, "-q") == (0, "", "")
    after = metrics(begun)
    assert after[:2] == rows and [row["epoch"] for row in after] == [1, 1, 2, 2, 3, 3]
    assert (begun / "sample_1.png").read_bytes() == first and (begun / "sample_3.png").is_file()
    assert nelbo.load(begun).recipe.training.epochs == 3


def test_what_a_message_advises_on_resuming_is_accepted_and_named(run: Run, begun: Path) -> None:
    code, _, err = run("train", "--out", begun, "--resume", "--epochs", 3, "--lr", 1e-4, "--clip", 1)
    assert code == 0 and "learning_rate was" in err and "max_grad_norm was 0.0" in err
    assert nelbo.load(begun).recipe.training.learning_rate == 1e-4


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (["--batch-size", 9], "training.batch_size"),
        (["--latent-dim", 9], "model.latent.dim"),
        (["--seed", 1], "training.seed"),
        (["--recipe", "tutorial"], "begun with other settings"),
        (["--val-fraction", 0.5], "data.val_fraction"),
    ],
)
def test_resume_with_another_setting_is_refused(run: Run, begun: Path, more: list[Any], named: str) -> None:
    before = contents(begun)
    code, _, err = run("train", "--out", begun, "--resume", *more)
    assert code == 2 and named in err and "--force" in err
    assert contents(begun) == before


def test_resume_of_what_is_no_run_is_refused_and_of_nothing_begins(
    run: Run, picture_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.txt").write_text("a")
    code, _, err = run("train", picture_file, "--out", tmp_path / "docs", "--resume")
    assert code == 2 and "no run" in err and "--out" in err
    assert run("train", picture_file, "--out", tmp_path / "r", "--resume", "--epochs", 1, *TINY, "-q").code == 0


def test_recipes_are_listed_shown_and_copied(run: Run, picture_file: Path, tmp_path: Path) -> None:
    listed = run("recipes").out.splitlines()
    names = ["codec", "digits", "fast", "mnist", "pictures", "series", "table", "text", "tutorial"]
    assert [line.split()[0] for line in listed] == names
    assert [*json.loads(run("recipes", "--json").out)] == names
    assert run("recipes", "show", "tutorial").out == recipes.text("tutorial")
    mine = tmp_path / "mine.toml"
    assert run("recipes", "copy", "tutorial", mine).code == 0
    assert recipes.load(str(mine)) == recipes.load("tutorial")
    mine.write_text(mine.read_text().replace("epochs = 10", "epochs = 1"))
    code, _, err = run("recipes", "copy", "mnist", mine)
    assert code == 2 and "--force" in err and "epochs = 1\n" in mine.read_text()
    assert run("train", picture_file, "--recipe", mine, "--out", tmp_path / "r", "-q").code == 0
    assert len(metrics(tmp_path / "r")) == 2
    assert run("recipes", "copy", "mnist", mine, "--force").code == 0
    assert recipes.load(str(mine)) == recipes.load("mnist")


@pytest.mark.parametrize(
    "verb",
    [
        "train",
        "info",
        "recipes",
        "recipes show",
        "recipes copy",
        "recipes fields",
        "detect",
        *model_commands.COMMANDS,
    ],
)
def test_every_verbs_help_has_examples_that_parse(run: Run, verb: str) -> None:
    code, out, _ = run(*verb.split(), "--help")
    assert code == 0 and "Examples:" in out and f"nelbo {verb}" in out
    options = set(re.findall(r"(--[a-z-]+)", out.partition("Options:")[2])) | {"--nproc_per_node", "--no-python"}
    examples = out.split("Examples:")[1].split("Options:")[0]
    if verb.split()[0] != "recipes":
        assert set(re.findall(r" (--[a-z-]+)", examples)) - {"--nproc", "--no-python"} <= options


def test_help_is_fast_because_it_imports_nothing_heavy() -> None:
    code = (
        "import sys, nelbo.cli\nsys.argv = ['nelbo', '--help']\n"
        "try: nelbo.cli.main()\nexcept SystemExit: pass\n"
        "print([m for m in ('torch', 'numpy', 'matplotlib', 'PIL', 'safetensors') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]" and "train" in done.stdout


def test_the_installed_program_runs(picture_run: Path, tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("nelbo")
    arguments = [str(program), "sample", str(picture_run), "-n", "4", "--out", "x.png"]
    done = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout == "Wrote x.png (4, 1, 8, 8)\n"
    failed = subprocess.run([program, "sample", "nowhere"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert failed.returncode == 2 and failed.stderr.startswith("Error: nowhere is not a nelbo model")
