"""Hugging Face datasets give the rows that they hold, pictures as they are encoded; in memory or not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from fixtures.arrays import (
    COLOURS,
    RNG,
    all_rows,
    assert_user_error,
    labels_of,
    rows_in_source_order,
    save_pictures,
    whole_dataset,
)
from nelbo.data import batches, load, load_like
from nelbo.data import dataset as store
from nelbo.data.images import folder
from nelbo.data.images.decode import decode
from nelbo.experiment.run import default_recipe

TRUTH = COLOURS.transpose(0, 3, 1, 2)


@pytest.fixture
def hub() -> Any:
    return pytest.importorskip("datasets")


def dataset(hub: Any, pictures: Any, kinds: Any = None, names: Any = None, **more: Any) -> Any:
    columns: dict[str, Any] = {"image": [Image.fromarray(p) for p in pictures], **more}
    features: dict[str, Any] = {"image": hub.Image()} | {name: hub.Value("int64") for name in more}
    if kinds is not None:
        columns["label"], features["label"] = kinds, hub.ClassLabel(names=names) if names else hub.Value("string")
    return hub.Dataset.from_dict(columns, features=hub.Features(features))


@pytest.fixture(params=[16, 2**31])
def _memory(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(store, "MEMORY_BUDGET", request.param)
    yield


@pytest.mark.usefixtures("_memory")
def test_a_hub_dataset_is_the_folder_of_its_pictures(hub: Any, tmp_path: Path) -> None:
    kinds = [2, 0, -1, 1] * 3
    source = dataset(hub, COLOURS, kinds, ["wolf", "ape", "cat"], number=list(range(12)))
    data, truth = load(source), load(save_pictures(tmp_path, COLOURS))
    assert (
        torch.equal(rows_in_source_order(data), rows_in_source_order(truth))
        and data.train.resident == truth.train.resident
    )
    assert data.schema.classes == ("wolf", "ape", "cat") and labels_of(whole_dataset(data.train)).tolist() == kinds
    order = torch.arange(10).split(3)
    assert all(map(torch.equal, batches(data.train, order), batches(truth.train, order)))
    small = load(source, size=3, channels=1)
    assert small.schema.shape == (1, 3, 3) and torch.equal(
        rows_in_source_order(small), rows_in_source_order(load(tmp_path, size=3, channels=1))
    )
    assert torch.equal(all_rows(load_like(source, data.schema)), rows_in_source_order(data))


def test_a_hub_dataset_is_decoded_once(hub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "MEMORY_BUDGET", 16)
    source, seen = dataset(hub, COLOURS), []
    monkeypatch.setattr(folder, "decode", lambda *given: seen.append(given) or decode(*given))
    assert torch.equal(rows_in_source_order(load(source)), rows_in_source_order(load(source))) and len(seen) == 12


def test_the_splits_of_a_hub_dataset(hub: Any) -> None:
    parts = {
        "train": dataset(hub, COLOURS[:8], list("abcdabcd")),
        "validation": dataset(hub, COLOURS[8:], list("abba")),
    }
    data = load(hub.DatasetDict(parts))
    assert torch.equal(all_rows(data.test), load(COLOURS).schema.encode(torch.from_numpy(TRUTH[8:].copy())))
    assert data.schema.classes == tuple("abcd") and labels_of(data.test).tolist() == [0, 1, 1, 0]
    assert_user_error(
        lambda: load(hub.DatasetDict({"one": parts["train"], "two": parts["train"]})), "one, two: give one split"
    )


def test_a_hub_dataset_of_columns_is_a_table(hub: Any) -> None:
    columns = {"age": RNG.integers(18, 90, 60).tolist(), "town": RNG.choice(["Bern", "Basel"], 60).tolist()}
    data = load(hub.Dataset.from_dict(columns))
    assert data.schema.kind == "table" and [column.name for column in data.schema.columns] == ["age", "town"]
    assert torch.equal(all_rows(load_like(hub.Dataset.from_dict(columns), data.schema)), rows_in_source_order(data))


def test_the_recipe_suits_what_a_hub_dataset_holds(hub: Any) -> None:
    pictures, table = dataset(hub, COLOURS), hub.Dataset.from_dict({"age": [1, 2]})
    assert default_recipe(pictures) == default_recipe(hub.DatasetDict({"train": pictures})) == "pictures"
    assert default_recipe(table) == default_recipe(hub.DatasetDict(dict.fromkeys("abc", table))) == "table"


def test_hub_datasets_that_are_refused(hub: Any) -> None:
    source = dataset(hub, COLOURS)
    assert_user_error(lambda: load(source.to_iterable_dataset()), "IterableDataset is a stream", "streaming=False")
    assert_user_error(lambda: load(source.select([])), "the dataset is empty")
    two = hub.concatenate_datasets([source, source.rename_column("image", "mask")], axis=1)
    assert_user_error(lambda: load(two), "pictures in image, mask: keep one, such as with .remove_columns('mask')")
    mixed = dataset(hub, [COLOURS[0], COLOURS[1][:3]])
    assert_user_error(lambda: load(mixed), "Dataset[0] is 5x6, Dataset[1] is 3x6", "--size 64")
    rows = [
        {"bytes": b"no picture", "path": None},
        None,
        *source.cast_column("image", hub.Image(decode=False))["image"][:3],
    ]
    bad = hub.Dataset.from_dict({"image": rows}, features=hub.Features({"image": hub.Image(decode=False)}))
    assert_user_error(
        lambda: load(bad), "the dataset: 2 of 5 pictures cannot be read", "Dataset[0] cannot be read as a picture"
    )
    with pytest.warns(UserWarning, match="2 of 5 pictures"):
        assert torch.equal(
            rows_in_source_order(load(bad, skip_unreadable=True)), rows_in_source_order(load(COLOURS))[:3]
        )
