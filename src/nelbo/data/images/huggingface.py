"""Hugging Face datasets: pictures, still encoded in their Arrow files; without pictures, a table.

Nothing is imported: a user with such an object has the package.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any, BinaryIO

from nelbo.data.images.folder import NAMES, ImageFolder
from nelbo.data.split_names import HELD_OUT, split_by_name
from nelbo.errors import UserError


@dataclass(frozen=True, eq=False, slots=True)
class Picture:
    """The image file (still compressed) in a row of a dataset with a single, undecoded column."""

    rows: Any
    number: int
    version: str

    def __str__(self) -> str:
        return f"Dataset[{self.number}]"

    @property
    def stamp(self) -> str:
        return f"{self.version}[{self.number}]"

    def open(self) -> BinaryIO:
        (cell,) = self.rows[self.number].values()
        if cell is None:
            raise ValueError("the cell is empty")
        return open(cell["path"], "rb") if cell["bytes"] is None else BytesIO(cell["bytes"])


def is_dataset_object(source: Any) -> bool:
    """Whether a source is a Hugging Face `datasets` object."""
    return type(source).__module__.partition(".")[0] == "datasets"


def has_pictures(source: Any) -> bool:
    """Whether a dataset of the package `datasets`, or its first split, has a column of pictures."""
    first = next(iter(source.values()), None) if isinstance(source, Mapping) else source
    return first is not None and bool(_columns(first))


def _columns(dataset: Any) -> list[str]:
    """The names of the columns of pictures."""
    return [name for name, feature in (dataset.features or {}).items() if type(feature).__name__ == "Image"]


def unwrap(source: Any) -> tuple[ImageFolder, ImageFolder | None] | Any:
    """The training (or only) pictures and those of a test split; an Arrow table for a dataset without pictures.

    Raises `UserError` for a stream, and for a dataset without a training split or with several columns of pictures.
    """
    splits = dict(source) if isinstance(source, Mapping) else {"train": source}
    parts = split_by_name(splits)
    train = splits[parts["train"]] if parts else next(iter(splits.values())) if len(splits) == 1 else None
    if train is None:
        raise UserError(
            f"a {type(source).__name__} of {', '.join(splits)}: give one split, as dataset[{next(iter(splits))!r}]"
        )
    if not callable(getattr(train, "__len__", None)):
        raise UserError(
            f"{type(train).__name__} is a stream: load it with streaming=False, so that its rows have indices"
        )
    pictures = _columns(train)
    if not pictures:
        return train.with_format("arrow")[:]
    if len(pictures) > 1:
        raise UserError(
            f"the dataset has pictures in {', '.join(pictures)}: keep one, such as with "
            f".remove_columns({pictures[1]!r})"
        )
    held_out = next((splits[parts[part]] for part in HELD_OUT if part in parts), None)
    return _album(train, pictures[0]), None if held_out is None else _album(held_out, pictures[0])


def _album(dataset: Any, column: str) -> ImageFolder:
    if len(dataset) == 0:
        raise UserError("the dataset is empty: give at least one picture")
    rows = dataset.select_columns([column]).cast_column(column, type(dataset.features[column])(decode=False))
    pictures = tuple(Picture(rows, number, dataset._fingerprint) for number in range(len(dataset)))
    named = [name for name in dataset.features if name.lower() in NAMES]
    known = {name: f.names for name, f in dataset.features.items() if type(f).__name__ == "ClassLabel"}
    label = next(iter(named or known), None)
    if label is None:
        return ImageFolder("the dataset", pictures)
    order = tuple(known.get(label, ()))
    values = [_name(value, order) for value in dataset[label]]
    return ImageFolder("the dataset", pictures, tuple(values), order)


def _name(value: Any, order: tuple[str, ...]) -> str:
    """The class of a cell; "" if it is missing."""
    if value is None or (order and value < 0):
        return ""
    return order[value] if order else str(value)
