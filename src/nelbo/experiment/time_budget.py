"""How many epochs fit in the minutes that a user gives: some steps are timed, and the rest is division."""

from __future__ import annotations

import copy
import dataclasses
import logging
import math
import os

from nelbo.data import DataSplits, subset
from nelbo.errors import UserError
from nelbo.model import Model
from nelbo.training import TrainingConfig

LOG = logging.getLogger(__name__)
TIMED_SECONDS = 2.0  # of training, on a copy of the model
FITTING = 0.2  # the share of the time that a prior fitted after training is left
SPARE = 0.15  # the share for scoring test data and drawing
LEAST_EPOCHS = 8  # if fewer fit, each takes fewer rows


def epochs_for_budget(model: Model, data: DataSplits) -> TrainingConfig:
    """The model's training settings with the epochs that its recipe's `minutes` hold; they end then, come what may.

    Where fewer than `LEAST_EPOCHS` fit, each takes part of the rows, so that the run is seen to go on.

    Raises `UserError` for several processes, of which each would find another number.
    """
    recipe, settings = model.recipe, model.recipe.training
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError(f"minutes={recipe.minutes}: several processes would disagree on the epochs: give --epochs")
    LOG.info("Timing the first steps, to find the epochs that %g minutes hold", recipe.minutes)
    seconds = 60 * recipe.minutes * (1 - FITTING if recipe.post_hoc_prior else 1)
    rows = _rows_a_second(model, data) * seconds * (1 - SPARE)
    each = min(settings.samples_per_epoch or len(data.train), max(settings.batch_size, int(rows / LEAST_EPOCHS)))
    whole = 0 if each == len(data.train) else each
    return dataclasses.replace(
        settings, epochs=max(1, round(rows / each)), samples_per_epoch=whole, max_seconds=seconds
    )


def _rows_a_second(model: Model, data: DataSplits) -> float:
    """How fast a copy of the model trains."""
    trial, few = copy.deepcopy(model), subset(data.test, range(min(len(data.test), 100)))
    timed = dataclasses.replace(
        model.recipe.training, epochs=10**6, early_stopping_patience=0, max_seconds=TIMED_SECONDS
    )
    trial.recipe = dataclasses.replace(model.recipe, training=timed)
    state = trial.fit(dataclasses.replace(data, test=few))
    if state.reason == "interrupted":
        raise KeyboardInterrupt
    return state.step * timed.batch_size / state.elapsed


def prior_budget(settings: TrainingConfig) -> float:
    """The seconds to fit a prior in, after training with settings that `epochs_for_budget` made."""
    return settings.max_seconds * FITTING / (1 - FITTING) if settings.max_seconds else math.inf
