"""What an error advises works: the advice is followed on the input that caused the error, and the command succeeds."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas
import pytest
from PIL import Image

from conftest import Run

TINY = ["--epochs", "1", "--epoch-size", "40", "--batch-size", "20", "-q"]
FLAT = [*TINY, "--set", "model.encoder=mlp", "--set", "model.encoder.hidden=[4]"]
RNG = np.random.default_rng(0)


class Case(NamedTuple):
    """A command that fails, the advice in its message, and the command that follows it."""

    prepare: Callable[[], object]
    command: list[str]
    advice: str
    remedied: list[str]


def table(**columns: object) -> Callable[[], object]:
    return lambda: pandas.DataFrame(columns).to_csv("t.csv", index=False)


def pictures(*sizes: int) -> Callable[[], object]:
    def write() -> None:
        Path("pictures").mkdir()
        for i in range(24):
            size = sizes[i % len(sizes)]
            Image.fromarray(RNG.integers(0, 255, (size, size), np.uint8)).save(f"pictures/{i}.png")

    return write


def damaged() -> None:
    pictures(8)()
    Path("pictures/x.png").write_text("<html>404</html>")


def bytes_of(path: str, content: bytes) -> Callable[[], object]:
    return lambda: Path(path).write_bytes(content)


def array(**arrays: np.ndarray) -> Callable[[], object]:
    return lambda: np.savez("a.npz", **arrays)


def several(*steps: Callable[[], object]) -> Callable[[], object]:
    return lambda: [step() for step in steps]


VALUES = RNG.normal(size=60).round(2)
WAVE = np.sin(np.arange(200) / 7)
SQUARES = RNG.random((60, 8, 8)).astype(np.float32)
BYTES = RNG.integers(0, 255, (60, 8, 8), np.uint8)
CLASSES = np.arange(60) % 3
CAFE = "café\n".encode("latin-1")

CASES = {
    "a long recording": Case(
        table(time=np.arange(200), v=WAVE),
        ["train", "t.csv", "--kind", "series", *FLAT],
        "--window 128",
        ["train", "t.csv", "--window", "16", *FLAT],
    ),
    "a folder with a run": Case(
        array(x_train=SQUARES),
        ["train", "a.npz", "--out", "RUN", *FLAT],
        "--force replaces its run",
        ["train", "a.npz", "--out", "RUN", "--force", *FLAT],
    ),
    "other settings": Case(
        array(x_train=SQUARES),
        ["train", "a.npz", "--out", "RUN", "--resume", "--beta", "3", *FLAT],
        "use --force",
        ["train", "a.npz", "--out", "RUN", "--force", "--beta", "3", *FLAT],
    ),
    "a device": Case(
        array(x_train=SQUARES),
        ["train", "a.npz", "--device", "cuda:99", *FLAT],
        "--device cpu",
        ["train", "a.npz", "--device", "cpu", *FLAT],
    ),
    "pictures of several sizes": Case(
        pictures(8, 12),
        ["train", "pictures", *FLAT],
        "--size 64",
        ["train", "pictures", "--size", "8", *FLAT],
    ),
    "a damaged picture": Case(
        damaged,
        ["train", "pictures", *FLAT],
        "--skip-unreadable",
        ["train", "pictures", "--skip-unreadable", *FLAT],
    ),
    "a damaged picture to embed": Case(
        damaged,
        ["embed", "PICTURES", "pictures"],
        "--skip-unreadable",
        ["embed", "PICTURES", "pictures", "--skip-unreadable"],
    ),
    "lines that are no UTF-8": Case(
        bytes_of("l.txt", b"an abc\n" * 30 + CAFE),
        ["train", "l.txt", *TINY],
        "--skip-unreadable",
        ["train", "l.txt", "--skip-unreadable", *TINY, "--set", "model.encoder.width=8"],
    ),
    "dates of two readings": Case(
        table(day=[f"0{1 + i % 9}/0{1 + i % 7}/2021" for i in range(60)], v=VALUES),
        ["train", "t.csv", *TINY],
        "--date-format",
        ["train", "t.csv", "--date-format", "%d/%m/%Y", *TINY],
    ),
    "a model in place of a model": Case(
        array(x_train=BYTES),
        ["prior", "fit", "COPY", "a.npz", "--kind", "normal"],
        "--force replaces it",
        ["prior", "fit", "COPY", "a.npz", "--kind", "normal", "--force"],
    ),
    "a likelihood that is no density": Case(
        array(x_train=BYTES),
        ["evaluate", "PICTURES", "a.npz", "--samples", "5"],
        "--set model.likelihood=continuous-bernoulli",
        ["train", "a.npz", "--set", "model.likelihood=continuous-bernoulli", *FLAT],
    ),
    "a prior without its posterior": Case(
        array(x_train=SQUARES),
        ["train", "a.npz", "--set", "model.latent.prior=metric", *FLAT],
        "--preset rhvae",
        ["train", "a.npz", "--preset", "rhvae", *FLAT],
    ),
    "data without labels for a condition": Case(
        array(x_train=SQUARES, y_train=np.where(np.arange(60) % 2, CLASSES, -1)),
        ["train", "a.npz", "--condition", "label", *FLAT],
        "--preset m2 --set objective.classes=3",
        ["train", "a.npz", "--preset", "m2", "--set", "objective.classes=3", "--force", *FLAT],
    ),
    "a condition on a model without one": Case(
        array(x_train=SQUARES, y_train=CLASSES),
        ["sample", "PICTURES", "-n", "2", "--condition", "1"],
        "train a new one with it",
        ["train", "a.npz", "--condition", "label", *FLAT],
    ),
    "a quantile": Case(
        several(),
        ["augment", "PEOPLE", "-n", "5", "--max-nll-quantile", "99"],
        "such as 0.99",
        ["augment", "PEOPLE", "-n", "5", "--max-nll-quantile", "0.99", "--out", "rows.csv"],
    ),
    "columns to describe": Case(
        several(table(a=VALUES, b=np.arange(60) % 3), bytes_of("c.toml", b"[columns.b]\nkind = 'kategorical'\n")),
        ["train", "t.csv", "--columns", "c.toml", *TINY],
        "give one of continuous, count, binary, categorical",
        ["train", "t.csv", *TINY, "--set", "model.encoder.width=8"],
    ),
    "a word that is close": Case(
        array(x_train=SQUARES),
        ["train", "a.npz", "--preset", "betavae", *FLAT],
        "did you mean beta-vae",
        ["train", "a.npz", "--preset", "beta-vae", *FLAT],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_advice_of_an_error_works(
    name: str, run: Run, picture_run: Path, people_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    case = CASES[name]
    case.prepare()
    words = case.command + case.remedied
    if "RUN" in words:
        shutil.copytree(picture_run, "RUN")
    if "COPY" in words:
        shutil.copytree(picture_run, "COPY")
    places = {"PICTURES": str(picture_run), "GREY": str(picture_run), "PEOPLE": str(people_run)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        code, _, err = run(*(places.get(word, word) for word in case.command))
        assert code == 2 and case.advice in err.splitlines()[-1], err
        code, _, err = run(*(places.get(word, word) for word in case.remedied))
    assert code == 0, err
