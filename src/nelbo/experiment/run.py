"""A training run with an output folder: what it writes, and how it is resumed or replaced.

recipe.toml                    all resolved values, the seed, the versions
metrics.jsonl                  one object per epoch and split
reconstruction_{epoch}.png     8 test data above their reconstructions; of a table, cells rebuilt against originals
sample_{epoch}.png             64 draws from the prior; of a table, its columns' distributions, real and drawn
loss_curve_{epoch}.png         train and test loss, distortion, rate
report.html                    all of it on one page
model/                         weights.safetensors, model.json
checkpoints/                   last and best
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import torch

from nelbo import presets
from nelbo.config import recipe as recipe_file
from nelbo.config.recipe import Recipe
from nelbo.config.registry import dump
from nelbo.data import Context, Data, Dataset, load, some, tables, text
from nelbo.data import condition as conditioned
from nelbo.data.images import huggingface
from nelbo.errors import UserError
from nelbo.experiment import time_budget
from nelbo.experiment.report import report
from nelbo.model import Model
from nelbo.model.post_hoc import with_prior
from nelbo.plotting import figures
from nelbo.plotting.preview import showing
from nelbo.training import Callback, State
from nelbo.training.checkpoint import write_bytes
from nelbo.training.engine import choose_device
from nelbo.training.loop import LAST
from nelbo.vae import VAE

WRITTEN = (
    *("recipe.toml", "metrics.jsonl", "report.html", "model/weights.safetensors", "model/model.json"),
    *("checkpoints/last.safetensors", "checkpoints/best.safetensors"),
    *("reconstruction_[0-9]*.png", "sample_[0-9]*.png", "loss_curve_[0-9]*.png"),
)
RESUMABLE = {"epochs", "max_seconds", "checkpoint_seconds", "device", "precision"}
LEADER = int(os.environ.get("RANK", "0")) == 0


def default_recipe(source: Any, settings: Mapping[str, Any] | None = None) -> str | None:
    """The shipped recipe that suits a source, read and trained by these settings; None: one chosen from the data.

    >>> default_recipe("mnist"), default_recipe("mnist", {"minutes": 10}), default_recipe("pictures/")
    ('mnist', 'digits', 'pictures')
    >>> default_recipe("sensors.csv", {"data.window": 64})
    'series'
    """
    said = settings or {}
    if said.get("data.kind") == "series" or said.get("data.window") is not None:
        return "series"
    if huggingface.is_hub(source):
        return "pictures" if huggingface.has_pictures(source) else "table"
    if tables.is_table(source):
        return "table"
    if text.is_text(source):
        return "text"
    if isinstance(source, str) and source in ("mnist", "fashion-mnist"):
        return "digits" if said.get("minutes") else "mnist"
    return "pictures" if _shows_pictures(source) else None


def _shows_pictures(source: Any) -> bool:
    """Whether a source that is not read yet is a folder of pictures, or an array that can hold nothing else."""
    shape = getattr(source[0] if isinstance(source, tuple) and source else source, "shape", ())
    return len(shape) in (3, 4) or (isinstance(source, str | Path) and bool(source) and not Path(source).suffix)


def fit(
    data: Any,
    recipe: str | Recipe | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    callbacks: Sequence[Callback] = (),
    condition: Any = None,
    preset: str | None = None,
    **overrides: Any,
) -> Model:
    """Train a VAE on `data` and return the model.

    `data` is "mnist", "fashion-mnist", an array, a tensor, a Dataset, a DataFrame, a list of strings, or a path to a
    .npy, a .npz, a table, lines of text (.txt) or a folder of pictures. `recipe` is a shipped recipe's name, a TOML
    file or a `Recipe`. Overrides name fields of the recipe: `epochs=3`, `learning_rate=1e-3`, `model__latent__dim=8`.
    With `out`, the run writes its files there.
    `preset` names a published variant (`nelbo presets` lists them) that replaces parts of the recipe.
    `condition` makes the model conditional: on "label", or on an array of numbers with a row for each datum.

    Raises `UserError` for whatever a user can mend, and `KeyboardInterrupt` after Ctrl-C once all is saved.

    >>> model = fit(torch.rand(64, 3), epochs=1)
    >>> model.sample(2).shape
    (2, 3)
    """
    folder = Path(out) if out else None
    if isinstance(recipe, Recipe):
        if overrides:
            raise UserError("give overrides with a recipe's name or file; a Recipe is already made")
    else:
        dotted = {key.replace("__", "."): value for key, value in overrides.items()}
        recipe = choose(recipe, data, dotted, folder, resume, preset)
    model, state = train(recipe, data, folder, resume, force, callbacks, condition)
    if state.reason == "interrupted":
        raise KeyboardInterrupt
    return model


def choose(
    name: str | None,
    source: Any,
    overrides: Mapping[str, Any],
    out: Path | None = None,
    resume: bool = False,
    preset: str | None = None,
) -> Recipe:
    """The recipe to train by: the folder's own where a run is resumed, else the named one, else one that suits.

    `source` is the data: named in the recipe where it is a name.

    Raises `UserError` where a resumed run would change in more than its length or device.
    """
    if isinstance(source, str | Path) and str(source):
        overrides = {**overrides, "data.source": str(source)}
    if overrides.keys() & {"epochs", "training.epochs"}:
        overrides = {"minutes": 0.0, **overrides}
    begun = str(out / "recipe.toml") if resume and out and (out / "recipe.toml").is_file() else None
    if begun:  # its minutes have become epochs
        overrides = {key: value for key, value in overrides.items() if key != "minutes"}
    recipe = recipe_file.load(name or begun or default_recipe(source, overrides))
    recipe = recipe_file.override(presets.find(preset).over(recipe, preset) if preset else recipe, overrides)
    if begun is None:
        return recipe
    former = recipe_file.load(begun)
    kept = {field: getattr(former.training, field) for field in RESUMABLE}
    wanted = dataclasses.replace(recipe, training=dataclasses.replace(recipe.training, **kept))
    if different := _differences(dump(wanted), dump(former)):
        raise UserError(f"{out} was begun with other settings ({different[0]}): resume with the same, or use --force")
    return recipe_file.override(former, overrides)


def _differences(wanted: Mapping[str, Any], former: Mapping[str, Any], path: str = "") -> list[str]:
    """The dotted paths at which `wanted` has another value than `former`; what it leaves out is no difference."""
    found: list[str] = []
    for key, value in wanted.items():
        other = former.get(key)
        if isinstance(value, dict) and isinstance(other, dict):
            found += _differences(value, other, f"{path}{key}.")
        elif value != other:
            found.append(f"{path}{key} was {other!r}")
    return found


def train(
    recipe: Recipe,
    data: Any = None,
    out: Path | None = None,
    resume: bool = False,
    force: bool = False,
    callbacks: Sequence[Callback] = (),
    condition: Any = None,
) -> tuple[Model, State]:
    """Train by a recipe, on `data` if given and else on the recipe's source; see `fit`."""
    if data is not None:
        named = str(data) if isinstance(data, str | Path) else ""
        recipe = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, source=named))
    choose_device(recipe.training.device)
    if out is not None:
        prepare(out, resume, force)
    loaded, context = read(recipe, data, condition)
    model = Model.create(recipe, loaded.schema, context)
    continuing = resume and out is not None and (out / "checkpoints" / LAST).is_file()
    if recipe.minutes and not continuing:
        model.recipe = dataclasses.replace(model.recipe, minutes=0.0, training=time_budget.within(model, loaded))
    if out is None:
        state = model.fit(loaded, None, callbacks)
        return _with_prior(model, loaded, state), state
    if LEADER:
        if not continuing:
            clear(out)
        write_bytes(out / "recipe.toml", recipe_file.dumps(model.recipe).encode())
    artefacts = Artefacts(model, loaded, out)
    state = model.fit(loaded, out / "checkpoints", [artefacts, *callbacks], continuing)
    if LEADER:
        model = _with_prior(model, loaded, state)
        if model is not artefacts.model and state.rows:
            artefacts.draw_samples(model, state.rows[-1]["epoch"])
        artefacts.write_metrics(state.rows)
        model.save(out / "model")
        write_bytes(out / "report.html", report(model, state, out).encode())
    return model, state


def _with_prior(model: Model, data: Data, state: State) -> Model:
    """The trained model with the prior that its recipe wants fitted; as it is where training was interrupted."""
    if not model.recipe.prior or state.reason == "interrupted":
        return model
    settings = model.recipe.training
    return with_prior(model, data.train, model.recipe.prior, settings.seed, time_budget.left_for_prior(settings))


def read(recipe: Recipe, data: Any = None, on: Any = None) -> tuple[Data, Context | None]:
    """The data of a recipe (or `data`, read in its way), and the context they are conditioned on, if they are."""
    options = dataclasses.asdict(recipe.data)
    source, named = options.pop("source"), options.pop("condition")
    loaded = load(source if data is None else data, seed=recipe.training.seed, **options)
    on = named if on is None else on
    return loaded, None if on is None else conditioned(loaded, on)


def prepare(out: Path, resume: bool, force: bool) -> None:
    """Make the output folder and look at what it holds; nothing is lost yet.

    Raises `UserError` if it has files and neither `resume` nor `force` allows that, or it cannot be made.
    """
    if not LEADER or (resume and (out / "recipe.toml").is_file()):
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
        if any(out.iterdir()) and not force:
            known = "has files, but no run that --resume could continue" if resume else "has files already"
            remedy = "name another folder with --out" if resume else "--resume continues it"
            raise UserError(f"{out} {known}: {remedy}, --force replaces its run")
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror}; choose another folder with --out") from None


def clear(out: Path) -> None:
    """Remove what an earlier run wrote, and nothing else."""
    try:
        for path in (path for pattern in WRITTEN for path in out.glob(pattern)):
            path.unlink()
    except OSError as error:
        raise UserError(f"cannot replace {out}: {error.strerror}; choose another folder with --out") from None


def held_out(model: Model) -> Dataset:
    """The test data that a model was trained with, read again from where its recipe says.

    Raises `UserError` if that is nowhere, or has other data now.
    """
    source = model.recipe.data.source
    if not source:
        raise UserError("the model was trained on an array: name the data to use")
    loaded, _ = read(model.recipe)
    if loaded.schema != model.schema:
        raise UserError(f"{source} has changed since the model was trained on it: name the data to use")
    return loaded.test


class Artefacts(Callback):
    """Writes metrics, pictures, curves and the model after each epoch."""

    def __init__(self, model: Model, data: Data, out: Path) -> None:
        self.model = model
        self.out = out
        self.showing = showing(data.schema)
        first = torch.arange(min(self.showing.count, len(data.test)))
        self.originals = data.test.batch(first)
        compared = 8 * self.showing.count if self.showing.compared else 1
        self.real = some(data.train, compared, model.recipe.training.seed).numpy()
        self.context = None if data.test.context is None else data.test.context[first].to(model.device)

    def on_epoch(self, vae: VAE, epoch: int, rows: Sequence[Mapping[str, Any]]) -> None:
        model, show = self.model, self.showing
        with torch.no_grad():
            remade = model.remake(self.originals.to(model.device), self.context).cpu()
        rebuilt = show.rebuilt(self.originals.numpy(), remade.numpy(), model.schema)
        self._png(f"reconstruction_{epoch}.png", rebuilt)
        self.draw_samples(model, epoch)
        self._png(f"loss_curve_{epoch}.png", figures.figure_image(figures.loss_curve(rows)))
        self.write_metrics(rows)

    def draw_samples(self, model: Model, epoch: int) -> None:
        """The picture of samples of an epoch; of the last, drawn again once its prior is another."""
        samples = model.sample(8 * self.showing.count, seed=model.recipe.training.seed)
        self._png(f"sample_{epoch}.png", self.showing.drawn(samples, self.real, model.schema))

    def write_metrics(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write the rows of all epochs so far."""
        write_bytes(self.out / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())

    def _png(self, name: str, picture: Any) -> None:
        content = BytesIO()
        picture.save(content, "PNG")
        write_bytes(self.out / name, content.getvalue())
