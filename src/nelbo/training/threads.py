"""The number of threads of a loop of products, adapted to what else runs on the machine.

The threads of one product wait for each other at its end. If another program takes a core, all of them wait for the
thread that was interrupted: on two cores beside one busy process, a step with two threads took 2 to 20 times as long
as with one. `adapt_threads` measures the steps of a loop and changes the number of threads between them:

- It starts with all threads. As long as the operating system does not interrupt the process, it changes nothing.
- Otherwise it tries half of the threads, and later twice as many, for a few steps, and keeps what is faster by 5 %.
- After a trial it waits until what the trial has cost is at most 3 % of the time.

The values of a forward pass do not depend on the number of threads, nor do the gradients of perceptrons, bit for bit.
The weight gradients of convolutions and of normalization layers are sums of one part for each thread, so they agree
up to rounding. On an idle machine the number never changes, so that results are the same bit for bit.
`torch.set_num_threads(1)` or OMP_NUM_THREADS=1 leaves nothing to choose.

PyTorch has no such adjustment, OpenMP's OMP_DYNAMIC looks at the load average of the last minutes, and threadpoolctl
only sets numbers.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Generator, Iterable
from statistics import median
from typing import TypeVar

import torch

try:
    from resource import RUSAGE_SELF, getrusage
except ImportError:  # Windows does not count interruptions, so the number of threads stays
    getrusage = None  # type: ignore[assignment]

T = TypeVar("T")
TRIAL = 3  # steps of a trial
GAIN = 0.95  # a trial succeeds if its steps take less than this share of the time
COST = 0.03  # the largest share of time that trials cost
WAIT = 0.25  # the least seconds between trials
MANY, WINDOW = 10, 0.3  # interruptions within these seconds; 1 on an idle machine, above 30 beside a busy process


class ThreadChoice:
    """The number of threads for the next step.

    Args:
        most: the largest number.
    """

    def __init__(self, most: int) -> None:
        self.most = self.threads = self.chosen = most
        self.recent: deque[float] = deque(maxlen=5)  # seconds of steps with the chosen number
        self.trial: list[float] = []  # seconds of steps with another number
        self.next_trial = 0.0
        self.window, self.counted = 0.0, 0
        self.upwards = False  # the direction of the next trial

    def update(self, seconds: float, now: float, interruptions: int) -> None:
        """Record a step and decide about the next one.

        Args:
            seconds: how long the step took.
            now: the time at its end, in seconds.
            interruptions: how often the system has interrupted this process so far.
        """
        if self.threads != self.chosen:
            self.trial.append(seconds)
            if len(self.trial) == TRIAL or seconds > 2 * median(self.recent):
                self.judge(now)
            return
        self.recent.append(seconds)
        elapsed = max(WINDOW, now - self.window)
        disturbed = interruptions - self.counted >= MANY * elapsed / WINDOW
        if now >= self.window + WINDOW:
            self.window, self.counted = now, interruptions
        if now >= self.next_trial and (disturbed or self.chosen < self.most):
            up = self.chosen == 1 or (self.upwards and self.chosen < self.most)
            self.threads = min(2 * self.chosen, self.most) if up else self.chosen // 2

    def judge(self, now: float) -> None:
        """End a trial: keep its number of threads if that is faster."""
        usual, self.upwards = median(self.recent), not self.upwards
        wait = WAIT
        if len(self.trial) == TRIAL and median(self.trial) < GAIN * usual:
            self.chosen = self.threads
            self.recent = deque(self.trial, maxlen=self.recent.maxlen)
        else:
            wait = max(wait, (sum(self.trial) - len(self.trial) * usual) / COST)
        self.threads, self.trial, self.next_trial = self.chosen, [], now + wait


class _Last(threading.local):
    """The choice of the last loop of each thread, so that a short loop starts where that ended."""

    choice: ThreadChoice | None = None


_last = _Last()


def adapt_threads(steps: Iterable[T], choice: ThreadChoice | None = None) -> Generator[T, None, None]:
    """Iterate over `steps`, and adapt the number of threads to the time that the caller takes for each.

    After the loop the number of threads is what it was before.

    Args:
        steps: the items.
        choice: the present choice of a loop that goes on; None for the last one of this thread.

    >>> [step for step in adapt_threads("abc")]
    ['a', 'b', 'c']
    """
    most = torch.get_num_threads()
    if most == 1 or getrusage is None:
        yield from steps
        return
    if choice is None:
        choice = _last.choice or ThreadChoice(most)
    if choice.most != most:
        choice = ThreadChoice(most)
    _last.choice = choice
    try:
        for step in steps:
            if choice.threads != torch.get_num_threads():
                torch.set_num_threads(choice.threads)
            began = time.perf_counter()
            yield step
            now = time.perf_counter()
            choice.update(now - began, now, getrusage(RUSAGE_SELF).ru_nivcsw)
    finally:
        torch.set_num_threads(most)
