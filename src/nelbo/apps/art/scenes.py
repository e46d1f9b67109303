"""Pictures for display: sheets, walks, morphs, and arithmetic with class means.

Each function returns a `Rendering`: its pictures as an array, to be drawn as a sheet, as frames, or saved in a file.

    walk         z passes through draws of the prior along great circles, at constant speed, and back to the first
    attribute    z + s (mean embedding of one class - mean embedding of another), s growing from 0
    temperature  scales the spread of the prior
    truncation   the Normal noise of a prior is redrawn until within so many standard deviations: of z for a Normal
                 prior; of each level given those above it, for a hierarchy; of the input of a flow; and about the
                 chosen centre, for a mixture. Other priors do not support it.

Truncated samples are more typical and less varied.

Source: Brock, Donahue, Simonyan (2019), Large Scale GAN Training for High Fidelity Natural Image Synthesis; White
(2016), Sampling Generative Networks.
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
from nelbo.distributions.noise import for_rows, keys_of_numbers, truncated
from nelbo.errors import UserError
from nelbo.experiment.run import load_test_data
from nelbo.model import Model, latent_space


@contextmanager
def truncated_noise(model: Model, truncation: float | None) -> Iterator[None]:
    """A context in which noise is truncated; raises `UserError` for a prior that does not use Normal noise."""
    if truncation is not None:
        if not 0 < truncation < np.inf:
            raise UserError(f"truncation={truncation}: use a number of standard deviations above 0")
        with torch.no_grad():
            has_normal_noise = model.vae.latent.has_normal_noise(model._default_context(1))
        if not has_normal_noise:
            name = type(getattr(model.vae.latent, "prior", model.vae.latent)).__name__
            raise UserError(f"truncation: the model's prior ({name}) does not use Normal noise: use temperature")
    with truncated(truncation):
        yield


@torch.no_grad()
def sample_embeddings(model: Model, n: int, temperature: float, truncation: float | None, seed: int) -> np.ndarray:
    """Draw embeddings from the prior, `(n, features)`."""
    d.check_temperature(temperature)
    keys = keys_of_numbers(torch.arange(n, device=model.device), seed)
    with for_rows(keys), truncated_noise(model, truncation):
        codes = model.vae.latent.sample_prior_embedding(n, model._default_context(n), temperature)
    return codes.cpu().numpy()  # type: ignore[no-any-return]


MOST = 10_000  # frames, or pictures of a sheet: a record must not be able to fill the memory


def grid(
    model: Model,
    n: int = 64,
    temperature: float = 1.0,
    truncation: float | None = None,
    seed: int = 0,
    columns: int = 8,
    like: Any = None,
) -> Rendering:
    """A sheet of samples, the same as those of `Model.sample` unless truncated, or of variations.

    Args:
        model: a model of pictures.
        n: the number of samples.
        temperature: scales the spread of the prior; with `like`, of the variations.
        truncation: standard deviations beyond which the prior's noise is redrawn; None: no truncation.
        seed: fixes the draws.
        columns: pictures per row.
        like: data to vary instead of drawing from the prior; None: samples.
    """
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
    """`n` closed walks side by side, each through draws of the prior, at constant speed.

    A conditional model cycles through its classes.

    Args:
        model: a model of pictures.
        seconds: the duration.
        waypoints: the draws of the prior that each walk passes through; at least 2.
        n: the number of walks.
        fps: frames per second.
        temperature: scales the spread of the prior.
        truncation: standard deviations beyond which the prior's noise is redrawn; None: no truncation.
        seed: fixes the draws.
        columns: walks per row; 0: about the number of rows.
    """
    _between(model, "walk")
    frames = _frames(seconds, fps)
    _counts(n=n, waypoints=waypoints, columns=columns or 1)
    if waypoints < 2:
        raise UserError(f"waypoints={waypoints}: use 2 or more")
    shown = []
    for i in range(n):
        in_turn = model.context is not None and model.context.classes and model._fixed_context is None
        one = model.condition_on(model.context.classes[i % model.context.width]) if in_turn else model  # type: ignore[union-attr]
        codes = sample_embeddings(one, waypoints, temperature, truncation, seed + i)
        shown.append(one.decode(latent_space.tour(list(codes), frames, closed=True)))
    return Rendering(np.stack(shown, 1), model.schema, columns, fps=fps)


def morph(
    model: Model, items: Sequence[Any], data: Any = None, seconds: float = 4.0, fps: float = 25.0, loop: bool = True
) -> Rendering:
    """A film from each picture to the next, in equal times.

    The reconstruction error of each end picture is added back and faded out along the path, so that the path starts and
    ends on the original pictures.

    Args:
        model: a model of pictures.
        items: pictures, files, or row numbers of `data` as strings; at least 2.
        data: the data that row numbers refer to; None: the model's test data.
        seconds: the duration.
        fps: frames per second.
        loop: whether the film returns to the first picture.
    """
    _between(model, "morph")
    if len(items) < 2:
        raise UserError(f"morph: {len(items)} picture: give at least 2")
    if model.context is not None and model._fixed_context is None:
        raise UserError("morph: the model is conditional: fix one condition for the whole path with --condition")
    chosen = _items(model, items, data)
    chosen += chosen[:1] if loop else []
    steps = max(round(_frames(seconds, fps) / (len(chosen) - 1)), 1) + 1
    values = model.decode_unclipped(latent_space.way([model.encode(item)[0] for item in chosen], steps))
    detail = _originals(model, chosen) - values[:: steps - 1]
    values = model.schema.clip(values + latent_space.chain(detail, steps))
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
    """Pictures moved along the direction from one class mean to another; each keeps its reconstruction error.

    Args:
        model: a model of pictures.
        toward: the class to move towards.
        away_from: the class to move away from; None: all other classes together.
        items: pictures, files, or row numbers of `data` as strings; empty: `n` samples.
        data: labelled pictures; None: the model's test data.
        strength: the largest distance, in units of the distance between the class means.
        steps: the number of distances, from 0 to `strength`; at least 2.
        n: the number of samples, without `items`.
        seed: fixes the draws.
    """
    _between(model, "attribute")
    if model.context is not None and model.context.classes:
        raise UserError(
            "attribute: the model is conditioned on classes, so its embeddings do not encode them: use class-grid, or "
            "--condition"
        )
    _counts(n=n, steps=steps)
    if steps < 2 or not np.isfinite(strength):
        raise UserError(f"steps={steps}, strength={strength}: use at least 2 steps, and a finite strength")
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
    values = model.decode_unclipped(moved.reshape(-1, codes.shape[1])).reshape(steps, len(codes), *model.schema.shape)
    if chosen:
        values = values + _originals(model, chosen) - values[0]
    captions = [f"{value:+.2g}" if value else "0" for value in strengths]
    return Rendering(model.schema.clip(values), model.schema, fps=5.0, captions=captions)


def class_grid(
    model: Model,
    data: Any = None,
    temperature: float = 1.0,
    truncation: float | None = None,
    seed: int = 0,
    columns: int = 8,
) -> Rendering:
    """A row of samples for each class.

    A model conditioned on classes draws each row with the same noise. For other models, rows are variations of the
    pictures of the class; see `nelbo.apps.synthesis.neighbours`.

    Args:
        model: a model of pictures.
        data: labelled pictures; None: the model's test data.
        temperature: scales the spread of the prior, or of the variations.
        truncation: standard deviations beyond which the prior's noise is redrawn; None: no truncation.
        seed: fixes the draws.
        columns: pictures per row.
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
    """The first pictures of `data`, each above its reconstruction, with its class or index beneath.

    Args:
        model: a model of pictures.
        data: the pictures; None: the model's test data.
        n: the largest number of pictures.
        columns: pictures per row.
    """
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
            raise UserError(f"{name}={count}: use 1 to {MOST}")


def _draws(model: Model) -> None:
    model.schema.require_kind("art", "image")


def _of_prior(truncation: float | None) -> None:
    if truncation is not None:
        raise UserError("truncation applies to a model's prior, and these embeddings are of data: use temperature")


def _between(model: Model, what: str) -> None:
    """Raise `UserError` for a model with discrete embeddings."""
    _draws(model)
    if model.vae.latent.discrete:
        raise UserError(
            f"{what} does not work with VQ models: their latent codes are discrete: "
            "use grid or contact-sheet, or a model with continuous latents"
        )


def _frames(seconds: float, fps: float) -> int:
    if not 0 < fps <= 100 or not 2 <= round(seconds * fps) <= MOST:
        raise UserError(f"seconds={seconds}, fps={fps}: use at most 100 frames per second, and 2 to {MOST} in all")
    return round(seconds * fps)


def _rows(model: Model, data: Any) -> Dataset:
    return load_test_data(model) if data is None else model.as_dataset(data)


def _items(model: Model, items: Sequence[Any], data: Any) -> list[Dataset]:
    """Pictures as datasets of one row; a string of digits is an index into the data."""
    numbered = [isinstance(item, str) and item.isdecimal() for item in items]
    rows = _rows(model, data) if any(numbered) else None
    found: list[Dataset] = []
    for item, by_number in zip(items, numbered, strict=True):
        if by_number and rows is not None:
            if int(item) >= len(rows):
                raise UserError(f"item {item}: the data have {len(rows)} rows: use 0 to {len(rows) - 1}")
            item = subset(rows, [int(item)])
        found.append(model.as_dataset(model._as_batch(item)))
    return found


def _originals(model: Model, chosen: Sequence[Dataset]) -> np.ndarray:
    """Datasets of one row as pictures, `(n, *shape)` in the data's units."""
    return model.schema.decode(torch.cat([item[[0]] for item in chosen])).numpy()
