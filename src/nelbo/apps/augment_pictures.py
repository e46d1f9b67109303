"""Synthetic pictures of a class, and a filter for those that are not of it, or are unlike all real ones.

A model conditioned on classes draws them given the class. Of another, they are like the class's real pictures
(`nelbo.apps.nearby`). The filter confirms the class, and holds the score to that of real ones:

    conditional    the class is the one under which the model finds the picture likeliest: argmin_y -log p(x | y)
    unconditional  it is that of most of the 3 nearest codes, among as many real pictures of each class
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from nelbo.apps import classwise
from nelbo.apps.nearby import Nearby, neighbours
from nelbo.data import Dataset, subset
from nelbo.data.dataset import draw
from nelbo.errors import UserError
from nelbo.model import Model

NEAREST = 3
MOST = 1000  # real pictures of a class whose codes are compared
SAMPLES = 4  # of z for a score


def conditional(model: Model) -> bool:
    """Whether the model is conditioned on classes."""
    return model.context is not None and bool(model.context.classes)


def names(model: Model, real: Dataset | None) -> tuple[str, ...]:
    """The classes that pictures can be made of; raises `UserError` where there are none."""
    if model.context is not None and conditional(model):
        return model.context.classes
    if model.vae.latent.discrete:
        raise UserError("augment: the model's codes are entries of a codebook: train it with --condition label")
    if real is None:
        raise UserError("augment: the model is not conditioned on classes: give labelled pictures (real)")
    return classwise.class_names(real)


@dataclass(frozen=True)
class OfClass:
    """Pictures of the class `name`: how they are drawn, and which are good; `real` are labelled pictures."""

    model: Model
    name: str
    real: Dataset | None
    temperature: float = 1.0

    def draw(self) -> Callable[[int, int], np.ndarray]:
        """A function of (n, seed) that draws pictures `(n, *shape)`."""
        if conditional(self.model):
            given = self.model.given(self.name)
            return lambda n, seed: given.sample(n, seed, self.temperature)
        nearby = Nearby(self.model, classwise.of_class(self._real, self.name))
        return lambda n, seed: nearby.some(n, seed, self.temperature)

    def likely(self, highest: Callable[[Model, Dataset], float], enough: int, seed: int) -> Callable[[Any], np.ndarray]:
        """A function of pictures that tells which are of the class and score no more than `highest` of real ones."""
        alike = classwise.of_class(self._real, self.name)
        judge = self.model.given(self.name) if conditional(self.model) else self.model
        few = len(alike) < enough
        limit = highest(self.model if few else judge, self._real if few else alike)
        confirm = self._by_likelihood(seed) if conditional(self.model) else self._by_codes(seed)
        return lambda x: (judge.score(x, SAMPLES, seed) <= limit) & confirm(x)

    @property
    def _real(self) -> Dataset:
        if self.real is None:
            raise UserError("augment: the filter compares with real pictures: give labelled ones (real)")
        return self.real

    def _by_likelihood(self, seed: int) -> Callable[[Any], np.ndarray]:
        classes = names(self.model, None)
        given = [self.model.given(name) for name in classes]
        wanted = classes.index(self.name)
        return lambda x: np.stack([m.score(x, SAMPLES, seed) for m in given]).argmin(0) == wanted

    def _by_codes(self, seed: int) -> Callable[[Any], np.ndarray]:
        known = names(self.model, self.real)
        assert self._real.labels is not None
        of = {name: (self._real.labels == i).nonzero().flatten() for i, name in enumerate(known)}
        most = min(len(of[self.name]), MOST)
        chosen = {name: self._some(rows, most, seed) for name, rows in of.items() if len(rows)}
        codes = torch.cat(list(chosen.values()))
        mine = torch.cat([torch.full((len(c),), float(name == self.name)) for name, c in chosen.items()])

        def confirm(x: Any) -> np.ndarray:
            near = neighbours(codes, torch.from_numpy(self.model.embed(x)), min(NEAREST, most))
            return (mine[near].mean(1) > 0.5).numpy()

        return confirm

    def _some(self, rows: torch.Tensor, most: int, seed: int) -> torch.Tensor:
        """The codes of some rows of the real pictures."""
        return torch.from_numpy(self.model.embed(subset(self._real, rows[draw(len(rows), most, seed)])))


def shares(n: int, classes: Sequence[str]) -> dict[str, int]:
    """`n` pictures over the classes, as evenly as can be, the first ones having one more.

    >>> shares(5, ["a", "b"])
    {'a': 3, 'b': 2}
    """
    each, more = divmod(n, len(classes))
    return {name: each + (i < more) for i, name in enumerate(classes)}


def lacking(real: Dataset) -> dict[str, int]:
    """How many pictures each class lacks to be as frequent as the largest; classes without any are left out."""
    known = classwise.class_names(real)
    assert real.labels is not None
    counts = torch.bincount(real.labels[real.labels >= 0], minlength=len(known)).tolist()
    if sum(count > 0 for count in counts) < 2:
        raise UserError("balance: the pictures have one class: give labelled pictures of two or more")
    return {name: max(counts) - count for name, count in zip(known, counts, strict=True) if count}
