"""Pictures worth showing: sheets, walks, morphs, and arithmetic with what classes have in common.

Draws of a model's prior from noise that is cut off at some standard deviations: more typical, less varied.

Pictures worth showing: sheets, walks, morphs, and arithmetic with what classes have in common.

Each function returns a `Rendering`: its pictures as an array, drawn as a sheet, as frames, or saved in a file.

    walk         z goes through draws of the prior along great circles, at constant speed, and back to the first
    attribute    z + s (mean code of one class - mean code of another), s growing from 0
    temperature  scales the spread of the prior
    truncation   the Normal noise that a prior is made of is drawn anew until within so many standard deviations:
                 of z for a Normal prior; of each level given those above it, for a hierarchy; of what a flow
                 transforms, and about the centre chosen, for a mixture. Other priors have none.

Source: Brock, Donahue, Simonyan (2019), Large Scale GAN Training for High Fidelity Natural Image Synthesis; White
(2016), Sampling Generative Networks; Brock, Donahue, Simonyan (2019), Large Scale GAN Training.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from nelbo import distributions as d
from nelbo.apps.art.rendering import Rendering
from nelbo.apps.synthesis import images
from nelbo.apps.synthesis.neighbours import NeighborAugmenter, vary
from nelbo.data import Dataset, subset
from nelbo.distributions.noise import seeded, truncated
from nelbo.errors import UserError
from nelbo.experiment.run import load_test_data
from nelbo.model import Model, latent_space


@contextmanager
def truncated_noise(model: Model, truncation: float | None) -> Iterator[None]:
    """Within it, noise is truncated; raises `UserError` for a prior that is not made of Normal noise."""
    if truncation is not None:
        if not 0 < truncation < np.inf:
            raise UserError(f"truncation={truncation}: give a number of standard deviations above 0")
        with torch.no_grad():
            has_normal_noise = model.vae.latent.has_normal_noise(model._default_context(1))
        if not has_normal_noise:
            name = type(getattr(model.vae.latent, "prior", model.vae.latent)).__name__
            raise UserError(f"truncation: the model's prior ({name}) is not made of Normal noise: use temperature")
    with truncated(truncation):
        yield


@torch.no_grad()
def sample_embeddings(model: Model, n: int, temperature: float, truncation: float | None, seed: int) -> np.ndarray:
    """Codes of draws of the prior, `(n, features)`."""
    d.check_temperature(temperature)
    with seeded(seed), truncated_noise(model, truncation):
        codes: np.ndarray = (
            model.vae.latent.sample_prior_embedding(n, model._default_context(n), temperature).cpu().numpy()
        )
    return codes


MOST = 10_000  # frames, or pictures of a sheet: a record is no licence to fill the memory


def grid(
    model: Model,
    n: int = 64,
    temperature: float = 1.0,
    truncation: float | None = None,
    seed: int = 0,
    columns: int = 8,
    like: Any = None,
) -> Rendering:
    """`n` samples, the same as `Model.sample` draws with this seed, unless truncated; or `like` some data."""
    _draws(model)
    _counts(n=n, columns=columns)
    if like is not None:
        _of_prior(truncation)
        values = vary(model, like, n, seed, temperature)
    else:
        with truncated_noise(model, truncation):
            values = model.sample(n, seed, temperature)
    return Rendering(values[None], model.schema, columns)


def latent_walk(
    model: Model,
    seconds: float = 6.0,
    waypoints: int = 4,
    n: int = 1,
    fps: float = 25.0,
    temperature: float = 1.0,
    truncation: float | None = None,
    seed: int = 0,
    columns: int = 0,
) -> Rendering:
    """`n` closed walks side by side, each through `waypoints` draws of the prior; of a conditional model, in a class each.

    The step from the last frame to the first is as long as any other.
    """
    _between(model, "walk")
    frames = _frames(seconds, fps)
    _counts(n=n, waypoints=waypoints, columns=columns or 1)
    if waypoints < 2:
        raise UserError(f"waypoints={waypoints}: give 2 or more")
    shown = []
    for i in range(n):
        in_turn = model.context is not None and model.context.classes and model._fixed_context is None
        one = model.condition_on(i % len(model.context.classes)) if in_turn else model  # type: ignore[union-attr]
        codes = sample_embeddings(one, waypoints, temperature, truncation, seed + i)
        shown.append(one.decode(latent_space.tour(list(codes), frames, closed=True)))
    return Rendering(np.stack(shown, 1), model.schema, columns, fps=fps)


def morph(
    model: Model, items: Sequence[Any], data: Any = None, seconds: float = 4.0, fps: float = 25.0, loop: bool = True
) -> Rendering:
    """From each picture to the next, in equal times; with `loop`, back to the first.

    What the code of a picture does not hold of it is added to its end of the way, less and less, so that the way begins
    and ends with the pictures themselves. Items are pictures, files, or texts of digits: rows of `data` (None: the
    model's test data).
    """
    _between(model, "morph")
    if len(items) < 2:
        raise UserError(f"morph: {len(items)} picture given: give 2 or more")
    if model.context is not None and model._fixed_context is None:
        raise UserError("morph: the model is conditional: give the one condition that holds all the way (--condition)")
    chosen = _items(model, items, data)
    chosen += chosen[:1] if loop else []
    steps = max(round(_frames(seconds, fps) / (len(chosen) - 1)), 1) + 1
    values = model.interpolate(*chosen, steps=steps)
    detail = _originals(model, chosen) - values[:: steps - 1]
    values = _clipped(model, values + latent_space.chain(detail, steps))
    return Rendering((values[:-1] if loop else values)[:, None], model.schema, fps=fps)


def attribute_edit(
    model: Model,
    toward: str,
    away_from: str | None = None,
    items: Sequence[Any] = (),
    data: Any = None,
    strength: float = 2.0,
    steps: int = 8,
    n: int = 4,
    seed: int = 0,
) -> Rendering:
    """Each picture moved from class `away_from` towards class `toward`, from 0 to `strength` times the way between the means.

    What its code does not hold of a picture stays as it is. Without `away_from`, it is all other classes together; without
    items, `n` draws of the prior are moved. `data` is labelled (None: the model's test data).
    """
    _between(model, "attribute")
    if model.context is not None and model.context.classes:
        raise UserError(
            "attribute: the model is conditioned on classes, so its codes hold none: use classes, or --condition"
        )
    _counts(n=n, steps=steps)
    if steps < 2 or not np.isfinite(strength):
        raise UserError(f"steps={steps}, strength={strength}: give 2 steps or more, and a finite strength")
    rows = _rows(model, data)
    towards = images.mean_embedding(model, images.of_class(rows, toward))
    if away_from is None:
        others = [name for name in images.class_names(rows) if name != str(toward)]
        away = np.mean([images.mean_embedding(model, images.of_class(rows, name)) for name in others], 0)
    else:
        away = images.mean_embedding(model, images.of_class(rows, away_from))
    chosen = _items(model, items, data)
    codes = (
        np.concatenate([model.embed(item) for item in chosen])
        if chosen
        else sample_embeddings(model, n, 1.0, None, seed)
    )
    strengths = np.linspace(0, strength, steps, dtype=np.float32)
    moved = codes + strengths[:, None, None] * (towards - away)
    values = model.decode(moved.reshape(-1, codes.shape[1])).reshape(steps, len(codes), *model.schema.shape)
    if chosen:
        values = _clipped(model, values + _originals(model, chosen) - values[0])
    captions = [f"{value:+.2g}" if value else "0" for value in strengths]
    return Rendering(values, model.schema, fps=5.0, captions=captions)


def class_grid(
    model: Model,
    data: Any = None,
    temperature: float = 1.0,
    truncation: float | None = None,
    seed: int = 0,
    columns: int = 8,
) -> Rendering:
    """A row of samples for each class.

    A model conditioned on classes draws each row with the same noise. Of another, rows are like the pictures of the
    class in `data`, labelled (None: the model's test data); see `nelbo.apps.synthesis.neighbours`.
    """
    _draws(model)
    _counts(columns=columns)
    if model.context is not None and model.context.classes:
        names = model.context.classes
        with truncated_noise(model, truncation):
            rows = [model.condition_on(name).sample(columns, seed, temperature) for name in names]
        return Rendering(np.concatenate(rows)[None], model.schema, columns, names=names)
    _between(model, "classes of an unconditional model")
    _of_prior(truncation)
    held = _rows(model, data)
    names = images.class_names(held)
    rows = [NeighborAugmenter(model, images.of_class(held, name)).sample(columns, seed, temperature) for name in names]
    return Rendering(np.concatenate(rows)[None], model.schema, columns, names=names)


def contact_sheet(model: Model, data: Any = None, n: int = 64, columns: int = 8) -> Rendering:
    """The first `n` pictures of `data`, each above its reconstruction, with its class or number beneath."""
    _draws(model)
    _counts(n=n, columns=columns)
    rows = _rows(model, data)
    first = subset(rows, range(min(n, len(rows))))
    originals = model.schema.decode(first.batch(torch.arange(len(first)))).numpy()
    captions = [str(i) for i in range(len(first))]
    if first.labels is not None:
        captions = [images.class_names(rows)[k] if k >= 0 else "" for k in first.labels.tolist()]
    values = np.concatenate([originals, model.reconstruct(first)], 2)
    return Rendering(values[None], model.schema, columns, captions=captions, of=len(rows))


MAKERS = {f.__name__: f for f in (grid, latent_walk, morph, attribute_edit, class_grid, contact_sheet)}


def _counts(**counts: int) -> None:
    for name, count in counts.items():
        if not 1 <= count <= MOST:
            raise UserError(f"{name}={count}: give 1 to {MOST}")


def _draws(model: Model) -> None:
    model.schema.require_kind("art", "image")


def _of_prior(truncation: float | None) -> None:
    if truncation is not None:
        raise UserError("truncation: is for a model's prior, and these codes are of data: use temperature")


def _between(model: Model, what: str) -> None:
    """Raises `UserError` for a model that has nothing between two codes."""
    _draws(model)
    if model.vae.latent.discrete:
        raise UserError(
            f"{what}: the model's codes are entries of a codebook, with nothing between two of them: "
            "use grid or contact, or a model of continuous codes"
        )


def _frames(seconds: float, fps: float) -> int:
    if not 0 < fps <= 100 or not 2 <= round(seconds * fps) <= MOST:
        raise UserError(f"seconds={seconds}, fps={fps}: give at most 100 frames a second, and 2 to {MOST} in all")
    return round(seconds * fps)


def _rows(model: Model, data: Any) -> Dataset:
    return load_test_data(model) if data is None else model.as_dataset(data)


def _items(model: Model, items: Sequence[Any], data: Any) -> list[Dataset]:
    """Pictures as data of one; a text of digits is a row of the data."""
    numbered = [isinstance(item, str) and item.isdecimal() for item in items]
    rows = _rows(model, data) if any(numbered) else None
    found: list[Dataset] = []
    for item, by_number in zip(items, numbered, strict=True):
        if by_number and rows is not None:
            if int(item) >= len(rows):
                raise UserError(f"item {item}: the data has {len(rows)} rows, give 0 to {len(rows) - 1}")
            item = subset(rows, [int(item)])
        found.append(model.as_dataset(model._as_batch(item)))
    return found


def _originals(model: Model, chosen: Sequence[Dataset]) -> np.ndarray:
    """Pictures that are data of one, `(n, *shape)` in the data's units."""
    return model.schema.decode(torch.cat([item[[0]] for item in chosen])).numpy()


def _clipped(model: Model, values: np.ndarray) -> np.ndarray:
    return model.schema.clip(torch.from_numpy(values)).numpy()
