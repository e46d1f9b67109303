"""Data: what is read back is what was stored; splits and scaling keep their promises."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fixtures.arrays import (
    BYTES,
    COLOURS,
    GREYS,
    RNG,
    VECTORS,
    all_rows,
    assert_user_error,
    labels_of,
    raw_values,
    row_index,
    rows_in_source_order,
    whole_dataset,
)
from nelbo.config.registry import parse
from nelbo.data import InMemoryDataset, Schema, load, subset
from nelbo.data.arrays import infer
from nelbo.errors import UserError


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float32, torch.float64])
def test_bytes_survive_encode_and_decode(dtype: torch.dtype) -> None:
    raw = torch.from_numpy(GREYS)[:, None].to(dtype)
    x = BYTES.encode(raw)
    assert x.dtype == torch.float32 and x.min() == 0 and x.max() == 1
    assert torch.equal(BYTES.decode(x).round(), raw.float())
    assert torch.allclose(BYTES.decode(x), raw.float(), atol=1e-4)


def test_encode_leaves_its_argument_alone() -> None:
    raw = torch.rand(3, 1, 5, 6)
    kept = raw.clone()
    Schema("image", (1, 5, 6), (0.0,), (1.0,), "unit").encode(raw).zero_()
    BYTES.encode(raw)
    assert torch.equal(raw, kept)


def test_large_offsets_keep_their_digits() -> None:
    raw = torch.tensor([[1e9 + 1.5], [1e9 - 0.5]], dtype=torch.float64)
    assert Schema("vector", (1,), (1e9,), (0.5,), "real").encode(raw).tolist() == [[3.0], [-1.0]]


def test_schema_survives_json() -> None:
    schema = load((VECTORS, ["b", "a"] * 20)).schema
    assert schema.classes == ("a", "b")
    assert parse(Schema, json.loads(json.dumps(schema.to_json())), "") == schema


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"kind": "sound"}, "kind='sound'"),
        ({"shape": (5, 6)}, "shape=(5, 6)"),
        ({"shift": (0.0, 1.0)}, "shift has 2 numbers"),
        ({"scale": (0.0,)}, "scale=0.0"),
        ({"scale": (float("inf"),)}, "scale exceeds the range of float32"),
        ({"support": "byte"}, "support='byte'"),
    ],
)
def test_schema_refuses(change: dict[str, Any], says: str) -> None:
    assert_user_error(lambda: replace(BYTES, **change), says)


def test_damaged_schema_is_named() -> None:
    stored = BYTES.to_json()
    del stored["scale"]
    with pytest.raises(UserError, match=r"schema\.scale is missing"):
        parse(Schema, stored, "schema")
    assert_user_error(lambda: parse(Schema, {**stored, "colour": 1}, "schema"), "unknown setting schema.colour")


@pytest.mark.parametrize(
    ("array", "shape"),
    [
        (COLOURS, (3, 5, 6)),
        (COLOURS.transpose(0, 3, 1, 2), (3, 5, 6)),
        (GREYS, (1, 5, 6)),
        (GREYS[..., None], (1, 5, 6)),
        (GREYS[:, None], (1, 5, 6)),
        (torch.from_numpy(COLOURS), (3, 5, 6)),
    ],
)
def test_pictures_of_any_layout(array: Any, shape: tuple[int, ...]) -> None:
    data = load(array)
    truth = torch.as_tensor(np.ascontiguousarray(array)).reshape(len(array), -1).double().sort().values
    assert data.schema.shape == shape and data.schema.support == "unit"
    assert torch.equal((rows_in_source_order(data) * 255).round().flatten(1).double().sort().values, truth)
    if shape[0] == 3:
        first = COLOURS[0].transpose(2, 0, 1).astype(np.float32) / 255
        assert torch.equal(rows_in_source_order(data)[0], torch.from_numpy(first))


@pytest.mark.parametrize("dtype", ["uint8", "int8", ">i4", "uint16", "uint64", "int64"])
def test_integers_of_any_width_are_bytes(dtype: str) -> None:
    data = load((GREYS // 2).astype(dtype))
    assert (data.schema.shift, data.schema.scale, data.schema.support) == ((0.0,), (255.0,), "unit")
    assert raw_values(data.train).dtype == torch.uint8
    assert torch.equal(rows_in_source_order(data), torch.from_numpy(GREYS // 2)[:, None].float() / 255)


@pytest.mark.parametrize(
    ("array", "scale", "support"),
    [
        (GREYS > 99, 1.0, "binary"),
        ((GREYS > 99).astype(np.int32), 1.0, "binary"),
        ((GREYS > 99).astype(np.float64), 1.0, "binary"),
        ((GREYS > 99).astype(np.uint8) * 255, 255.0, "binary"),
        (GREYS / 255, 1.0, "unit"),
        (GREYS.astype(np.float32), 255.0, "unit"),
        (GREYS.astype(np.float16) / 1000, 1.0, "unit"),
        ((GREYS > 99).reshape(15, 30), 1.0, "binary"),
        (GREYS.reshape(15, 30) / 255, 1.0, "unit"),
    ],
)
def test_the_values_choose_the_scale(array: np.ndarray, scale: float, support: str) -> None:
    data = load(array)
    assert (data.schema.shift, data.schema.scale, data.schema.support) == ((0.0,), (scale,), support)
    truth = torch.from_numpy(array.astype(np.float64) / scale).reshape(15, *data.schema.shape)
    assert torch.allclose(rows_in_source_order(data).double(), truth, atol=1e-7)
    if support == "binary":
        assert set(rows_in_source_order(data).unique().tolist()) == {0.0, 1.0}


def test_other_pictures_are_scaled_by_the_training_rows() -> None:
    array = RNG.normal(0, 1000, (20, 3, 3)).astype(np.float32)
    data = load(array)
    train = array[row_index(data.train)]
    assert data.schema.shift == (float(train.min()),)
    x = all_rows(data.train)
    assert (x.min(), x.max()) == (0, 1) and data.schema.support == "unit"
    assert torch.allclose(data.schema.decode(x), torch.from_numpy(train)[:, None], atol=1e-3)


@pytest.mark.parametrize("chunk", [2**24, 24 * 7, 1])
def test_vectors_are_standardised_by_the_training_rows(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(infer, "CHUNK_BYTES", chunk)
    data = load(VECTORS, val_fraction=0.3)
    train = VECTORS[row_index(data.train)]
    assert np.allclose(data.schema.shift, train.mean(0), rtol=1e-12)
    assert np.allclose(data.schema.scale, train.std(0), rtol=1e-9)
    x = all_rows(data.train).double()
    assert torch.allclose(x.mean(0), torch.zeros(3).double(), atol=1e-6)
    assert torch.allclose(x.std(0, correction=0), torch.ones(3).double(), atol=1e-6)


def test_a_constant_feature_becomes_zero() -> None:
    table = np.column_stack([np.full(30, 0.1), np.arange(30.0)])
    data = load(table)
    assert data.schema.scale[0] == 1.0
    assert all_rows(data.train)[:, 0].abs().max() < 1e-6


def test_a_test_row_beyond_the_unit_interval_makes_vectors_real(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x_train=RNG.random((9, 2)), x_test=np.array([[0.5, 1.5]]))
    assert load(tmp_path / "a.npz").schema.support == "real"


def test_split_is_disjoint_exhaustive_and_seeded() -> None:
    table = np.arange(100.0)[:, None] * 3 + 2
    one, same, other = load(table, seed=1), load(table, seed=1), load(table, seed=2)
    train, test = (set(one.schema.decode(all_rows(d)).round().flatten().tolist()) for d in (one.train, one.test))
    assert train | test == set(table.ravel().tolist()) and not train & test and len(test) == 10
    assert torch.equal(row_index(one.test), row_index(same.test))
    assert not torch.equal(row_index(one.test), row_index(other.test))


@pytest.mark.parametrize(("n", "fraction", "held_out"), [(2, 0.01, 1), (2, 0.99, 1), (3, 0.99, 2), (10, 0.25, 2)])
def test_split_leaves_a_row_on_each_side(n: int, fraction: float, held_out: int) -> None:
    data = load(np.arange(n * 2.0).reshape(n, 2), val_fraction=fraction)
    assert (len(data.train), len(data.test)) == (n - held_out, held_out)


def test_labels_stay_with_their_rows() -> None:
    data = load((GREYS, GREYS[:, 0, 0]))
    for part in (data.train, data.test):
        assert labels_of(part).dtype == torch.int64
        names = [int(data.schema.classes[k]) for k in labels_of(part).tolist()]
        assert (all_rows(part)[:, 0, 0, 0] * 255).round().long().tolist() == names


def test_subset_is_a_view_even_of_a_subset() -> None:
    values = torch.arange(12.0).reshape(6, 2)
    base = InMemoryDataset(values, Schema("vector", (2,), (0.0,), (1.0,), "real"), torch.arange(6))
    part = subset(subset(base, [5, 3, 1]), torch.tensor([2, 0]))
    assert all_rows(part).tolist() == values[[1, 5]].tolist() and labels_of(part).tolist() == [1, 5]
    assert whole_dataset(part) is base and part.resident


FRACTIONS = RNG.random((20, 6, 6))
RANGES: dict[str, tuple[np.ndarray, float, float]] = {
    "digits of sklearn": (np.rint(FRACTIONS * 16), 0, 16),
    "bytes that reach 16": (np.rint(FRACTIONS * 16).astype(np.uint8), 0, 16),
    "metres": (0.3 + FRACTIONS * 7.7, 0.3, 8),
    "counts": (np.rint(FRACTIONS * 30).astype(np.int64), 0, 30),
    "overshoot": (FRACTIONS * 1.0005, 0, 1.0005),
    "undershoot": (FRACTIONS * 1.001 - 0.0005, -0.0005, 1.0005),
    "signs": (FRACTIONS * 2 - 1, -1, 1),
    "dark fractions": (FRACTIONS * 0.02, 0, 0.02),
    "fractions of a byte": (FRACTIONS * 200, 0, 200),
    "sixteen bits": (np.rint(FRACTIONS * 60_000).astype(np.uint16), 0, 60_000),
    "signed": (np.rint(FRACTIONS * 200 - 100).astype(np.int16), -100, 100),
    "sixty-four bits": (np.rint(FRACTIONS * 1e15).astype(np.int64), 0, 1e15),
}


@pytest.mark.parametrize("which", RANGES)
def test_pictures_of_any_scale_are_scaled_by_their_own_range(which: str) -> None:
    array, low, high = RANGES[which]
    data = load(array)
    train = array[row_index(data.train)]
    assert (data.schema.shift[0], data.schema.scale[0]) == (train.min(), np.float64(train.max()) - train.min())
    np.testing.assert_allclose([float(train.min()), float(train.max())], [low, high], atol=0.1 * (high - low))
    x = all_rows(data.train)
    assert (x.min(), x.max()) == (0, 1) and x.std() > 0.2
    assert f"values {train.min():g} to {train.max():g}" in data.schema.data_kind.describe(data.schema)


@pytest.mark.parametrize("which", RANGES)
def test_what_a_model_returns_is_in_the_range_and_the_type_of_the_data(which: str) -> None:
    array = RANGES[which][0]
    schema = load(array).schema
    beyond = schema.decode(torch.linspace(-0.5, 1.5, 36).reshape(1, 1, 6, 6)).numpy()
    back = schema.data_kind.to_user(beyond, schema)
    assert array.min() <= back.min() < back.max() <= array.max() and not (np.signbit(back) & (back == 0)).any()
    assert back.dtype == (array.dtype if array.dtype.kind in "iu" else np.float32)
    inside = schema.data_kind.to_user(schema.decode(schema.encode(torch.tensor(array[:, None]))).numpy(), schema)
    train = (array >= schema.shift[0]) & (array <= schema.shift[0] + schema.scale[0])
    np.testing.assert_allclose(inside[:, 0][train], array[train], rtol=1e-6, atol=1e-6 * schema.scale[0])


def test_the_largest_integers_do_not_wrap() -> None:
    schema = Schema("image", (1, 1, 2), (0.0,), (float(2**64 - 1),), "unit", dtype="uint64")
    assert schema.data_kind.to_user(np.array([[[[-1.0, 3e19]]]], np.float32), schema).ravel().tolist() == [0, 2**64 - 1]


def test_one_value_that_ruins_the_range_is_named() -> None:
    array = RNG.random((20, 12, 12))
    array[3, 1, 2] = array[4, 1, 2] = 1e30
    with pytest.warns(
        UserWarning, match=r"nearly all values are from 0\.\d+ to 0\.9\d+, but some are as far as 1e\+30"
    ):
        load(array)
