"""Output of a run: messages before and after training, and its progress.

Progress is a live bar on a terminal, a line in a notebook, plain lines elsewhere, and JSON for a program.

>>> plural(1, "epoch"), plural(2000, "epoch")
('1 epoch', '2,000 epochs')
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TextIO

from nelbo.data import DataSplits
from nelbo.errors import UserError, listed
from nelbo.experiment.status_line import StatusLine, bar, in_notebook, loops_on, messages_on
from nelbo.model import Model, description
from nelbo.training import Callback, Progress, State
from nelbo.vae import VAE

EXPECT_SECONDS = 1.0  # of work before the expected time is printed


def describe(row: Mapping[str, Any]) -> str:
    """Describe one epoch of one split.

    >>> describe({"epoch": 1, "split": "test", "loss": 107.0, "distortion": 82.0, "rate": 25.0, "seconds": 0.5})
    '====> Epoch: 1 Test set loss: 107.0000 (distortion 82.0000, rate 25.0000, 0.5 s)'
    """
    name = {"train": "Average training loss", "test": "Test set loss"}[row["split"]]
    parts = f"distortion {row['distortion']:.4f}, rate {row['rate']:.4f}, {row['seconds']:.1f} s"
    return f"====> Epoch: {row['epoch']} {name}: {row['loss']:.4f} ({parts})"


def remaining(progress: Progress) -> str:
    """Describe the losses of the present epoch, the speed, and the time left.

    >>> remaining(Progress(1, 2, 50, 100, {"loss": 8.25}, 1234.0, 61.0))
    'loss 8.2  1,234/s  1:01 left'
    """
    parts = "  ".join(f"{name} {value:.1f}" for name, value in progress.metrics.items())
    return f"{parts}  {progress.samples_per_second:,.0f}/s  {duration(progress.seconds_left)} left"


def duration(seconds: float) -> str:
    """A time in minutes and seconds, from an hour on in hours and minutes.

    >>> duration(61.0), duration(7260.0)
    ('1:01', '2 h 1 min')
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


class Lines(Callback):
    """The expected time after a second, and two lines per epoch: train and test."""

    def __init__(self, file: TextIO | None = None) -> None:
        self.file = file or sys.stdout
        self.began: tuple[float, int] | None = None  # the first report: when, and how many data were done
        self.printed = False  # the expected time

    def on_progress(self, progress: Progress) -> None:
        now, done = time.monotonic(), (progress.epoch - 1) * progress.total + progress.seen
        if self.began is None:
            self.began = now, done  # the first steps take longer than the others
        elif not self.printed and now > self.began[0] + EXPECT_SECONDS:
            self.printed = True
            speed = (done - self.began[1]) / (now - self.began[0])
            left = (progress.epochs * progress.total - done) / speed
            print(f"Expected: {duration(left)} of training, {speed:,.0f} data a second", file=self.file, flush=True)

    def on_epoch(self, vae: VAE, epoch: int, rows: Sequence[Mapping[str, Any]]) -> None:
        for row in rows[-2:]:
            print(describe(row), file=self.file, flush=True)


class JSONLines(Callback):
    """The rows of `metrics.jsonl` as JSON, as they are computed."""

    def on_epoch(self, vae: VAE, epoch: int, rows: Sequence[Mapping[str, Any]]) -> None:
        for row in rows[-2:]:
            print(json.dumps(row), flush=True)


class Bar(Callback):
    """A bar for the present epoch, and two lines for each finished epoch."""

    def __init__(self, file: TextIO | None = None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as RichProgress
        from rich.table import Column

        epoch = TextColumn("epoch {task.fields[epoch]}", table_column=Column(no_wrap=True))
        words = TextColumn("{task.fields[words]}", table_column=Column(no_wrap=True, ratio=1))
        self.bar = RichProgress(epoch, BarColumn(8), words, console=Console(file=file), transient=True, expand=True)
        self.task = self.bar.add_task("", total=1, epoch="1", words="")

    def on_progress(self, progress: Progress) -> None:
        self.bar.start()  # only now: messages before training have lines of their own
        self.bar.update(
            self.task,
            total=progress.total,
            completed=progress.seen,
            epoch=f"{progress.epoch}/{progress.epochs}",
            words=remaining(progress),
        )

    def on_epoch(self, vae: VAE, epoch: int, rows: Sequence[Mapping[str, Any]]) -> None:
        for row in rows[-2:]:
            self.bar.console.print(describe(row), highlight=False, soft_wrap=True)

    def on_end(self, reason: str) -> None:
        self.bar.stop()


class EpochLine(Callback):
    """One line that is overwritten, for a notebook."""

    def __init__(self, file: TextIO) -> None:
        self.line = StatusLine(file)
        self.tested = ""

    def on_progress(self, progress: Progress) -> None:
        part = ((progress.epoch - 1) + progress.seen / progress.total) / progress.epochs
        epoch = f"epoch {progress.epoch}/{progress.epochs} {bar(part, 16)}"
        self.line.write(f"{epoch}  {remaining(progress)}{self.tested}")

    def on_epoch(self, vae: VAE, epoch: int, rows: Sequence[Mapping[str, Any]]) -> None:
        self.tested = f"  test loss {rows[-1]['loss']:.2f}"

    def on_end(self, reason: str) -> None:
        self.line.clear()


Verbose = bool | Literal["auto"]


@contextmanager
def shown(verbose: Verbose) -> Iterator[list[Callback]]:
    """A context in which messages and long work are shown; yields the callbacks that show training.

    A notebook shows them in the cell; otherwise they go to stderr.

    Args:
        verbose: whether to show anything; "auto": on a terminal and in a notebook.
    """
    if verbose not in (True, False, "auto"):
        raise UserError(f"verbose={verbose!r}: use True, False or 'auto'")
    notebook, terminal = in_notebook(), sys.stderr.isatty()
    if not verbose or (verbose == "auto" and not (notebook or terminal)):
        yield []
        return
    file = sys.stdout if notebook else sys.stderr
    callback = EpochLine(file) if notebook else Bar(file) if terminal else Lines(file)
    with messages_on(file), loops_on(file):
        try:
            yield [callback]
        finally:
            callback.on_end("")


def understood(model: Model, data: DataSplits) -> list[str]:
    """Describe the data, the model, the objective and the training, one line each."""
    words, settings = description.lines(model), model.recipe.training
    named = [f"{words[part]} {part}" for part in ("prior", "posterior", "likelihood") if part in words]
    parts = [words["latents"], *named, words["networks"]]
    parts += [f"conditioned on {words['condition']}"] if "condition" in words else []
    source = model.recipe.data.source or data.name
    return [
        f"Data: {source}, {data.schema.data_kind.describe(data.schema)}",
        *([f"Classes: {listed(data.schema.classes)}"] if data.schema.classes else []),
        f"Split: {len(data.train):,} to train on, {len(data.test):,} to test ({data.split})",
        f"Model: {', '.join(parts)}",
        f"Objective: {words['objective']}",
        f"Training: {plural(settings.epochs, 'epoch')} of {settings.samples_per_epoch or len(data.train):,} data, "
        f"{settings.batch_size} a step, learning rate {settings.learning_rate:g}, on {settings.device}",
    ]


def result(model: Model, state: State) -> list[str]:
    """The reason why training ended, and the losses."""
    reason = [] if state.reason == "done" else [f"Training stopped: {state.reason}"]
    if not model.trained:
        return reason
    latents = f"of {len(model.kl_per_latent)} latents, {description.carried(model)}"
    return [*reason, f"Test loss: {description.loss(model.trained)}; {latents}"]


FAST = 0.05  # a share of the whole fall of the test loss: a change that is worth a line


def verdict(rows: Sequence[Mapping[str, Any]]) -> str:
    """Describe a bad end of a run, with the option that helps; "" if the test loss fell and is flat.

    >>> verdict([{"split": "test", "loss": loss} for loss in (9.0, 5.0, 4.0, 3.0)])
    'The test loss was still falling fast: train on with --resume --epochs 8'
    >>> verdict([{"split": "test", "loss": loss} for loss in (9.0, 5.0, 5.9)])
    'The test loss was lowest in epoch 2 and rose from 5 to 5.9: keep the best with --early-stopping-patience 5'
    >>> verdict([{"split": "test", "loss": loss} for loss in (9.0, 5.0, 9.9)])
    'The test loss ended above that of epoch 1, 9.9 against 9: train anew with a lower --lr'
    """
    losses = [row["loss"] for row in rows if row["split"] == "test"]
    if len(losses) < 2:
        return ""
    first, last, lowest = losses[0], losses[-1], min(losses)
    if last > first:
        return (
            f"The test loss ended above that of epoch 1, {last:.4g} against {first:.4g}: train anew with a lower --lr"
        )
    if last - lowest > FAST * (first - lowest):
        rise = f"lowest in epoch {losses.index(lowest) + 1} and rose from {lowest:.4g} to {last:.4g}"
        return f"The test loss was {rise}: keep the best with --early-stopping-patience 5"
    if len(losses) > 2 and losses[-2] - last > FAST * (first - last):
        return f"The test loss was still falling fast: train on with --resume --epochs {2 * len(losses)}"
    return ""


def bytes_text(number: float) -> str:
    """A number of bytes in MB or GB.

    >>> bytes_text(3e6), bytes_text(4e9)
    ('3 MB', '4.0 GB')
    """
    return f"{number / 1e6:,.0f} MB" if number < 1e9 else f"{number / 1e9:,.1f} GB"


def plural(n: int, thing: str) -> str:
    """A number with its noun."""
    return f"{n:,} {thing}{'' if n == 1 else 's'}"
