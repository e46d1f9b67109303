"""Small trained models for the tests of what is done with a model, and the command line within this process."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

import nelbo
from fixtures import census_table
from nelbo.model import Model

# Networks this small gain nothing from a second thread, and lose a factor of 50 to it where cores are busy.
torch.set_num_threads(1)

PICTURES, SIDE, FEATURES = 200, 8, 4
NET: dict[str, Any] = {"model.encoder": {"kind": "mlp", "hidden": [32]}, "training.batch_size": 25}
GREY = {"kind": "bernoulli", "allow_soft_targets": True}


class Result(NamedTuple):
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str


Run = Callable[..., Result]


@pytest.fixture(autouse=True, scope="session")
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is decoded is kept in a folder of the tests' own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NELBO_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """The entry point, called in this process."""
    from nelbo.cli import main

    def call(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["nelbo", *map(str, arguments)])
        monkeypatch.setenv("NELBO_DEBUG", "")  # so that what --debug sets is undone
        capsys.readouterr()
        code: Any = 0
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        out, err = capsys.readouterr()
        return Result(code, out, err)

    return call


@pytest.fixture(scope="session")
def pictures() -> np.ndarray:
    """Grey pictures `(n, 8, 8)`, uint8: a bright square that is somewhere, of some brightness."""
    rng = np.random.default_rng(0)
    values = rng.integers(0, 40, (PICTURES, SIDE, SIDE), dtype=np.uint8)
    for value, (top, left), bright in zip(
        values, rng.integers(0, 5, (PICTURES, 2)), rng.integers(120, 256, PICTURES), strict=True
    ):
        value[top : top + 3, left : left + 3] = bright
    values[0, 0, 0], values[0, 0, 1] = 0, 255
    return values


@pytest.fixture(scope="session")
def picture_file(pictures: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pictures with a test split of 30 and labels in {0, 1, 2}, as `.npz`."""
    path = tmp_path_factory.mktemp("data") / "squares.npz"
    labels = np.arange(PICTURES) % 3
    np.savez(path, x_train=pictures[30:], y_train=labels[30:], x_test=pictures[:30], y_test=labels[:30])
    return path


@pytest.fixture(scope="session")
def picture_run(picture_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of 2 epochs on the pictures. Not to be changed."""
    out = tmp_path_factory.mktemp("runs") / "squares"
    overrides = {**NET, "epochs": 2, "seed": 3, "model.latent.dim": 3, "model.likelihood": GREY, "learning_rate": 3e-3}
    nelbo.fit(picture_file, out=out, **{name.replace(".", "__"): value for name, value in overrides.items()})
    return out


@pytest.fixture(scope="session")
def model(picture_run: Path) -> Model:
    """The model of that run."""
    return nelbo.load(picture_run)


@pytest.fixture(scope="session")
def density_model(pictures: np.ndarray) -> Model:
    """2 latents and a continuous Bernoulli, trained for 30 epochs on the pictures in memory."""
    overrides = {
        **NET,
        "epochs": 30,
        "learning_rate": 1e-2,
        "model.latent.dim": 2,
        "model.likelihood.kind": "continuous-bernoulli",
        "post_hoc_prior": "",
        "objective.beta": 1.0,
    }
    return nelbo.fit(pictures, **{name.replace(".", "__"): value for name, value in overrides.items()})


@pytest.fixture(scope="session")
def vectors() -> np.ndarray:
    """Correlated columns `(300, 4)` in unlike units."""
    rng = np.random.default_rng(1)
    factors = rng.normal(size=(300, 2)) @ rng.normal(size=(2, FEATURES)) + 0.1 * rng.normal(size=(300, FEATURES))
    return (factors * [1, 20, 0.01, 3] + [0, 500, -2, 40]).astype(np.float32)


@pytest.fixture(scope="session")
def vector_model(vectors: np.ndarray) -> Model:
    """3 latents and a Normal, trained for 40 epochs on the vectors."""
    overrides = {**NET, "epochs": 40, "learning_rate": 5e-3, "model.latent.dim": 3}
    return nelbo.fit(vectors, **{name.replace(".", "__"): value for name, value in overrides.items()})


@pytest.fixture(scope="session")
def people_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run on the table of people, `people.csv` beside it. Not to be changed."""
    folder = tmp_path_factory.mktemp("tables")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the identifier is left out
        nelbo.fit(census_table.write(folder / "people.csv"), out=folder / "people", **census_table.TINY)
    return folder / "people"


@pytest.fixture
def people_file(people_run: Path) -> Path:
    """The table of people."""
    return people_run.parent / "people.csv"


@pytest.fixture(scope="session")
def people_model(people_run: Path) -> Model:
    """The model of the table of people."""
    return nelbo.load(people_run)


@pytest.fixture
def quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Files go into a folder of the test's own; that an identifier is left out is known."""
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(params=["pictures", "density", "vectors"])
def case(
    request: pytest.FixtureRequest, model: Model, density_model: Model, vector_model: Model, pictures: Any, vectors: Any
) -> tuple[Model, np.ndarray]:
    """A trained model and data of its kind."""
    cases = {"pictures": (model, pictures), "density": (density_model, pictures), "vectors": (vector_model, vectors)}
    chosen, data = cases[request.param]
    return chosen, data[:40]
