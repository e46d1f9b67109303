"""The one training loop.

Every epoch goes through the training data once, in an order that the seed and the epoch determine, then evaluates the
test data with the weights that would be saved. The whole state of a run (weights, optimizer, average, generator states,
position in the data, metrics) is in a single checkpoint file. A run that is killed at any moment and resumed therefore
ends with the same weights, bit for bit, as an uninterrupted one.
"""

from __future__ import annotations

import math
import signal
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from nelbo.config.registry import Count, NonNegative, Range, Result, parse, short
from nelbo.data import Dataset, batches
from nelbo.data.images.augment import draws
from nelbo.distributions import noise
from nelbo.errors import UserError
from nelbo.objectives import Objective
from nelbo.reading import damaged
from nelbo.schedules import scheduled_values
from nelbo.training import checkpoint
from nelbo.training.config import TrainingConfig
from nelbo.training.engine import Engine, engine
from nelbo.training.metrics import Callback, MetricAccumulator, Progress
from nelbo.training.optim import EMA
from nelbo.training.players import MicroBatch, OptimizerGroups, epoch_order, micro_batches
from nelbo.training.signals import interruptions
from nelbo.training.threads import ThreadChoice, adapt_threads

LOOK_SECONDS = 0.25  # between two checks of the losses, in one process
LOOK_STEPS = 20  # steps between two checks in several processes, which must check together
EVALUATION_BATCH = 500
LAST, BEST = "last.safetensors", "best.safetensors"
MEASURED = {"epoch", "loss", "distortion", "rate", "seconds", "lr"}  # in each row of metrics
PAUSES = ("interrupted", "out of time")


@dataclass
class State:
    """The plain values of a run; the tensors belong to the modules.

    Args:
        epoch: current epoch, from 1.
        batch: batches done in this epoch.
        step: steps done in all.
        seconds: seconds of training in this epoch.
        elapsed: seconds of training in all.
        best: lowest test loss so far.
        best_epoch: its epoch; 0 for none.
        reason: why the run has ended: "done", or the cause of an early stop; "" while it runs.
        signal: number of the signal that interrupted the run; 0 for none.
        rows: metrics of the epochs so far, the rows of `metrics.jsonl`.
    """

    epoch: Count = 1
    batch: Annotated[int, Range(0)] = 0  # done in this epoch
    step: Annotated[int, Range(0)] = 0  # done in all
    seconds: NonNegative = 0.0  # spent training in this epoch
    elapsed: NonNegative = 0.0  # spent in all
    best: Result = math.inf
    best_epoch: Annotated[int, Range(0)] = 0
    reason: str = ""  # why the run has ended, once it has
    signal: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for row in self.rows:
            numbers = [value for name, value in row.items() if name != "split"]
            if row.get("split") not in ("train", "test") or not set(row) >= MEASURED or type(row["epoch"]) is not int:
                raise UserError(f"rows: {short(row)}: give an epoch, a split and losses")
            if not all(isinstance(number, int | float) for number in numbers):
                raise UserError(f"rows: {short(row)}: give numbers")


def fit(
    vae: nn.Module,
    objective: Objective,
    train: Dataset,
    test: Dataset,
    settings: TrainingConfig,
    folder: Path | None = None,
    callbacks: Sequence[Callback] = (),
    resume: bool = False,
    alone: bool = False,
    notes: Mapping[str, Any] | None = None,
) -> State:
    """Train a model in place.

    Afterwards `vae` has the averaged weights if `ema_decay` is set, and those of the best epoch if
    `early_stopping_patience` is set. Torch's global generators keep their state.

    Args:
        vae: the model, or any module that the objective scores (such as a prior) if `encoder_lr_scale` is 1.
        objective: the loss.
        train: training data.
        test: test data, evaluated after each epoch.
        settings: how to train.
        folder: where to write the checkpoints `last.safetensors` and `best.safetensors`; None for none. The first
            one is written before the first step, and replaces an earlier run. A later one that cannot be written does
            not end the run: there is a warning.
        callbacks: they receive progress, epochs and the end of the run.
        resume: continue from the last checkpoint in `folder`.
        alone: train in this process only, though others may run beside it.
        notes: further JSON values to keep in `last.safetensors`.

    Returns:
        the metrics of each epoch, and why the run ended.

    Raises:
        UserError: if a loss is not finite, with the step and the term; or for data without a context among others if
            the objective does not accept that. If more epochs are done than `settings.epochs`, or the first checkpoint
            cannot be written.
    """
    for context in (train.context, test.context):
        if (
            context is not None
            and not objective.accepts_missing_context
            and (missing := int(context.isnan().any(1).sum()))
        ):
            raise UserError(
                f"condition: {missing} of {len(context)} rows have none: fill it in, or use --preset m2 "
                f"--set objective.classes={context.shape[1]}"
            )
    with noise.seeded(settings.seed), interruptions() as interrupted:
        c = None if train.context is None else train.context[:1]
        module: Any = vae  # the objective determines the type of the module
        with noise.building():
            objective.setup(module, train.batch(torch.arange(1)), len(train), c)
        run = Run(vae, objective, settings, folder, callbacks, alone, notes)
        if resume:
            assert folder
            with damaged(folder / LAST, "is damaged", "restore it, or train anew with --force"):
                run.load()
        run.train(train, test, interrupted)
    return run.state


class Run:
    """A training run: its attributes are saved and loaded."""

    def __init__(
        self,
        vae: Any,
        objective: Objective,
        settings: TrainingConfig,
        folder: Path | None,
        callbacks: Sequence[Callback],
        alone: bool = False,
        notes: Mapping[str, Any] | None = None,
    ) -> None:
        self.settings, self.notes = settings, notes or {}
        self.engine = engine(settings.device, settings.precision, alone)
        self.vae, self.objective = vae, objective.to(self.engine.device)
        self.players = OptimizerGroups(vae, self.objective, settings, self.engine)
        self.module = self.players.module
        self.clocks = scheduled_values(self.objective, vae)  # collected once, since walking all modules is slow
        self.average = EMA(vae, settings.ema_decay)
        self.state = State()
        self.best: dict[str, Tensor] = {}  # weights of the best epoch, for early stopping
        self.ledger = MetricAccumulator()
        self.thread_choice = ThreadChoice(torch.get_num_threads())
        self.folder = folder
        self.begun = self.warned = False
        self.callbacks = callbacks if self.engine.rank == 0 else ()

    def train(self, train: Dataset, test: Dataset, interrupted: list[int]) -> None:
        """Train from the present state until the run ends."""
        state, settings = self.state, self.settings
        self.rows = settings.samples_per_epoch or len(train)
        self.steps = math.ceil(self.rows / settings.batch_size)
        self.saved = time.monotonic()
        self.started = self.saved - state.elapsed
        self.deadline = self.saved + (settings.max_seconds or math.inf)
        if state.reason in PAUSES or state.reason == "done":
            state.reason = "" if state.epoch <= settings.epochs else "done"
        state.signal = 0
        self.save()
        self.begun = True  # from here on, the folder belongs to this run
        for callback in self.callbacks:
            with self.going_on():
                callback.on_begin(state.rows)
        while not state.reason:
            self.train_epoch(train, interrupted)
            if not state.reason:
                self.end_epoch(test, interrupted)
            self.save()
        if self.average.decay:
            self.average.swap()
        if self.best:
            self.vae.load_state_dict(self.best)
        for callback in self.callbacks:
            callback.on_end(state.reason)

    def train_epoch(self, train: Dataset, interrupted: list[int]) -> None:
        """Train on the remaining batches of the present epoch."""
        state, settings, e = self.state, self.settings, self.engine
        order = epoch_order(len(train), settings.seed, state.epoch, self.rows)
        mine = list(
            micro_batches(
                order, settings.batch_size, state.batch, e.rank, e.world, settings.gradient_accumulation_steps
            )
        )
        self.module.train()
        self.objective.train()
        looked = time.monotonic()
        began = looked - state.seconds
        pieces = zip(mine, batches(train, [p.index for p in mine]), strict=True)
        for piece, x in adapt_threads(pieces, self.thread_choice):
            x = augmented(e.place(x), train, piece, (settings.seed, state.step))
            self.backward(x, _context(train, piece, e), piece)
            now = time.monotonic()
            if piece.last and (now - looked > LOOK_SECONDS if e.world == 1 else state.batch % LOOK_STEPS == 0):
                looked, state.seconds = now, now - began
                self.log_progress(interrupted)
                if state.reason:
                    return
        self.ledger.flush(state.step)
        state.seconds = time.monotonic() - began

    def backward(self, x: Tensor, c: Tensor | None, piece: MicroBatch) -> None:
        """Add the gradient of a piece, and take the step if the piece is the last of its batch."""
        settings, state = self.settings, self.state
        total = self.steps * settings.epochs
        self.update_schedules(state.step / total)
        with _rows_of(piece, self.engine.world):
            losses = self.players.backward(x, c, piece)
        self.ledger.update(losses, piece.weight * piece.total)
        if not piece.last:
            return
        self.players.step(settings.learning_rate * settings.schedule(state.step / total))
        state.step += 1
        state.batch += 1
        self.average.update(state.step)

    def update_schedules(self, fraction: float) -> None:
        """Set all scheduled values to the completed fraction of training."""
        for clock in self.clocks:
            clock.set_progress(fraction)

    def log_progress(self, interrupted: list[int]) -> None:
        """Check the losses, report progress, save a checkpoint if it is due, and check whether to stop."""
        state, settings = self.state, self.settings
        self.ledger.flush(state.step)
        state.elapsed = time.monotonic() - self.started
        seen = min(state.batch * settings.batch_size, self.rows)
        left = (self.steps * settings.epochs - state.step) * state.elapsed / state.step
        means = self.ledger.compute(self.ledger.total * self.engine.world, seen)
        progress = Progress(state.epoch, settings.epochs, seen, self.rows, means, seen / state.seconds, left)
        for callback in self.callbacks:
            callback.on_progress(progress)
        state.reason = self.stop_reason(interrupted)
        if time.monotonic() - self.saved > settings.checkpoint_seconds:
            self.save()

    def stop_reason(self, interrupted: list[int]) -> str:
        """The reason to stop now, the same in all processes; "" for none."""
        late = time.monotonic() > self.deadline
        votes = self.engine.sum(torch.tensor([bool(interrupted), late], dtype=torch.float, device=self.engine.device))
        if votes[0]:
            self.state.signal = interrupted[0] if interrupted else signal.SIGINT
        return "interrupted" if votes[0] else "out of time" if votes[1] else ""

    def end_epoch(self, test: Dataset, interrupted: list[int]) -> None:
        """Evaluate the test data, record the epoch, keep the best weights, and check whether to stop."""
        state, settings = self.state, self.settings
        lr = settings.learning_rate * settings.schedule((state.step - 1) / (self.steps * settings.epochs))
        trained = self.ledger.compute(self.engine.sum(self.ledger.total), self.rows)
        began = time.monotonic()
        with self.average.applied():
            tested = self.evaluate(test)
            for split, means, seconds in (
                ("train", trained, state.seconds),
                ("test", tested, time.monotonic() - began),
            ):
                state.rows.append({"epoch": state.epoch, "split": split, **means, "seconds": seconds, "lr": lr})
            if tested["loss"] < state.best:
                state.best, state.best_epoch = tested["loss"], state.epoch
                if settings.early_stopping_patience:
                    self.best = {name: tensor.clone() for name, tensor in self.vae.state_dict().items()}
                self.write(BEST, self.vae.state_dict(), {"epoch": state.epoch})
            for callback in self.callbacks:
                with self.going_on():
                    callback.on_epoch(self.vae, state.epoch, state.rows)
        stale = settings.early_stopping_patience and state.epoch - state.best_epoch >= settings.early_stopping_patience
        done = "no better test loss" if stale else "done" if state.epoch == settings.epochs else ""
        state.reason = done or self.stop_reason(interrupted)  # an epoch may be too short for a check
        state.epoch, state.batch, state.seconds = state.epoch + 1, 0, 0.0
        state.elapsed = time.monotonic() - self.started
        self.ledger = MetricAccumulator()

    def evaluate(self, test: Dataset) -> dict[str, float]:
        """The mean losses of the test data, with final weights of the objective and the noise of `Model.evaluate`."""
        ledger, e = MetricAccumulator(), self.engine
        self.update_schedules(1.0)
        self.module.eval()
        self.objective.eval()
        mine = list(micro_batches(torch.arange(len(test)), EVALUATION_BATCH, rank=e.rank, world=e.world))
        with torch.no_grad():
            for piece, x in adapt_threads(zip(mine, batches(test, [p.index for p in mine]), strict=True)):
                c = None if test.context is None else test.context[piece.index]
                keys = noise.keys_of_content(self.settings.seed, x, c).to(e.device)
                with noise.for_rows(keys), e.autocast():
                    losses = self.objective(self.module, e.place(x), None if c is None else e.place(c))
                    ledger.update(losses, piece.weight * piece.total)
        ledger.flush(self.state.step)
        return ledger.compute(e.sum(ledger.total), len(test))

    def tensors(self) -> dict[str, Tensor]:
        """The live tensors of the run, by name."""
        named = {f"vae.{k}": v for k, v in self.vae.state_dict().items()}
        named |= {f"objective.{k}": v for k, v in self.objective.state_dict().items()}
        named |= {f"optimizer.{k}": v for k, v in self.players.state().items()}
        return named | {f"average.{i}": v for i, v in enumerate(self.average.means)}

    def write(self, name: str, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Write a checkpoint, if there is a folder and this is the process that writes."""
        if self.folder and self.engine.rank == 0:
            with self.going_on():
                checkpoint.write(self.folder / name, tensors, values)

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Within it, a file that cannot be written does not end a run that has begun: the first is a warning."""
        try:
            yield
        except checkpoint.WriteError as error:
            if not self.begun:
                raise
            if not self.warned:
                text = f"cannot write {error.path}: {error.reason}; training goes on, and writes again after each epoch"
                warnings.warn(text, stacklevel=2)
            self.warned = True

    def save(self) -> None:
        """Write the last checkpoint."""
        self.saved = time.monotonic()
        rest = {"ledger": self.ledger.total} | {f"generator.{g.device.type}": g.get_state() for g in noise.generators()}
        values = {**self.notes, "state": asdict(self.state), "ledger": self.ledger.names}
        best = {f"best.{name}": tensor for name, tensor in self.best.items()}
        self.write(LAST, {**self.tensors(), **rest, **best}, values)

    def load(self) -> None:
        """Load the last checkpoint.

        Raises:
            UserError: if it belongs to another model or optimizer, or has more epochs than the settings.
        """
        assert self.folder
        tensors, values = checkpoint.read(self.folder / LAST)
        live = self.tensors()
        for name in tensors.keys() & live.keys():
            if name.startswith("optimizer.") and name.endswith(
                ".step"
            ):  # older checkpoints have one number for all parameters
                tensors[name] = tensors[name].expand_as(live[name])
        if wrong := [n for n, v in live.items() if n not in tensors or tensors[n].shape != v.shape]:
            raise UserError(f"{self.folder / LAST} is of another model: {wrong[0]} differs; train anew with --force")
        with torch.no_grad():
            for name, tensor in live.items():
                tensor.copy_(tensors[name])
        self.state = parse(State, values["state"], "state")
        done = self.state.epoch - (self.state.batch == 0)
        if self.settings.epochs < done:
            raise UserError(
                f"epochs={self.settings.epochs}: {self.folder / LAST} is of epoch {done}: resume with --epochs {done} "
                "or more, or train anew with --force"
            )
        if self.settings.early_stopping_patience and self.state.best_epoch:
            self.best = {n.removeprefix("best."): tensor for n, tensor in tensors.items() if n.startswith("best.")}
            if not self.best:  # as in older checkpoints
                self.best = checkpoint.read(self.folder / BEST)[0]
        self.ledger.total, self.ledger.names = tensors["ledger"], values["ledger"]
        for device in {torch.device("cpu"), self.engine.device}:
            generator, state = noise.generator(device), tensors.get(f"generator.{device.type}")
            if generator and state is not None:
                generator.set_state(state)


def _context(dataset: Dataset, piece: MicroBatch, e: Engine) -> Tensor | None:
    """The context of the rows of a piece."""
    return None if dataset.context is None else e.place(dataset.context[piece.index])


def augmented(x: Tensor, dataset: Dataset, piece: MicroBatch, place: tuple[int, int]) -> Tensor:
    """The rows of a piece, augmented if the dataset has augmentations, at random as (seed, step) determines."""
    if dataset.augment is None:
        return x
    return dataset.augment(x, dataset.schema, draws(piece.total, *place)[piece.start : piece.stop])


def _rows_of(piece: MicroBatch, world: int) -> AbstractContextManager[None]:
    """Noise for this piece: in several processes, its rows of the noise of the whole batch."""
    return noise.shard(piece.start, piece.stop, piece.total) if world > 1 else nullcontext()
