"""The settings of training, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field

from nelbo.errors import UserError
from nelbo.schedules import Constant, Schedule
from nelbo.training.optim import Adam, Optimizer

PRECISIONS = ("32", "bf16", "64")


@dataclass(frozen=True)
class TrainingConfig:
    """The settings of the training loop.

    Args:
        epochs: passes through the training data.
        batch_size: rows of a step, over all processes and accumulated pieces together.
        samples_per_epoch: rows of an epoch, drawn anew for each epoch; more than the data have repeats rows; 0 for all
            rows once.
        learning_rate: the learning rate where the schedule is 1.
        schedule: multiplier of the learning rate over the course of training.
        optimizer: the optimizer.
        encoder_lr_scale: learning rate of a single-level latent's encoder as a multiple of the decoder's. With a slower
            encoder (below 1), both tolerate a larger learning rate.
        seed: seed of all random numbers.
        max_grad_norm: largest norm of the gradient; 0 for no limit.
        ema_decay: weight of the past in the average of the weights that is evaluated and saved; 0 for no average.
        gradient_accumulation_steps: number of pieces in which a batch is computed, to save memory.
        early_stopping_patience: number of epochs without a better test loss after which training stops and keeps the
            best epoch; 0 for never.
        max_seconds: seconds after the start or the resumption at which training stops cleanly; 0 for never.
        checkpoint_seconds: longest time between two checkpoints; the end of each epoch has one.
        replay: record a step once and replay it without Python's overhead, if a check proves both equal.
        device: "cpu", "cuda", "cuda:1", "mps" or "auto".
        precision: "32", "bf16" (mixed precision) or "64".
    """

    epochs: int = 20
    batch_size: int = 128
    samples_per_epoch: int = 0
    learning_rate: float = 1e-3
    schedule: Schedule = field(default_factory=Constant)
    optimizer: Optimizer = field(default_factory=Adam)
    encoder_lr_scale: float = 1.0
    seed: int = 42
    max_grad_norm: float = 0.0
    ema_decay: float = 0.0
    gradient_accumulation_steps: int = 1
    early_stopping_patience: int = 0
    max_seconds: float = 0.0
    checkpoint_seconds: float = 60.0
    replay: bool = True
    device: str = "cpu"
    precision: str = "32"

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "gradient_accumulation_steps"):
            if getattr(self, name) < 1:
                raise UserError(f"{name}={getattr(self, name)}: give 1 or more")
        for name in (
            "samples_per_epoch",
            "max_grad_norm",
            "early_stopping_patience",
            "max_seconds",
            "checkpoint_seconds",
            "seed",
        ):
            if not getattr(self, name) >= 0:
                raise UserError(f"{name}={getattr(self, name)}: give 0 or more")
        if self.seed >= 2**32:
            raise UserError(f"seed={self.seed}: give a number below 2**32")
        if not 0 < self.learning_rate < float("inf"):
            raise UserError(f"learning_rate={self.learning_rate}: give a number above 0, such as 0.001")
        if not 0 < self.encoder_lr_scale < float("inf"):
            raise UserError(f"encoder_lr_scale={self.encoder_lr_scale}: give a number above 0; 1 is the decoder's pace")
        if not 0 <= self.ema_decay < 1:
            raise UserError(f"ema_decay={self.ema_decay}: give 0 (off) or a weight below 1, such as 0.999")
        if self.precision not in PRECISIONS:
            raise UserError(f"precision={self.precision!r}: give one of {', '.join(PRECISIONS)}")
        if self.gradient_accumulation_steps > self.batch_size:
            raise UserError(
                f"gradient_accumulation_steps={self.gradient_accumulation_steps}: "
                f"give at most the batch size, {self.batch_size}"
            )
