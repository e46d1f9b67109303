"""Bad input on the command line: one line that says what, where and what to do; exit code 2; nothing lost."""

from __future__ import annotations

import errno
import json
import os
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from conftest import Run

TINY = ["--epochs", 1, "--set", "model.encoder=mlp", "--set", "model.encoder.hidden=[4]", "-q"]
VERBS = ["evaluate", "sample", "reconstruct", "embed", "interpolate", "traverse", "plot-latent", "detect"]


@pytest.fixture(autouse=True)
def in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command runs in a folder of its own."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def user_error_of(run: Run, tmp_path: Path) -> Callable[..., str]:
    """Run a command that must fail as a user's mistake does, and leave what was there; returns the message."""

    def call(*arguments: object) -> str:
        before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
        code, out, err = run(*arguments)
        assert code == 2, err
        assert out == "" and err.startswith("Error: ") and err.count("\n") == 1, err
        assert "Traceback" not in err and "  File" not in err
        assert {p: p.read_bytes() for p in before if p.is_file()} == before, "something was lost"
        assert [p for p in tmp_path.rglob("*.tmp")] == []
        return err

    return call


Refused = Callable[..., str]


@pytest.fixture
def copied(picture_run: Path, tmp_path: Path) -> Path:
    """A model folder to be damaged."""
    shutil.copytree(picture_run / "model", tmp_path / "copied")
    return tmp_path / "copied"


def edit(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    values = json.loads((folder / "model.json").read_text())
    change(values)
    (folder / "model.json").write_text(json.dumps(values))


@pytest.mark.parametrize("verb", VERBS)
def test_a_folder_that_is_no_model(user_error_of: Refused, verb: str) -> None:
    Path("empty").mkdir()
    Path("file.txt").write_text("x")
    for name in ("empty", "missing", "file.txt"):
        assert f"{name} is not a nelbo model: give a folder" in user_error_of(verb, name)


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
@pytest.mark.parametrize("file", ["weights.safetensors", "model.json"])
def test_a_truncated_model(user_error_of: Refused, copied: Path, file: str, keep: int) -> None:
    content = (copied / file).read_bytes()
    (copied / file).write_bytes(content[: keep if keep >= 0 else len(content) - 9])
    message = user_error_of("sample", copied)
    assert file in message and ("train again" in message or "restore the file" in message)


def test_a_model_without_weights(user_error_of: Refused, copied: Path) -> None:
    (copied / "weights.safetensors").unlink()
    assert "weights.safetensors" in user_error_of("sample", copied)


@pytest.mark.parametrize("key", ["format", "schema", "recipe", "rates"])
@pytest.mark.parametrize("value", [None, 3, {}, [], "x"])
def test_a_damaged_description(user_error_of: Refused, copied: Path, key: str, value: Any) -> None:
    edit(copied, lambda values: values.update({key: value}) if value is not None else values.pop(key))
    assert str(copied) in user_error_of("traverse", copied)


def test_a_model_of_another_format(user_error_of: Refused, copied: Path) -> None:
    edit(copied, lambda values: values.update(format=2))
    message = user_error_of("sample", copied)
    assert "format 2" in message and "reads 1" in message


def test_a_model_with_a_component_that_is_not_known_here(user_error_of: Refused, copied: Path) -> None:
    edit(copied, lambda values: values["recipe"]["model"]["encoder"].update(kind="conw"))
    assert "did you mean conv?" in user_error_of("sample", copied)


def test_weights_of_another_network(user_error_of: Refused, copied: Path) -> None:
    tensors = load_file(copied / "weights.safetensors")
    name = next(iter(tensors))
    save_file({k: v for k, v in tensors.items() if k != name}, copied / "weights.safetensors", {"values": "{}"})
    assert "weights" in user_error_of("sample", copied)


@pytest.mark.parametrize("verb", ["evaluate", "reconstruct", "embed", "plot-latent", "detect"])
def test_a_model_trained_on_another_shape(user_error_of: Refused, copied: Path, vectors: np.ndarray, verb: str) -> None:
    np.save("vectors.npy", vectors)
    np.save("wide.npy", np.zeros((5, 8, 9), np.uint8))
    for file, shape in (("vectors.npy", "(4,)"), ("wide.npy", "(1, 8, 9)")):
        message = user_error_of(verb, copied, file)
        assert file in message and shape in message and "(1, 8, 8)" in message


def test_pictures_for_a_model_of_vectors(user_error_of: Refused, vector_model: Any) -> None:
    vector_model.save("model")
    Path("pictures").mkdir()
    Image.new("L", (4, 4)).save("pictures/a.png")
    assert "(4,)" in user_error_of("embed", "model", "pictures")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--recipe", "tutoral"], ["'tutoral'", "did you mean tutorial?"]),
        (["--recipe", "missing.toml"], ["missing.toml"]),
        (["--set", "training.epoch=3"], ["training.epoch", "did you mean epochs?"]),
        (["--set", "epochs=many"], ["training.epochs = 'many'", "a whole number"]),
        (["--set", "epochs"], ["--set epochs", "KEY=VALUE"]),
        (["--epochs", 0], ["training.epochs = 0", "1 or more"]),
        (["--lr", -1], ["training.learning_rate = -1", "above 0"]),
        (["--lr", "nan"], ["training.learning_rate = nan", "finite"]),
        (["--schedule", "cosin"], ["'cosin'", "did you mean cosine?"]),
        (["--latent-dim", 0], ["model.latent.dim = 0", "1 or more"]),
        (["--beta", -2], ["objective.beta = -2", "0 or more"]),
        (["--precision", "16"], ["training.precision='16'", "bf16"]),
        (["--device", "tpu"], ["device='tpu'", "cpu"]),
        (["--device", "cuda:63"], ["device='cuda:63'", "not on this machine"]),
        (["--val-fraction", 1.5], ["val_fraction=1.5", "0 <"]),
        (["--size", "big"], ["size='big'", "64"]),
        (["--resize-mode", "squash"], ["data.resize_mode = 'squash'", "crop"]),
        (["--set", "model.likelihood=bernoulli"], ["0 and 1", "--set model.likelihood.allow_soft_targets=true"]),
    ],
)
def test_an_impossible_setting(
    user_error_of: Refused, picture_file: Path, arguments: list[Any], words: list[str]
) -> None:
    message = user_error_of("train", picture_file, "--out", "r", *arguments)
    assert [word for word in words if word not in message] == [], message
    assert not Path("r/recipe.toml").exists()


@pytest.mark.parametrize("likelihood", ["bernoulli", "continuous-bernoulli"])
def test_values_that_the_likelihood_does_not_take(
    user_error_of: Refused, run: Run, vectors: np.ndarray, likelihood: str
) -> None:
    np.save("v.npy", vectors)
    message = user_error_of("train", "v.npy", "--out", "r", "--set", f"model.likelihood={likelihood}", *TINY)
    assert "likelihood takes" in message and "--set model.likelihood=normal" in message
    assert run("train", "v.npy", "--out", "r", "--force", "--set", "model.likelihood=normal", *TINY).code == 0


def test_the_remedy_for_grey_values_works(run: Run, picture_file: Path) -> None:
    choice = ["--set", "model.likelihood=bernoulli", "--set", "model.likelihood.allow_soft_targets=true"]
    assert run("train", picture_file, "--out", "r", *choice, *TINY).code == 0
    code, _, err = run("evaluate", "r", "--samples", 3)
    assert code == 2 and err.count("\n") == 1
    remedy = err.split("train with ")[1].split(", or")[0].split()
    assert run("train", picture_file, "--out", "s", *remedy, *TINY).code == 0
    assert "log_likelihood" in json.loads(run("evaluate", "s", "--samples", 3, "--json").out)


@pytest.mark.parametrize("rows", [0, 1])
def test_too_few_rows(user_error_of: Refused, rows: int) -> None:
    np.save("x.npy", np.zeros((rows, 4)))
    assert "x.npy" in user_error_of("train", "x.npy", "--out", "r")


def test_values_that_are_not_finite(user_error_of: Refused, copied: Path) -> None:
    x = np.ones((9, 8, 8))
    x[3, 1, 2] = np.nan
    np.save("x.npy", x)
    for arguments in (["train", "x.npy", "--out", "r"], ["evaluate", copied, "x.npy"]):
        message = user_error_of(*arguments)
        assert "x.npy" in message and "[3" in message and "NaN" in message


def test_data_that_is_not_there(user_error_of: Refused, copied: Path) -> None:
    Path("empty").mkdir()
    for name in ("missing", "empty", "missing.npy"):
        for arguments in (["train", name, "--out", "r"], ["embed", copied, name]):
            assert name in user_error_of(*arguments)
    assert "did you mean 'mnist'?" in user_error_of("train", "mnits", "--out", "r")
    assert "no data: give it" in user_error_of("train", "--out", "r")


def test_a_damaged_picture_among_good_ones(user_error_of: Refused, pictures: np.ndarray) -> None:
    Path("p").mkdir()
    for i in range(4):
        Image.fromarray(pictures[i]).save(f"p/{i}.png")
    content = Path("p/2.png").read_bytes()
    Path("p/2.png").write_bytes(content[: len(content) // 2])
    message = user_error_of("train", "p", "--out", "r")
    assert "p/2.png" in message and "1 of 4" in message and "--skip-unreadable" in message


def png(side: int) -> bytes:
    """The beginning of a PNG of so many pixels, and none of them."""
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)), (b"IDAT", b""), (b"IEND", b""))
    made = (struct.pack(">I", len(c)) + name + c + struct.pack(">I", zlib.crc32(name + c)) for name, c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(made)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "unknown format"),
        (b"no picture", "unknown format"),
        (png(8), "truncated"),
        (
            png(30_000),
            "is too large (Image size (900000000 pixels) exceeds limit of 178956970 pixels): shrink or remove it",
        ),
    ],
)
def test_bad_pictures_are_named_and_left_out_where_that_is_asked_for(
    user_error_of: Refused, run: Run, pictures: np.ndarray, copied: Path, content: bytes, says: str
) -> None:
    Path("p").mkdir()
    for i in range(4):
        Image.fromarray(pictures[i]).save(f"p/{i}.png")
    Path("p/2.png").write_bytes(content)
    message = user_error_of("train", "p", "--out", "r")
    assert "p: 1 of 4 pictures cannot be read" in message and "p/2.png" in message and says in message
    assert says in user_error_of("embed", copied, "p/2.png")
    code, _, err = run("train", "p", "--out", "r", "--skip-unreadable", *TINY)
    assert code == 0 and err.startswith(
        "Warning: p: 1 of 4 pictures cannot be read and are left out; the first is p/2.png"
    )
    assert err.count("\n") == 1


def test_folders_that_are_no_set_of_pictures(user_error_of: Refused, pictures: np.ndarray) -> None:
    Path("p").mkdir()
    Path("p/notes.txt").write_text("x")
    assert "p has no pictures: give a folder with files such as .png" in user_error_of("train", "p", "--out", "r")
    Image.fromarray(pictures[0]).save("p/0.png")
    assert "p has 1 row: give at least 2" in user_error_of("train", "p", "--out", "r")
    assert "p/0.png has 1 row: give at least 2" in user_error_of("train", "p/0.png", "--out", "r")
    Image.fromarray(pictures[1][:5]).save("p/1.png")
    assert (
        "p/0.png is 8x8, p/1.png is 5x8" in (message := user_error_of("train", "p", "--out", "r"))
        and "--size" in message
    )
    Path("labels.csv").write_text("file,label\n0.png,a\n")
    message = user_error_of("train", "p", "--size", 8, "--labels", "labels.csv", "--out", "r")
    assert "labels.csv: 1 of 2 pictures have no row" in message and "p/1.png" in message
    assert "augment='flop'" in user_error_of("train", "p", "--size", 8, "--augment", "flop", "--out", "r")


def test_an_output_that_cannot_be_written(user_error_of: Refused, run: Run, picture_file: Path, copied: Path) -> None:
    Path("file").write_text("mine")
    for out in ("file", "file/below", "file/a/b"):
        message = user_error_of("train", picture_file, "--out", out, *TINY)
        assert f"cannot write {out}" in message and "--out" in message
    for verb, name in (("sample", "x.png"), ("embed", "x.npy"), ("traverse", "x.png")):
        assert "cannot write file/" in user_error_of(verb, copied, "--out", f"file/{name}")


@pytest.mark.parametrize(
    "verb", ["sample", "reconstruct", "embed", "interpolate", "traverse", "plot-latent", "evaluate"]
)
def test_no_space_is_left(
    user_error_of: Refused, verb: str, copied: Path, picture_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "replace", full)
    message = user_error_of(verb, copied, "--out", {"embed": "x.npy", "evaluate": "x.json"}.get(verb, "x.png"))
    assert "No space left on device" in message and "--out" in message
    assert not list(Path().glob("*x.*"))


def test_no_space_is_left_while_training(
    user_error_of: Refused, run: Run, picture_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("train", picture_file, "--out", "r", *TINY).code == 0
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        message = user_error_of("train", "--out", "r", "--resume", "--epochs", 3, "-q")
        assert "No space left on device" in message
    assert run("evaluate", "r").code == 0
    assert run("train", "--out", "r", "--resume", "--epochs", 3, "-q").code == 0
    assert len(Path("r/metrics.jsonl").read_text().splitlines()) == 6


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sample", "-n", 0], "at least 1 sample"),
        (["sample", "--temperature", 0], "temperature=0"),
        (["sample", "--temperature", "nan"], "temperature=nan"),
        (["sample", "--out", "x.jpg"], ".png, .npy or .csv"),
        (["embed", "--out", "x.png"], ".npy or .csv"),
        (["traverse", "--out", "x.npy"], ".png"),
        (["traverse", "--steps", 1], "steps=1"),
        (["traverse", "--span", "inf"], "span=inf"),
        (["traverse", "--item", "missing.png"], "missing.png"),
        (["plot-latent", "--out", "x.csv"], ".png"),
        (["reconstruct", "-n", 0], "1 or more"),
        (["interpolate", "0"], "2 items"),
        (["interpolate", "0", "1", "--steps", 1], "steps=1: give at least 2 items and 2 to"),
        (["interpolate", "0", "99"], "30 rows"),
        (["interpolate", "0", "missing.png"], "missing.png"),
    ],
)
def test_an_impossible_request(user_error_of: Refused, copied: Path, arguments: list[Any], words: str) -> None:
    verb, *rest = arguments
    assert words in user_error_of(verb, copied, *rest)
    assert not list(Path().glob("x.*"))


def test_debug_shows_the_whole_error(run: Run) -> None:
    with pytest.raises(ValueError, match="not a nelbo model"):
        run("--debug", "sample", "missing")
