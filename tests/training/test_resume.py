"""A run that is stopped, killed, or cut over processes is the run that never was."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from conftest import Run
from fixtures.tiny_model import assert_equal, small, weights
from nelbo.errors import UserError
from nelbo.training import Callback, checkpoint
from nelbo.training.players import micro_batches


class StopAt(Callback):
    """Sends this process an interrupt at a step, as Ctrl-C would."""

    def __init__(self, after: int) -> None:
        self.after = after

    def on_progress(self, progress: Any) -> None:
        self.after -= 1
        if self.after == 0:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize(
    "settings",
    [{}, {"ema_decay": 0.9, "max_grad_norm": 1.0, "gradient_accumulation_steps": 2}, {"model.likelihood": "normal"}],
)
def test_interrupted_and_resumed_is_the_uninterrupted_run(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nelbo.training.loop.LOOK_SECONDS", 0.0)
    whole, data = small(**settings)
    rows = whole.fit(data, tmp_path / "whole").rows
    for _ in range(20):
        model, _ = small(**settings)
        state = model.fit(data, tmp_path / "cut", [StopAt(3)], resume=(tmp_path / "cut").exists())
        if state.reason == "done":
            break
    assert state.reason == "done"
    assert_equal(weights(whole), weights(model))
    timeless = [{k: v for k, v in row.items() if k != "seconds"} for row in state.rows]
    assert timeless == [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}  # so that processes beside each other do not wait on each other


# The command line, looking (and so saving) every few steps.
EAGER = "import nelbo.training.loop as l; l.LOOK_SECONDS = 0.02; from nelbo.cli import main; main()"


def train_command(out: Path, data: Path, *more: str) -> list[str]:
    arguments = ["train", str(data), "--out", str(out), "--epochs", "4", "--ema-decay", "0.9", "--latent-dim", "4"]
    settings = ["--set", "training.checkpoint_seconds=0", "--set", "model.encoder=mlp", "--batch-size", "8", "--quiet"]
    return [sys.executable, "-c", EAGER, *arguments, *settings, *more]


def kill_soon(process: subprocess.Popen[bytes], checkpoint: Path, delay: float) -> bool:
    """kill -9 a while after the next checkpoint is written; False if the process ended before that."""
    before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
    while process.poll() is None:
        if checkpoint.exists() and checkpoint.stat().st_mtime_ns != before:
            time.sleep(delay)
            process.kill()
            return process.wait() == -signal.SIGKILL
        time.sleep(0.002)
    return False


def test_killed_at_random_moments_and_resumed_is_the_uninterrupted_run(tmp_path: Path) -> None:
    """kill -9 of a real process, twice: while it trains, evaluates, draws or saves."""
    x = np.random.default_rng(0).integers(0, 256, (1500, 12, 12), np.uint8)
    np.save(tmp_path / "x.npy", x)
    subprocess.run(train_command(tmp_path / "whole", tmp_path / "x.npy"), check=True, timeout=100, env=ONE_THREAD)
    moments = random.Random(time.time_ns())
    kills, resume = 0, []
    while kills < 2:
        process = subprocess.Popen(train_command(tmp_path / "cut", tmp_path / "x.npy", *resume), env=ONE_THREAD)
        assert kill_soon(process, tmp_path / "cut/checkpoints/last.safetensors", moments.uniform(0, 0.2))
        kills, resume = kills + 1, ["--resume"]
    subprocess.run(
        train_command(tmp_path / "cut", tmp_path / "x.npy", *resume), check=True, timeout=100, env=ONE_THREAD
    )
    for name in ("model/weights.safetensors", "checkpoints/best.safetensors"):
        assert_equal(load_file(tmp_path / "whole" / name), load_file(tmp_path / "cut" / name))
    pair = [(tmp_path / run / "metrics.jsonl").read_text().splitlines() for run in ("whole", "cut")]
    whole, cut = ([{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines] for lines in pair)
    assert whole == cut
    assert (tmp_path / "whole/sample_4.png").read_bytes() == (tmp_path / "cut/sample_4.png").read_bytes()
    assert not list((tmp_path / "cut").rglob("*.tmp"))


def test_two_processes_train_the_same_model_as_one(run: Run, tmp_path: Path) -> None:
    """The same global batch cut in two, under torchrun with gloo; 150 data in batches of 32: an odd tail."""
    x = np.random.default_rng(0).integers(0, 256, (151, 9, 9), np.uint8)
    np.save(tmp_path / "x.npy", x)
    common = ["train", str(tmp_path / "x.npy"), "--epochs", "3", "--batch-size", "33", "--quiet"]
    common += ["--set", "model.encoder=mlp", "--set", "training.optimizer.eps=1e-4"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    two = subprocess.Popen([*torchrun, "-m", "nelbo", *common, "--out", str(tmp_path / "two")], env=ONE_THREAD)
    assert (run(*common, "--out", tmp_path / "one").code, two.wait(120)) == (0, 0)
    a, b = (load_file(tmp_path / name / "model/weights.safetensors") for name in ("one", "two"))
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=2e-4, atol=2e-5)
    rows = [[json.loads(line) for line in (tmp_path / name / "metrics.jsonl").open()] for name in ("one", "two")]
    for first, second in zip(*rows, strict=True):
        assert first["loss"] == pytest.approx(second["loss"], rel=1e-4)


def test_pieces_start_where_a_run_was_left() -> None:
    order = torch.arange(25)
    late = [p.index.tolist() for p in micro_batches(order, 10, first=1)]
    assert late == [list(range(10, 20)), list(range(20, 25))]


def test_max_seconds_stops_in_good_order_and_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nelbo.training.loop.LOOK_SECONDS", 0.0)
    model, data = small(max_seconds=1e-6, epochs=2)
    assert model.fit(data, tmp_path).reason == "out of time"
    model, data = small(epochs=2)
    assert model.fit(data, tmp_path, resume=True).reason == "done"
    whole, data = small(epochs=2)
    whole.fit(data)
    assert_equal(weights(model), weights(whole))


def test_a_checkpoint_that_counted_steps_of_all_parameters_together_is_resumed(tmp_path: Path) -> None:
    """As checkpoints did before: the optimizer's step was one number."""
    whole, data = small(epochs=3)
    whole.fit(data)
    small(epochs=1)[0].fit(data, tmp_path)
    tensors, values = checkpoint.read(tmp_path / "last.safetensors")
    steps = [name for name in tensors if name.startswith("optimizer.") and name.endswith(".step")]
    assert steps and all((tensors[name] == tensors[name][0]).all() for name in steps)
    checkpoint.write(tmp_path / "last.safetensors", tensors | {name: tensors[name][0] for name in steps}, values)
    model, _ = small(epochs=3)
    assert model.fit(data, tmp_path, resume=True).reason == "done"
    assert_equal(weights(model), weights(whole))


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    model, data = small()
    model.fit(data, tmp_path)
    other, _ = small(**{"model.latent.dim": 5})
    with pytest.raises(UserError, match="another model"):
        other.fit(data, tmp_path, resume=True)


@pytest.mark.parametrize("part", ["last.safetensors"])
def test_a_truncated_checkpoint_is_named(part: str, tmp_path: Path) -> None:
    model, data = small()
    model.fit(data, tmp_path)
    content = (tmp_path / part).read_bytes()
    (tmp_path / part).write_bytes(content[: len(content) // 2])
    model, data = small()
    with pytest.raises(UserError, match=part):
        model.fit(data, tmp_path, resume=True)
