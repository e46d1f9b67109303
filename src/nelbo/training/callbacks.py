"""What may listen to a training run: progress, logs, pictures."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from nelbo.vae import VAE


@dataclass
class Progress:
    """Where a run stands. Values are means over the epoch so far, nats per datum."""

    epoch: int  # from 1
    epochs: int
    seen: int  # data of this epoch, over all processes
    total: int  # data in an epoch
    parts: dict[str, float] = field(default_factory=dict)  # loss, distortion, rate, ...
    samples_per_second: float = 0.0
    seconds_left: float = 0.0


class Callback:
    """Listens to a run; does nothing until a method is given."""

    def on_progress(self, progress: Progress) -> None:
        """A few times a second within an epoch."""

    def on_epoch(self, vae: VAE, epoch: int, rows: list[dict[str, Any]]) -> None:
        """After each epoch, with the model as it is evaluated and the rows of `metrics.jsonl` so far."""

    def on_end(self, reason: str) -> None:
        """At the end: "done", or why training stopped early."""
