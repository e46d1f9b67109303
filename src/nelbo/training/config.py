"""The settings of training, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from nelbo.config.registry import Count, NonNegative, Positive, Range, Share
from nelbo.errors import UserError
from nelbo.schedules import Constant, Schedule
from nelbo.training.optim import Adam, Optimizer

PRECISIONS = ("32", "bf16", "64")


@dataclass(frozen=True)
class TrainingConfig:
    """The settings of the training loop.

    Args:
        epochs: number of epochs, each of `samples_per_epoch` rows or, if that is 0, of all training data once.
        batch_size: rows of a step, over all processes and micro-batches together.
        samples_per_epoch: rows of an epoch, drawn anew for each epoch. If larger than the data set, rows repeat; 0 for
            all rows once.
        learning_rate: the learning rate where the schedule is 1.
        schedule: multiplier of the learning rate over the course of training.
        optimizer: the optimizer.
        encoder_lr_scale: encoder learning rate / decoder learning rate. A ratio below 1 allows a larger overall rate.
            Only for latents of a single level.
        seed: seed of all random numbers.
        max_grad_norm: largest norm of the gradient; 0 for no limit.
        ema_decay: decay of the moving average of the parameters, which is evaluated and saved; 0 for none.
        gradient_accumulation_steps: number of micro-batches that each batch is split into, to save memory.
        early_stopping_patience: number of epochs without a better test loss after which training stops and keeps the
            best epoch; 0 for never.
        max_seconds: seconds after the start or the resumption at which training stops cleanly; 0 for never.
        checkpoint_seconds: longest time between two checkpoints; the end of each epoch has one.
        replay: record one training step and rerun it without Python overhead, after checking that the results are
            identical.
        device: "cpu", "cuda", "cuda:1", "mps" or "auto".
        precision: "32", "bf16" (mixed precision) or "64".
    """

    epochs: Count = 20
    batch_size: Count = 128
    samples_per_epoch: Annotated[int, Range(0, 10**8)] = 0
    learning_rate: Positive = 1e-3
    schedule: Schedule = field(default_factory=Constant)
    optimizer: Optimizer = field(default_factory=Adam)
    encoder_lr_scale: Positive = 1.0
    seed: Annotated[int, Range(0, below=2**32)] = 42
    max_grad_norm: NonNegative = 0.0
    ema_decay: Share = 0.0
    gradient_accumulation_steps: Count = 1
    early_stopping_patience: Annotated[int, Range(0)] = 0
    max_seconds: NonNegative = 0.0
    checkpoint_seconds: NonNegative = 60.0
    replay: bool = True
    device: str = "cpu"
    precision: str = "32"

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise UserError(f"precision={self.precision!r}: give one of {', '.join(PRECISIONS)}")
        if self.gradient_accumulation_steps > self.batch_size:
            raise UserError(
                f"gradient_accumulation_steps={self.gradient_accumulation_steps}: "
                f"give at most the batch size, {self.batch_size}"
            )
