"""New data like some that are given: these pictures, or those lines, varied as their neighbours among them vary.

    more = variations(nelbo.load("results/emoji"), "faces/", 64)

What is given need not be what the model was trained on: a few pictures of one kind make more of that kind. Draws like
all training data stay nearer to these than draws of the prior do.
"""

from __future__ import annotations

from typing import Any

from nelbo.apps.nearby import Nearby, check_draws, check_model
from nelbo.data import Dataset, load_like, subset
from nelbo.data.dataset import draw
from nelbo.model import Model

MOST = 10_000  # data that draws are made like; of more, so many at random


def variations(model: Model, data: Any, n: int = 64, seed: int = 0, temperature: float = 1.0) -> Any:
    """`n` new data like those of `data`, `(n, *shape)`, in its units: see `Nearby.some`.

    Raises `UserError` for a table, for a model whose codes are entries of a codebook, and for fewer than 2 data.
    """
    check_model(model)
    check_draws(n, temperature)  # before the data are read
    rows = data if isinstance(data, Dataset) else load_like(data, model.schema, split="train")
    return Nearby(model, subset(rows, draw(len(rows), MOST, seed))).some(n, seed, temperature)
