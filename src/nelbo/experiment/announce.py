"""What a run says in words: what it understood before training, and what came of it.

>>> plural(1, "epoch"), plural(2000, "epoch")
('1 epoch', '2,000 epochs')
"""

from __future__ import annotations

from nelbo.data import Data
from nelbo.model import Model, description
from nelbo.training import State


def understood(model: Model, data: Data) -> list[str]:
    """The data, the model, the objective and the training, a line each."""
    words, settings = description.lines(model), model.recipe.training
    named = [f"{words[part]} {part}" for part in ("prior", "posterior", "likelihood") if part in words]
    parts = [words["latents"], *named, words["networks"]]
    parts += [f"conditioned on {words['condition']}"] if "condition" in words else []
    source = model.recipe.data.source or data.name
    return [
        f"Data: {source}, {data.schema.data_kind.describe(data.schema)}; {len(data.train):,} to train on, "
        f"{len(data.test):,} to test",
        f"Model: {', '.join(parts)}",
        f"Objective: {words['objective']}",
        f"Training: {plural(settings.epochs, 'epoch')} of {settings.epoch_size or len(data.train):,} data, "
        f"{settings.batch_size} a step, learning rate {settings.learning_rate:g}, on {settings.device}",
    ]


def result(model: Model, state: State) -> list[str]:
    """Why training ended, and the losses."""
    reason = [] if state.reason == "done" else [f"Training stopped: {state.reason}"]
    if not model.trained:
        return reason
    latents = f"of {len(model.rates)} latents, {description.carried(model)}"
    return [*reason, f"Test loss: {description.loss(model.trained)}; {latents}"]


def plural(n: int, thing: str) -> str:
    """A number of things."""
    return f"{n:,} {thing}{'' if n == 1 else 's'}"
