"""Codes of one class of labelled data: their mean, and new ones like them.

New codes are a smoothed bootstrap that keeps the class's mean m and covariance S (with t = 1):

    z = m + t (sqrt(1 - h^2) (z_i - m) + h e),   i at random,   e ~ N(0, S),   h = k^(-1 / (d + 4))

for k codes z_i of d numbers: with many codes of few numbers they stay near the z_i, whatever the form of the class;
with few codes of many, they are Normal in the space that the z_i span. e is a random sum of the z_i - m, so that
no matrix of d x d is ever made.

Source: Silverman (1986), Density Estimation for Statistics and Data Analysis, section 6.4; h by Scott (1992),
Multivariate Density Estimation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nelbo.data import Dataset, subset
from nelbo.errors import UserError
from nelbo.model import Model
from nelbo.registry import nearest


def class_names(rows: Dataset) -> tuple[str, ...]:
    """The names of the classes of labelled data; raises `UserError` where there are no labels."""
    if rows.labels is None:
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


def like(codes: np.ndarray, n: int, seed: int = 0, temperature: float = 1.0) -> np.ndarray:
    """`n` new codes like those given, `(k, features)`; `temperature` scales their deviation from the mean.

    Raises `UserError` for fewer than 2 codes.
    """
    k, features = codes.shape
    if k < 2:
        raise UserError(f"a class has {k} picture: give 2 or more of each class")
    rng = np.random.default_rng(seed)
    mean = codes.mean(0, dtype=np.float64)
    deviations = codes - mean
    h = k ** (-1 / (features + 4))
    kept = deviations[rng.integers(k, size=n)]
    fresh = rng.normal(size=(n, k)) @ deviations / np.sqrt(k)
    return (mean + temperature * (np.sqrt(1 - h**2) * kept + h * fresh)).astype(np.float32)
