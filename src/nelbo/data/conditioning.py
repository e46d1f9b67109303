"""What a model is conditioned on: a class, as a one-hot vector, or numbers, standardised.

    c = one_hot(class)    or    c = (values - shift) / scale,    of shape (n, width)

A row whose class is missing (a negative label) is NaN throughout; only objectives that say so accept it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nelbo.data.dataset import Dataset, DataSplits, Subset
from nelbo.errors import UserError


@dataclass(frozen=True)
class ConditionEncoder:
    """How conditions become vectors: by `classes`, or by `shift` and `scale`; saved with the model.

    >>> Context(("cat", "dog")).encode(["dog", 0]).tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """

    classes: tuple[str, ...] = ()
    shift: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()

    @property
    def width(self) -> int:
        """The length of a vector."""
        return len(self.classes) or len(self.shift)

    def encode(self, values: Any) -> Tensor:
        """Vectors `(n, width)` of n conditions, or of one (then n is 1).

        A class is given by its name or number, numbers as `(n, width)`, or `(n,)` where width is 1. Raises
        `UserError` for an unknown class or another width.
        """
        if self.classes:
            several = values.tolist() if isinstance(values, np.ndarray | Tensor) else values
            listed = [several] if isinstance(several, str | int) else several
            return torch.stack([self._one_hot(value) for value in listed])
        numbers = torch.as_tensor(np.asarray(values, np.float64)).reshape(-1, self.width if np.size(values) else 1)
        return ((numbers - torch.tensor(self.shift)) / torch.tensor(self.scale)).float()

    def _one_hot(self, value: str | int) -> Tensor:
        if isinstance(value, int) and value < 0:
            return torch.full((self.width,), torch.nan)
        number = self.classes.index(value) if value in self.classes else value
        if not isinstance(number, int) or number >= self.width:
            raise UserError(f"condition {value!r}: the model knows the classes {', '.join(self.classes)}")
        return torch.nn.functional.one_hot(torch.tensor(number), self.width).float()

    def default(self, n: int) -> Tensor:
        """Conditions to show when none is asked for: the classes in turn, or the mean of the numbers."""
        return self.encode(np.arange(n) % self.width) if self.classes else torch.zeros(n, self.width)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> ConditionEncoder:
        return cls(**{name: tuple(items) for name, items in values.items()})


def condition(data: DataSplits, on: Any) -> ConditionEncoder:
    """Give both splits their context: the vectors of their labels (`on` "label"), or of numbers, a row each.

    Numbers are for sources without a test split of their own, in the source's order. Raises `UserError` if there
    are no labels, or another number of rows.
    """
    if isinstance(on, str):
        return _on_labels(data, on)
    values = np.asarray(on, np.float64)
    values = values.reshape(len(values), -1)
    if not isinstance(data.train, Subset) or not isinstance(data.test, Subset):
        raise UserError('condition: numbers are for data without a test split of its own: condition on "label"')
    if len(values) != len(data.train.whole) or not np.isfinite(values).all():
        raise UserError(
            f"condition: {len(values)} rows for {len(data.train.whole)} data: give finite numbers, a row each"
        )
    rows = values[data.train.index.numpy()]
    scale = np.where(rows.std(0) > 0, rows.std(0), 1.0)
    context = ConditionEncoder(shift=tuple(rows.mean(0).tolist()), scale=tuple(scale.tolist()))
    for split in (data.train, data.test):
        split.context = context.encode(values[split.index.numpy()])
    return context


def _on_labels(data: DataSplits, on: str) -> ConditionEncoder:
    if on != "label":
        raise UserError(f'condition={on!r}: give "label", or from Python an array of numbers, a row for each datum')
    splits: list[Dataset] = [data.train, data.test]
    if data.train.labels is None or data.test.labels is None:
        raise UserError(
            f"{data.name} has no labels to condition on: give (x, y), or a folder with a class per subfolder"
        )
    highest = max(int(split.labels.max()) for split in splits if split.labels is not None)
    context = ConditionEncoder(data.schema.classes or tuple(map(str, range(highest + 1))))
    for split in splits:
        assert split.labels is not None
        split.context = context.encode(split.labels)
    return context
