"""Ordinary objects that hold pictures are taken for what they are, or refused in one line."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

import nelbo
from fixtures.arrays import (
    COLOURS,
    GREYS,
    RNG,
    VECTORS,
    Listed,
    Numbered,
    all_rows,
    assert_user_error,
    labels_of,
    raw_values,
    row_index,
    rows_in_source_order,
    save_pictures,
    whole_dataset,
)
from nelbo.apps.art.provenance import weights_hash
from nelbo.data import load, load_like
from nelbo.errors import UserError

CLASSES = ["b", "a", "c"] * 5
PILLOW = [Image.fromarray(pixels) for pixels in GREYS]


class Plain:
    """A dataset that is of no class of torch, with a list of classes, as torchvision's have."""

    classes = ("cat", "dog", "eel")

    def __len__(self) -> int:
        return len(GREYS)

    def __getitem__(self, i: int) -> tuple[Image.Image, int]:
        return PILLOW[i], i % 3


X, Y, T = GREYS, np.array(CLASSES), torch.from_numpy(GREYS)
OBJECTS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "an array": (X, ()),
    "a tensor": (T, ()),
    "(x, y)": ((X, Y), ("a", "b", "c")),
    "a list of arrays": (list(X), ()),
    "a list of tensors": (list(T), ()),
    "a list of pairs": ([(x, int(k)) for k, x in enumerate(X)], tuple(map(str, range(15)))),
    "a list of Pillow pictures": (PILLOW, ()),
    "pictures and labels": ((PILLOW, CLASSES), ("a", "b", "c")),
    "a dictionary": ({"x": X, "y": Y}, ("a", "b", "c")),
    "a dictionary of images": ({"image": list(X), "label": CLASSES}, ("a", "b", "c")),
    "a Torch dataset": (TensorDataset(T, torch.arange(15)), tuple(map(str, range(15)))),
    "dictionaries": (Listed([{"image": PILLOW[i], "label": CLASSES[i]} for i in range(15)]), ("a", "b", "c")),
    "a list of dictionaries": ([{"x": x, "y": name} for x, name in zip(X, CLASSES, strict=True)], ("a", "b", "c")),
    "a dataset of no class": (Plain(), ("cat", "dog", "eel")),
    "a loader": (DataLoader(Numbered(X), batch_size=4, shuffle=True), tuple(map(str, range(15)))),
    "a matrix": (np.asmatrix(VECTORS), ()),
    "nested lists": (VECTORS.tolist(), ()),
}  # fmt: skip


@pytest.mark.parametrize("which", OBJECTS)
def test_an_object_is_the_rows_it_holds(which: str) -> None:
    source, classes = OBJECTS[which]
    data = load(source)
    truth = VECTORS if which in ("a matrix", "nested lists") else GREYS[:, None]
    rows = data.schema.decode(rows_in_source_order(data))
    assert np.allclose(rows.reshape(truth.shape), truth, atol=1e-3) and data.schema.classes == classes
    if classes:
        order = torch.cat([row_index(data.train), row_index(data.test)]).tolist()
        names = [classes[k] for k in torch.cat([labels_of(data.train), labels_of(data.test)]).tolist()]
        expected = CLASSES if classes == ("a", "b", "c") else [classes[i % len(classes)] for i in range(15)]
        assert names == [expected[i] for i in order]
    assert torch.equal(all_rows(load_like(source, data.schema)), rows_in_source_order(data))


@pytest.mark.parametrize(
    "source",
    [
        ((GREYS[:9], np.arange(9)), (GREYS[9:], np.arange(6))),
        {"x_train": GREYS[:9], "y_train": np.arange(9), "x_test": GREYS[9:], "y_test": np.arange(6)},
        ((GREYS[:9], np.arange(9)), (GREYS[:2], np.arange(2)), (GREYS[9:], np.arange(6))),
    ],
)
def test_splits_of_an_object_are_kept(source: Any) -> None:
    data = load(source)
    assert np.array_equal(raw_values(data.train)[:, 0].numpy(), GREYS[:9]) and len(data.test) == 6
    assert labels_of(data.test).tolist() == [*range(6)]


def test_rows_and_test_rows_without_labels() -> None:
    assert_user_error(
        lambda: load((GREYS[:9], GREYS[9:])), "labels have shape (6, 5, 6)", "((x, None), (x_test, None))"
    )
    data = load(((GREYS[:9], None), (GREYS[9:], None)))
    assert (len(data.train), len(data.test), data.train.labels) == (9, 6, None)


def test_files_in_a_list_and_a_pattern(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(save_pictures(tmp_path, COLOURS))
    paths = sorted(tmp_path.iterdir())
    (tmp_path / "notes.md").write_text("no picture")
    truth = rows_in_source_order(load(tmp_path))
    for source in (paths, [str(path) for path in paths], np.array(list(map(str, paths))), "*.png", f"{tmp_path}/*"):
        assert torch.equal(rows_in_source_order(load(source)), truth)
    assert load((paths, ["x", "y"] * 6)).schema.classes == ("x", "y")
    names = load(paths).train.schema.data_kind.row_names(load(paths).train).values
    assert {os.path.basename(name) for name in names} < {path.name for path in paths}
    assert_user_error(lambda: load([*paths, tmp_path / "notes.md"]), "notes.md, which is not a picture: give pictures")
    assert_user_error(lambda: load([*map(str, paths), "gone.png"]), "1 of 13 pictures cannot be read", "gone.png")
    assert_user_error(lambda: load("*.jpg"), "*.jpg: no such file or folder")


def test_pictures_of_different_sizes_in_a_list() -> None:
    pictures = [*PILLOW, Image.fromarray(COLOURS[0, :3])]
    assert_user_error(lambda: load(pictures), "picture 0 is 5x6, picture 15 is 3x6", "--size 64")
    assert load(pictures, size=8).schema.shape == (3, 8, 8)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I;16", "I", "F"])
def test_pictures_of_every_mode(mode: str, tmp_path: Path) -> None:
    pictures = [Image.new("RGB", (6, 5), (9 * i, 200, 90)).convert(mode if mode != "I;16" else "I") for i in range(4)]
    pictures = [picture.convert("I;16") for picture in pictures] if mode == "I;16" else pictures
    data = load(pictures)
    grey = mode in ("1", "L", "LA", "I;16", "I", "F")
    assert data.schema.shape == (1 if grey else 3, 5, 6)
    x = all_rows(whole_dataset(data.train))
    assert x.min() >= 0 and x.max() <= 1


@pytest.mark.parametrize(
    ("shape", "channels", "last", "doubtful"),
    [
        ((9, 8, 8, 3), 3, True, False),
        ((9, 3, 8, 8), 3, False, False),
        ((9, 2, 8, 8), 2, False, False),
        ((9, 8, 8, 2), 2, True, False),
        ((9, 8, 8, 13), 13, True, False),
        ((9, 5, 12, 14), 5, False, False),
        ((9, 12, 14, 6), 6, True, False),
        ((9, 4, 8, 3), 3, True, True),
        ((9, 4, 4, 3), 3, True, True),
        ((9, 3, 4, 4), 3, False, True),
        ((9, 5, 6, 7), 5, False, True),
    ],
)
def test_channels_last_or_first(shape: tuple[int, ...], channels: int, last: bool, doubtful: bool) -> None:
    array = RNG.random(shape)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data = load(array)
    assert doubtful == any("taken for the number of channels" in str(w.message) for w in caught)
    order = (0, 3, 1, 2) if last else (0, 1, 2, 3)
    assert data.schema.shape[0] == channels
    assert torch.allclose(rows_in_source_order(data), torch.tensor(array.transpose(order)).float(), atol=1e-6)


def test_series_and_a_colour_picture_are_not_silently_grey_pictures() -> None:
    with pytest.warns(UserWarning, match="9 grey pictures of 100x3: if it has series, set kind to series"):
        load(RNG.random((9, 100, 3)))


@pytest.fixture(scope="module")
def two_channels(tmp_path_factory: pytest.TempPathFactory) -> tuple[nelbo.Model, Path, np.ndarray]:
    """A model of flow fields, of convolutions whose weights lie channels last."""
    x = RNG.normal(size=(40, 8, 8, 2)).astype(np.float32)
    folder = tmp_path_factory.mktemp("flow") / "run"
    net = {"kind": "conv", "width": 4}
    return nelbo.fit(x, epochs=1, out=folder, model__encoder=net, latent_dim=2, batch_size=20), folder, x


def test_a_model_of_two_channels_is_used_whole(two_channels: tuple[nelbo.Model, Path, np.ndarray]) -> None:
    model, folder, x = two_channels
    assert (folder / "sample_1.png").is_file() and "<img" in model._repr_html_()
    made = np.concatenate([model.sample(9), model.reconstruct(x), model.interpolate(x[0], x[1])])
    assert made.shape[1:] == (2, 8, 8) and x.min() <= made.min() and made.max() <= x.max()


def test_weights_have_one_hash_in_any_memory_format(two_channels: tuple[nelbo.Model, Path, np.ndarray]) -> None:
    model, folder, _ = two_channels
    known = weights_hash(model)
    assert weights_hash(nelbo.load(folder)) == known
    for form in (torch.contiguous_format, torch.channels_last):
        model.vae.to(memory_format=form)  # type: ignore[call-overload]
        assert weights_hash(model) == known


DTYPES = ("u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8", ">f4", "?", "c8", "U2", "O", "M8[s]")
SPECIAL = (0.0, -0.0, 1.0, 255.0, 1e-40, 1e30, 1e300, -1e300, np.nan, np.inf, 2.0**63)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.filterwarnings("ignore")
def test_any_array_is_read_or_refused(dtype: str) -> None:
    rng = np.random.default_rng(len(dtype) + ord(dtype[-1]))
    for _ in range(25):
        values = rng.normal(size=rng.integers(0, 6, rng.integers(0, 6))) * 10.0 ** rng.integers(-3, 6)
        values = np.where(rng.random(values.shape) < rng.choice([0, 0.05]), rng.choice(SPECIAL), values)
        array = np.asarray(values).astype(dtype, casting="unsafe")
        try:
            data = load(array)
        except UserError as error:
            assert "\n" not in str(error)
            continue
        if data.schema.kind == "text":
            continue
        x = rows_in_source_order(data)
        assert len(x) == len(array) and x.isfinite().all()
        back = data.schema.data_kind.to_user(data.schema.decode(all_rows(data.train)).numpy(), data.schema)
        train = data.schema.decode(all_rows(data.train)).double().numpy()
        np.testing.assert_allclose(back.astype(np.float64), train, rtol=1e-5, atol=1e-5 * np.ptp(train) + 0.5)
