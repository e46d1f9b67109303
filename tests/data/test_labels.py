"""Classes are those that occur, under the names that a user gives them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from fixtures.arrays import RNG, assert_user_error, labels_of, rows_in_source_order
from nelbo.data import ConditionEncoder, condition, load, load_like
from nelbo.data.labels import as_user_labels, class_index
from nelbo.errors import UserError

X = RNG.random((12, 5))
THREE = np.arange(12) % 3

KINDS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "from 5": (THREE + 5, ("5", "6", "7")),
    "years": (THREE.astype(np.uint16) * 5 + 1990, ("1990", "1995", "2000")),
    "codes": (THREE + 10001, ("10001", "10002", "10003")),
    "of two digits": (THREE + 9, ("9", "10", "11")),
    "whole floats": (THREE.astype(np.float32) + 1, ("1", "2", "3")),
    "negative": (THREE - 2, ("-2", "-1", "0")),
    "minus and plus": (THREE % 2 * 2 - 1, ("-1", "1")),
    "64 bits": (THREE.astype(np.uint64) + (2**64 - 9), (f"{2**64 - 9}", f"{2**64 - 8}", f"{2**64 - 7}")),
    "bools": (THREE == 1, ("False", "True")),
    "strings": (np.array(["b", "a", "c"])[THREE], ("a", "b", "c")),
    "bytes": (np.array([b"b", b"a", b"c"])[THREE], ("a", "b", "c")),
    "objects": (np.array(["b", "a", "c"], object)[THREE], ("a", "b", "c")),
    "a list": ([int(k) for k in THREE], ("0", "1", "2")),
    "a column": (THREE[:, None] + 5, ("5", "6", "7")),
    "a tensor": (torch.from_numpy(THREE) + 5, ("5", "6", "7")),
    "categories": (pd.Series(pd.Categorical(THREE + 5)), ("5", "6", "7")),
    "digits with zeros": (np.array(["07", "10", "7"])[THREE], ("7", "10", "07")),
}


@pytest.mark.parametrize("kind", KINDS)
def test_classes_are_those_that_occur(kind: str) -> None:
    y, classes = KINDS[kind]
    data = load((X, y))
    context = condition(data, "label")
    assert data.schema.classes == context.classes == classes and context.width == len(classes)
    index = labels_of(load_like((X, y), data.schema)).tolist()
    for number, label in zip(index, np.ravel(np.asarray(y)), strict=True):
        assert context.encode(label).argmax() == context.encode(classes[number]).argmax() == number
    assert_user_error(lambda: context.encode(4321), "condition 4321: the model knows the classes", classes[0])


def test_every_scalar_of_numpy_is_a_condition() -> None:
    context = ConditionEncoder(("0", "1", "2"))
    for label in (
        *(1, "1", 1.0, True, np.bool_(True), np.str_("1"), np.array(1), np.array([1]), torch.tensor(1)),
        *(np.dtype(code).type(1) for code in "bBhHiIlLqQefdg"),
    ):
        assert context.encode(label).tolist() == [[0.0, 1.0, 0.0]], repr(label)
    for label in (None, np.nan, 1.5, 3, -1, "", np.datetime64("2020"), object()):
        assert_user_error(lambda label=label: context.encode(label), "the model knows the classes 0, 1, 2")
    assert_user_error(lambda: ConditionEncoder(shift=(0.0,), scale=(1.0,)).encode(None), "give 1 finite numbers")


def test_truth_values_and_their_numbers_are_the_same_class() -> None:
    assert [class_index(label, ("False", "True")) for label in (0, True, "False", 1.0)] == [0, 1, 0, 1]
    assert load_like((X, THREE == 1), load((X, THREE)).schema).schema.classes == ("0", "1", "2")


def test_unknown_labels() -> None:
    y = np.where(np.arange(12) < 4, np.nan, THREE)
    data = load((X, y))
    assert data.schema.classes == ("0", "1", "2")
    assert sorted(torch.cat([labels_of(data.train), labels_of(data.test)]).tolist())[:5] == [-1, -1, -1, -1, 0]
    with pytest.warns(UserWarning, match="label -1 is taken for an unknown class"):
        assert load((X, np.nan_to_num(y, nan=-1))).schema.classes == ("0", "1", "2")


def test_labels_of_other_data_find_their_class_by_name(tmp_path: Path) -> None:
    data = load((X, THREE + 5))
    context = condition(data, "label")
    other = load_like((X[:3], np.array([7, 5, 8])), data.schema)
    assert other.schema.classes == ("5", "6", "7", "8")
    assert context.encode_labels(labels_of(other)[:2], other.schema.classes).argmax(1).tolist() == [2, 0]
    with pytest.raises(UserError, match="condition '8': the model knows the classes 5, 6, 7"):
        context.encode_labels(labels_of(other), other.schema.classes)
    words = load((X, np.array(["b", "a", "c"])[THREE]))
    assert labels_of(load_like((X[:3], [2, 0, 1]), words.schema)).tolist() == [2, 0, 1]  # indices of words
    assert rows_in_source_order(words).shape == (12, 5)


@pytest.mark.parametrize("kind", ["from 5", "minus and plus", "bools", "strings"])
def test_labels_come_back_in_their_own_type(kind: str) -> None:
    y, classes = KINDS[kind]
    index = labels_of(load_like((X, y), load((X, y)).schema))
    back = as_user_labels(np.array(classes)[index.numpy()])
    assert back.dtype.kind == y.dtype.kind and np.array_equal(back, y)
