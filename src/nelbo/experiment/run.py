"""A training run with an output folder: its files, resumption and replacement, and time budget.

recipe.toml                    all resolved values, the seed, the versions
metrics.jsonl                  one object per epoch and split
reconstruction_{epoch}.png     8 test data above their reconstructions; for a table, cells against originals
sample_{epoch}.png             64 samples from the prior; for a table, its columns' distributions, real and sampled
loss_curve_{epoch}.png         train and test loss, distortion, rate
report.html                    all of it on one page
model/                         weights.safetensors, model.json
checkpoints/                   last.safetensors, best.safetensors

The run is `checkpoints/last.safetensors`, which is written before the first step and holds its recipe, too. To replace
that one file is to replace the run: the other files follow, and a crash at any point leaves the old run or the new one.
The old model stays until the new one is saved. A run locks its folder.

With a time budget, the number of epochs is computed from the time of some steps.

Messages are sent to Python's `logging`, by loggers below "nelbo".
"""

from __future__ import annotations

import copy
import dataclasses
import json
import logging
import math
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import torch

from nelbo.config import presets
from nelbo.config import recipe as recipe_file
from nelbo.config.recipe import Recipe
from nelbo.config.registry import dump
from nelbo.data import ConditionEncoder, DataOptions, Dataset, DataSplits, load, sample_rows, subset
from nelbo.data import condition as conditioned
from nelbo.data.kinds import reader_of
from nelbo.errors import UserError, memory, require_memory
from nelbo.experiment import console
from nelbo.experiment.report import report
from nelbo.model import Model
from nelbo.model.post_hoc import fit_prior
from nelbo.plotting import figures
from nelbo.plotting.figures import figures_of
from nelbo.training import Callback, State, TrainingConfig, signals
from nelbo.training.checkpoint import PARTIAL, WriteError, obstacle, read_header, write_bytes
from nelbo.training.engine import choose_device
from nelbo.training.loop import BEST, LAST
from nelbo.training.memory import training_bytes
from nelbo.vae import VAE

if sys.platform != "win32":
    import fcntl

LOG = logging.getLogger(__name__)
TIMED_SECONDS = 2.0  # of training, on a copy of the model
FITTING = 0.2  # the share of the time for a prior that is fitted after training
SPARE = 0.15  # the share for scoring test data and drawing
LEAST_EPOCHS = 8  # if fewer fit in the time, each has fewer rows


def epochs_for_budget(model: Model, data: DataSplits) -> TrainingConfig:
    """The model's training settings with the number of epochs for its recipe's `minutes`, and that time limit.

    If fewer than `LEAST_EPOCHS` fit, each takes part of the rows, so that progress is visible.

    Raises `UserError` for several processes, since each would compute another number.
    """
    recipe, settings = model.recipe, model.recipe.training
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError(f"minutes={recipe.minutes}: several processes would disagree on the epochs: use --epochs")
    LOG.info("Timing the first steps, to find the epochs that %g minutes hold", recipe.minutes)
    seconds = 60 * recipe.minutes * (1 - FITTING if recipe.post_hoc_prior else 1)
    rows = _rows_a_second(model, data) * seconds * (1 - SPARE)
    each = min(settings.samples_per_epoch or len(data.train), max(settings.batch_size, int(rows / LEAST_EPOCHS)))
    whole = 0 if each == len(data.train) else each
    return dataclasses.replace(
        settings, epochs=max(1, round(rows / each)), samples_per_epoch=whole, max_seconds=seconds
    )


def _rows_a_second(model: Model, data: DataSplits) -> float:
    """The training speed of a copy of the model, rows per second."""
    trial, few = copy.deepcopy(model), subset(data.test, range(min(len(data.test), 100)))
    timed = dataclasses.replace(
        model.recipe.training, epochs=10**6, early_stopping_patience=0, max_seconds=TIMED_SECONDS
    )
    trial.recipe = dataclasses.replace(model.recipe, training=timed)
    state = trial.fit(dataclasses.replace(data, test=few))
    if state.reason == "interrupted":
        signals.deliver(state.signal)
    return state.step * timed.batch_size / state.elapsed


def prior_budget(settings: TrainingConfig) -> float:
    """The seconds for fitting a prior, after training with settings of `epochs_for_budget`."""
    return settings.max_seconds * FITTING / (1 - FITTING) if settings.max_seconds else math.inf


PICTURES = ("reconstruction_[0-9]*.png", "sample_[0-9]*.png", "loss_curve_[0-9]*.png")
RESUMABLE = {
    *("epochs", "max_seconds", "checkpoint_seconds", "early_stopping_patience", "device", "precision", "replay"),
    *("learning_rate", "schedule", "max_grad_norm", "optimizer", "gradient_accumulation_steps"),
}
"""The settings of training that may change when a run is resumed."""
MEASURED = 500  # test data of which the KL of each latent is computed for the model of an epoch
LEADER = int(os.environ.get("RANK", "0")) == 0


def default_recipe(source: Any, settings: Mapping[str, Any] | None = None) -> str | None:
    """The shipped recipe for a source with these settings; None: one chosen from the data.

    >>> default_recipe("mnist"), default_recipe("mnist", {"minutes": 10}), default_recipe(torch.zeros(9, 8, 8))
    ('mnist', 'digits', 'pictures')
    >>> default_recipe("sensors.csv", {"data.window": 64})
    'series'
    """
    said = recipe_file.dotted(settings or {})
    try:
        kind, window, group = (said.get(f"data.{name}") for name in ("kind", "window", "group"))
        options = DataOptions(kind=kind, window=window, group=group)
        suitable = reader_of(source, options).default_recipe(source)
    except UserError:  # raised again when the data are read
        return None
    if suitable is None and isinstance(source, str) and source in ("mnist", "fashion-mnist"):
        return "digits" if said.get("minutes") else "mnist"
    return suitable


def fit(
    data: Any,
    recipe: str | Recipe | None = None,
    *,
    preset: str | None = None,
    condition: Any = None,
    out: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    verbose: console.Verbose = "auto",
    callbacks: Sequence[Callback] = (),
    epochs: int | None = None,
    minutes: float | None = None,
    latent_dim: int | None = None,
    beta: float | None = None,
    learning_rate: float | None = None,
    batch_size: int | None = None,
    post_hoc_prior: str | None = None,
    early_stopping_patience: int | None = None,
    seed: int | None = None,
    device: str | None = None,
    val_fraction: float | None = None,
    size: str | None = None,
    labels: str | None = None,
    augment: str | None = None,
    columns: str | None = None,
    kind: Literal["series"] | None = None,
    window: int | None = None,
    stride: int | None = None,
    group: str | Sequence[str] | None = None,
    **overrides: Any,
) -> Model:
    """Train a VAE on `data` and return the model.

    Arguments that are None have the recipe's values, or are chosen from the data.

    Args:
        data: "mnist", "fashion-mnist", an array, a tensor, a Dataset, a DataFrame, a list of strings, or a path to a
            .npy, a .npz, a table, lines of text (.txt) or a folder of pictures.
        recipe: a shipped recipe's name, a TOML file, or a `Recipe`; None: one that suits the data.
        preset: a published variant that replaces parts of the recipe; `nelbo presets` lists them.
        condition: the condition of the model: "label", or an array of numbers with a row for each example.
        out: the folder for the run's files; None: no files are written.
        resume: whether to continue the run in that folder.
        force: whether to replace the run in that folder.
        verbose: whether to show messages and progress; "auto": on a terminal and in a notebook.
        callbacks: further objects to call during training; see `nelbo.training.Callback`.
        epochs: number of epochs, each of `samples_per_epoch` rows or, if that is 0, of all training data once.
        minutes: the approximate training time; the number of epochs is computed from it.
        latent_dim: the number of latents.
        beta: the weight of the rate (KL).
        learning_rate: the highest learning rate.
        batch_size: rows per step.
        post_hoc_prior: kind of a prior that is fitted after training, such as "gmm", "flow-maf" or "auto"; "": none.
        early_stopping_patience: stop after this many epochs without a better test loss; 0: never.
        seed: the seed of all random numbers.
        device: "cpu", "cuda", "cuda:1", "mps" or "auto".
        val_fraction: the share of the data that becomes test data, if the source has no test data of its own.
        size: the size to which pictures are resized: "64", or "64x48" for height x width.
        labels: a CSV file of the pictures' classes.
        augment: random changes of pictures in training, such as "flip,shift=0.05".
        columns: a TOML file that describes a table's columns.
        kind: "series" for arrays `(n, steps)` or `(n, steps, channels)`.
        window: steps of the windows into which long series are cut.
        stride: steps from one window to the next; None: the window.
        group: for a table of series, the column, or the columns, that name the unit of each row; None: inferred.
        overrides: any other field of the recipe: `ema_decay=0.999`, or by its path, `model__latent__dim=8`.

    Raises:
        UserError: for any fault that a user can correct.
        KeyboardInterrupt: after Ctrl-C, once everything is saved: in `out`, or without it in a temporary folder that a
            warning names. Other signals that end a process are delivered again then.

    >>> model = fit(torch.rand(64, 3), epochs=1)
    >>> model.sample(2).shape
    (2, 3)
    """
    settings = {**recipe_file.chosen(locals()), **{key.replace("__", "."): value for key, value in overrides.items()}}
    on = None if isinstance(condition, str) else settings.pop("condition", None)
    folder = Path(out) if out else None
    with console.shown(verbose if LEADER else False) as watchers:
        recipe = choose(recipe, data, settings, folder, resume, preset)
        try:
            model, state = train(recipe, data, folder, resume, force, [*watchers, *callbacks], on)
        except SavedElsewhereError as error:
            warnings.warn(str(error), stacklevel=2)
            return error.model
        if state.reason == "interrupted":
            if folder is None:
                warnings.warn(f"interrupted: {rescue(model)}", stacklevel=2)
            signals.deliver(state.signal)
        LOG.info("Next: model.sample(16), model.reconstruct(data), model.embed(data), model.save('folder')")
    return model


def choose(
    name: str | Recipe | None,
    source: Any,
    overrides: Mapping[str, Any],
    out: Path | None = None,
    resume: bool = False,
    preset: str | None = None,
) -> Recipe:
    """The recipe of a run: the folder's own if a run is resumed, else the named one, else the default for the source.

    `name` may be a recipe. `source` is the data, which the recipe records if it is a string.

    Raises `UserError` if a resumed run would change in more than its length or device.
    """
    overrides = recipe_file.dotted(overrides)
    if isinstance(source, str | Path) and str(source):
        overrides = {**overrides, "data.source": str(source)}
    if "training.epochs" in overrides:
        overrides = {"minutes": 0.0, **overrides}
    former = recipe_of_run(out) if resume and out else None
    if former:  # its minutes have been converted to epochs
        overrides = {key: value for key, value in overrides.items() if key != "minutes"}
    known = name or former or default_recipe(source, overrides)
    recipe = known if isinstance(known, Recipe) else recipe_file.load(known)
    recipe = recipe_file.override(presets.find(preset).apply_to(recipe, preset) if preset else recipe, overrides)
    if former is None:
        return recipe
    kept = {field: getattr(former.training, field) for field in RESUMABLE}
    wanted = dataclasses.replace(recipe, training=dataclasses.replace(recipe.training, **kept))
    if different := _differences(dump(wanted), dump(former)):
        raise UserError(f"{out} was begun with other settings ({different[0]}): resume with the same, or use --force")
    resumed = recipe_file.override(former, overrides)
    if changed := _differences(dump(resumed.training), dump(former.training)):
        LOG.info("Resuming with other settings: %s", ", ".join(changed))
    return resumed


def recipe_of_run(out: Path) -> Recipe | None:
    """The recipe of the run in a folder, from its last checkpoint or else from `recipe.toml`; None without either."""
    last = out / "checkpoints" / LAST
    text = read_header(last)[1].get("recipe") if last.is_file() else None
    if text is not None:
        return recipe_file.loads(text, f"the recipe in {last}")
    return recipe_file.load(str(out / "recipe.toml")) if (out / "recipe.toml").is_file() else None


def _differences(wanted: Mapping[str, Any], former: Mapping[str, Any], path: str = "") -> list[str]:
    """The dotted paths at which `wanted` and `former` differ; absent keys of `wanted` are ignored."""
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
    """Train by a recipe, on `data` or, if None, on the recipe's source; see `fit`."""
    if data is not None:
        named = str(data) if isinstance(data, str | Path) else ""
        recipe = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, source=named))
    choose_device(recipe.training.device)
    if out is None:
        loaded, model = _understand(recipe, data, condition)
        state = model.fit(loaded, None, callbacks)
        _log(console.result(model, state))
        return _with_prior(model, loaded, state), state
    with locked(out):
        continuing = prepare(out, resume, force)
        loaded, model = _understand(recipe, data, condition, continuing)
        artefacts = Artefacts(model, loaded, out)
        state = model.fit(loaded, out / "checkpoints", [artefacts, *callbacks], continuing)
        if LEADER:
            model = _finish(model, loaded, state, artefacts)
        return model, state


def _understand(recipe: Recipe, data: Any, condition: Any, continuing: bool = False) -> tuple[DataSplits, Model]:
    """Read the data, and build the model that the recipe makes of them."""
    LOG.debug("Reading %s", recipe.data.source or "the data")
    loaded, context = read(recipe, data, condition)
    model = Model.from_recipe(recipe, loaded.schema, context)
    if recipe.minutes and not continuing:
        model.recipe = dataclasses.replace(model.recipe, minutes=0.0, training=epochs_for_budget(model, loaded))
    needed = training_bytes(model.vae, loaded.train, model.recipe.training)
    rows = model.recipe.training.batch_size
    fitting = max(1, int(rows * memory() / (2 * needed)))
    require_memory(needed, f"batch_size={rows}", f"use --batch-size {fitting}, or smaller data or nets")
    _log([*console.understood(model, loaded), f"Memory: {console.bytes_text(needed)} for the weights and a step"])
    return loaded, model


def _finish(model: Model, data: DataSplits, state: State, artefacts: Artefacts) -> Model:
    """Save the trained model, fit its prior, and write the files of the end of a run; return the final model."""
    _log(console.result(model, state))
    save(model, artefacts.out / "model")  # now, since fitting a prior takes time and may be interrupted
    fitted = _with_prior(model, data, state)
    if fitted is not model:
        save(fitted, artefacts.out / "model")
        if state.rows:
            artefacts.draw_samples(fitted, state.rows[-1]["epoch"])
    artefacts.write_metrics(state.rows)
    write_bytes(artefacts.out / "report.html", report(fitted, state, artefacts.out).encode())
    return fitted


class SavedElsewhereError(UserError):
    """The model of a run cannot be written to its folder.

    Args:
        message: why, and where it is instead.
        model: the model.
    """

    def __init__(self, message: str, model: Model) -> None:
        super().__init__(message)
        self.model = model


def save(model: Model, folder: Path) -> None:
    """Save a model; if its folder cannot be written, save it elsewhere and raise `SavedElsewhereError`."""
    try:
        model.save(folder)
    except WriteError as error:
        message = f"cannot write {error.path}: {error.reason}; {rescue(model)}"
        raise SavedElsewhereError(message, model) from error


def rescue(model: Model) -> str:
    """Save a model in a new temporary folder, and describe where it is."""
    try:
        folder = Path(tempfile.mkdtemp(prefix="nelbo-"))
        model.save(folder)
    except (OSError, WriteError) as error:
        return f"neither can a temporary folder be written ({error}): set TMPDIR to a folder with room"
    return f"the model is in {folder}: load it from there, or copy it"


def _log(lines: Sequence[str]) -> None:
    for line in lines:
        LOG.info("%s", line)


def _with_prior(model: Model, data: DataSplits, state: State) -> Model:
    """The trained model with its recipe's post-hoc prior fitted; unchanged if training was interrupted."""
    if not model.recipe.post_hoc_prior or state.reason == "interrupted":
        return model
    LOG.info("Fitting a prior (%s)", model.recipe.post_hoc_prior)
    settings = model.recipe.training
    return fit_prior(model, data.train, model.recipe.post_hoc_prior, settings.seed, prior_budget(settings))


def read(recipe: Recipe, data: Any = None, on: Any = None) -> tuple[DataSplits, ConditionEncoder | None]:
    """The data of a recipe (or `data`, read with its options), and the encoder of their condition, if any."""
    likelihood: Any = recipe.model.likelihood and recipe.model.likelihood.entry.make
    counts = recipe.data.counts or (likelihood is not None and likelihood.raw_counts)
    source = recipe.data.source if data is None else data
    loaded = load(source, recipe.data, seed=recipe.training.seed, counts=counts)
    if recipe.post_hoc_prior and len(loaded.train) < 2:
        n = len(loaded.train) + len(loaded.test)
        raise UserError(
            f"{loaded.name}: {n} rows are too few to fit a prior to the training rows: give 3 or more, or use "
            "--post-hoc-prior ''"
        )
    on = recipe.data.condition if on is None else on
    return loaded, None if on is None else conditioned(loaded, on)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Create a folder and lock it against other runs until the end of the context or of this process.

    Raises `UserError` if another run has locked the folder, or it cannot be created.
    """
    if not LEADER:
        yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        number = _lock(folder)
    except BlockingIOError:
        raise UserError(
            f"{folder} is in use by another run: wait for its end, or use another folder with --out"
        ) from None
    except (OSError, ValueError) as error:
        raise WriteError(folder, obstacle(error)) from None
    try:
        yield
    finally:
        if number is not None:
            os.close(number)


def _lock(folder: Path) -> int | None:
    """The number of the open and locked folder; None on Windows, which has no such lock."""
    if sys.platform == "win32":
        return None
    number = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(number)
        raise
    except OSError:  # some network file systems have no such lock
        pass
    return number


def prepare(out: Path, resume: bool, force: bool) -> bool:
    """Check a locked output folder, without removing anything but the parts of files that a killed process left.

    Returns whether to continue from a checkpoint.

    Raises `UserError` if it has files and neither `resume` nor `force` allows that, or it cannot be written.
    """
    continuing = resume and (out / "checkpoints" / LAST).is_file()
    if not LEADER:
        return continuing
    try:
        for folder in (out, out / "checkpoints", out / "model"):
            for left in folder.glob(PARTIAL.format("*")):
                left.unlink()
        with tempfile.TemporaryFile(dir=out):
            pass
        used = any(not path.is_dir() for path in out.rglob("*"))
    except OSError as error:
        raise WriteError(out, obstacle(error)) from None
    if used and not force and not continuing and not (resume and (out / "recipe.toml").is_file()):
        known = "has files, but no run that --resume could continue" if resume else "has files already"
        remedy = "use another folder with --out" if resume else "--resume continues it"
        raise UserError(f"{out} {known}: {remedy}, --force replaces its run")
    return continuing


def clear(out: Path, epoch: int) -> None:
    """Remove the files of an earlier run but its model, and pictures of later epochs than this; nothing else."""
    try:
        for name in () if epoch else ("metrics.jsonl", "report.html", f"checkpoints/{BEST}"):
            (out / name).unlink(missing_ok=True)
        for path in (path for pattern in PICTURES for path in out.glob(pattern)):
            number = path.stem.rpartition("_")[2]
            if number.isdecimal() and int(number) > epoch:
                path.unlink()
    except OSError as error:
        raise WriteError(out, obstacle(error)) from None


def load_test_data(model: Model) -> Dataset:
    """Read the test data of a model again, from the source in its recipe.

    Raises `UserError` if the source is missing or has changed.
    """
    source = model.recipe.data.source
    if not source:
        raise UserError("the model was trained on an array, which was not saved: pass DATA")
    loaded, _ = read(model.recipe)
    if dataclasses.replace(loaded.schema, classes=model.schema.classes) != model.schema:
        raise UserError(f"{source} has changed since the model was trained on it: give the data to use")
    return loaded.test


class Artefacts(Callback):
    """Writes metrics, pictures, curves and the model, without its post-hoc prior, after each epoch."""

    def __init__(self, model: Model, data: DataSplits, out: Path) -> None:
        self.model = model
        self.out = out
        self.figures = figures_of(data.schema)
        first = torch.arange(min(self.figures.count, len(data.test)))
        self.originals = data.test.batch(first)
        self.measured = subset(data.test, range(min(len(data.test), MEASURED)))
        compared = 8 * self.figures.count if self.figures.compared else 1
        self.real = sample_rows(data.train, compared, model.recipe.training.seed).numpy()
        self.context = None if data.test.context is None else data.test.context[first].to(model.device)

    def on_begin(self, rows: Sequence[Mapping[str, Any]]) -> None:
        write_bytes(self.out / "recipe.toml", recipe_file.dumps(self.model.recipe).encode())
        clear(self.out, rows[-1]["epoch"] if rows else 0)

    def on_epoch(self, vae: VAE, epoch: int, rows: Sequence[Mapping[str, Any]]) -> None:
        model = self.model
        with torch.no_grad():
            remade = model._reconstruct_batch(self.originals.to(model.device), self.context).cpu()
        rebuilt = self.figures.reconstructions(self.originals.numpy(), remade.numpy(), model.schema)
        self._png(f"reconstruction_{epoch}.png", rebuilt)
        self.draw_samples(model, epoch)
        self._png(f"loss_curve_{epoch}.png", figures.figure_image(figures.loss_curve(rows)))
        self.write_metrics(rows)
        if rows[-1]["epoch"] < model.recipe.training.epochs:  # the last one is written once its prior is fitted
            model.kl_per_latent = model.compute_kl_per_latent(self.measured).tolist()
            model.save(self.out / "model")

    def draw_samples(self, model: Model, epoch: int) -> None:
        """Draw the samples of an epoch; for the last epoch, again once its prior is fitted."""
        samples = model.sample(8 * self.figures.count, seed=model.recipe.training.seed)
        self._png(f"sample_{epoch}.png", self.figures.samples(samples, self.real, model.schema))

    def write_metrics(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write the rows of all epochs so far."""
        write_bytes(self.out / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())

    def _png(self, name: str, picture: Any) -> None:
        content = BytesIO()
        picture.save(content, "PNG")
        write_bytes(self.out / name, content.getvalue())
