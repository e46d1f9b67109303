"""An encoder that learns at a pace of its own: what moves, and by how much."""

from __future__ import annotations

import pytest
import torch

from fixtures.tiny_model import small, weights
from nelbo.errors import UserError
from nelbo.training.engine import Engine
from nelbo.training.players import OptimizerGroups, micro_batches


def test_the_encoder_moves_at_its_rate_and_the_decoder_as_before() -> None:
    """Adam's first step is the learning rate times the gradient's sign, whatever the gradient's size."""
    moved = []
    for rate in (1.0, 0.25):
        model, data = small(batch_size=150, encoder_lr_scale=rate, **{"training.optimizer.eps": 1e-30})
        settings, objective = model.recipe.training, model.recipe.objective.build()
        players = OptimizerGroups(model.vae, objective, settings, Engine(torch.device("cpu")))
        before = weights(model)
        torch.manual_seed(0)
        (piece,) = micro_batches(torch.arange(len(data.train)), len(data.train))
        players.backward(data.train.batch(piece.index), None, piece)
        players.step(1e-3)
        moved.append({name: (value - before[name]).abs().max().item() for name, value in weights(model).items()})
    for name, distance in moved[0].items():
        if "layers" in name:
            assert distance == pytest.approx(1e-3, rel=1e-2)
            assert moved[1][name] == pytest.approx(1e-3 * (0.25 if "posterior" in name else 1), rel=1e-2)


def test_an_epoch_of_some_rows_takes_other_rows_each_time_and_counts_them() -> None:
    model, data = small(epochs=2, batch_size=10, samples_per_epoch=40)
    seen: list[int] = []
    whole = data.train.batch

    def batch(index: torch.Tensor) -> torch.Tensor:
        if len(index) == 10 and model.vae.training:
            seen.extend(index.tolist())
        return whole(index)

    data.train.batch = batch
    rows = model.fit(data).rows
    first, second = seen[:40], seen[40:80]
    assert len(seen) == 80 and len(set(first)) == 40 and set(first) != set(second)
    parts = [row["loss"] - row["distortion"] - row["rate"] for row in rows if row["split"] == "train"]
    assert parts == pytest.approx([0, 0], abs=1e-4)


@pytest.mark.parametrize(
    ("name", "value"), [("encoder_lr_scale", 0.0), ("encoder_lr_scale", -1.0), ("samples_per_epoch", -5)]
)
def test_bad_values_are_named(name: str, value: float) -> None:
    with pytest.raises(UserError, match=f"{name} = {value}"):
        small(**{name: value})
