"""New data from a model: variations of real data, and new lines of text.

    augmenter = NeighborAugmenter(model, (x, y))
    for rows in torch.randperm(len(x)).split(100):
        more = augmenter.augment(rows, seed)  # of classes y[rows]

    more = vary(nelbo.load("results/emoji"), "faces/", 64)

An embedding is moved along the difference of two of its nearest neighbours within its class, so that it varies as they
do, and the change of the decoded datum is added to the datum itself:

    x' = x + m(z + A (z_a - z_b)) - m(z),   m(z) the mean of p(x | z),   clipped to the range of the data

This keeps the detail of x that the embedding does not capture. m(z) alone loses it, and with it, at times, the class:
variations would then have wrong labels, mainly where classes are hard to distinguish. A line of text has no such
residual: it is decoded from the moved embedding, rescaled to the norm of z, as embeddings of lines lie on a shell.

`vary` accepts other data than those of training: a few pictures of one kind give more of that kind. Variations of the
training data are closer to them than samples from the prior.

New lines are samples of a model of text that are not in a list of known lines:

    names = sample_novel_lines(nelbo.load("results/names"), 20, known=open("names.txt"), temperature=0.6)

A model of a long list draws many lines that are on the list, the more so the lower the temperature. Rejecting known
lines draws exactly from p(x | x is not known); repeated lines are rejected, too.

Source: DeVries, Taylor (2017), Dataset Augmentation in Feature Space, for differences of embeddings; Vincent, Bengio
(2003), Manifold Parzen Windows, for the directions of neighbours; Norouzi, Fleet, Norouzi (2020), Exemplar VAE, for a
draw beside each datum that a net is trained on.
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

NEAREST = 12  # neighbours from which differences are taken
TAUGHT, SHOWN = 1.0, 0.5  # A: larger for training data than for samples to look at


class NeighborAugmenter:
    """Draws variations of data, in any form that training takes, within their classes if they have labels.

    Raises `UserError` for a table, and for a model with discrete latent codes.
    """

    def __init__(self, model: Model, data: Any) -> None:
        check_model(model)
        self.model, self.rows = model, model.as_dataset(data)
        self.codes = torch.from_numpy(model.encode(self.rows))
        self.counts = torch.empty(len(self.codes), dtype=torch.int64)  # how many neighbours of the class there are
        self.nearest = torch.empty(len(self.codes), NEAREST, dtype=torch.int64)  # their indices, itself included
        labels = torch.zeros_like(self.counts) if self.rows.labels is None else self.rows.labels
        for label in labels.unique():
            own = (labels == label).nonzero().flatten()
            found = own[nearest_neighbors(self.codes[own], self.codes[own], NEAREST)]
            self.counts[own] = found.shape[1]
            self.nearest[own, : found.shape[1]] = found

    @torch.no_grad()
    def augment(self, rows: Tensor, seed: int = 0, strength: float = TAUGHT) -> Any:
        """A variation of each of the rows with indices `rows` `(n,)`: `(n, *shape)` in the data's units.

        Args:
            rows: the indices of the rows.
            seed: fixes the draws.
            strength: A of the module's formula.
        """
        u = torch.rand(2, len(rows), generator=torch.Generator().manual_seed(seed))
        a, b = (self.codes[self.nearest[rows, (part * self.counts[rows]).long()]] for part in u)
        change = self._changed if self.model.schema.data_kind.varies_by == "residual" else self._written
        return self.model._to_user(
            self.model.map_batches(subset(self.rows, rows), change, self.codes[rows], strength * (a - b))
        )

    def sample(self, n: int, seed: int = 0, temperature: float = 1.0) -> Any:
        """Draw `n` variations of random rows.

        Args:
            n: the number of variations.
            seed: fixes the draws.
            temperature: scales how far they vary.

        Raises `UserError` if no class has 2 data, `n` is below 1, or the temperature is not above 0.
        """
        check_draws(n, temperature)
        alike = (self.counts > 1).nonzero().flatten()
        if not len(alike):
            raise UserError("variations need at least 2 items per class, and there is 1: give more")
        chosen = np.random.default_rng(seed).integers(len(alike), size=n)
        return self.augment(alike[torch.from_numpy(chosen)], seed, SHOWN * temperature)

    def _changed(self, x: Tensor, c: Tensor | None, z: Tensor, step: Tensor) -> Tensor:
        z, step, show = z.to(x), step.to(x), self.model.vae.decode_mean
        more = show(z + step, c) + (x - show(z, c)).nan_to_num(0.0)  # missing elements of x are decoded ones
        return self.model.schema.decode(more)

    def _written(self, x: Tensor, c: Tensor | None, z: Tensor, step: Tensor) -> Tensor:
        moved = z + step
        moved = moved * (z.norm(dim=1) / moved.norm(dim=1).clamp_min(1e-12))[:, None]
        return self.model.schema.decode(self.model.vae.decode_mean(moved.to(self.model.device), c))


def nearest_neighbors(codes: Tensor, of: Tensor, k: int) -> Tensor:
    """The indices of the `k` embeddings (or all, if fewer) nearest to each of `of`, in order: `(len(of), k)`."""
    parts, most = of.split(1000), min(k, len(codes))
    compared = track(parts, "comparing codes", len(parts))
    return torch.cat([torch.cdist(part, codes).topk(most, largest=False).indices for part in compared])


def check_model(model: Model) -> None:
    """Raise `UserError` for a model whose latent codes are discrete, or whose data do not support variations."""
    if not (kind := model.schema.data_kind).varies_by:
        raise UserError(f"variations do not work with {kind.noun}: use augment, or sample with --condition")
    if model.vae.latent.discrete:
        raise UserError(
            "variations do not work with VQ models: their latent codes are discrete: sample from the prior instead"
        )


def check_draws(n: int, temperature: float) -> None:
    """Raise `UserError` for an `n` below 1, or a temperature that is not above 0."""
    if n < 1:
        raise UserError(f"n={n}: use 1 or more")
    check_temperature(temperature)


MOST = 10_000  # the most data that are varied; of more, a random sample


def vary(model: Model, data: Any, n: int = 64, seed: int = 0, temperature: float = 1.0) -> Any:
    """Draw `n` variations of `data`, `(n, *shape)`, in its units: see `NeighborAugmenter.sample`.

    Args:
        model: the trained model.
        data: data in any form that training takes; at least 2.
        n: the number of variations.
        seed: fixes the draws.
        temperature: scales how far they vary.

    Raises `UserError` for a table, for a model with discrete latent codes, and for fewer than 2 data.
    """
    check_model(model)
    check_draws(n, temperature)  # before the data are read
    rows = data if isinstance(data, Dataset) else load_like(data, model.schema, split="train")
    return NeighborAugmenter(model, subset(rows, sample_indices(len(rows), MOST, seed))).sample(n, seed, temperature)


AT_ONCE = 100  # the fewest lines per round
FRUITLESS = 20  # rounds without a new line, after which sampling stops


def sample_novel_lines(
    model: Model, n: int, known: Iterable[str], seed: int = 0, temperature: float = 1.0
) -> list[str]:
    """Draw `n` different lines that are not in `known`; spaces around a line are ignored.

    Args:
        model: a model of text.
        n: the number of lines.
        known: the lines to exclude.
        seed: fixes the draws.
        temperature: that of `Model.sample`.

    Raises `UserError` for a model of other data than text, for `n` below 1, and if the model does not draw `n` such
    lines.
    """
    if n < 1:
        raise UserError(f"n={n}: use at least 1 line")
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
