"""The number of threads of a loop, on simulated machines: what it chooses and what the choice costs."""

from __future__ import annotations

import random

import pytest
import torch

from nelbo.training import threads
from nelbo.training.threads import ThreadChoice, adapt_threads


def simulate(seconds, interruptions_per_second, steps, most=2, choice=None):  # type: ignore[no-untyped-def]
    """Run steps that take `seconds(threads)` on average, and return the choice, the seconds and the numbers used."""
    choice = choice or ThreadChoice(most)
    noise, now, interrupted, used = random.Random(0), choice.next_trial, choice.counted, []
    began = now
    for _ in range(steps):
        used.append(choice.threads)
        took = seconds(choice.threads) * noise.uniform(0.9, 1.2)
        now += took
        interrupted += interruptions_per_second * took
        choice.update(took, now, int(interrupted))
    return choice, now - began, used


IDLE = {1: 0.008, 2: 0.005}.__getitem__
BUSY = {1: 0.008, 2: 0.025}.__getitem__  # one busy process on two cores, threads that spin
CROWDED = {1: 0.013, 2: 0.26}.__getitem__  # two busy processes


@pytest.mark.parametrize("seconds", [IDLE, lambda n: 1.0 / n, lambda n: 0.01])
def test_on_an_idle_machine_the_number_never_changes(seconds):
    assert set(simulate(seconds, 4, 2000)[2]) == {2}


@pytest.mark.parametrize("seconds", [BUSY, CROWDED, lambda n: 2 * BUSY(n), lambda n: 30 * BUSY(n)])
def test_on_a_busy_machine_the_cost_is_that_of_the_best_number(seconds):
    steps = 1000
    _, took, used = simulate(seconds, 120, steps)
    best = min(simulate(lambda n, k=k: seconds(k), 0, steps)[1] for k in (1, 2))
    assert took < 1.15 * best
    assert used[-1] == 1


def test_all_threads_return_when_the_machine_is_idle_again():
    choice, *_ = simulate(BUSY, 120, 500)
    assert choice.chosen == 1
    _, took, used = simulate(IDLE, 4, 1000, choice=choice)
    assert used[-1] == 2
    assert took < 1.1 * simulate(IDLE, 0, 1000)[1]


def test_a_machine_with_many_cores_keeps_as_many_as_are_free():
    seconds = {16: 0.04, 8: 0.03, 4: 0.02, 2: 0.03, 1: 0.05}.__getitem__
    _, took, used = simulate(seconds, 300, 3000, most=16)
    assert max(set(used), key=used.count) == 4
    assert took < 1.15 * simulate(lambda n: seconds(4), 0, 3000)[1]


def test_a_loop_leaves_the_number_of_threads_as_it_was(monkeypatch):
    counter = iter(range(0, 10**6, 100))
    monkeypatch.setattr(threads, "getrusage", lambda _: type("Usage", (), {"ru_nivcsw": next(counter)}))
    monkeypatch.setattr(threads, "WAIT", 0.0)
    before, numbers = torch.get_num_threads(), []
    try:
        torch.set_num_threads(4)
        for _ in adapt_threads(range(50)):
            numbers.append(torch.get_num_threads())
        assert len(set(numbers)) > 1
        with pytest.raises(KeyError):
            for _ in adapt_threads(range(50)):
                raise KeyError
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)
