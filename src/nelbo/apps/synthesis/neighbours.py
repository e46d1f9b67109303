"""New data from a model: near neighbours of a datum, and lines that are not known yet.

    nearby = Nearby(model, (x, y))
    for rows in torch.randperm(len(x)).split(100):
        more = nearby.draw(rows, seed)  # of classes y[rows]

    more = variations(nelbo.load("results/emoji"), "faces/", 64)

A code is moved along the difference of two of the codes nearest to it within its class, so that it varies as they do
there, and what that changes of the datum is added to the datum itself:

    x' = x + m(z + A (z_a - z_b)) - m(z),   m(z) the mean of p(x | z),   cut off where data end

What the code does not hold of x, x' has unchanged. m(z) alone loses it, and with it, at times, what makes a 4 a 4: then
draws teach a wrong class, and just where classes are hard to tell. A line of text has no such difference: it is written
anew from the moved code, brought back to the length of z, as codes of lines lie on a shell.

`vary` need not be of what the model was trained on: a few pictures of one kind make more of that kind. Draws like
all training data stay nearer to these than draws of the prior do.

New lines are draws of a model of text that are not among those already known:

    names = new_lines(nelbo.load("results/names"), 20, known=open("names.txt"), temperature=0.6)

A model of a long list draws many lines that are on the list, the more so the lower the temperature; what is wanted of
it are the others. Leaving the known ones out draws from p(x | x is not known), exactly; a line drawn again is left out,
too.

Source: DeVries, Taylor (2017), Dataset Augmentation in Feature Space, for differences of codes; Vincent, Bengio (2003),
Manifold Parzen Windows, for the directions of neighbours; Norouzi, Fleet, Norouzi (2020), Exemplar VAE, for a draw
beside each datum that a net is trained on.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nelbo.data import Dataset, load_like, subset
from nelbo.data.dataset import sample_indices
from nelbo.distributions import check_temperature
from nelbo.errors import UserError
from nelbo.model import Model
from nelbo.training.progress import track

NEAREST = 12  # codes that differences are taken of
TAUGHT, SHOWN = 1.0, 0.5  # A: where a net learns from draws, they may go further than where they are shown


class NeighborAugmenter:
    """Draws near data of any form that training takes, whose classes, if they have labels, are kept.

    Raises `UserError` for a table, and for a model whose codes are entries of a codebook.
    """

    def __init__(self, model: Model, data: Any) -> None:
        check_model(model)
        self.model, self.rows = model, model.as_dataset(data)
        self.codes = torch.from_numpy(model.encode(self.rows))
        self.counts = torch.empty(len(self.codes), dtype=torch.int64)  # how many codes of the class are near
        self.nearest = torch.empty(len(self.codes), NEAREST, dtype=torch.int64)  # which, itself among them
        labels = torch.zeros_like(self.counts) if self.rows.labels is None else self.rows.labels
        for label in labels.unique():
            own = (labels == label).nonzero().flatten()
            found = own[nearest_neighbors(self.codes[own], self.codes[own], NEAREST)]
            self.counts[own] = found.shape[1]
            self.nearest[own, : found.shape[1]] = found

    @torch.no_grad()
    def augment(self, rows: Tensor, seed: int = 0, strength: float = TAUGHT) -> Any:
        """A datum near each of the numbers `rows` `(n,)`, `(n, *shape)` in the data's units; `strength` is A."""
        u = torch.rand(2, len(rows), generator=torch.Generator().manual_seed(seed))
        a, b = (self.codes[self.nearest[rows, (part * self.counts[rows]).long()]] for part in u)
        size = self.model.schema.inference_batch_size
        codes = zip(self.codes[rows].split(size), (strength * (a - b)).split(size), strict=True)
        change = self._changed if self.model.schema.data_kind.varies_by == "residual" else self._written
        return self.model._to_user(
            self.model.map_batches(subset(self.rows, rows), lambda x, c: change(x, c, *next(codes)))
        )

    def sample(self, n: int, seed: int = 0, temperature: float = 1.0) -> Any:
        """`n` data near any of them, to be looked at; the temperature scales how far they vary.

        Raises `UserError` where no class has 2 data, for an `n` below 1, or a temperature that is not above 0.
        """
        check_draws(n, temperature)
        alike = (self.counts > 1).nonzero().flatten()
        if not len(alike):
            raise UserError("only 1 to be like: give 2 or more, of each class")
        chosen = np.random.default_rng(seed).integers(len(alike), size=n)
        return self.augment(alike[torch.from_numpy(chosen)], seed, SHOWN * temperature)

    def _changed(self, x: Tensor, c: Tensor | None, z: Tensor, step: Tensor) -> Tensor:
        z, step, show = z.to(x), step.to(x), self.model.vae.decode_mean
        more = show(z + step, c) + (x - show(z, c)).nan_to_num(0.0)  # what is missing of x is as the model has it
        return self.model.schema.clip(self.model.schema.decode(more))

    def _written(self, x: Tensor, c: Tensor | None, z: Tensor, step: Tensor) -> Tensor:
        moved = z + step
        moved = moved * (z.norm(dim=1) / moved.norm(dim=1).clamp_min(1e-12))[:, None]
        return self.model.schema.decode(self.model.vae.decode_mean(moved.to(self.model.device), c))


def nearest_neighbors(codes: Tensor, of: Tensor, k: int) -> Tensor:
    """The numbers of the `k` codes (or all, if fewer) nearest to each of `of`, nearest first: `(len(of), k)`."""
    parts, most = of.split(1000), min(k, len(codes))
    compared = track(parts, "comparing codes", len(parts))
    return torch.cat([torch.cdist(part, codes).topk(most, largest=False).indices for part in compared])


def check_model(model: Model) -> None:
    """Raise `UserError` for a model whose codes have no differences, or whose data have none."""
    if not (kind := model.schema.data_kind).varies_by:
        raise UserError(f"like: the model is of {kind.noun}: use augment, or sample with --condition")
    if model.vae.latent.discrete:
        raise UserError("like: the model's codes are entries of a codebook, between which is nothing: leave it out")


def check_draws(n: int, temperature: float) -> None:
    """Raise `UserError` for an `n` below 1, or a temperature that is not above 0."""
    if n < 1:
        raise UserError(f"n={n}: give 1 or more")
    check_temperature(temperature)


MOST = 10_000  # data that draws are made like; of more, so many at random


def vary(model: Model, data: Any, n: int = 64, seed: int = 0, temperature: float = 1.0) -> Any:
    """`n` new data like those of `data`, `(n, *shape)`, in its units: see `NeighborAugmenter.sample`.

    Raises `UserError` for a table, for a model whose codes are entries of a codebook, and for fewer than 2 data.
    """
    check_model(model)
    check_draws(n, temperature)  # before the data are read
    rows = data if isinstance(data, Dataset) else load_like(data, model.schema, split="train")
    return NeighborAugmenter(model, subset(rows, sample_indices(len(rows), MOST, seed))).sample(n, seed, temperature)


AT_ONCE = 100  # lines drawn at least
FRUITLESS = 20  # rounds without a new line, after which none is expected


def sample_novel_lines(
    model: Model, n: int, known: Iterable[str], seed: int = 0, temperature: float = 1.0
) -> list[str]:
    """`n` different lines drawn from the model, none of them in `known`; spaces around a line do not count.

    The temperature is that of `Model.sample`. Raises `UserError` for a model of other data than text, for `n` below 1,
    and where the model has no `n` such lines to draw.
    """
    if n < 1:
        raise UserError(f"n={n}: give 1 line or more")
    model.schema.require_kind("new lines", "text")
    rng, left_out = np.random.default_rng(seed), {"", *(line.strip() for line in known)}
    found: dict[str, None] = {}
    fruitless = 0
    while len(found) < n and fruitless < FRUITLESS:
        before = len(found)
        drawn = model.sample(max(n, AT_ONCE), int(rng.integers(2**62)), temperature)
        found |= dict.fromkeys(line for line in map(str.strip, drawn) if line not in left_out)
        fruitless = 0 if len(found) > before else fruitless + 1
    if len(found) < n:
        raise UserError(
            f"n={n}: the model drew {len(found)} lines that are new, and then {FRUITLESS * max(n, AT_ONCE)} that are "
            "not: ask for fewer, or raise the temperature"
        )
    return [*found][:n]
