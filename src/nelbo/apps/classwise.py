"""Classes of labelled data: their names, their rows, and the means of their codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nelbo.data import Dataset, subset
from nelbo.errors import UserError, nearest
from nelbo.model import Model


def class_names(rows: Dataset) -> tuple[str, ...]:
    """The names of the classes of labelled data; raises `UserError` where there are no labels."""
    if rows.labels is None or not (rows.labels >= 0).any():
        raise UserError("these data have no labels: give a folder with a class per subfolder, or (x, y)")
    return rows.schema.classes or tuple(map(str, range(int(rows.labels.max()) + 1)))


def known(name: Any, names: Sequence[str]) -> str:
    """The name of a class given by its name or number; raises `UserError` if it is unknown."""
    if isinstance(name, int | np.integer) and 0 <= name < len(names):
        return names[int(name)]
    if str(name) not in names:
        raise UserError(f"class {str(name)!r} is not known: {nearest(str(name), names)}")
    return str(name)


def of_class(rows: Dataset, name: Any) -> Dataset:
    """The rows of a class, given by its name or number; raises `UserError` if it is unknown or has none."""
    names = class_names(rows)
    name = known(name, names)
    assert rows.labels is not None
    found = (rows.labels == names.index(name)).nonzero().flatten()
    if not len(found):
        raise UserError(f"class {name!r} has no pictures in these data: name other data")
    return subset(rows, found)


def mean_code(model: Model, rows: Dataset) -> np.ndarray:
    """The mean of the posterior means of some data, `(features,)`."""
    mean: np.ndarray = model.embed(rows).mean(0, dtype=np.float64).astype(np.float32)
    return mean
