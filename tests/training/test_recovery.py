"""A run that is disturbed returns to an earlier state and ends where the undisturbed one does."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from test_resume import StopAt

import nelbo
from fixtures.tiny_model import assert_equal, small, weights
from nelbo.errors import UserError
from nelbo.training import Callback, checkpoint, loop, recovery
from nelbo.training.players import OptimizerGroups

SETTINGS: dict[str, Any] = {"epochs": 30, "learning_rate": 3e-3}
STEP = 38  # of 150: in the middle of an epoch


def at_step(function: Callable[[OptimizerGroups], None], lr_factor: float = 1.0, times: int = 1) -> Any:
    """A `step` of the optimizer that is disturbed when it is called for the `STEP`-th time."""
    original, calls = OptimizerGroups.step, [0]

    def step(self: OptimizerGroups, lr: float) -> None:
        calls[0] += 1
        hit = STEP <= calls[0] < STEP + times
        if hit:
            function(self)
        original(self, lr * lr_factor if hit else lr)

    return step


def spoil_gradient(players: OptimizerGroups) -> None:
    players.all[2].grad.flatten()[0] = math.nan  # type: ignore[union-attr]


def spoil_weights(value: float) -> Callable[[OptimizerGroups], None]:
    def spoil(players: OptimizerGroups) -> None:
        with torch.no_grad():
            players.all[0].fill_(value)

    return spoil


FAULTS: dict[str, Any] = {
    "a gradient of nan": at_step(spoil_gradient),
    "weights of nan": at_step(spoil_weights(math.nan)),
    "weights of infinity": at_step(spoil_weights(math.inf)),
    "weights of 1000": at_step(spoil_weights(1e3)),
    "a rate 1000 times as high": at_step(lambda players: None, 1e3),
}


@pytest.fixture(scope="module")
def undisturbed() -> float:
    model, data = small(**SETTINGS)
    loss: float = model.fit(data).rows[-1]["loss"]
    return loss


@pytest.mark.parametrize("fault", FAULTS)
def test_a_disturbed_run_ends_like_the_undisturbed_one(
    fault: str, undisturbed: float, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(OptimizerGroups, "step", FAULTS[fault])
    model, data = small(**SETTINGS)
    with caplog.at_level(logging.WARNING, "nelbo"):
        state = model.fit(data)
    assert state.reason == "done" and len(state.returns) >= 1
    assert state.returns[0]["step"] in (STEP, STEP + 1) and state.returns[0]["to_step"] < STEP
    assert state.rows[-1]["loss"] == pytest.approx(undisturbed, rel=0.01)
    logged = [row["returns"] for row in state.rows if "returns" in row]
    assert [entry for entries in logged for entry in entries] == state.returns
    assert len(caplog.messages) == len(state.returns) and f"Step {state.returns[0]['step']}: " in caplog.messages[0]


def test_a_batch_that_is_spoilt_once_is_read_again(undisturbed: float, monkeypatch: pytest.MonkeyPatch) -> None:
    original, count = loop.batches, [0]

    def spoilt(*arguments: Any) -> Any:
        for x in original(*arguments):
            count[0] += 1
            yield torch.full_like(x, math.nan) if count[0] == STEP else x

    monkeypatch.setattr(loop, "batches", spoilt)
    model, data = small(**SETTINGS)
    state = model.fit(data)
    assert len(state.returns) == 1 and not state.left_out
    assert state.rows[-1]["loss"] == pytest.approx(undisturbed, rel=0.01)


def test_rows_that_are_not_finite_are_named_and_left_out(undisturbed: float) -> None:
    model, data = small(**SETTINGS)
    where = data.train.index[torch.tensor([3, 50])]
    data.train.whole.raw[where] = math.nan
    model.kl_per_latent, fit = [0.0] * 3, loop.fit
    state = fit(model.vae, model.recipe.objective.build(), data.train, data.test, model.recipe.training)
    assert state.reason == "done" and state.left_out == [3, 50]
    assert "training row" in state.returns[0]["what"] and "not finite" in state.returns[0]["what"]
    assert state.rows[-1]["loss"] == pytest.approx(undisturbed, rel=0.01)


def test_a_learning_rate_that_is_much_too_high_is_lowered(undisturbed: float) -> None:
    model, data = small(**{**SETTINGS, "learning_rate": 3.0})
    state = model.fit(data)
    assert state.reason == "done" and state.lr_limit < 1 and len(state.returns) <= recovery.MOST
    assert state.rows[-1]["loss"] < 1.1 * undisturbed


class Poison(Callback):
    """Puts NaN into a weight after each epoch, or the first one."""

    def __init__(self, always: bool) -> None:
        self.always = always

    def on_epoch(self, vae: Any, epoch: int, rows: Any) -> None:
        if epoch == 1 or self.always:
            with torch.no_grad():
                vae.likelihood.net.layers[0].weight.fill_(math.nan)


def all_finite(path: Path) -> bool:
    return all(torch.isfinite(tensor).all() for tensor in load_file(path).values() if tensor.is_floating_point())


def test_no_checkpoint_holds_nan_and_a_run_that_is_not_healed_can_be_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, data = small(epochs=4)
    model.fit(data, tmp_path / "healed", [Poison(always=False)])
    assert all_finite(tmp_path / "healed/last.safetensors") and all_finite(tmp_path / "healed/best.safetensors")
    with monkeypatch.context() as patch:
        patch.setattr(OptimizerGroups, "step", at_step(spoil_weights(math.nan), times=10**6))
        patch.setattr("test_recovery.STEP", 7)
        model, data = small(epochs=4)
        with pytest.raises(UserError, match=r"step 7: .*the tensor .* --resume --lr 0\.0001") as error:
            model.fit(data, tmp_path / "cut")
    assert "\n" not in str(error.value)
    assert all_finite(tmp_path / "cut/last.safetensors")
    model, data = small(epochs=4, learning_rate=1e-4)
    assert model.fit(data, tmp_path / "cut", resume=True).reason == "done"


def test_a_run_that_has_returned_is_resumed_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped every few steps: before the fault, after it, and while the learning rate is lower."""
    monkeypatch.setattr("nelbo.training.loop.LOOK_SECONDS", 0.0)
    monkeypatch.setattr(recovery, "KEEP_STEPS", 3)
    settings = {"epochs": 4, "learning_rate": 0.3, "training.optimizer.eps": 1e-4}
    original = recovery.what_is_wrong

    def strict(values: Any, bounds: Any, elements: int) -> str:  # a limit so low that this learning rate exceeds it
        return original(values, bounds, 0)

    monkeypatch.setattr(recovery, "what_is_wrong", strict)
    whole, data = small(**settings)
    expected = whole.fit(data, tmp_path / "whole")
    assert expected.returns
    for _ in range(60):
        model, _ = small(**settings)
        state = model.fit(data, tmp_path / "cut", [StopAt(2)], resume=(tmp_path / "cut").exists())
        if state.reason == "done":
            break
    assert state.returns == expected.returns
    assert_equal(weights(whole), weights(model))


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    model, data = small(epochs=1)
    model.fit(data, tmp_path / "checkpoints")
    with torch.no_grad():
        next(model.vae.parameters()).fill_(math.nan)
    model.save(tmp_path / "model")
    with pytest.raises(UserError, match="not finite"):
        nelbo.load(tmp_path / "model")
    tensors, values = checkpoint.read(tmp_path / "checkpoints/last.safetensors")
    name = next(name for name in tensors if name.startswith("vae."))
    checkpoint.write(
        tmp_path / "checkpoints/last.safetensors", {**tensors, name: torch.full_like(tensors[name], math.nan)}, values
    )
    model, data = small(epochs=2)
    with pytest.raises(UserError, match=f"{name} is not finite"):
        model.fit(data, tmp_path / "checkpoints", resume=True)


class Ends(Callback):
    def __init__(self) -> None:
        self.reasons: list[str] = []

    def on_epoch(self, vae: Any, epoch: int, rows: Any) -> None:
        if epoch == 2:
            raise RuntimeError("a callback's own")

    def on_end(self, reason: str) -> None:
        self.reasons.append(reason)


def test_callbacks_are_called_once_at_the_end_even_if_training_fails() -> None:
    ends = Ends()
    model, data = small(epochs=1)
    model.fit(data, callbacks=[ends])
    model, data = small(epochs=3)
    with pytest.raises(RuntimeError, match="own"):
        model.fit(data, callbacks=[ends])
    assert ends.reasons == ["done", "failed"]


def test_the_log_of_a_run_names_its_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OptimizerGroups, "step", at_step(spoil_gradient))
    monkeypatch.setattr("test_recovery.STEP", 3)
    small_x = torch.rand(60, 4, generator=torch.Generator().manual_seed(0))
    nelbo.fit(small_x, epochs=2, batch_size=20, out=tmp_path / "run", seed=0)
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").open()]
    assert [entry["step"] for row in rows for entry in row.get("returns", [])] == [3]
    assert (tmp_path / "run/model/model.json").is_file() and (tmp_path / "run/report.html").is_file()
