"""Streams, named sets, files and folders give the rows that were stored."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch.utils.data import DataLoader, TensorDataset

from fixtures.arrays import (
    BYTES,
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
    truncate,
    whole_dataset,
)
from nelbo.data import ImageFileDataset, Schema, StreamedDataset, batches, load, load_like, sources, subset
from nelbo.data import dataset as store


@pytest.fixture
def tiny_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "MEMORY_BUDGET", 16)


def streams(tmp_path: Path) -> dict[str, Any]:
    np.save(tmp_path / "pictures.npy", COLOURS)
    np.save(tmp_path / "wide.npy", np.asfortranarray(COLOURS.astype(">u2") * 100))
    np.save(tmp_path / "table.npy", VECTORS)
    return {
        "npy": tmp_path / "pictures.npy",
        "wide": tmp_path / "wide.npy",
        "table": str(tmp_path / "table.npy"),
        "torch": Numbered(COLOURS),
        "folder": save_pictures(tmp_path / "folder", COLOURS),
    }


@pytest.mark.parametrize("which", ["npy", "wide", "table", "torch", "folder"])
def test_streams_equal_memory(which: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = streams(tmp_path)[which]
    resident = load(source)
    monkeypatch.setattr(store, "MEMORY_BUDGET", 16)
    streamed = load(source)
    assert resident.train.resident and not streamed.train.resident
    assert isinstance(whole_dataset(streamed.train), ImageFileDataset if which == "folder" else StreamedDataset)
    assert streamed.schema == resident.schema
    order = [torch.tensor([3, 0]), torch.tensor([1, 1, 7]), torch.tensor([5])]
    for got, truth in zip(batches(streamed.train, order), batches(resident.train, order), strict=True):
        assert torch.equal(got, truth)


def test_batches_leave_the_global_random_state_alone(tmp_path: Path, tiny_memory: None) -> None:
    data = load(streams(tmp_path)["npy"])
    before = torch.get_rng_state()
    assert len(list(batches(data.train, [torch.tensor([0])] * 3))) == 3
    assert torch.equal(torch.get_rng_state(), before)


def test_a_plain_dataloader_reads_lists_of_rows() -> None:
    data = load(COLOURS)
    (rows,) = DataLoader(data.train, sampler=[[4, 2]], batch_size=None)  # type: ignore[arg-type, var-annotated]
    assert torch.equal(rows, data.train.batch(torch.tensor([4, 2])))


def test_a_damaged_picture_in_a_stream_is_named_in_one_line(tmp_path: Path, tiny_memory: None) -> None:
    folder = save_pictures(tmp_path / "p", RNG.integers(0, 256, (4, 40, 40, 3), dtype=np.uint8), ".jpg")
    truncate(folder / "002.jpg")
    dataset = load_like(folder, Schema("image", (3, 40, 40), (0.0,), (255.0,), "unit"))
    assert all_rows(subset(dataset, [0, 1, 3])).shape == (3, 3, 40, 40)
    assert_user_error(lambda: list(batches(dataset, [torch.arange(4)])), "002.jpg cannot be read as a picture")


def write_idx(path: Path, array: np.ndarray) -> None:
    data = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def write_all_idx(folder: Path, suffix: str) -> None:
    contents = (GREYS, np.arange(15, dtype=np.uint8) % 10, GREYS[:4] // 2, np.arange(4, dtype=np.uint8))
    for name, array in zip(sources.IDX_FILES, contents, strict=True):
        write_idx(folder / (name + suffix), array)


def test_bundled_mnist_is_mnist() -> None:
    data = load("MNIST")
    assert (len(data.train), len(data.test), data.schema.shape) == (60000, 10000, (1, 28, 28))
    assert labels_of(data.train)[:5].tolist() == [5, 0, 4, 1, 9] and labels_of(data.test)[:3].tolist() == [7, 2, 1]
    assert (
        round(raw_values(data.train).float().mean().item() / 255, 4) == 0.1307
    )  # the constant in every MNIST tutorial
    assert data.schema.classes == tuple("0123456789") and data.schema.support == "unit"


@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST/raw"), ("fashion-mnist", "FashionMNIST/raw")])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_files_as_torchvision_lays_them_out(name: str, folder: str, suffix: str, tmp_path: Path) -> None:
    write_all_idx(tmp_path / folder, suffix)
    data = load(name, data_root=tmp_path)
    assert np.array_equal(raw_values(data.train)[:, 0].numpy(), GREYS) and labels_of(data.train).tolist() == [
        *range(10),
        *range(5),
    ]
    assert np.array_equal(raw_values(data.test)[:, 0].numpy(), GREYS[:4] // 2) and len(data.schema.classes) == 10
    train = load_like(name, data.schema, split="train", data_root=tmp_path)
    assert torch.equal(all_rows(train), all_rows(data.train)) and torch.equal(labels_of(train), labels_of(data.train))


def test_mnist_falls_back_to_the_bundled_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "small.npz", x_train=GREYS, x_test=GREYS)
    monkeypatch.setattr(sources, "BUNDLED", tmp_path / "small.npz")
    write_idx(tmp_path / "MNIST/raw" / sources.IDX_FILES[0], GREYS[:2])
    data = load("mnist", data_root=tmp_path)
    assert len(data.train) == 15 and data.name == "mnist"


def test_missing_and_damaged_idx_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "SYSTEM_FASHION", tmp_path / "nowhere")
    assert_user_error(lambda: load("fashion-mnist"), "apt install dataset-fashion-mnist, or --data-root")
    write_all_idx(tmp_path, ".gz")
    assert len(load("fashion_mnist", data_root=tmp_path).train) == 15
    truncate(tmp_path / (sources.IDX_FILES[2] + ".gz"))
    assert_user_error(lambda: load("fashion-mnist", data_root=tmp_path), sources.IDX_FILES[2])
    write_all_idx(tmp_path / "MNIST/raw", "")
    truncate(tmp_path / "MNIST/raw" / sources.IDX_FILES[0])
    assert_user_error(lambda: load("mnist", data_root=tmp_path), sources.IDX_FILES[0])


@pytest.mark.parametrize(
    ("members", "suffix", "labelled"),
    [
        ({"x": GREYS, "y": np.arange(15)}, "", True),
        ({"X": GREYS, "Y": np.arange(15), "more": np.ones(3)}, "", True),
        ({"images": GREYS, "labels": np.arange(15)}, "", True),
        ({"anything": GREYS}, "", False),
        ({"a": VECTORS, "b": GREYS}, ":b", False),
    ],
)
def test_npz_by_its_names(members: dict[str, np.ndarray], suffix: str, labelled: bool, tmp_path: Path) -> None:
    np.savez(tmp_path / "file.npz", **members)  # type: ignore[arg-type]
    data = load(f"{tmp_path}/file.npz{suffix}")
    assert (
        torch.equal(rows_in_source_order(data), BYTES.encode(torch.from_numpy(GREYS)[:, None])) and data.name == "file"
    )
    assert (data.train.labels is not None) == labelled
    if labelled:
        assert torch.equal(labels_of(data.train), row_index(data.train))


def test_npz_with_its_own_split(tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", x_train=GREYS[:9], x_test=GREYS[9:], y_train=np.array(["b", "a", "c"] * 3))
    data = load(tmp_path / "s.npz")
    assert torch.equal(all_rows(data.test), BYTES.encode(torch.from_numpy(GREYS[9:])[:, None]))
    assert labels_of(data.train).tolist() == [1, 0, 2] * 3 and data.test.labels is None
    assert torch.equal(all_rows(load_like(tmp_path / "s.npz", data.schema)), all_rows(data.test))


def test_torch_datasets_of_items_with_and_without_labels() -> None:
    x = torch.from_numpy(VECTORS)
    pairs, single = load(TensorDataset(x, torch.arange(40))), load(TensorDataset(x))
    assert torch.equal(rows_in_source_order(pairs), rows_in_source_order(load(VECTORS))) and torch.equal(
        rows_in_source_order(single), rows_in_source_order(pairs)
    )
    assert torch.equal(labels_of(pairs.train), row_index(pairs.train)) and single.train.labels is None
    pictures = [(Image.fromarray(p), k) for k, p in enumerate(COLOURS)]
    assert torch.equal(rows_in_source_order(load(Listed(pictures))), rows_in_source_order(load(COLOURS)))


def test_bfloat16_tensors_that_require_grad() -> None:
    x = (torch.arange(12).reshape(6, 2) / 16).to(torch.bfloat16).requires_grad_()
    assert torch.equal(rows_in_source_order(load(x)), x.detach().float())


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tiff", ".gif", ".PNG"])
@pytest.mark.parametrize("pictures", [GREYS, COLOURS])
def test_pixels_are_read_back_exactly(suffix: str, pictures: np.ndarray, tmp_path: Path) -> None:
    if suffix == ".gif":
        pictures = (pictures // 128) * 255  # eight colours: what a palette holds exactly
    data = load(save_pictures(tmp_path / "p", pictures, suffix), channels=1 if pictures.ndim == 3 else 3)
    assert data.name == "p" and raw_values(data.train).dtype == torch.uint8
    truth = pictures[:, None] if pictures.ndim == 3 else pictures.transpose(0, 3, 1, 2)
    assert np.array_equal(raw_values(data.train).numpy(), truth)
    assert torch.equal(rows_in_source_order(data), torch.from_numpy(np.ascontiguousarray(truth)).float() / 255)


def test_subfolders_are_classes_in_order(tmp_path: Path) -> None:
    for name, i in (("dog", 0), ("cat", 5), (".hidden", 8)):
        save_pictures(tmp_path / "p" / name / "deep", GREYS[i : i + 3])
    data = load(tmp_path / "p")
    assert data.schema.classes == ("cat", "dog") and len(data.train) + len(data.test) == 6
    assert labels_of(whole_dataset(data.train)).tolist() == [0, 0, 0, 1, 1, 1]
    assert np.array_equal(raw_values(data.train)[3:, 0].numpy(), GREYS[:3])


@pytest.mark.parametrize("held_out", ["test", "val"])
def test_train_and_test_folders_are_the_splits(held_out: str, tmp_path: Path) -> None:
    save_pictures(tmp_path / "train" / "good", GREYS[:3])
    save_pictures(tmp_path / held_out / "good", GREYS[3:5])
    save_pictures(tmp_path / held_out / "bad", GREYS[5:6])
    data = load(tmp_path)
    assert np.array_equal(raw_values(data.train)[:, 0].numpy(), GREYS[:3])
    assert np.array_equal(raw_values(data.test)[:, 0].numpy(), GREYS[[5, 3, 4]])
    assert data.schema.classes == ("bad", "good") and labels_of(data.test).tolist() == [0, 1, 1]
    known = load_like(tmp_path, Schema("image", (1, 5, 6), (0.0,), (255.0,), "unit", ("good",)))
    assert known.schema.classes == ("good", "bad") and labels_of(known).tolist() == [1, 0, 0]


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize(("size", "shape"), [("6", (6, 6)), ("6x9", (6, 9)), (6, (6, 6)), ((9, 6), (9, 6))])
def test_sizes_are_fitted_by_the_rule(fit: Any, size: Any, shape: tuple[int, int], tmp_path: Path) -> None:
    shades = RNG.integers(0, 256, (2, 30, 20, 3), dtype=np.uint8)
    data = load(save_pictures(tmp_path, shades), size=size, resize_mode=fit)
    wide, lanczos = shape[::-1], Image.Resampling.LANCZOS
    rule: dict[str, Callable[[Image.Image], Image.Image]] = {
        "crop": lambda p: ImageOps.fit(p, wide, lanczos),
        "pad": lambda p: ImageOps.pad(p, wide, lanczos),
        "stretch": lambda p: p.resize(wide, lanczos),
    }
    truth = np.array(rule[fit](Image.fromarray(shades[1])))
    assert data.schema.shape == (3, *shape) and data.schema.resize_mode == fit
    assert np.array_equal(raw_values(data.train)[1].permute(1, 2, 0).numpy(), truth)
    again = load_like(tmp_path / "001.png", data.schema)
    assert torch.equal(all_rows(again)[0], rows_in_source_order(data)[1])


def test_channels_follow_the_pictures_or_the_option(tmp_path: Path) -> None:
    save_pictures(tmp_path, GREYS[:3])
    assert load(tmp_path).schema.shape[0] == 1
    as_colour = load(tmp_path, channels=3)
    assert torch.equal(rows_in_source_order(as_colour), rows_in_source_order(load(tmp_path)).expand(-1, 3, -1, -1))
    Image.fromarray(COLOURS[0]).save(tmp_path / "colour.png")
    assert load(tmp_path).schema.shape[0] == 3 and load(tmp_path, channels=1).schema.shape[0] == 1


def test_bits_transparency_and_rotation(tmp_path: Path) -> None:
    Image.fromarray(GREYS[1] > 25).save(tmp_path / "1.png")
    clear = np.dstack([np.zeros_like(GREYS[0]), np.full_like(GREYS[0], 255)])
    clear[0, 0, 1] = 0
    Image.fromarray(clear).save(tmp_path / "2.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    for suffix in (".png", ".webp", ".tiff"):
        stored = np.rot90(GREYS[2])  # shown after a quarter turn clockwise
        Image.fromarray(stored).save(tmp_path / f"3{suffix}", exif=turned, lossless=True)
    got = raw_values(load(tmp_path, channels=1).train)[:, 0].numpy()
    assert np.array_equal(got[0], (GREYS[1] > 25) * 255)
    assert got[1][0, 0] == 255 and got[1].sum() == 255
    assert all(np.array_equal(picture, GREYS[2]) for picture in got[2:]) and len(got) == 5


def test_only_headers_are_read_for_the_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_pictures(tmp_path, GREYS[:2])
    monkeypatch.setattr(store, "MEMORY_BUDGET", 1)
    monkeypatch.setattr(Image.Image, "load", lambda _: pytest.fail("a pixel was decoded"))
    assert load(tmp_path).schema.shape == (1, 5, 6)


def test_a_binary_model_sees_pictures_cut_at_one_half(tmp_path: Path) -> None:
    schema = load(GREYS > 99).schema
    seen = load_like(save_pictures(tmp_path, GREYS), schema)
    assert torch.equal(all_rows(seen), torch.from_numpy(GREYS >= 128)[:, None].float())
    assert seen.schema == schema


def test_pictures_for_a_model_of_other_units(tmp_path: Path, tiny_memory: None) -> None:
    schema = Schema("image", (1, 5, 6), (-1.0,), (2.0,), "unit")
    seen = all_rows(load_like(save_pictures(tmp_path, GREYS), schema))
    assert torch.allclose(seen, torch.from_numpy(GREYS)[:, None] / 255, atol=1e-6)


SPLITS = {
    "Roboflow": ("train/a", "valid/a", "test/a"),
    "Kaggle": ("Training/a", "Testing/a"),
    "prefixed": ("seg_train/seg_train/a", "seg_test/seg_test/a"),
    "years": ("train2017/a", "val2017/a"),
    "one folder deeper": ("data/train/a", "data/dev/a"),
    "beside labels": ("images/train", "images/val", "labels/train", "labels/val"),
    "images in parts": ("train/images", "train/masks", "test/images", "test/masks"),
    "within classes": ("a/train", "a/test", "b/train", "b/test"),
    "unlabelled test": ("train/a", "val/a", "test"),
}


@pytest.mark.parametrize("layout", SPLITS)
@pytest.mark.filterwarnings("ignore:.*masks is left out")
def test_held_out_pictures_are_never_trained_on(layout: str, tmp_path: Path) -> None:
    train, held_out = np.full((3, 4, 4), 7, np.uint8), np.full((2, 4, 4), 9, np.uint8)
    for folder in SPLITS[layout]:
        if folder.startswith("labels"):
            (tmp_path / folder).mkdir(parents=True)
            (tmp_path / folder / "000.txt").write_text("0 0.5 0.5 1 1")
        else:
            mask = np.full((3, 4, 4), 200, np.uint8)
            save_pictures(tmp_path / folder, mask if "masks" in folder else train if "rain" in folder else held_out)
    data = load(tmp_path)
    assert set(raw_values(data.train).flatten().tolist()) == {7}
    assert set(raw_values(data.test).flatten().tolist()) == {9}
    classes = {name for folder in SPLITS[layout] for name in folder.split("/")} & {"a", "b"}
    assert set(data.schema.classes) == classes


def test_folders_that_are_classes_stay_classes(tmp_path: Path) -> None:
    for name in ("train", "tram", "test_tube"):
        save_pictures(tmp_path / name, GREYS[:2])
    assert load(tmp_path).schema.classes == ("test_tube", "train", "tram")


def test_half_a_split_is_refused(tmp_path: Path) -> None:
    for name in ("valid/a", "test/a"):
        save_pictures(tmp_path / name, GREYS[:2])
    assert_user_error(lambda: load(tmp_path), "has test, valid, but no part for training: give one of them")
    save_pictures(tmp_path / "p" / "a" / "train", GREYS[:2])
    save_pictures(tmp_path / "p" / "a" / "test", GREYS[:2])
    save_pictures(tmp_path / "p" / "b", GREYS[:2])
    assert_user_error(lambda: load(tmp_path / "p"), "a has a split, and b has none: give all folders one, or none")


@pytest.mark.parametrize(
    "names",
    [
        ("x_train", "y_train", "x_test", "y_test"),
        ("X_train", "Y_train", "X_test", "Y_test"),
        ("train_images", "train_labels", "val_images", "val_labels"),
        ("trainX", "trainY", "testX", "testY"),
        ("train", "train_labels", "test", "test_labels"),
        ("x", "y", "x_test", "y_test"),
    ],
)
def test_npz_with_a_split_by_any_name(names: tuple[str, ...], tmp_path: Path) -> None:
    arrays = (GREYS[:9], np.array([["b"]] * 9), GREYS[9:], np.array([["c"]] * 6))
    np.savez(tmp_path / "s.npz", **dict(zip(names, arrays, strict=True)), epochs=3)  # type: ignore[arg-type]
    data = load(tmp_path / "s.npz")
    assert np.array_equal(raw_values(data.train)[:, 0].numpy(), GREYS[:9]) and len(data.test) == 6
    assert data.schema.classes == ("b", "c") and labels_of(data.test).tolist() == [1] * 6


def test_of_three_parts_the_test_part_is_the_test(tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", train_images=GREYS[:5], val_images=GREYS[5:9], test_images=GREYS[9:])
    data = load(tmp_path / "s.npz")
    assert (len(data.train), len(data.test)) == (5, 6)
