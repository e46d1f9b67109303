"""The verbs that use a model: what they write is what the model says, in the form that the file's ending names."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import SIDE, Run
from nelbo.experiment.run import load_test_data
from nelbo.model import Model
from nelbo.plotting import images
from nelbo.plotting.images import PAD

ZOOM = 7
STEP = ZOOM * SIDE + PAD


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every verb writes into a folder of its own."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def test_pictures(pictures: np.ndarray) -> np.ndarray:
    """The pictures of the file's own test split."""
    return pictures[:30]


@pytest.fixture
def vector_folder(vector_model: Model, vectors: np.ndarray, tmp_path: Path) -> Iterator[Path]:
    """The vectors' model and their data, saved."""
    vector_model.save(tmp_path / "vector_model")
    np.save("vectors.npy", vectors)
    yield tmp_path / "vector_model"


@pytest.fixture
def density_folder(density_model: Model, pictures: np.ndarray, tmp_path: Path) -> Path:
    """The model of 2 latents, and its data, saved."""
    density_model.save(tmp_path / "density_model")
    np.save("squares.npy", pictures)
    return tmp_path / "density_model"


def cells(path: str | Path, columns: int = 8) -> np.ndarray:
    """The pictures on a sheet, `(n, side, side)`, each checked to be enlarged without a change."""
    sheet = np.asarray(Image.open(path))
    assert (sheet.shape[1] - PAD) == columns * STEP and (sheet.shape[0] - PAD) % STEP == 0
    found = []
    for top in range(PAD, sheet.shape[0] - PAD, STEP):
        for left in range(PAD, sheet.shape[1] - PAD, STEP):
            cell = sheet[top : top + ZOOM * SIDE, left : left + ZOOM * SIDE]
            np.testing.assert_array_equal(cell, cell[::ZOOM, ::ZOOM].repeat(ZOOM, 0).repeat(ZOOM, 1))
            found.append(cell[::ZOOM, ::ZOOM])
    return np.stack(found)


def shown(model: Model, values: np.ndarray) -> np.ndarray:
    return images.pixels(values, model.schema)[..., 0]


def test_evaluate(run: Run, picture_run: Path, picture_file: Path, model: Model) -> None:
    expected = model.evaluate(picture_file, seed=3)
    for arguments in ([picture_run], [picture_run / "model"], [picture_run, picture_file, "--seed", 3]):
        code, out, err = run("evaluate", *arguments, "--json", "--out", "e.json")
        assert (code, err) == (0, "") and json.loads(out) == expected
        assert json.loads(Path("e.json").read_text()) == expected
    assert json.loads(run("evaluate", picture_run, "--seed", 4, "--json").out) != expected
    lines = run("evaluate", picture_run).out.splitlines()
    assert [line.split()[0] for line in lines] == ["n", "loss", "distortion", "rate"]
    assert float(lines[1].split()[1]) == pytest.approx(expected["loss"], abs=1e-4)


def test_evaluate_with_importance_samples(run: Run, density_folder: Path, density_model: Model) -> None:
    result = json.loads(run("evaluate", density_folder, "squares.npy", "--samples", 5, "--seed", 1, "--json").out)
    assert result == density_model.evaluate("squares.npy", 5, 1)
    assert -result["log_likelihood"] < result["loss"]


def test_sample(run: Run, picture_run: Path, model: Model) -> None:
    values = model.sample(10, seed=4, temperature=0.5)
    options = ["-n", 10, "--seed", 4, "--temperature", 0.5]
    code, out, err = run("sample", picture_run, *options, "--out", "s.npy", "--json")
    assert (code, json.loads(out), err) == (0, {"out": "s.npy", "shape": [10, 1, SIDE, SIDE]}, "")
    np.testing.assert_array_equal(np.load("s.npy"), values)
    assert run("sample", picture_run, *options, "--out", "new/s.png").out == f"Wrote new/s.png {values.shape}\n"
    np.testing.assert_array_equal(cells("new/s.png")[:10], shown(model, values))
    assert not cells("new/s.png")[10:].any()
    run("sample", picture_run, *options, "--out", "s.csv")
    np.testing.assert_allclose(np.loadtxt("s.csv", delimiter=","), values.reshape(10, -1), rtol=1e-7)
    assert run("sample", picture_run).out == "Wrote sample.png (64, 1, 8, 8)\n"


def test_the_same_seed_writes_the_same_file(run: Run, picture_run: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run("sample", picture_run, "--seed", seed, "--out", f"{name}.png", "--sample-likelihood")
    a, b, c = (Path(f"{name}.png").read_bytes() for name in "abc")
    assert a == b != c


def test_reconstruct(run: Run, picture_run: Path, model: Model, test_pictures: np.ndarray) -> None:
    remade = model.reconstruct(test_pictures)
    assert run("reconstruct", picture_run, "-n", 8).out == (
        "Wrote reconstruction.png (8, 1, 8, 8): the first 8 of 30; use -n for more\n"
    )
    sheet = cells("reconstruction.png")
    np.testing.assert_array_equal(sheet, np.concatenate([test_pictures[:8], shown(model, remade[:8])]))
    run("reconstruct", picture_run, "-n", 3, "--out", "three.png")
    np.testing.assert_array_equal(cells("three.png", 3)[:3], test_pictures[:3])
    run("reconstruct", picture_run, "-n", 11, "--out", "eleven.png")
    lines = cells("eleven.png").reshape(4, 8, SIDE, SIDE)
    np.testing.assert_array_equal(lines[[0, 2]].reshape(-1, SIDE, SIDE)[:11], test_pictures[:11])
    np.testing.assert_array_equal(lines[[1, 3]].reshape(-1, SIDE, SIDE)[:11], shown(model, remade[:11]))
    assert not lines[2:, 3:].any()
    result = json.loads(run("reconstruct", picture_run, "--out", "r.npy", "--json").out)
    assert result == {"out": "r.npy", "shape": [30, 1, SIDE, SIDE]}
    np.testing.assert_array_equal(np.load("r.npy"), remade)


def test_reconstruct_shows_all_or_says_how_many(run: Run, picture_run: Path, pictures: np.ndarray) -> None:
    assert run("reconstruct", picture_run).out == "Wrote reconstruction.png (30, 1, 8, 8)\n"
    np.save("many.npy", pictures)
    for verb in ("reconstruct", "art contact-sheet"):
        out = run(*verb.split(), picture_run, "many.npy", "--out", "sheet.png").out
        assert out.endswith(": the first 64 of 200; use -n for more\n"), verb
    assert json.loads(run("reconstruct", picture_run, "many.npy", "--json").out)["of"] == 200


def test_reconstruct_a_folder_of_other_sizes(run: Run, picture_run: Path, model: Model, pictures: np.ndarray) -> None:
    Path("mine").mkdir()
    for i in range(3):
        Image.fromarray(pictures[i]).resize((20, 12)).convert("RGB").save(f"mine/{i}.jpg")
    assert run("reconstruct", picture_run, "mine", "--out", "r.png").code == 0
    sheet = cells("r.png", 3)
    rows = model.as_dataset("mine")
    np.testing.assert_array_equal(sheet[:3], (rows.batch(torch.arange(3))[:, 0] * 255).round().byte().numpy())


def test_embed(run: Run, picture_run: Path, model: Model, test_pictures: np.ndarray) -> None:
    codes = model.embed(test_pictures)
    assert json.loads(run("embed", picture_run, "--json").out) == {"out": "embedding.npy", "shape": [30, 3]}
    np.testing.assert_array_equal(np.load("embedding.npy"), codes)
    run("embed", picture_run, "--out", "e.csv")
    with Path("e.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    assert list(rows[0]) == ["row", "z0", "z1", "z2", "label"]
    assert [int(row["label"]) for row in rows] == [i % 3 for i in range(30)]
    np.testing.assert_allclose([[float(row[f"z{i}"]) for i in range(3)] for row in rows], codes, rtol=1e-7)


def test_embed_writes_any_class_name_and_none(run: Run, picture_run: Path, pictures: np.ndarray) -> None:
    names = ['a, "b"', "c\nd", "é"]
    np.savez("named.npz", x=pictures[:6], y=np.array([names[i % 3] for i in range(6)]))
    np.save("bare.npy", pictures[:6])
    for file, labels in (("named.npz", [names[i % 3] for i in range(6)]), ("bare.npy", [None] * 6)):
        assert run("embed", picture_run, file, "--out", "e.csv").code == 0
        with Path("e.csv").open(newline="") as table:
            assert [row.get("label") for row in csv.DictReader(table)] == labels


def test_interpolate(run: Run, picture_run: Path, model: Model, test_pictures: np.ndarray) -> None:
    values = model.interpolate(test_pictures[2], test_pictures[0], test_pictures[7], steps=4)
    code, out, _ = run("interpolate", picture_run, 2, 0, 7, "--steps", 4, "--out", "way.png", "--json")
    assert code == 0
    assert json.loads(out) == {"out": "way.png", "shape": [7, 1, SIDE, SIDE], "animation": "way.gif"}
    np.testing.assert_array_equal(cells("way.png", 7), shown(model, values))
    animation: Any = Image.open("way.gif")
    assert animation.n_frames == 12 and animation.info["loop"] == 0
    for frame, i in enumerate([0, 1, 2, 3, 4, 5, 6, 5, 4, 3, 2, 1]):
        animation.seek(frame)
        cell = np.asarray(animation.convert("L"))[PAD:-PAD:ZOOM, PAD:-PAD:ZOOM]
        np.testing.assert_allclose(cell.astype(int), shown(model, values)[i], atol=3)
    assert "interpolation.gif" in run("interpolate", picture_run).out and Path("interpolation.png").is_file()


def test_interpolate_between_files(run: Run, picture_run: Path, model: Model, pictures: np.ndarray) -> None:
    for i in range(2):
        Image.fromarray(pictures[i]).save(f"{i}a.png")
    assert run("interpolate", picture_run, "0a.png", "1a.png", "--out", "w.npy").out == "Wrote w.npy (10, 1, 8, 8)\n"
    np.testing.assert_array_equal(np.load("w.npy"), model.interpolate(pictures[0], pictures[1]))
    assert not Path("w.gif").exists()


def test_traverse(run: Run, picture_run: Path, model: Model, pictures: np.ndarray) -> None:
    Image.fromarray(pictures[1]).save("one.png")
    for more in ([], ["--item", "one.png", "--span", 1]):
        result = json.loads(run("traverse", picture_run, "--steps", 5, "--json", *more).out)
        assert result["shape"] == [3, 5, 1, SIDE, SIDE]
        assert result["order"] == np.argsort(model.kl_per_latent)[::-1].tolist()
        assert Image.open(result["out"]).size[0] > 200


def test_map(run: Run, picture_run: Path, density_folder: Path, density_model: Model) -> None:
    assert json.loads(run("plot-latent", picture_run, "--json").out) == {"out": "map.png", "shape": [30, 2]}
    picture = np.asarray(Image.open("map.png"))
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 10  # a colour for each label
    assert (
        run("plot-latent", density_folder, "--grid-size", 4, "--out", "grid.png").out
        == "Wrote grid.png (16, 1, 8, 8)\n"
    )
    np.testing.assert_array_equal(cells("grid.png", 4), shown(density_model, density_model.decode_manifold(4)))


@pytest.mark.parametrize("verb", ["sample", "reconstruct", "embed", "interpolate", "traverse", "plot-latent"])
def test_every_verb_takes_vectors(run: Run, vector_folder: Path, vector_model: Model, verb: str) -> None:
    data = {"sample": [], "traverse": [], "interpolate": ["3", "4", "--data", "vectors.npy"]}.get(verb, ["vectors.npy"])
    code, out, err = run(verb, vector_folder, *data, "--json")
    assert (code, err) == (0, "")
    written = Path(json.loads(out)["out"])
    if written.suffix == ".png":
        assert Image.open(written).size[0] > 100
    elif verb == "reconstruct":
        remade = vector_model.reconstruct("vectors.npy")
        np.testing.assert_allclose(np.loadtxt(written, delimiter=","), remade, rtol=1e-6)
    else:
        assert written.stat().st_size > 0
    if verb in ("sample", "reconstruct", "interpolate"):
        assert run(verb, vector_folder, *data, "--out", "curves.png").code == 0
        assert Image.open("curves.png").size[0] > 100


def test_a_model_of_an_array_has_no_data_of_its_own(run: Run, density_folder: Path) -> None:
    code, _, err = run("evaluate", density_folder)
    assert code == 2 and "pass DATA" in err


def test_data_of_an_unsplit_file_is_what_training_held_out(run: Run, pictures: np.ndarray) -> None:
    np.save("all.npy", pictures)
    tiny = ["--set", "model.encoder=mlp", "--set", "model.encoder.hidden=[4]", "--epochs", 1, "-q"]
    assert run("train", "all.npy", "--val-fraction", 0.2, "--out", "r", *tiny).code == 0
    loss = json.loads(Path("r/metrics.jsonl").read_text().splitlines()[-1])["loss"]
    result = json.loads(run("evaluate", "r", "--json").out)
    assert result["n"] == 40 and result["loss"] == pytest.approx(loss, rel=1e-6)
    from nelbo import load

    np.testing.assert_array_equal(load("r").embed("all.npy").shape, (200, len(load("r").kl_per_latent)))
    assert len(load_test_data(load("r"))) == 40
