"""Files and tables with a row for each series: the series and classes of each form are those that were written."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch

from fixtures.arrays import assert_user_error, labels_of
from nelbo.data import load, load_like

RNG = np.random.default_rng(0)
X = RNG.normal(size=(20, 30)).round(4)
CLASSES = np.arange(20) % 3
RAGGED = [X[i, : 30 - i] for i in range(20)]


def rows(source: Any) -> tuple[np.ndarray, list[str] | None, str]:
    """All series in the order of the source, their classes, and the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data = load(source, kind="series")
        found = load_like(source, data.schema)
    raw = found.read(torch.arange(len(found)))[..., 0].numpy()
    names = None if found.labels is None else [data.schema.classes[i] for i in labels_of(found).tolist()]
    return raw, names, "".join({str(of.message) for of in caught})


def lines(values: Any, classes: Any = None, mark: str = "\t", dot: str = "") -> str:
    first = [] if classes is None else [f"{c}{dot}" for c in classes]
    texts = [[f"{v:.4f}" for v in row] for row in values]
    return "".join(mark.join([*first[i : i + 1], *row]) + "\n" for i, row in enumerate(texts))


HEADER = "@problemName x\n@timeStamps false\n@univariate true\n"
ATTRIBUTES = "@relation x\n" + "".join(f"@attribute att{i} numeric\n" for i in range(30))


@pytest.mark.parametrize("mark", ["\t", ",", "  ", ";"])
@pytest.mark.parametrize("ending", [".tsv", ".txt", ".csv"])
@pytest.mark.parametrize("dot", ["", ".0", "e+00"])
def test_lines_of_numbers(mark: str, ending: str, dot: str, tmp_path: Path) -> None:
    path = tmp_path / f"x{ending}"
    path.write_text(lines(X, CLASSES, mark, dot))
    raw, names, note = rows(path)
    assert np.allclose(raw, X) and names == [str(c) for c in CLASSES]
    assert "each line is a series, and the class is its first number" in note
    path.write_text(lines(X, None, mark))
    raw, names, note = rows(path)
    assert np.allclose(raw, X) and names is None and "there are no classes" in note


FORMS = {
    "x.ts": HEADER + "@classLabel true a b c\n@data\n" + "".join(
        f"{','.join(map(str, row))}:{'abc'[c]}\n" for row, c in zip(X, CLASSES, strict=True)
    ),
    "x.arff": ATTRIBUTES + "@attribute target {a,b,c}\n@data\n" + "".join(
        f"{','.join(map(str, row))},'{'abc'[c]}'\n" for row, c in zip(X, CLASSES, strict=True)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_files_of_the_archives(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(FORMS[name])
    raw, names, note = rows(tmp_path / name)
    assert np.allclose(raw, X) and names == ["abc"[c] for c in CLASSES] and not note
    if name == "x.ts":
        assert load(tmp_path / name).schema.kind == "series"
    (tmp_path / name).write_text(
        FORMS[name].replace("@timeStamps false", "@timeStamps true").replace("att3 ", "relational ")
    )
    assert_user_error(lambda: load(tmp_path / name, kind="series"), "has time stamps or relations")
    (tmp_path / name).write_text(FORMS[name] + "1,x,2:a\n")
    assert_user_error(lambda: load(tmp_path / name, kind="series"), "holds '1,x,2:a'")


def test_series_of_several_lengths_and_channels(tmp_path: Path) -> None:
    text = HEADER + "@classLabel false\n@data\n"
    text += "".join(f"{','.join(map(str, of))}:{','.join(map(str, -of))}\n" for of in RAGGED)
    (tmp_path / "x.ts").write_text(text.replace(str(X[5, 3]), "?", 1))
    data = load(tmp_path / "x.ts", val_fraction=0.3)
    assert data.schema.shape == (30, 2)
    raw = load_like(tmp_path / "x.ts", data.schema).read(torch.arange(20)).numpy()
    assert (
        np.isnan(raw[5, 3, 0])
        and raw[5, 3, 1] == -X[5, 3]
        and np.isnan(raw[4, 26:]).all()
        and not np.isnan(raw[4, :26]).any()
    )
    (tmp_path / "x.tsv").write_text(lines([[*of, *[np.nan] * (30 - len(of))] for of in RAGGED], CLASSES))
    raw, _, _ = rows(tmp_path / "x.tsv")
    assert np.allclose(raw, [[*of, *[np.nan] * (30 - len(of))] for of in RAGGED], equal_nan=True)


def test_tables_of_series(tmp_path: Path) -> None:
    frame = pandas.DataFrame(X, columns=[f"t{i}" for i in range(30)])
    with_class = frame.assign(kind=["abc"[c] for c in CLASSES])
    odd = with_class.rename(columns={f"t{i}": f"c{i * 7 % 31}" for i in range(30)})
    with_class.to_csv(tmp_path / "x.csv", index=False)
    for source in (with_class, tmp_path / "x.csv", odd, frame.assign(label=CLASSES), with_class[["kind", *frame]]):
        raw, names, note = rows(source)
        assert np.allclose(raw, X) and names is not None and len({*names}) == 3
        assert "each row is a series of 30 steps, and the class is column" in note
    raw, names, note = rows(frame)
    assert np.allclose(raw, X) and names is None
    clocked = pandas.concat([pandas.DataFrame({"time": range(20)}), odd.drop(columns="kind")], axis=1)
    assert_user_error(lambda: load(clocked, kind="series"), "is one series of 20 steps")
    assert load(odd.drop(columns="kind"), kind="series", window=5).schema.shape == (5, 30)
