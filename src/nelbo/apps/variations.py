"""New data like some that are given: these pictures, or those lines, varied as their neighbours among them vary.

    more = variations(nelbo.load("results/emoji"), "faces/", 64)

What is given need not be what the model was trained on: a few pictures of one kind make more of that kind. Their codes
are varied (`codes_like`) and decoded. Draws like all training data stay nearer to these than draws of the prior do.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nelbo.data import Dataset, load_like, subset
from nelbo.data.dataset import draw
from nelbo.distributions import check_temperature
from nelbo.errors import UserError
from nelbo.latents import Quantised
from nelbo.model import Model
from nelbo.watch import watched

MOST = 10_000  # data that draws are made like; of more, so many at random
NEIGHBOURS = 12  # codes near one, itself among them
ALONG = 0.5  # of a difference between two of them is added


def variations(model: Model, data: Any, n: int = 64, seed: int = 0, temperature: float = 1.0) -> Any:
    """`n` new data like those of `data`, `(n, *shape)`, in its units; the temperature is that of `codes_like`.

    Raises `UserError` for a table, for a model whose codes are entries of a codebook, and for fewer than 2 data.
    """
    if model.schema.kind == "table":
        raise UserError("like: the model is of a table: use augment, or sample with --condition")
    if isinstance(model.vae.latent, Quantised):
        raise UserError("like: the model's codes are entries of a codebook, between which is nothing: leave it out")
    _check(n, temperature)  # before the data are read
    rows = data if isinstance(data, Dataset) else load_like(data, model.schema, split="train")
    codes = model.stand_in(subset(rows, draw(len(rows), MOST, seed)))
    return model.decode(codes_like(codes, n, seed, temperature))


def neighbours(codes: Tensor, of: Tensor, k: int = NEIGHBOURS) -> Tensor:
    """The numbers of the `k` codes (or all, if fewer) nearest to each of `of`, nearest first: `(len(of), k)`."""
    parts, most = of.split(1000), min(k, len(codes))
    compared = watched(parts, "comparing codes", len(parts))
    return torch.cat([torch.cdist(part, codes).topk(most, largest=False).indices for part in compared])


def codes_like(codes: np.ndarray, n: int, seed: int = 0, temperature: float = 1.0) -> np.ndarray:
    """`n` new codes like those given, `(k, features)`; the temperature t scales their deviation from the mean m.

    A new code is one of them, moved along the difference of two codes near it, so that it varies as they do there,
    whatever the form of the whole; and drawn in towards m, so that the new ones spread no more than the old:

        z = m + t s (z_i + A (z_a - z_b) - m),   i at random,   a and b of the nearest of z_i, itself among them
        s^2 = V / (V + A^2 D),   V = mean |z_i - m|^2,   D = E|z_a - z_b|^2

    Draws of a Normal of the same mean and covariance lie between the forms, and look like none. Raises `UserError` for
    fewer than 2 codes, an `n` below 1, or a temperature that is not above 0.

    Source: DeVries, Taylor (2017), Dataset Augmentation in Feature Space, for differences of codes; Vincent, Bengio
    (2003), Manifold Parzen Windows, for the directions of neighbours.
    """
    _check(n, temperature)
    if len(codes) < 2:
        raise UserError(f"only {len(codes)} to be like: give 2 or more, of each class")
    rng, known = np.random.default_rng(seed), torch.from_numpy(codes)
    chosen = rng.integers(len(codes), size=n)
    near = neighbours(known, known[chosen]).numpy()
    a, b = (codes[near[np.arange(n), rng.integers(near.shape[1], size=n)]] for _ in range(2))
    mean = codes.mean(0, dtype=np.float64)
    spread = ((codes - mean) ** 2).sum(1).mean()
    added = ALONG**2 * np.mean([2 * codes[some].var(0, dtype=np.float64).sum() for some in near])
    shrink = math.sqrt(spread / (spread + added)) if spread else 1.0
    return (mean + temperature * shrink * (codes[chosen] + ALONG * (a - b) - mean)).astype(np.float32)


def _check(n: int, temperature: float) -> None:
    if n < 1:
        raise UserError(f"n={n}: give 1 or more")
    check_temperature(temperature)
