"""The metrics of a run, and the callbacks that receive them.

The sums of an epoch's losses stay on the device and are read a few times a second.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from nelbo.objectives import Losses
from nelbo.vae import VAE


class MetricAccumulator:
    """Sums of the loss and each of its terms over the data so far."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.rows: list[Tensor] = []  # single numbers; stacking them in `flush` is cheaper than at every step
        self.counts: list[float] = []
        self.read = 0  # of the stored losses, those that `unread` has returned
        self.total = torch.zeros(0, dtype=torch.float64)

    def update(self, losses: Losses, count: float) -> None:
        """Store the losses of `count` data, without waiting for the device."""
        named = {"loss": reduce(torch.add, losses.losses.values()).detach(), **losses.terms}
        self.names = list(named)
        self.rows += named.values()
        self.counts.append(count)

    def unread(self) -> list[dict[str, float]]:
        """The stored losses that were not yet returned by this method, in order; it waits for the device."""
        width = len(self.names)
        values = torch.stack(self.rows[self.read * width :]).tolist() if len(self.counts) > self.read else []
        self.read = len(self.counts)
        return [dict(zip(self.names, values[i : i + width], strict=True)) for i in range(0, len(values), width)]

    def flush(self) -> None:
        """Add the stored losses to the sums."""
        if not self.rows:
            return
        rows = torch.stack(self.rows).view(len(self.counts), -1).double().cpu()
        added = torch.tensor(self.counts, dtype=torch.float64) @ rows
        self.total = added if not len(self.total) else self.total + added
        self.rows.clear()
        self.counts.clear()
        self.read = 0

    def compute(self, total: Tensor, n: int) -> dict[str, float]:
        """The sums `total` divided by n, by name."""
        return dict(zip(self.names, (total / n).tolist(), strict=True))


@dataclass
class Progress:
    """The progress of a run.

    Args:
        epoch: current epoch, from 1.
        epochs: number of epochs.
        seen: data of this epoch so far, over all processes.
        total: data of an epoch.
        metrics: means over the epoch so far, nats per datum: loss, distortion, rate, ...
        samples_per_second: training speed.
        seconds_left: estimate of the remaining time.
    """

    epoch: int  # from 1
    epochs: int
    seen: int  # data of this epoch, over all processes
    total: int  # data in an epoch
    metrics: dict[str, float] = field(default_factory=dict)  # loss, distortion, rate, ...
    samples_per_second: float = 0.0
    seconds_left: float = 0.0


class Callback:
    """Receives the events of a run; override the methods that you need."""

    def on_begin(self, rows: list[dict[str, Any]]) -> None:
        """Called before the first step, after the first checkpoint, with the rows of epochs before a resumption."""

    def on_progress(self, progress: Progress) -> None:
        """Called a few times a second within an epoch."""

    def on_epoch(self, vae: VAE, epoch: int, rows: list[dict[str, Any]]) -> None:
        """Called after each epoch, with the weights of the evaluation and the rows of `metrics.jsonl` so far.

        An epoch in which the run returned to an earlier state (see `nelbo.training.recovery`) is counted once.
        """

    def on_end(self, reason: str) -> None:
        """Called once at the end: with "done", the reason of an early stop, or "failed" before an error is raised."""
