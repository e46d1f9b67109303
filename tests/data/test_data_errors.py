"""Data that does not fit a model or cannot be read is refused in one line that names it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch.utils.data import IterableDataset

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
    save_pictures,
    truncate,
    whole_dataset,
)
from nelbo.data import (
    load,
    load_like,
)
from nelbo.errors import UserError


def test_load_like_never_refits() -> None:
    schema = load(VECTORS).schema
    other = VECTORS[:5] * 7 + 100
    truth = (other - np.array(schema.shift)) / np.array(schema.scale)
    assert np.allclose(all_rows(load_like(other, schema)).numpy(), truth, rtol=1e-5)
    assert all_rows(load_like(other[:1], schema)).shape == (1, 3)


def test_load_like_keeps_known_classes_in_place() -> None:
    schema = load((VECTORS, ["b", "a"] * 20)).schema
    rows = load_like((VECTORS[:3], np.array(["z", "b", "a"], dtype=object)), schema)
    assert rows.schema.classes == ("a", "b", "z") and labels_of(rows).tolist() == [2, 1, 0]


def test_load_like_refuses_what_does_not_fit(tmp_path: Path) -> None:
    schema = load(GREYS).schema
    assert_user_error(lambda: load_like(COLOURS, schema), "(3, 5, 6)", "(1, 5, 6)")
    assert_user_error(lambda: load_like(VECTORS, schema), "(3,)", "(1, 5, 6)")
    assert_user_error(lambda: load_like(save_pictures(tmp_path, GREYS), load(VECTORS).schema), str(tmp_path), "(3,)")
    assert_user_error(lambda: load_like(GREYS / 255, schema), "range from 0 to 1, and the model needs 0 to 255")
    assert_user_error(
        lambda: load_like(GREYS, load(GREYS / 255).schema), "range from 0 to 255, and the model needs 0 to 1"
    )
    assert_user_error(lambda: load_like(GREYS, load(GREYS > 9).schema), "supports only 0 and 1: threshold")
    assert_user_error(lambda: load_like(GREYS, schema, split="both"), "split='both'")  # type: ignore[arg-type]


def test_load_like_warns_of_values_beyond_training() -> None:
    schema = load(RNG.random((9, 2))).schema
    with pytest.warns(UserWarning, match=r"array: values range from 0\.5 to 3, and those of training from 0 to 1: "):
        rows = load_like(np.array([[0.5, 3.0]]), schema)
    assert all_rows(rows).tolist() == [[0.5, 3.0]]


def test_unknown_names_and_missing_paths(tmp_path: Path) -> None:
    assert_user_error(lambda: load("mnits"), "mnits", "did you mean 'mnist'?")
    assert_user_error(lambda: load("fashon-mnist"), "did you mean 'fashion-mnist'?")
    assert_user_error(lambda: load(tmp_path / "none.npy"), "none.npy: no such file or folder")
    (tmp_path / "table.xls").write_text("1,2\n")
    assert_user_error(lambda: load(tmp_path / "table.xls"), "table.xls is not a data source")
    for name, remedy in (
        ("a.h5", "h5py"),
        ("a.mat", "scipy.io.loadmat"),
        ("a.jsonl", "pandas.read_json"),
        ("a", ".csv"),
    ):
        (tmp_path / name).write_bytes(b"\x89")
        assert_user_error(lambda name=name: load(tmp_path / name), f"{name} is not a data source", remedy)
    assert_user_error(lambda: load(""), "'': no such file")
    assert_user_error(lambda: load(np.ma.masked_array(VECTORS, VECTORS > 0)), "a masked array", "filled")
    assert_user_error(lambda: load([[1.0, 2.0], [1.0]]), "a list has items of the shapes (1,) and (2,): give one shape")
    assert_user_error(lambda: load(iter(VECTORS)), "give list(x)")
    assert_user_error(lambda: load({"left": VECTORS, "right": VECTORS}), "a dictionary of left, right: give rows")
    assert_user_error(lambda: load([GREYS[0], GREYS[1], GREYS[2, :4]]), "shapes (4, 6) and (5, 6)", "--size 64")
    assert_user_error(lambda: load((VECTORS, VECTORS, VECTORS)), "a tuple of 3")


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.arange(9), "array has shape (9,)"),
        (np.zeros((2, 2, 2, 2, 2)), "has shape (2, 2, 2, 2, 2)"),
        (np.zeros((2, 7, 6, 7)), "which axis has the channels is not clear"),
        (np.zeros((0, 3)), "is empty, of shape (0, 3)"),
        (np.zeros((1, 3)), "has 1 row"),
        (np.array([["a", "b"]] * 3), "has type <U1"),
        (np.array([[1, None]] * 3), "has type object"),
        (np.ones((3, 2), complex), "has type complex128"),
        (np.full((3, 3), -np.inf), "9 values are NaN or infinite, the first at [0, 0]"),
        (np.where(np.arange(20).reshape(5, 4) > 17, np.nan, 1.0), "2 values are NaN or infinite, the first at [4, 2]"),
        (np.array([[1e300, 0], [-1e300, 0], [0, 1]]), "exceeds the range of float32: rescale the data"),
    ],
)
def test_arrays_that_are_refused(array: np.ndarray, says: str) -> None:
    assert_user_error(lambda: load(array, val_fraction=0.3), says)


def test_nan_is_found_in_the_held_out_rows_too() -> None:
    for row in range(6):
        table = np.arange(12.0).reshape(6, 2)
        table[row, 1] = np.inf
        assert_user_error(partial(load, table), f"1 values are NaN or infinite, the first at [{row}, 1]")


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (np.arange(39), "labels have shape (39,) for 40 rows"),
        (np.zeros((40, 10)), "labels have shape (40, 10)"),
        (np.linspace(0, 1, 40), "labels have type float64"),
        ([1.5] * 40, "labels have type float64"),
        ([object()] * 40, "type object: give integers or strings"),
    ],
)
def test_labels_that_are_refused(labels: Any, says: str) -> None:
    assert_user_error(lambda: load((VECTORS, labels)), "array", says)


class Marked:
    """Unpickling it leaves a mark."""

    seen = False

    def __reduce__(self) -> tuple[Any, ...]:
        return (setattr, (Marked, "seen", True))


def test_damaged_numpy_files(tmp_path: Path) -> None:
    np.save(tmp_path / "object.npy", np.array([Marked(), 1], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "object.npz", x=np.array([Marked(), 1], dtype=object))
    np.save(tmp_path / "cut.npy", VECTORS)
    np.savez_compressed(tmp_path / "cut.npz", x=VECTORS)
    truncate(tmp_path / "cut.npy")
    truncate(tmp_path / "cut.npz")
    for name in ("zero.npy", "zero.npz"):
        (tmp_path / name).touch()
    (tmp_path / "text.npy").write_text("1 2 3")
    for path in sorted(tmp_path.iterdir()):
        assert_user_error(partial(load, path), str(path), "save")
    assert not Marked.seen


def test_a_flipped_byte_inside_an_npz(tmp_path: Path) -> None:
    path = tmp_path / "flipped.npz"
    np.savez_compressed(path, x=VECTORS)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(bytes(data))
    assert_user_error(lambda: load(path), f"{path}:x", "cannot be read")


def test_npz_that_does_not_say_which_array(tmp_path: Path) -> None:
    path = tmp_path / "many.npz"
    np.savez(path, left=VECTORS, right=VECTORS)
    assert_user_error(lambda: load(path), "holds left, right", "many.npz:left")
    assert_user_error(lambda: load(f"{path}:middle"), "no array 'middle'", "left, right")
    np.savez(path, x_train=VECTORS, x_test=GREYS)
    assert_user_error(lambda: load(path), "train rows have shape (3,), test rows (1, 5, 6)")


def test_torch_datasets_that_are_refused() -> None:
    assert_user_error(lambda: load(Numbered(COLOURS, odd=3)), "Numbered: item 3 has shape (4, 6, 3), item 0 (5, 6, 3)")
    assert_user_error(lambda: load(Listed([])), "Listed is empty")
    assert_user_error(lambda: load(Listed([{"a": 1}, {"a": 2}])), "Listed: item 0 is a dict")

    class Endless(IterableDataset):  # type: ignore[type-arg]
        def __iter__(self) -> Iterator[Any]:
            return iter([])

    assert_user_error(lambda: load(Endless()), "Endless is not a map-style dataset")


def test_folders_that_are_refused(tmp_path: Path) -> None:
    assert_user_error(lambda: load(tmp_path), f"{tmp_path} has no pictures")
    (tmp_path / "notes.txt").write_text("no picture")
    assert_user_error(lambda: load(tmp_path), f"{tmp_path} has no pictures")
    save_pictures(tmp_path, GREYS[:1])
    assert_user_error(lambda: load(tmp_path), f"{tmp_path} has 1 row")
    save_pictures(tmp_path / "class", GREYS[:1])
    assert_user_error(lambda: load(tmp_path), "has pictures beside folders of pictures (class)")


def test_mixed_sizes_name_two_files_and_the_remedy(tmp_path: Path) -> None:
    save_pictures(tmp_path, GREYS[:2])
    Image.fromarray(COLOURS[0][:3]).save(tmp_path / "odd.png")
    assert_user_error(lambda: load(tmp_path), "000.png is 5x6", "odd.png is 3x6", "--size 64", "64x48")
    assert len(load(tmp_path, size=8).train) == 2


def bad_folder(tmp_path: Path) -> Path:
    folder = save_pictures(tmp_path, RNG.integers(0, 256, (6, 40, 40), dtype=np.uint8))
    truncate(folder / "001.png")
    (folder / "002.png").write_bytes(b"")
    (folder / "004.png").write_text("no picture")
    return folder


def test_bad_pictures_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    folder = bad_folder(tmp_path)
    assert_user_error(
        lambda: load(folder), "3 of 6 pictures cannot be read", "--skip-unreadable", "first is", "001.png"
    )
    with pytest.warns(UserWarning, match=r"3 of 6 pictures .* left out; the first is .*001\.png") as caught:
        data = load(folder, skip_unreadable=True)
    assert len(caught) == 1 and "\n" not in str(caught[0].message)
    truth = np.stack([np.array(Image.open(folder / f"00{i}.png")) for i in (0, 3, 5)])
    assert np.array_equal(raw_values(data.train)[:, 0].numpy(), truth)
    with pytest.raises(UserError, match="repair or remove them; the first"):  # a caller without the option
        load_like(folder, data.schema)
    assert_user_error(lambda: load_like(folder, data.schema, skip_unreadable=False), "--skip-unreadable")
    assert_user_error(lambda: load_like(folder / "001.png", data.schema), "001.png cannot be read as a picture")


def test_labels_follow_when_bad_pictures_are_left_out(tmp_path: Path) -> None:
    bad_folder(tmp_path / "a")
    save_pictures(tmp_path / "b", RNG.integers(0, 256, (2, 40, 40), dtype=np.uint8))
    with pytest.warns(UserWarning, match="3 of 8"):
        assert labels_of(whole_dataset(load(tmp_path, skip_unreadable=True).train)).tolist() == [0, 0, 0, 1, 1]


def test_nothing_but_bad_pictures(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).touch()
    assert_user_error(lambda: load(tmp_path, skip_unreadable=True), "2 of 2 pictures cannot be read", "a.png")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"val_fraction": 0}, "val_fraction=0:"),
        ({"val_fraction": 1.0}, "val_fraction=1.0:"),
        ({"val_fraction": float("nan")}, "val_fraction=nan:"),
        ({"size": "big"}, "size='big': use 64, or 64x48"),
        ({"size": 0}, "size=0:"),
        ({"size": "64x"}, "size='64x':"),
        ({"size": (1, 2, 3)}, "size=(1, 2, 3):"),
        ({"resize_mode": "squash"}, "resize_mode='squash': use one of crop, pad, stretch"),
        ({"channels": 2}, "channels=2:"),
        ({"labels": "labels.csv"}, "labels=labels.csv applies only to folders of pictures"),
        ({"augment": "flop"}, "augment='flop': 'flop' is unknown: use some of flip, vflip"),
        ({"augment": "rotate=much"}, "'rotate=much': use a number from 0 to 180, as rotate=15"),
        ({"augment": "flip=1.5"}, "'flip=1.5': use a number from 0 to 1"),
        ({"size": 8}, "size=8 applies only to folders of pictures"),
    ],
)
def test_options_that_are_refused(options: dict[str, Any], says: str) -> None:
    assert_user_error(lambda: load(GREYS, **options), says)
