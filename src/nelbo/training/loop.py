"""The one training loop.

Every epoch goes through the training data once, in an order that the seed and the epoch determine, then evaluates the
test data with the weights that would be saved. The whole state of a run (weights, optimizer, average, generator states,
position in the data, metrics) is in a single checkpoint file. A run that is killed at any moment and resumed therefore
ends with the same weights, bit for bit, as an uninterrupted one. A loss that is not finite or explodes sends the run
back to an earlier state (see `nelbo.training.recovery`); a checkpoint has that state too, unless it is the present one.
"""

from __future__ import annotations

import copy
import logging
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
from nelbo.training import checkpoint, recovery
from nelbo.training.config import TrainingConfig
from nelbo.training.engine import Engine, engine
from nelbo.training.metrics import Callback, MetricAccumulator, Progress
from nelbo.training.optim import EMA
from nelbo.training.players import MicroBatch, OptimizerGroups, epoch_order, micro_batches
from nelbo.training.recovery import Fault
from nelbo.training.signals import interruptions
from nelbo.training.threads import ThreadChoice, adapt_threads
from nelbo.vae import VAE

LOG = logging.getLogger(__name__)
LOOK_SECONDS = 0.25  # between two reports of progress, in one process
LOOK_STEPS = 20  # steps between two checks on an accelerator or in several processes, which must check together
EVALUATION_BATCH = 500
LAST, BEST = "last.safetensors", "best.safetensors"
MEASURED = {"epoch", "loss", "seconds", "lr"}  # in each row of metrics
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
        bounds: the first and the lowest loss.
        verified: the same of the losses in evaluation mode, by which weights are judged before they are kept.
        lr_scale: factor of the learning rate, below 1 after a fault.
        lr_limit: the factor to which it returns once the fault is passed.
        left_out: training rows that are no longer used, since their loss is not finite.
        returns: the returns to an earlier state, as in `metrics.jsonl`.
        budget: how many more of them are allowed.
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
    bounds: recovery.Bounds = field(default_factory=dict)
    verified: recovery.Bounds = field(default_factory=dict)
    lr_scale: float = 1.0
    lr_limit: float = 1.0
    left_out: list[int] = field(default_factory=list)
    returns: list[dict[str, Any]] = field(default_factory=list)
    budget: int = recovery.MOST

    def __post_init__(self) -> None:
        for row in self.rows:
            numbers = [value for name, value in row.items() if name not in ("split", "returns")]
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
        UserError: if a loss is not finite or explodes again after each return to an earlier state, with the step and
            the term; or for data without a context among others if the objective does not accept that. If more epochs
            are done than `settings.epochs`, or the first checkpoint cannot be written.
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
        else:
            run.remember()
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
        self.kept: tuple[dict[str, Tensor], dict[str, Any]] = {}, {}  # the state to return to
        self.unchecked: list[tuple[int, MicroBatch]] = []  # the pieces since the last check, with their steps
        self.eager = self.engine.world == 1 and self.engine.device.type == "cpu"  # reading a loss waits for nothing
        self.folder = folder
        self.begun = self.warned = False
        self.callbacks = callbacks if self.engine.rank == 0 else ()

    def train(self, train: Dataset, test: Dataset, interrupted: list[int]) -> None:
        """Train from the present state until the run ends."""
        state, settings = self.state, self.settings
        self.rows = settings.samples_per_epoch or len(train)
        self.steps = math.ceil(self.rows / settings.batch_size)
        self.elements = math.prod(train.schema.shape)
        self.saved = self.looked = time.monotonic()
        self.started = self.saved - state.elapsed
        self.deadline = self.saved + (settings.max_seconds or math.inf)
        if state.reason in PAUSES or state.reason == "done":
            state.reason = "" if state.epoch <= settings.epochs else "done"
        state.signal = 0
        self.save()
        self.begun = True  # from here on, the folder belongs to this run
        ended = "failed"
        try:
            for callback in self.callbacks:
                with self.going_on():
                    callback.on_begin(state.rows)
            while not self.state.reason:
                try:
                    self.train_epoch(train, interrupted)
                    if not self.state.reason:
                        self.end_epoch(train, test, interrupted)
                except Fault as fault:
                    self.recover(fault, train, test)
                else:
                    self.save()
            ended = self.state.reason
        finally:
            if ended != "failed":
                self.finish()
            for callback in self.callbacks:
                callback.on_end(ended)

    def finish(self) -> None:
        """Give the model the weights that the run ends with."""
        if self.average.decay:
            self.average.swap()
        if self.best:
            self.vae.load_state_dict(self.best)

    def train_epoch(self, train: Dataset, interrupted: list[int]) -> None:
        """Train on the remaining batches of the present epoch."""
        state, settings, e = self.state, self.settings, self.engine
        order = epoch_order(len(train), settings.seed, state.epoch, self.rows)
        if state.left_out:
            order = recovery.without(order, state.left_out)
        mine = list(
            micro_batches(
                order, settings.batch_size, state.batch, e.rank, e.world, settings.gradient_accumulation_steps
            )
        )
        self.module.train()
        self.objective.train()
        began = time.monotonic() - state.seconds
        pieces = zip(mine, batches(train, [p.index for p in mine]), strict=True)
        for piece, x in adapt_threads(pieces, self.thread_choice):
            x = augmented(e.place(x), train, piece, (settings.seed, state.step))
            self.backward(x, _context(train, piece, e), piece)
            if not piece.last:
                continue
            if state.step % LOOK_STEPS == 0:
                self.check()
            if state.step % recovery.KEEP_STEPS == 0:
                self.ledger.flush()
                self.verify(train, piece.index)
                self.remember()
            now = time.monotonic()
            if now - self.looked > LOOK_SECONDS if e.world == 1 else state.batch % LOOK_STEPS == 0:
                self.looked, state.seconds = now, now - began
                self.log_progress(interrupted)
                if state.reason:
                    return
        self.check()
        self.ledger.flush()
        self.last = mine[-1].index if mine else order[-1:]
        state.seconds = time.monotonic() - began

    def backward(self, x: Tensor, c: Tensor | None, piece: MicroBatch) -> None:
        """Add the gradient of a piece, and take the step if the piece is the last of its batch.

        Raises `Fault` before the step if a loss is not finite or explodes, where checking costs no time.
        """
        state = self.state
        self.update_schedules(self.fraction(state.step))
        step = state.step + 1
        with _rows_of(piece, self.engine.world), recovery.as_fault(self.vae, x, step, piece.index):
            losses = self.players.backward(x, c, piece)
        self.ledger.update(losses, piece.weight * piece.total)
        self.unchecked.append((step, piece))
        if self.eager:
            self.check()
        if not piece.last:
            return
        self.players.step(self.learning_rate(state.step))
        state.step += 1
        state.batch += 1
        self.average.update(state.step)

    def fraction(self, step: int) -> float:
        """The share of the run's steps that are done after `step` steps."""
        return step / (self.steps * self.settings.epochs)

    def learning_rate(self, step: int) -> float:
        """The learning rate of the step after `step` steps."""
        return self.settings.learning_rate * self.settings.schedule(self.fraction(step)) * self.state.lr_scale

    def check(self) -> None:
        """Look at the losses since the last check; raises `Fault`, in all processes, if there is one in any."""
        found: Fault | None = None
        for (step, piece), values in zip(self.unchecked, self.ledger.unread(), strict=True):
            if words := recovery.what_is_wrong(values, self.state.bounds, self.elements):
                found = Fault(words, step, piece.index, values=values)
                break
            recovery.observe(values, self.state.bounds)
        self.unchecked.clear()
        self.raise_together(found)

    def raise_together(self, found: Fault | None) -> None:
        """Raise a fault, in every process if there is one in any."""
        if self.engine.world > 1 and self.votes(found is not None):
            raise found or Fault("a loss in another process is not finite or explodes", self.state.step)
        if found:
            raise found

    def votes(self, vote: bool) -> bool:
        """Whether any process votes for something."""
        return bool(self.engine.sum(torch.tensor([float(vote)], device=self.engine.device))[0])

    def verify(self, data: Dataset, index: Tensor) -> None:
        """Raise `Fault` if the present weights are not fit to be returned to.

        Args:
            data: the training data.
            index: rows of them whose loss shows whether the weights are.
        """
        state, found = self.state, None
        if name := recovery.not_finite(self.learned(self.tensors())):
            found = Fault(f"{name.partition('.')[2]} is not finite after the step", state.step, index)
        else:
            values, _ = self.losses_of(data, index)
            if words := recovery.what_is_wrong(values, state.verified, self.elements):
                found = Fault(f"{words} after the step", state.step, index, values=values, evaluated=True)
            else:
                recovery.observe(values, state.verified)
        self.raise_together(found)
        state.lr_scale = min(state.lr_limit, state.lr_scale * recovery.CUT)

    def remember(self) -> None:
        """Copy the present state to memory, over the copy before."""
        (tensors, values), (kept, _) = self.whole(), self.kept
        for name, tensor in tensors.items():
            if name in kept and kept[name].shape == tensor.shape:
                kept[name].copy_(tensor)
            else:
                kept[name] = tensor.detach().to("cpu", copy=True)
        self.kept = kept, copy.deepcopy(values)

    @torch.no_grad()
    def losses_of(self, data: Dataset, index: Tensor) -> tuple[dict[str, float], list[int]]:
        """The mean losses of rows under the present weights, and those of the rows whose loss is not finite."""
        e, ledger = self.engine, MetricAccumulator()
        self.module.eval()
        self.objective.eval()
        bad: list[int] = []
        try:
            with noise.seeded(self.settings.seed), noise.no_sharding(), e.autocast():
                x = e.place(data.batch(index))
                c = None if data.context is None else e.place(data.context[index])
                with recovery.as_fault(self.vae, x, self.state.step, index):
                    ledger.update(self.objective(self.vae, x, c), 1.0)
                (values,) = ledger.unread()
                if not all(map(math.isfinite, values.values())) and isinstance(self.vae, VAE):
                    trace = self.vae(x, c)
                    bad = index[recovery.bad_rows(trace.distortion + trace.rate, len(index))].tolist()
        except Fault:
            return {"loss": math.nan}, []
        finally:
            self.module.train()
            self.objective.train()
        return values, bad

    def update_schedules(self, fraction: float) -> None:
        """Set all scheduled values to the completed fraction of training."""
        for clock in self.clocks:
            clock.set_progress(fraction)

    def log_progress(self, interrupted: list[int]) -> None:
        """Report progress, save a checkpoint if it is due, and check whether to stop."""
        state, settings = self.state, self.settings
        self.check()
        self.ledger.flush()
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
        if self.votes(bool(interrupted)):
            self.state.signal = interrupted[0] if interrupted else signal.SIGINT
            return "interrupted"
        return "out of time" if self.votes(late) else ""

    def end_epoch(self, train: Dataset, test: Dataset, interrupted: list[int]) -> None:
        """Evaluate the test data, record the epoch, keep the best weights, and check whether to stop."""
        state, settings, epoch = self.state, self.settings, self.state.epoch
        lr = self.learning_rate(state.step - 1)
        trained = self.ledger.compute(self.engine.sum(self.ledger.total), self.rows)
        self.verify(train, self.last)
        began = time.monotonic()
        with self.average.applied():
            tested = self.evaluate(test)
            for split, means, seconds in (
                ("train", trained, state.seconds),
                ("test", tested, time.monotonic() - began),
            ):
                row = {"epoch": epoch, "split": split, **means, "seconds": seconds, "lr": lr}
                state.rows.append(row)
            if returns := [entry for entry in state.returns if entry["epoch"] == epoch]:
                state.rows[-2]["returns"] = returns
            if tested["loss"] < state.best:
                state.best, state.best_epoch = tested["loss"], epoch
                if settings.early_stopping_patience:
                    self.best = {name: tensor.clone() for name, tensor in self.vae.state_dict().items()}
                self.write(BEST, self.vae.state_dict(), {"epoch": epoch})
        state.epoch, state.batch, state.seconds = epoch + 1, 0, 0.0
        state.elapsed = time.monotonic() - self.started
        self.ledger = MetricAccumulator()
        self.remember()
        with self.average.applied():
            for callback in self.callbacks:
                with self.going_on():
                    callback.on_epoch(self.vae, epoch, state.rows)
        stale = settings.early_stopping_patience and epoch - state.best_epoch >= settings.early_stopping_patience
        done = "no better test loss" if stale else "done" if epoch == settings.epochs else ""
        state.reason = done or self.stop_reason(interrupted)  # an epoch may be too short for a check

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
                x, c, step = e.place(x), None if c is None else e.place(c), self.state.step
                with noise.for_rows(keys), e.autocast(), recovery.as_fault(self.vae, x, step, piece.index, "test"):
                    losses = self.objective(self.module, x, c)
                    ledger.update(losses, piece.weight * piece.total)
        found = None
        for piece, values in zip(mine, ledger.unread(), strict=True):
            if words := recovery.what_is_wrong(values, {}, self.elements):
                found = Fault(f"{words} on the test data", self.state.step, piece.index, "test")
                break
        self.raise_together(found)
        ledger.flush()
        return ledger.compute(e.sum(ledger.total), len(test))

    def recover(self, fault: Fault, train: Dataset, test: Dataset) -> None:
        """Return to the state that is kept in memory, and change what led to the fault.

        Raises:
            UserError: if the run has returned too often, or if the loss of test data is not finite there either.
        """
        former, data = self.state, test if fault.split == "test" else train
        place = "" if fault.index is None else self.place_of(fault, data)
        self.restore(*self.kept)
        state = self.state
        for name in ("bounds", "verified", "lr_scale", "lr_limit", "left_out", "returns", "budget"):
            setattr(state, name, getattr(former, name))
        values, bad = ({}, []) if fault.index is None else self.losses_of(data, fault.index)
        if fault.split == "test" and bad:
            raise UserError(f"{fault.words}: {recovery.rows_in_words(bad, 'test')}: look for extreme values there")
        entry = {"epoch": state.epoch, "step": fault.step, "what": f"{fault.words}{place}", "to_step": state.step}
        changed = self.change_cause(fault, values, bad, len(train))
        state.returns = [*state.returns, {**entry, "lr_scale": state.lr_scale}]
        state.budget -= 1
        if state.budget < 0:
            self.give_up(fault, place)
        LOG.warning(
            "Step %d: %s; returned to step %d, %s (%d more such returns are allowed)",
            *(fault.step, entry["what"], state.step, changed, state.budget),
        )

    def change_cause(self, fault: Fault, values: Mapping[str, float], bad: list[int], n: int) -> str:
        """Leave out rows, raise the limit of the loss, or take shorter steps; returns what was changed, in words.

        Args:
            fault: the fault.
            values: the losses of its rows under the weights before it; {} if they are those of another process.
            bad: those of its rows whose loss is not finite under these weights.
            n: the number of training rows.
        """
        state = self.state
        chosen = torch.zeros(n)
        chosen[bad] = 1
        if left_out := self.engine.sum(chosen).nonzero().flatten().tolist():
            state.left_out = sorted({*state.left_out, *left_out})
            return f"and {recovery.rows_in_words(left_out)} left out"
        bounds = state.verified if fault.evaluated else state.bounds
        if self.votes(bool(values) and recovery.are_unusual(values, fault.values, bounds, self.elements)):
            recovery.raise_limit(fault.values or values, bounds)
            return "and such a loss of these rows is accepted"
        last = state.returns[-1]["step"] if state.returns else -math.inf
        if fault.step - last <= recovery.NEAR:
            state.lr_limit /= recovery.CUT
        state.lr_scale = min(state.lr_scale, state.lr_limit) / recovery.CUT
        later = " until it is passed" if state.lr_limit == 1 else f", then {state.lr_limit:.3g} times"
        return f"with {state.lr_scale:.3g} times the learning rate{later}"

    def place_of(self, fault: Fault, data: Dataset) -> str:
        """Where numbers that are not finite begin, and the rows of the data that show it, in words."""
        assert fault.index is not None
        index = fault.index
        place, rows = recovery.locate(self.vae, lambda: self.losses_of(data, index), len(index))
        named = [] if place and not rows else [recovery.rows_in_words(index[rows or ...].tolist(), fault.split)]
        return f" ({', '.join([place, *named] if place else named)})"

    def give_up(self, fault: Fault, place: str) -> None:
        """Write the state before the fault, ready to be resumed, and raise the `UserError`."""
        state, rate = self.state, self.settings.learning_rate
        state.budget, state.lr_scale, state.lr_limit = recovery.MOST, 1.0, 1.0
        self.remember()
        self.save()
        kept = f"the state of step {state.step} is kept: continue with --resume --lr {rate / 10:g}, or "
        raise UserError(
            f"step {fault.step}: {fault.words}{place}, after {recovery.MOST} returns with shorter steps; "
            f"{kept if self.folder else f'train with --lr {rate / 10:g}, or '}look for extreme values in the data"
        )

    def tensors(self) -> dict[str, Tensor]:
        """The live tensors of the run, by name."""
        named = {f"vae.{k}": v for k, v in self.vae.state_dict().items()}
        named |= {f"objective.{k}": v for k, v in self.objective.state_dict().items()}
        named |= {f"optimizer.{k}": v for k, v in self.players.state().items()}
        return named | {f"average.{i}": v for i, v in enumerate(self.average.means)}

    def learned(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Those of the tensors of a run that are not buffers: a buffer may be infinite, as a limit is."""
        buffers = {f"vae.{name}" for name, _ in self.vae.named_buffers()}
        buffers |= {f"objective.{name}" for name, _ in self.objective.named_buffers()}
        names = self.tensors().keys() - buffers
        return {name: tensor for name, tensor in tensors.items() if name in names}

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

    def whole(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The whole state of the run: its live tensors, and its values, which are copied."""
        rest = {"ledger": self.ledger.total}
        for device in {torch.device("cpu"), self.engine.device}:
            if generator := noise.generator(device):
                rest[f"generator.{device.type}"] = generator.get_state()
        values = {"state": asdict(self.state), "ledger": self.ledger.names, "lr": self.settings.learning_rate}
        return {**self.tensors(), **rest}, values

    def save(self) -> None:
        """Write the last checkpoint: the present state, and the one to return to."""
        self.saved = time.monotonic()
        if recovery.not_finite(
            self.learned(self.tensors())
        ):  # a step, or a callback, has damaged the weights since the last check
            reason, elapsed, number = self.state.reason, self.state.elapsed, self.state.signal
            self.restore(*self.kept)
            self.state.reason, self.state.elapsed, self.state.signal = reason, elapsed, number
        tensors, values = self.whole()
        kept, kept_values = self.kept
        if kept_values["state"]["step"] != self.state.step:
            tensors |= {f"kept.{name}": tensor for name, tensor in kept.items()}
            values["kept"] = kept_values
        best = {f"best.{name}": tensor for name, tensor in self.best.items()}
        self.write(LAST, tensors | best, {**self.notes, **values})

    def load(self) -> None:
        """Load the last checkpoint.

        Raises:
            UserError: if it belongs to another model or optimizer, has more epochs than the settings, or if its weights
                are not finite.
        """
        assert self.folder
        tensors, values = checkpoint.read(self.folder / LAST)
        kept = {name.removeprefix("kept."): tensors.pop(name) for name in [*tensors] if name.startswith("kept.")}
        for found in (tensors, kept) if kept else (tensors,):
            self.match(found)
        self.restore(tensors, values)
        if values.get("lr", self.settings.learning_rate) != self.settings.learning_rate:
            self.state.lr_scale = self.state.lr_limit = 1.0
        done = self.state.epoch - (self.state.batch == 0)
        if self.settings.epochs < done:
            raise UserError(
                f"epochs={self.settings.epochs}: {self.folder / LAST} is of epoch {done}: resume with --epochs {done} "
                "or more, or train anew with --force"
            )
        own = self.vae.state_dict()
        if self.settings.early_stopping_patience and self.state.best_epoch:
            self.best = {n.removeprefix("best."): tensor for n, tensor in tensors.items() if n.startswith("best.")}
            if not self.best:  # as in older checkpoints
                self.best = checkpoint.read(self.folder / BEST)[0]
        if self.best and {n: t.shape for n, t in self.best.items()} != {n: t.shape for n, t in own.items()}:
            raise UserError("the best weights are of another model")
        if kept:
            self.kept = kept, values["kept"]
        else:
            self.remember()

    def match(self, tensors: dict[str, Tensor]) -> None:
        """Check that the tensors of a checkpoint are those of this run, and finite."""
        assert self.folder
        live = self.tensors()
        for name in tensors.keys() & live.keys():
            if name.startswith("optimizer.") and name.endswith(
                ".step"
            ):  # older checkpoints have one number for all parameters
                tensors[name] = tensors[name].expand_as(live[name])
        if wrong := [n for n, v in live.items() if n not in tensors or tensors[n].shape != v.shape]:
            raise UserError(f"{self.folder / LAST} is of another model: {wrong[0]} differs; train anew with --force")
        if bad := recovery.not_finite(self.learned(tensors)):
            raise UserError(f"{self.folder / LAST} is damaged: {bad} is not finite; train anew with --force")

    def restore(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Set the state of the run; the tensors are copied."""
        with torch.no_grad():
            for name, tensor in self.tensors().items():
                tensor.copy_(tensors[name])
        self.state = parse(State, copy.deepcopy(values["state"]), "state")
        total, names = tensors["ledger"], parse(list[str], values["ledger"], "ledger")
        if total.shape != (len(names),) or not total.is_floating_point() or (self.state.batch and "loss" not in names):
            raise UserError(f"ledger = {short(names)} with {total.dtype} of shape {tuple(total.shape)}")
        self.ledger = MetricAccumulator()
        self.ledger.total, self.ledger.names = total.clone(), names
        self.unchecked.clear()
        self.players.clear()
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
