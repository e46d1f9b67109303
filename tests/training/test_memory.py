"""The memory estimated for training, against what is known of a perceptron and what autograd keeps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import nelbo
from nelbo import errors
from nelbo.data import load
from nelbo.errors import UserError
from nelbo.experiment import run
from nelbo.training import TrainingConfig
from nelbo.training.memory import training_bytes


def test_the_estimate_grows_with_parameters_and_rows_as_they_do(model) -> None:  # type: ignore[no-untyped-def]
    data = load(np.random.default_rng(0).integers(0, 255, (40, 8, 8), np.uint8)).train
    settings, state = model.recipe.training, {k: v.clone() for k, v in model.vae.state_dict().items()}

    def estimate(rows: int) -> int:
        return training_bytes(model.vae, data, replace(settings, batch_size=rows))

    weights = 4 * sum(p.numel() for p in model.vae.parameters())
    a_row = (estimate(20) - estimate(10)) / 10
    assert estimate(30) == pytest.approx(5 * weights + 30 * a_row, abs=2)
    assert 4 * (64 + 32 + 32) < a_row < 100 * 4 * 64  # the inputs of the layers at least
    assert all(torch.equal(v, state[k]) for k, v in model.vae.state_dict().items())


def test_what_cannot_fit_is_refused_with_a_batch_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(0).random((300, 8)).astype(np.float32)
    needed = training_bytes(
        nelbo.fit(rows, epochs=1, batch_size=10).vae, load(rows).train, TrainingConfig(batch_size=200)
    )
    for module in (errors, run):
        monkeypatch.setattr(module, "memory", lambda: 0.9 * needed)
    with pytest.raises(UserError, match=r"batch_size=200 needs 0 GB of memory.* use --batch-size 90,"):
        nelbo.fit(rows, epochs=1, batch_size=200)
    nelbo.fit(rows, epochs=1, batch_size=90)
