"""Synthetic pictures: of the class asked for, as likely as real ones, in files that training reads; the sampler too."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import nelbo
from conftest import GREY, NET, SIDE, Run
from nelbo.apps.synthesis import images
from nelbo.apps.synthesis import rows as augment
from nelbo.data import Dataset, load, load_like, subset
from nelbo.errors import UserError
from nelbo.model import Model

CORNERS = ((0, 0), (0, 5), (5, 0))


@pytest.fixture(autouse=True)
def in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def drawn(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Pictures `(n, 8, 8)` of three classes, told by the corner in which a bright square is; class 2 is rare."""
    rng = np.random.default_rng(seed)
    y = rng.choice(3, n, p=[0.45, 0.45, 0.1])
    x = rng.integers(0, 30, (n, SIDE, SIDE), dtype=np.uint8)
    for one, k, bright in zip(x, y, rng.integers(120, 256, n), strict=True):
        top, left = CORNERS[k]
        one[top : top + 3, left : left + 3] = bright
    x[0, 7, 7], x[0, 7, 6] = 0, 255
    return x, y


def corner(x: np.ndarray) -> np.ndarray:
    """The class of pictures `(n, ..., 8, 8)` by their brightest corner."""
    x = x.reshape(len(x), SIDE, SIDE)
    return np.stack([x[:, t : t + 3, f : f + 3].mean((1, 2)) for t, f in CORNERS], 1).argmax(1)


def trained(folder: Path, condition: str | None) -> Path:
    x, y = drawn(400)
    np.savez(folder / "corners.npz", x=x, y=y)
    overrides = {**NET, "epochs": 8, "model.latent.dim": 3, "model.likelihood": GREY, "learning_rate": 1e-2}
    options = {name.replace(".", "__"): value for name, value in overrides.items()}
    nelbo.fit(folder / "corners.npz", out=folder / "run", condition=condition, **options)
    return folder / "run"


@pytest.fixture(scope="module")
def plain_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("plain"), None)


@pytest.fixture(scope="module")
def conditional_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("conditional"), "label")


@pytest.fixture(params=["plain", "conditional"])
def case(request: pytest.FixtureRequest) -> tuple[Path, Model, Dataset]:
    """A run, its model and the real pictures."""
    run: Path = request.getfixturevalue(f"{request.param}_run")
    m = nelbo.load(run)
    return run, m, m.as_dataset(drawn(400))


def test_pictures_are_of_the_class_asked_for(case: tuple[Path, Model, Dataset]) -> None:
    _, m, real = case
    x, y = augment.augment(m, 100, "2", reference=real)
    assert x.shape == (100, 1, SIDE, SIDE) and set(y) == {"2"} and (corner(x) == 2).mean() > 0.9
    x, y = augment.augment(m, 31, reference=real, seed=1)
    assert np.unique(y, return_counts=True)[1].tolist() == [11, 10, 10]
    assert (corner(x) == y.astype(int)).mean() > 0.9
    again, _ = augment.augment(m, 31, reference=real, seed=1)
    np.testing.assert_array_equal(x, again)
    assert not np.array_equal(augment.augment(m, 31, reference=real)[0], x)


def test_a_class_may_be_given_by_its_number(case: tuple[Path, Model, Dataset]) -> None:
    _, m, real = case
    np.testing.assert_array_equal(*(augment.augment(m, 5, name, reference=real)[0] for name in (1, "1")))


def test_the_filter_confirms_the_class_and_keeps_likely_pictures(case: tuple[Path, Model, Dataset]) -> None:
    _, m, real = case
    of = images.ClassSampler(m, "0", real)
    good = of.acceptance_filter(lambda judge, alike: 1e9, 20, 0)
    mixed, labels = drawn(60, seed=5)
    kept = good(mixed[:, None].astype(np.float32))
    assert kept[labels == 0].mean() > 0.9 and not kept[labels != 0].any()
    nothing = of.acceptance_filter(lambda judge, alike: -1e9, 20, 0)
    assert not nothing(mixed[:, None].astype(np.float32)).any()
    x, _ = augment.augment(m, 40, "0", max_nll_quantile=0.9, reference=real)
    assert len(x) == 40 and (corner(x) == 0).all()


def test_the_confirmation_is_fair_to_rare_classes() -> None:
    """As many codes of each class are compared: 4 of a rare one are not outvoted by 300 of another."""

    class Same:
        context = None

        def embed(self, data: Any) -> np.ndarray:
            rows = data.batch(np.arange(len(data))) if isinstance(data, Dataset) else data
            return np.asarray(rows, np.float32).reshape(len(rows), -1)

    rng = np.random.default_rng(0)
    codes = np.concatenate([rng.normal(size=(300, 2)), rng.normal(size=(4, 2)) * 0.3 + [1.5, 0]]).astype(np.float32)
    labels = np.repeat([0, 1], [300, 4])
    whole = load((codes, labels), seed=0).train
    raw = dataclasses.replace(whole.schema, shift=(0.0, 0.0), scale=(1.0, 1.0))
    real = load_like((codes, labels), raw)
    model: Any = Same()
    model.vae = model
    model.latent = SimpleNamespace(discrete=False)
    of = images.ClassSampler(model, "1", real)
    assert of._by_codes(0)(codes[300:]).all()


def test_the_limit_is_that_of_pictures_alike(case: tuple[Path, Model, Dataset]) -> None:
    """Of the class where it has 20 pictures or more, else of all."""
    _, m, real = case
    seen: list[int] = []

    def highest(judge: Model, alike: Dataset) -> float:
        seen.append(len(alike))
        return 0.0

    of = images.ClassSampler(m, "2", real)
    of.acceptance_filter(highest, 20, 0)
    of.acceptance_filter(highest, 1000, 0)
    assert seen == [len(images.of_class(real, "2")), len(real)]


def test_balance_makes_classes_equally_frequent(case: tuple[Path, Model, Dataset]) -> None:
    _, m, _ = case
    _, y = drawn(400)
    counts = np.bincount(y)
    x, new = augment.balance(m, "label", drawn(400))
    found = np.bincount(new.astype(int), minlength=3)
    assert (found + counts == counts.max()).all() and len(x) == len(new)


def test_a_folder_that_training_reads(run: Run, case: tuple[Path, Model, Dataset]) -> None:
    folder, _, _ = case
    said = run("augment", folder, "-n", 9, "--max-nll-quantile", 0.95, "--out", "more", "--json")
    assert json.loads(said.out) == {"out": "more", "shape": [9, 1, SIDE, SIDE]}
    assert sorted(path.name for path in Path("more").iterdir()) == ["0", "1", "2"]
    back = load("more", val_fraction=0.3, seed=0)
    assert len(back.train) + len(back.test) == 9 and back.schema.classes == ("0", "1", "2")
    picture = np.asarray(Image.open("more/2/new_000006.png"))
    assert picture.shape == (SIDE, SIDE) and corner(picture[None]) == 2


def test_an_archive_that_training_reads(run: Run, case: tuple[Path, Model, Dataset]) -> None:
    folder, _, _ = case
    said = run("augment", folder, "--balance", "label", "--append", "--out", "all.npz")
    assert said.code == 0
    whole = np.load("all.npz")
    assert whole["x"].dtype == np.uint8 and len(set(np.bincount(whole["y"]))) == 1
    assert (corner(whole["x"]) == whole["y"]).mean() > 0.9
    assert load("all.npz").schema.shape == (1, SIDE, SIDE)


def test_one_class_and_real_pictures_first(run: Run, plain_run: Path) -> None:
    x, y = drawn(30, 3)
    np.savez("mine.npz", x=x, y=np.array(["a", "b", "c"])[y])
    assert run("augment", plain_run, "mine.npz", "-n", 4, "--condition", "b", "--append", "--out", "s.npz").code == 0
    whole = np.load("s.npz")
    np.testing.assert_array_equal(whole["x"][:30], x)
    assert whole["y"][30:].tolist() == ["b"] * 4
    run("augment", plain_run, "mine.npz", "-n", 3, "--append", "--out", "folder")
    assert len(list(Path("folder").glob("*/real_*.png"))) == 30 and len(list(Path("folder").glob("*/new_*.png"))) == 3


def test_names_that_are_no_folders_are_refused() -> None:
    schema = load(drawn(20)).schema
    for name in ("..", "a/b", ".hidden", ""):
        with pytest.raises(UserError, match="cannot be the name of a folder"):
            images.write_set(Path("out"), np.zeros((1, 1, SIDE, SIDE), np.float32), np.array([name]), schema)
    assert not Path("out").exists()


REFUSED: dict[str, tuple[list[Any], str]] = {
    "an unknown class": (["M", "--condition", "22"], "class '22' is unknown: did you mean 2?"),
    "a column": (["M", "--balance", "size"], "balance 'size': pictures have only the column \"label\""),
    "privacy": (["M", "--privacy"], "--privacy applies only to tables: leave it out"),
    "no labels": (["M", "x.npy"], "these data have no labels"),
    "an ending": (["M", "--out", "a.csv"], "--out a.csv: give a .npz file, or a folder"),
    "a full folder": (["M", "--out", "full"], "--out full: the folder is not empty: give another"),
    "none": (["M", "-n", "0"], "n=0: use 1 or more"),
    "one of a class": (["M", "one.npz", "--condition", "1"], "variations need at least 2 items per class"),
    "vectors": (["VECTORS"], "augment does not support vectors"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused(run: Run, plain_run: Path, vector_model: Model, what: str) -> None:
    x, _ = drawn(20)
    np.save("x.npy", x)
    np.savez("one.npz", x=x, y=np.arange(20) == 3)
    Path("full").mkdir()
    Path("full/a").touch()
    vector_model.save("vectors")
    places = {"M": plain_run, "VECTORS": "vectors"}
    arguments, message = REFUSED[what]
    said = run("augment", *(places.get(str(argument), argument) for argument in arguments))
    assert said.code == 2 and said.err.splitlines()[-1].startswith(f"Error: {message}"), said.err


def test_a_model_of_an_array_needs_the_pictures(plain_run: Path) -> None:
    m = nelbo.load(plain_run)
    with pytest.raises(UserError, match="not conditioned on classes: give labelled pictures"):
        augment.augment(m, 3)
    with pytest.raises(UserError, match="use a quantile above 0, at most 1"):
        augment.augment(m, 3, max_nll_quantile=1.5, reference=m.as_dataset(drawn(50)))


# --- the sampler

pytest.importorskip("sklearn")


@pytest.fixture(scope="module")
def sampler() -> Any:
    from nelbo.estimators import VAESampler

    return VAESampler(n_components=3, width=32, max_iter=25, learning_rate=1e-2, random_state=0)


@pytest.mark.parametrize("form", ["(n, h, w)", "(n, c, h, w)", "(n, h, w, c)", "vectors", "unit"])
def test_the_sampler_takes_pictures(sampler: Any, form: str) -> None:
    x, y = drawn(200)
    kinds = {
        "(n, h, w)": x,
        "(n, c, h, w)": x[:, None],
        "(n, h, w, c)": x[..., None],
        "vectors": x.reshape(len(x), -1),
        "unit": x.astype(np.float32) / 255,
    }
    given = kinds[form]
    more, classes = sampler.fit_resample(given, y, **({"shape": (SIDE, SIDE)} if form == "vectors" else {}))
    np.testing.assert_array_equal(more[:200], given)
    assert more.dtype == given.dtype and more.shape[1:] == given.shape[1:] and len(more) == len(classes)
    counts = np.bincount(classes)
    assert (counts == counts.max()).all() and (corner(more[200:]) == classes[200:]).mean() > 0.9
    assert sampler.model_.schema.kind == "image" and sampler.n_iter_ == 25


def test_the_sampler_is_deterministic_and_keeps_the_form_of_labels(sampler: Any) -> None:
    x, y = drawn(80)
    names = np.array(["x", "y", "z"])[y].tolist()
    strategy = sampler.__class__(**{**sampler.get_params(), "max_iter": 1, "sampling_strategy": {"z": 30}})
    more, labels = strategy.fit_resample(x, names)
    again, _ = strategy.fit_resample(x, names)
    np.testing.assert_array_equal(more, again)
    assert isinstance(labels, list) and labels.count("z") == 30


BAD_PICTURES: dict[str, tuple[Any, dict[str, Any], str]] = {
    "a shape of other numbers": (np.zeros((6, 10)), {"shape": (3, 4)}, "with as many values"),
    "a shape of one number": (np.zeros((6, 10)), {"shape": (10,)}, "with as many values"),
    "five dimensions": (np.zeros((6, 2, 2, 2, 2)), {}, "give numbers"),
    "texts": (np.full((6, 2, 2), "a"), {}, "give numbers"),
    "other lengths": (np.zeros((5, 4, 4)), {}, "X has 5 rows and y 6"),
}


@pytest.mark.parametrize("what", BAD_PICTURES)
def test_the_sampler_refuses(sampler: Any, what: str) -> None:
    x, options, message = BAD_PICTURES[what]
    with pytest.raises(UserError, match=message):
        sampler.fit_resample(x, [0, 0, 0, 1, 1, 1], **options)


def test_subsets_keep_their_classes() -> None:
    rows = load_like(drawn(50), load(drawn(50)).schema)
    _, y = drawn(50)
    some = subset(rows, range(10, 30))
    assert len(images.of_class(some, "1")) == (y[10:30] == 1).sum()
