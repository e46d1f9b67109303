"""What `VAESampler` does with pictures: a model of all of them, and of each class new ones like its own.

The model is not told the classes: rare ones then have their forms from all pictures, and from their own few where these
lie in the space of codes, which makes better pictures of few than a conditional model does; see
`nelbo.apps.nearby`.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np

from nelbo.apps.augment import augment
from nelbo.config import recipe as recipes
from nelbo.data import load
from nelbo.data.layout import CHANNELS
from nelbo.errors import UserError
from nelbo.model import Model
from nelbo.training import Callback

SMALL = 3072  # numbers in a picture, up to which perceptrons are quick and good


def is_pictures(X: Any, shape: tuple[int, ...] | None) -> bool:
    """Whether X holds pictures, `(n, h, w)` or with channels, or vectors of which `shape` makes such."""
    return shape is not None or np.ndim(X) > 2


def pictures(X: Any, shape: tuple[int, ...] | None) -> np.ndarray:
    """X as pictures; raises `UserError` if it holds none."""
    x = np.asarray(X)
    if shape is not None:
        if len(shape) not in (2, 3) or prod(shape) != prod(x.shape[1:]):
            raise UserError(f"shape={shape}, X has shape {x.shape}: give (h, w) or (channels, h, w) of as many numbers")
        x = x.reshape(len(x), *shape)
    if x.ndim not in (3, 4) or x.dtype.kind not in "buif":
        raise UserError(f"X has shape {x.shape}, {x.dtype}: give numbers (n, h, w) or (n, channels, h, w)")
    return x


def train(x: np.ndarray, settings: Mapping[str, Any], callbacks: list[Callback]) -> tuple[Model, int]:
    """A model of pictures by these settings of a recipe, and the epochs it took."""
    data = load(x, seed=settings["seed"])
    recipe = recipes.load("mnist" if prod(data.schema.shape) <= SMALL else None, dict(settings))
    model = Model.create(recipe, data.schema)
    state = model.fit(data, None, callbacks)
    if state.reason == "interrupted":
        raise KeyboardInterrupt
    return model, int(state.rows[-1]["epoch"])


def draw(model: Model, x: np.ndarray, codes: np.ndarray, wanted: Mapping[int, int], seed: int) -> list[np.ndarray]:
    """So many new pictures of each class, by its number in `codes`, shaped and typed as x."""
    real = model.rows((x, codes))
    seeds = np.random.RandomState(seed).randint(2**31 - 1, size=len(wanted)).tolist()
    drawn = [augment(model, n, k, real=real, seed=own)[0] for (k, n), own in zip(wanted.items(), seeds, strict=True)]
    return [_as(values, x) for values in drawn]


def _as(values: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Pictures `(n, channels, h, w)` laid out as x, within its range and of its type."""
    if x.ndim == 4 and x.shape[-1] in CHANNELS:
        values = values.transpose(0, 2, 3, 1)
    values = values.reshape(len(values), *x.shape[1:]).clip(x.min(), x.max())
    return (values.round() if x.dtype.kind in "bui" else values).astype(x.dtype)
