"""A replayed step is the step: the same weights bit for bit, for every preset, or no tape is used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
import torch
from test_presets import trained
from torch import Tensor, nn

from nelbo.config.presets import PRESETS
from nelbo.training import players, replay
from nelbo.training.replay import ReplayedFunction

# Their course depends on numbers of the data: codes are revived where they are dead. HSIC's own last bit depends on
# where its matrices lie in memory, so no two runs of it are the same and no tape is proved.
UNTAPED = {"vq-vae", "residual-vq", "hsic-vae"}


class Watched(ReplayedFunction):
    """Keeps every one made, to see afterwards which tapes were proved."""

    made: ClassVar[list[Watched]] = []

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        Watched.made.append(self)


class Plain(ReplayedFunction):
    """Never a tape."""

    def __call__(self, *inputs: Any) -> Any:
        return self.function(*inputs)


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    yield
    Watched.made.clear()


@pytest.mark.parametrize("name", [name for name in PRESETS if name != "hsic-vae"])
def test_a_taped_run_ends_with_the_weights_of_an_untaped_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ends = []
    for kind in (Watched, Plain):
        monkeypatch.setattr(players, "ReplayedFunction", kind)
        model, rows = trained(name, epochs=1)
        ends.append((model.vae.state_dict(), [{k: v for k, v in row.items() if k != "seconds"} for row in rows]))
    assert bool(Watched.made[0].proved) == (name not in UNTAPED)
    assert [k for k, v in ends[0][0].items() if not torch.equal(v, ends[1][0][k])] == []
    assert ends[0][1] == ends[1][1]


def outputs_of(
    function: Any, state: list[Tensor], batches: list[Tensor]
) -> tuple[ReplayedFunction, list[list[Tensor]]]:
    taped = ReplayedFunction(function, state)
    return taped, [[t.clone() for t in taped(x)] for x in batches]


def test_noise_and_changed_buffers_are_the_steps_own() -> None:
    batches = list(torch.randn(8, 4, 3))
    found = []
    for taped in (True, False):
        torch.manual_seed(0)
        norm = nn.BatchNorm1d(3)

        def step(x: Tensor, norm: nn.Module = norm) -> list[Tensor]:
            y = norm(x + torch.randn_like(x)).relu().sum()
            return [y.detach(), *torch.autograd.grad(y, list(norm.parameters()))]

        if taped:
            tape, outputs = outputs_of(step, list(norm.buffers()), batches)
            assert tape.proved
        else:
            outputs = [step(x) for x in batches]
        found.append([t for out in outputs for t in out] + list(norm.buffers()) + [torch.get_rng_state()])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize(
    "branch",
    [
        lambda x: x * 2 if x.sum() > 0 else x,
        lambda x: x * x.max().item(),
        lambda x: x[x > 0].sum() * x,
        lambda x: x * len(x.nonzero()),
    ],
)
def test_a_step_whose_course_depends_on_values_has_no_tape(branch: Any) -> None:
    batches = [torch.randn(5) + shift for shift in (3.0, 3.0, -3.0, 3.0, -3.0, 0.0)]
    taped, outputs = outputs_of(lambda x: [branch(x)], [], batches)
    assert not taped.proved and list(taped.tapes.values()) == [None]
    assert all(torch.equal(out[0], branch(x)) for out, x in zip(outputs, batches, strict=True))


def test_a_step_that_keeps_a_count_of_its_own_is_not_trusted() -> None:
    calls: list[int] = []

    def counting(x: Tensor) -> list[Tensor]:
        calls.append(0)
        return [x * len(calls)]

    taped, outputs = outputs_of(counting, [], [torch.ones(2)] * 6)
    assert not taped.proved
    assert [out[0][0].item() for out in outputs] == [1, 2, 3, 4, 5, 6]


def test_no_result_lies_where_another_is_still_read() -> None:
    """Views share memory: a value is overwritten only when none of its views is read again."""

    def step(x: Tensor) -> list[Tensor]:
        a = x.exp()
        view = a.view(-1)[1:]
        b = a.neg()  # must not lie in a, which `view` still reads
        c = b * 2  # may lie in b
        return [c, view.sum(), a.t() + 1]

    batches = list(torch.randn(5, 3, 3))
    taped, outputs = outputs_of(step, [], batches)
    assert taped.proved
    for out, x in zip(outputs, batches, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(out, step(x), strict=True))


def test_what_has_no_effect_is_dropped_and_a_large_step_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def step(x: Tensor) -> list[Tensor]:
        x.sin()
        return [x.cos()]

    x = torch.ones(100)
    tape = replay.record_ops(step, (x,))[1]
    assert tape is not None and len(tape.steps) == 1
    monkeypatch.setattr(replay, "LARGEST", 500)
    assert replay.record_ops(step, (x,))[1] is None
