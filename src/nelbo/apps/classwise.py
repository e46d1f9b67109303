"""Codes of one class of labelled data: their mean, and new ones like them.

A new code is one of the class, moved along the difference of two codes near it, so that it varies as the class does
there, whatever the form of the class; and drawn in towards the class's mean m, to spread no more than the class:

    z = m + t s (z_i + A (z_a - z_b) - m),   i at random,   a and b of the k nearest of z_i, itself among them
    s^2 = V / (V + A^2 D),   V = mean |z_i - m|^2,   D = E|z_a - z_b|^2

t is the temperature. Beside it, draws of a Normal of the class's mean and covariance lie between its forms, and look
like none. Source: DeVries, Taylor (2017), Dataset Augmentation in Feature Space, for differences of codes; Vincent,
Bengio (2003), Manifold Parzen Windows, for the directions of neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nelbo.data import Dataset, subset
from nelbo.errors import UserError
from nelbo.model import Model
from nelbo.registry import nearest

NEIGHBOURS = 12  # codes near one, itself among them
ALONG = 0.6  # A: how much of a difference is added


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


def neighbours(codes: Tensor, of: Tensor, k: int = NEIGHBOURS) -> Tensor:
    """The numbers of the `k` codes nearest to each of `of` `(n, features)`, nearest first: `(n, k)`, or all codes."""
    return torch.cat(
        [torch.cdist(part, codes).topk(min(k, len(codes)), largest=False).indices for part in of.split(1000)]
    )


def like(codes: np.ndarray, n: int, seed: int = 0, temperature: float = 1.0) -> np.ndarray:
    """`n` new codes like those given, `(k, features)`; `temperature` scales their deviation from the mean.

    Raises `UserError` for fewer than 2 codes.
    """
    if len(codes) < 2:
        raise UserError(f"a class has {len(codes)} picture: give 2 or more of each class")
    rng, all_codes = np.random.default_rng(seed), torch.from_numpy(codes)
    chosen = rng.integers(len(codes), size=n)
    near = neighbours(all_codes, all_codes[chosen]).numpy()
    a, b = (codes[near[np.arange(n), rng.integers(near.shape[1], size=n)]] for _ in range(2))
    mean = codes.mean(0, dtype=np.float64)
    deviation = codes[chosen] + ALONG * (a - b) - mean
    spread = ((codes - mean) ** 2).sum(1).mean()
    added = ALONG**2 * np.mean([2 * codes[some].var(0, dtype=np.float64).sum() for some in near])
    shrink = math.sqrt(spread / (spread + added)) if spread else 1.0
    return (mean + temperature * shrink * deviation).astype(np.float32)
