"""Long work says how far it is: to whoever watches, and on a terminal by a line."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import nelbo
from conftest import FEATURES, NET, PICTURES, SIDE, Run
from nelbo.apps.synthesis.label_propagation import propagate_over_graph
from nelbo.data import load
from nelbo.experiment import status_line
from nelbo.experiment.console import Bar
from nelbo.model.post_hoc import PriorFitConfig, fit_prior_to_embeddings
from nelbo.training import Progress
from nelbo.training.progress import on_progress, track

Heard = list[tuple[str, int, int]]


def heard_of(work: Callable[[], object]) -> Heard:
    """What is told while the work is done."""
    heard: Heard = []
    with on_progress(lambda *told: heard.append(told)):
        work()
    return heard


def assert_whole(heard: Heard, what: str, total: int) -> None:
    """A loop of this name was told of from the first thing to the end."""
    assert [h for h in heard if h[0] == what] == [(what, done, total) for done in range(total + 1)]


def test_things_come_as_they_are_and_are_told_of() -> None:
    assert_whole(heard_of(lambda: list(track("abc", "letters", 3))), "letters", 3)
    assert [*track("abc", "letters", 3)] == ["a", "b", "c"]
    assert heard_of(lambda: list(track("", "letters", 0))) == []


def test_a_loop_that_fails_is_done() -> None:
    def fail() -> None:
        with pytest.raises(KeyError):
            for letter in track("abc", "letters", 3):
                raise KeyError(letter)

    assert heard_of(fail) == [("letters", 0, 3), ("letters", 3, 3)]


def test_nobody_hears_of_it_afterwards() -> None:
    heard = heard_of(lambda: None)
    list(track("abc", "letters", 3))
    assert heard == []


def test_work_on_many_data_is_told_of(tmp_path: Path) -> None:
    x = torch.rand(1200, FEATURES, generator=torch.Generator().manual_seed(0))
    model = nelbo.fit(x[:100], epochs=1, seed=0, **NET)
    parts = -(-len(x) // model.schema.inference_batch_size)
    assert parts > 1
    assert_whole(heard_of(lambda: model.embed(x)), "going through the data", parts)
    assert_whole(heard_of(lambda: model.sample(len(x))), "drawing", parts)
    assert_whole(heard_of(lambda: model.decode(np.zeros((len(x), len(model.kl_per_latent))))), "decoding", parts)
    assert any(h[0] == "scoring" for h in heard_of(lambda: model.elbo(x)))
    told: list[object] = []
    assert (
        heard_of(lambda: model.log_likelihood(x, 1, callback=told.append)) == [] and told
    )  # who asks by itself hears once
    codes = torch.randn(300, 2, generator=torch.Generator().manual_seed(0))
    assert_whole(
        heard_of(lambda: fit_prior_to_embeddings(codes, "two-stage", PriorFitConfig(steps=5))), "fitting the prior", 5
    )
    near = torch.arange(300).roll(1)[:, None]
    assert_whole(
        heard_of(lambda: propagate_over_graph(codes, near, torch.arange(300).clamp_max(1))), "spreading classes", 300
    )
    for i in range(3):
        Image.new("L", (4, 4), i).save(tmp_path / f"{i}.png")
    heard = heard_of(lambda: load(tmp_path))
    assert_whole(heard, "looking at pictures", 3)
    assert_whole(heard, "reading pictures", 3)


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which passes only as the test says."""
    now = [0.0]
    monkeypatch.setattr(status_line.time, "monotonic", lambda: now[0])
    return now


def test_the_line_says_how_far_the_outermost_loop_is(clock: list[float]) -> None:
    """Half of its second half makes three quarters, and what took 3 s so far takes one more."""
    file = Terminal()
    with status_line.loops_on(file):
        for _ in track(range(2), "outer", 2):
            for _ in track(range(2), "inner", 2):
                clock[0] += 1.0
    lines = file.getvalue().split("\r")
    assert [text for text in lines if "75%" in text] == [f"outer {'━' * 18}{'─' * 6}  75%  0:01 left"]
    assert "inner" not in file.getvalue() and lines[-1] == ""


@pytest.mark.parametrize(("kind", "seconds"), [(Terminal, 0.1), (StringIO, 10.0)], ids=["short work", "a file"])
def test_no_line_is_shown(kind: type[StringIO], seconds: float, clock: list[float]) -> None:
    file = kind()
    with status_line.loops_on(file):
        for _ in track(range(9), "loop", 9):
            clock[0] += seconds
    assert file.getvalue() == ""


def test_the_line_goes_with_an_error(clock: list[float]) -> None:
    file = Terminal()
    with pytest.raises(KeyboardInterrupt), status_line.loops_on(file):
        for _ in track(range(9), "long", 9):
            clock[0] += 2.0
            if clock[0] > 8:
                raise KeyboardInterrupt
    assert "long" in file.getvalue() and file.getvalue().endswith(" \r")


def test_a_verb_has_a_line(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(0).random((PICTURES, SIDE, SIDE), np.float32)
    nelbo.fit(x, epochs=1, seed=0, **NET).save(tmp_path / "model")
    monkeypatch.setattr(status_line, "PATIENCE", 0.0)
    monkeypatch.setattr(status_line, "EVERY", 0.0)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    done = run("sample", tmp_path / "model", "-n", 2000, "--out", tmp_path / "many.npy")
    assert done.code == 0 and "drawing" in done.err and "left" in done.err


def test_the_bar_of_training_leaves_the_line_to_what_is_read_before() -> None:
    bar = Bar()
    assert not bar.bar.live.is_started
    for seen in (3, 4):
        bar.on_progress(Progress(1, 2, seen, 4, {"loss": 1.0}, 5.0, 6.0))
        assert bar.bar.live.is_started
    bar.on_end("done")
    assert not bar.bar.live.is_started
