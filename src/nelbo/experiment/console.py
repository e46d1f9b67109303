"""How a run is watched: a live bar on a terminal, plain lines elsewhere, JSON lines for a program."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from nelbo.training import Callback, Progress
from nelbo.vae import VAE


def describe(row: Mapping[str, Any]) -> str:
    """One epoch of one split in words.

    >>> describe({"epoch": 1, "split": "test", "loss": 107.0, "distortion": 82.0, "rate": 25.0, "seconds": 0.5})
    '====> Epoch: 1 Test set loss: 107.0000 (distortion 82.0000, rate 25.0000, 0.5 s)'
    """
    name = {"train": "Average training loss", "test": "Test set loss"}[row["split"]]
    parts = f"distortion {row['distortion']:.4f}, rate {row['rate']:.4f}, {row['seconds']:.1f} s"
    return f"====> Epoch: {row['epoch']} {name}: {row['loss']:.4f} ({parts})"


class Lines(Callback):
    """Two lines an epoch: train and test."""

    def __init__(self, file: TextIO | None = None) -> None:
        self.file = file or sys.stdout

    def on_epoch(self, vae: VAE, epoch: int, rows: Sequence[Mapping[str, Any]]) -> None:
        for row in rows[-2:]:
            print(describe(row), file=self.file, flush=True)


class JSONLines(Callback):
    """The rows of `metrics.jsonl` as they are made."""

    def on_epoch(self, vae: VAE, epoch: int, rows: Sequence[Mapping[str, Any]]) -> None:
        for row in rows[-2:]:
            print(json.dumps(row), flush=True)


class Bar(Callback):
    """A bar for the present epoch, and two lines for each epoch that is done."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as RichProgress
        from rich.table import Column

        epoch = TextColumn("epoch {task.fields[epoch]}", table_column=Column(no_wrap=True))
        words = TextColumn("{task.fields[words]}", table_column=Column(no_wrap=True, ratio=1))
        self.bar = RichProgress(epoch, BarColumn(8), words, transient=True, expand=True)
        self.task = self.bar.add_task("", total=1, epoch="1", words="")

    def on_progress(self, progress: Progress) -> None:
        self.bar.start()  # only now: what is read before has a line of its own
        parts = "  ".join(f"{name} {value:.1f}" for name, value in progress.parts.items())
        minutes, seconds = divmod(round(progress.seconds_left), 60)
        words = f"{parts}  {progress.samples_per_second:,.0f}/s  {minutes}:{seconds:02} left"
        self.bar.update(
            self.task,
            total=progress.total,
            completed=progress.seen,
            epoch=f"{progress.epoch}/{progress.epochs}",
            words=words,
        )

    def on_epoch(self, vae: VAE, epoch: int, rows: Sequence[Mapping[str, Any]]) -> None:
        for row in rows[-2:]:
            self.bar.console.print(describe(row), highlight=False, soft_wrap=True)

    def on_end(self, reason: str) -> None:
        self.bar.stop()
