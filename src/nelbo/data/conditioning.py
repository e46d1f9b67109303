"""Conditions of a model: a class, as a one-hot vector, or numbers, standardized.

    c = one_hot(class)    or    c = (values - shift) / scale,    of shape (n, width)

The classes are those that occur. A row whose class is unknown is NaN throughout; only objectives that support it accept
it.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nelbo.data.dataset import Dataset, DataSplits, Subset
from nelbo.data.labels import class_index
from nelbo.errors import UserError


@dataclass(frozen=True)
class ConditionEncoder:
    """Encodes conditions as vectors: by `classes`, or by `shift` and `scale`. It is saved with the model.

    Args:
        classes: the names of the classes, for one-hot vectors; empty for numbers.
        shift: the mean of each number over the training rows.
        scale: the standard deviation of each number over the training rows.

    >>> ConditionEncoder(("cat", "dog")).encode(["dog", 0]).tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """

    classes: tuple[str, ...] = ()
    shift: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.width or (self.classes and self.shift) or len(self.shift) != len(self.scale):
            raise UserError(
                f"a condition of {len(self.classes)} classes, {len(self.shift)} means and {len(self.scale)} standard "
                "deviations: give classes, or as many means as deviations"
            )
        if any(value <= 0 for value in self.scale):
            raise UserError(f"scale={min(self.scale)}: give standard deviations above 0")

    @property
    def width(self) -> int:
        """The length of a vector."""
        return len(self.classes) or len(self.shift)

    def encode(self, values: Any) -> Tensor:
        """Encode n conditions, or a single one (n = 1), as vectors `(n, width)`.

        A class is a label of any type (see `nelbo.data.labels`) or, if no class is a number, an index; numbers are
        `(n, width)`, or `(n,)` where the width is 1. Raises `UserError` for an unknown class or another width.
        """
        if self.classes:
            several = np.ravel(values).tolist() if isinstance(values, np.ndarray | Tensor) else values
            listed = several if isinstance(several, list | tuple | range) else [several]
            index = [class_index(value, self.classes) for value in listed]
            return self.one_hot(torch.tensor(index, dtype=torch.int64))
        try:
            numbers = torch.as_tensor(np.asarray(values, np.float64)).reshape(-1, self.width if np.size(values) else 1)
        except (TypeError, ValueError, RuntimeError):
            numbers = torch.full((1, 1), torch.nan)
        if not numbers.isfinite().all():
            raise UserError(f"condition {values!r}: give {self.width} finite numbers")
        return ((numbers - torch.tensor(self.shift)) / torch.tensor(self.scale)).float()

    def one_hot(self, index: Tensor) -> Tensor:
        """The vectors `(n, width)` of classes by their index `(n,)`; NaN throughout for an index of -1."""
        rows = torch.nn.functional.one_hot(index.clamp_min(0), self.width).float()
        return rows.masked_fill((index < 0)[:, None], torch.nan)

    def encode_labels(self, labels: Tensor, classes: Sequence[str]) -> Tensor:
        """The vectors `(n, width)` of labels `(n,)` that index `classes`; NaN for unknown labels, below 0."""
        if not classes:
            return self.one_hot(labels)
        place = torch.full((len(classes) + 1,), -1)  # the last one for unknown labels
        for label in labels.unique().tolist():
            if label >= 0:
                place[label] = class_index(classes[label], self.classes)
        return self.one_hot(place[labels.clamp_min(-1)])

    def default(self, n: int) -> Tensor:
        """Default conditions for n samples: the classes in turn, or the mean of the numbers."""
        return self.one_hot(torch.arange(n) % self.width) if self.classes else torch.zeros(n, self.width)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def condition(data: DataSplits, on: Any) -> ConditionEncoder:
    """Set the context of both splits, and return its encoder.

    Args:
        data: the splits, whose `context` is set.
        on: "label" for the labels, or an array of numbers with a row for each example, in the source's order; numbers
            require a source without a test split of its own.

    Raises `UserError` if there are no labels, or the number of rows differs.
    """
    if isinstance(on, str):
        return _on_labels(data, on)
    values = np.asarray(on, np.float64)
    values = values.reshape(len(values), -1)
    if not isinstance(data.train, Subset) or not isinstance(data.test, Subset):
        raise UserError('condition: numbers require data without a test split of its own: use condition="label"')
    if len(values) != len(data.train.whole) or not np.isfinite(values).all():
        raise UserError(
            f"condition: {len(values)} rows for {len(data.train.whole)} examples: give each one row of finite numbers"
        )
    rows = values[data.train.index.numpy()]
    scale = np.where(rows.std(0) > 0, rows.std(0), 1.0)
    context = ConditionEncoder(shift=tuple(rows.mean(0).tolist()), scale=tuple(scale.tolist()))
    for split in (data.train, data.test):
        split.context = context.encode(values[split.index.numpy()])
    return context


def _on_labels(data: DataSplits, on: str) -> ConditionEncoder:
    if on != "label":
        raise UserError(f'condition={on!r}: use "label", or in Python an array of numbers with one row per example')
    splits: list[Dataset] = [data.train, data.test]
    if data.train.labels is None or data.test.labels is None:
        raise UserError(
            f"{data.name} has no labels to condition on: give (x, y), or a folder with a class per subfolder"
        )
    classes, known = data.schema.classes, torch.cat([split.labels for split in splits if split.labels is not None])
    occurring = known[known >= 0].unique().tolist()
    if not occurring:
        raise UserError(f"{data.name}: all labels are unknown: give classes to condition on, or leave condition out")
    context = ConditionEncoder(
        tuple(classes[k] for k in occurring) if classes else tuple(map(str, range(occurring[-1] + 1)))
    )
    untrained = set(occurring) - set(data.train.labels.tolist())
    if classes and untrained:
        warnings.warn(f"{data.name}: no training row has the class {classes[min(untrained)]}", stacklevel=2)
    for split in splits:
        assert split.labels is not None
        split.context = context.encode_labels(split.labels, classes)
    return context
