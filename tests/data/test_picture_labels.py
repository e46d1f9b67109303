"""Classes of pictures from a CSV file are those of its rows, however it names pictures; what is unclear is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

import nelbo
from fixtures.arrays import GREYS, assert_user_error, labels_of, save_pictures, whole_dataset
from nelbo.data import load

KINDS = ("cat", "dog", "cat", "owl", "", "dog")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six pictures in two subfolders, of other names than their classes."""
    save_pictures(tmp_path / "p" / "one", GREYS[:3])
    save_pictures(tmp_path / "p" / "two", GREYS[3:6], ".bmp")
    for i in (0, 1, 2):
        (tmp_path / "p" / "two" / f"{i:03d}.bmp").rename(tmp_path / "p" / "two" / f"{i + 3:03d}.bmp")
    return tmp_path / "p"


FORMS = {
    "paths": lambda i: f"{'one' if i < 3 else 'two'}/{i:03d}.{'png' if i < 3 else 'bmp'}",
    "names": lambda i: f"{i:03d}.{'png' if i < 3 else 'bmp'}",
    "stems": lambda i: f"{i:03d}",
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4, 5), (4, 1, 0, 5, 3, 2)])
def test_rows_find_their_pictures(form: str, delimiter: str, order: tuple[int, ...], folder: Path) -> None:
    rows = [("Label", "number", "file"), *((KINDS[i], str(i), FORMS[form](i)) for i in order)]
    table = folder / "labels.csv"
    table.write_text("\n".join(delimiter.join(row) for row in rows) + "\n", "utf-8-sig")
    data = load(folder, labels=str(table))
    assert data.schema.classes == ("cat", "dog", "owl")
    assert labels_of(whole_dataset(data.train)).tolist() == [0, 1, 0, 2, -1, 1]


def test_pictures_without_a_class_are_for_the_model_that_learns_it(folder: Path) -> None:
    table = write(folder, "file,label\n" + rows())
    small = {"epochs": 1, "model__encoder": {"kind": "mlp", "hidden": [8]}, "model__latent__dim": 2}
    options = {"data__labels": table, "condition": "label", **small}
    assert_user_error(
        lambda: nelbo.fit(folder, **options), "condition: 1 of ", "rows have none: fill it in, or use --preset m2"
    )
    assert_user_error(
        lambda: nelbo.fit(folder, preset="m2", **options), "objective.classes=10: the data have 3", "classes=3"
    )
    assert nelbo.fit(folder, preset="m2", objective__classes=3, **options).condition_on("owl").sample(2).shape == (
        2,
        1,
        5,
        6,
    )


def write(folder: Path, text: str) -> str:
    (folder / "labels.csv").write_text(text)
    return str(folder / "labels.csv")


def rows(form: str = "names") -> str:
    return "".join(f"{FORMS[form](i)},{kind}\n" for i, kind in enumerate(KINDS))


def test_the_column_that_is_asked_for(folder: Path) -> None:
    text = "name,split,kind\n" + "".join(f"{FORMS['stems'](i)},{i % 2},{kind}\n" for i, kind in enumerate(KINDS))
    table = write(folder, text)
    assert_user_error(
        lambda: load(folder, labels=table), "several columns may be the class: choose among split, kind", ":split"
    )
    assert labels_of(whole_dataset(load(folder, labels=f"{table}:kind").train)).tolist() == [0, 1, 0, 2, -1, 1]
    assert load(folder, labels=f"{table}:split").schema.classes == ("0", "1")
    assert_user_error(lambda: load(folder, labels=f"{table}:sort"), "no column 'sort': choose among split, kind")


def test_both_splits_are_labelled(tmp_path: Path) -> None:
    save_pictures(tmp_path / "train", GREYS[:3])
    save_pictures(tmp_path / "test", GREYS[3:5])
    table = write(
        tmp_path,
        "file,y\n" + "".join(f"{s}/{i:03d}.png,{s[:2]}{i}\n" for s, n in (("train", 3), ("test", 2)) for i in range(n)),
    )
    data = load(tmp_path, labels=table)
    assert data.schema.classes == ("te0", "te1", "tr0", "tr1", "tr2")
    assert labels_of(data.train).tolist() == [2, 3, 4] and labels_of(data.test).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("file,label\n000.png,cat\n", "5 of 6 pictures have no row: add rows for them"),
        ("file,label\n" + rows() + "009.png,cat\n", "line 8: '009.png' is not a picture in"),
        ("file,label\n" + rows() + "000.png,dog\n", "lines 2 and 8 are both of '000.png': remove one"),
        ("file,label\n" + rows() + "007.png\n", "line 8 has 1 cells, the first 2: give all lines equally many"),
        ("name,label\nx.png,cat\n", "no column names pictures in"),
        ("file\n000.png\n", "has 1 columns: give one of pictures' names and one of classes"),
        ("", "has 0 columns"),
        ("file,label\n", "no column names pictures"),
        (rows(), "its first line is of a picture: add a line of column names above it"),
    ],
)
def test_tables_that_are_refused(text: str, says: str, folder: Path) -> None:
    table = write(folder, text)
    assert_user_error(lambda: load(folder, labels=table), table, says)


def test_a_name_of_two_pictures(tmp_path: Path) -> None:
    save_pictures(tmp_path / "one", GREYS[:1])
    save_pictures(tmp_path / "two", GREYS[:1])
    table = write(tmp_path, "file,label\n000.png,cat\none/000.png,cat\n")
    assert_user_error(
        lambda: load(tmp_path, labels=table), "line 2: '000.png' is the name of 2 pictures", "use the path"
    )


def test_tables_that_cannot_be_read(folder: Path) -> None:
    assert_user_error(lambda: load(folder, labels="none.csv"), "labels='none.csv': no such file: give a CSV file")
    (folder / "wide.csv").write_bytes("file,label\n000.png,häher\n".encode("utf-16"))
    assert_user_error(
        lambda: load(folder, labels=str(folder / "wide.csv")), "wide.csv cannot be read as a table", "UTF-8"
    )
