"""Synthetic pictures of a class, a filter by class and likelihood, and files of labelled pictures.

A model conditioned on classes draws pictures given the class. With other models, they are variations of the class's
real pictures (`nelbo.apps.synthesis.neighbours`). The filter confirms the class, and bounds -log p(x):

    conditional    the class maximizes the likelihood: argmax_y log p(x | y)
    unconditional  it is the majority class of the 3 nearest embeddings, among as many real pictures of each class

Labelled pictures are written as a folder with a subfolder for each class, or as one .npz with x and y.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nelbo.apps.synthesis.neighbours import NeighborAugmenter, nearest_neighbors
from nelbo.data import Dataset, Schema, subset
from nelbo.data.dataset import sample_indices
from nelbo.data.images.decode import MODES, pixels
from nelbo.data.labels import as_user_labels, class_index
from nelbo.errors import UserError, nearest
from nelbo.model import Model
from nelbo.model.scoring import importance_weighted_bound
from nelbo.plotting import images
from nelbo.training.checkpoint import write_bytes

NEAREST = 3
MOST = 1000  # real pictures of a class whose codes are compared
SAMPLES = 4  # of z for a bound on log p(x)


def conditional(model: Model) -> bool:
    """Whether the model is conditioned on classes."""
    return model.context is not None and bool(model.context.classes)


def names(model: Model, reference: Dataset | None) -> tuple[str, ...]:
    """The classes of which pictures can be drawn; raises `UserError` if there are none."""
    if model.context is not None and conditional(model):
        return model.context.classes
    if model.vae.latent.discrete:
        raise UserError(
            "augment does not work with unconditional VQ models: their latent codes are discrete: train with "
            "--condition label"
        )
    if reference is None:
        raise UserError("augment: the model is not conditioned on classes: give labelled pictures (reference)")
    known, labels = class_names(reference), reference.labels
    assert labels is not None
    return tuple(known[k] for k in labels[labels >= 0].unique().tolist())


@dataclass(frozen=True)
class ClassSampler:
    """Draws pictures of the class `name` and accepts good ones; `reference` are labelled pictures."""

    model: Model
    name: str
    reference: Dataset | None
    temperature: float = 1.0

    def sampler(self) -> Callable[[int, int], np.ndarray]:
        """A function of (n, seed) that draws pictures `(n, *shape)`."""
        if conditional(self.model):
            given = self.model.condition_on(self.name)
            return lambda n, seed: given.sample(n, seed, self.temperature)
        nearby = NeighborAugmenter(self.model, of_class(self._reference, self.name))
        return lambda n, seed: nearby.sample(n, seed, self.temperature)

    def acceptance_filter(
        self, nll_quantile: Callable[[Model, Dataset], float], enough: int, seed: int
    ) -> Callable[[Any], np.ndarray]:
        """A function of pictures: which are of the class, and have a -log p(x) up to `nll_quantile` of real ones."""
        alike = of_class(self._reference, self.name)
        judge = self.model.condition_on(self.name) if conditional(self.model) else self.model
        few = len(alike) < enough
        limit = nll_quantile(self.model if few else judge, self._reference if few else alike)
        confirm = self._by_likelihood(seed) if conditional(self.model) else self._by_codes(seed)
        return lambda x: (-importance_weighted_bound(judge, x, SAMPLES, seed) <= limit) & confirm(x)

    @property
    def _reference(self) -> Dataset:
        if self.reference is None:
            raise UserError("augment: the filter needs real pictures: give labelled ones (reference)")
        return self.reference

    def _by_likelihood(self, seed: int) -> Callable[[Any], np.ndarray]:
        classes = names(self.model, None)
        given = [self.model.condition_on(name) for name in classes]
        wanted = classes.index(self.name)
        return lambda x: np.stack([importance_weighted_bound(m, x, SAMPLES, seed) for m in given]).argmax(0) == wanted

    def _by_codes(self, seed: int) -> Callable[[Any], np.ndarray]:
        known = class_names(self._reference)
        assert self._reference.labels is not None
        of = {name: (self._reference.labels == i).nonzero().flatten() for i, name in enumerate(known)}
        most = min(len(of[self.name]), MOST)
        chosen = {name: self._some(rows, most, seed) for name, rows in of.items() if len(rows)}
        codes = torch.cat(list(chosen.values()))
        mine = torch.cat([torch.full((len(c),), float(name == self.name)) for name, c in chosen.items()])

        def confirm(x: Any) -> np.ndarray:
            near = nearest_neighbors(codes, torch.from_numpy(self.model.embed(x)), min(NEAREST, most))
            return (mine[near].mean(1) > 0.5).numpy()

        return confirm

    def _some(self, rows: torch.Tensor, most: int, seed: int) -> torch.Tensor:
        """The embeddings of a random sample of rows of the real pictures."""
        return torch.from_numpy(self.model.embed(subset(self._reference, rows[sample_indices(len(rows), most, seed)])))


def split_evenly(n: int, classes: Sequence[str]) -> dict[str, int]:
    """Split `n` pictures over the classes as evenly as possible; the first classes get one more.

    >>> split_evenly(5, ["a", "b"])
    {'a': 3, 'b': 2}
    """
    each, more = divmod(n, len(classes))
    return {name: each + (i < more) for i, name in enumerate(classes)}


def images_to_balance(reference: Dataset) -> dict[str, int]:
    """The number of pictures to add per class to match the largest class; empty classes are left out."""
    known = class_names(reference)
    assert reference.labels is not None
    counts = torch.bincount(reference.labels[reference.labels >= 0], minlength=len(known)).tolist()
    if sum(count > 0 for count in counts) < 2:
        raise UserError("balance: the pictures have one class: give labelled pictures of at least two")
    return {name: max(counts) - count for name, count in zip(known, counts, strict=True) if count}


def check_target(out: Path) -> None:
    """Raises `UserError` before any work, unless `out` is a .npz file or an empty or new folder."""
    if out.suffix.lower() == ".npz":
        return
    if out.suffix or out.is_file():
        raise UserError(f"--out {out}: give a .npz file, or a folder, which gets a subfolder of .png files per class")
    if out.is_dir() and any(out.iterdir()):
        raise UserError(f"--out {out}: the folder is not empty: give another")


def write_set(out: Path, x: np.ndarray, y: np.ndarray, schema: Schema, real: int = 0) -> None:
    """Write pictures `(n, *shape)`, in the data's units, and their classes' names `(n,)`; the first `real` are real."""
    if out.suffix.lower() == ".npz":
        write_bytes(out, as_npz(x, y, schema))
        return
    if schema.shape[0] not in MODES:
        raise UserError(f"pictures of {schema.shape[0]} channels have no picture files: give a .npz file with --out")
    for name in np.unique(y).tolist():
        if name in ("", ".", "..") or Path(name).name != name or name.startswith("."):
            raise UserError(f"class {name!r} cannot be the name of a folder: give a .npz file with --out")
    for path, content in _files(x, y, schema, real):
        write_bytes(out / path, content)


def as_npz(x: np.ndarray, y: np.ndarray, schema: Schema) -> bytes:
    """x `(n, h, w)` if grey, else `(n, channels, h, w)`; both in the types of the data."""
    x = schema.data_kind.to_user(x, schema)
    content = BytesIO()
    np.savez_compressed(content, x=x[:, 0] if schema.shape[0] == 1 else x, y=as_user_labels(y))
    return content.getvalue()


def _files(x: np.ndarray, y: np.ndarray, schema: Schema, real: int) -> Iterator[tuple[Path, bytes]]:
    cells = pixels(x, schema)
    for i, (cell, name) in enumerate(zip(cells, y.tolist(), strict=True)):
        file = f"real_{i:06d}.png" if i < real else f"new_{i - real:06d}.png"
        yield Path(name) / file, images.png(images.picture(cell))


def class_names(rows: Dataset) -> tuple[str, ...]:
    """The names of the classes of labelled data; raises `UserError` if there are no labels."""
    if rows.labels is None or not (rows.labels >= 0).any():
        raise UserError("these data have no labels: give a folder with a class per subfolder, or (x, y)")
    return rows.schema.classes or tuple(map(str, range(int(rows.labels.max()) + 1)))


def class_name(name: Any, names: Sequence[str]) -> str:
    """The name of a class, from a label or its index; raises `UserError` if it is unknown."""
    try:
        return names[class_index(name, names)]
    except UserError:
        raise UserError(f"class {str(name)!r} is unknown: {nearest(str(name), names)}") from None


def of_class(rows: Dataset, name: Any) -> Dataset:
    """The rows of a class, from its name or index; raises `UserError` if it is unknown or has no rows."""
    names = class_names(rows)
    name = class_name(name, names)
    assert rows.labels is not None
    found = (rows.labels == names.index(name)).nonzero().flatten()
    if not len(found):
        raise UserError(f"class {name!r} has no pictures in these data: give data that have some")
    return subset(rows, found)


def mean_embedding(model: Model, rows: Dataset) -> np.ndarray:
    """The mean of the posterior means of some data, `(features,)`."""
    mean: np.ndarray = model.embed(rows).mean(0, dtype=np.float64).astype(np.float32)
    return mean
