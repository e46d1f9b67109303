"""Schedules: maps of the completed fraction of training, in [0, 1], to a multiplier.

The learning rate follows a schedule, and so may any weight of an objective, such as beta. A schedule is a pure function
of the step, so a resumed run needs no state of it. torch.optim.lr_scheduler is not used because it serves the learning
rate alone; these schedules also serve beta and temperatures.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from nelbo.config.registry import Count, Range, Share, register
from nelbo.errors import UserError


class Schedule(ABC):
    """A multiplier as a function of the completed fraction of training."""

    family: ClassVar[str] = "schedule"

    @abstractmethod
    def __call__(self, fraction: float) -> float:
        """The multiplier at `fraction`."""


@register("schedule", "constant")
@dataclass(frozen=True)
class Constant(Schedule):
    """1 throughout.

    >>> Constant()(0.3)
    1.0
    """

    def __call__(self, fraction: float) -> float:
        return 1.0


@register("schedule", "linear")
@dataclass(frozen=True)
class Linear(Schedule):
    """Linear from `start_value` at fraction `start_at` to `end_value` at fraction `end_at`, and constant outside.

    Args:
        start_value: value at the beginning.
        end_value: value at the end.
        start_at: fraction of training at which the change begins.
        end_at: fraction of training at which the change ends.

    >>> Linear(start_value=0.0, end_value=1.0, end_at=0.5)(0.25)
    0.5
    """

    start_value: float = 0.0
    end_value: float = 1.0
    start_at: float = 0.0
    end_at: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.start_at < self.end_at <= 1:
            raise UserError(f"start_at={self.start_at}, end_at={self.end_at}: give 0 <= start_at < end_at <= 1")

    def __call__(self, fraction: float) -> float:
        done = min(max((fraction - self.start_at) / (self.end_at - self.start_at), 0.0), 1.0)
        return self.start_value + (self.end_value - self.start_value) * done


@register("schedule", "cosine", cite="loshchilov2017sgdr")
@dataclass(frozen=True)
class Cosine(Schedule):
    """A linear warm-up over the fraction `warmup`, then half a cosine from 1 down to `end_value`.

    Args:
        warmup: fraction of training for the warm-up; 0 for none.
        end_value: value at the end.

    >>> round(Cosine()(0.5), 6)
    0.5
    """

    warmup: Share = 0.0
    end_value: float = 0.0

    def __call__(self, fraction: float) -> float:
        if fraction < self.warmup:
            return fraction / self.warmup
        done = (fraction - self.warmup) / (1 - self.warmup)
        return self.end_value + (1 - self.end_value) * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


@register("schedule", "one-cycle", cite="smith2018super")
@dataclass(frozen=True)
class OneCycle(Schedule):
    """Linear from `start_value` to 1 over the fraction `warmup`, then linear to `end_value`.

    Source: Smith, Topin (2018), Super-Convergence: Very Fast Training of Neural Networks Using Large Learning
    Rates.

    Args:
        warmup: fraction of training for the rise.
        start_value: value at the beginning.
        end_value: value at the end.

    >>> OneCycle(warmup=0.1, start_value=0.04)(0.1)
    1.0
    """

    warmup: Share = 0.1
    start_value: float = 0.04
    end_value: float = 0.0

    def __call__(self, fraction: float) -> float:
        if fraction < self.warmup:
            return self.start_value + (1 - self.start_value) * fraction / self.warmup
        return 1 + (self.end_value - 1) * min((fraction - self.warmup) / (1 - self.warmup), 1.0)


@register("schedule", "cyclical", cite="fu2019cyclical")
@dataclass(frozen=True)
class Cyclical(Schedule):
    """Repeated cycles: linear from 0 to `end_value` over the fraction `rising` of a cycle, then constant.

    Source: Fu et al. (2019), Cyclical Annealing Schedule: A Simple Approach to Mitigating KL Vanishing.

    Args:
        cycles: number of cycles.
        rising: fraction of a cycle in which the value rises.
        end_value: value at the end of each rise, and at the end of training.

    >>> [Cyclical(cycles=2)(fraction) for fraction in (0.0, 0.125, 0.4, 0.5, 1.0)]
    [0.0, 0.5, 1.0, 0.0, 1.0]
    """

    cycles: Count = 4
    rising: Annotated[float, Range(high=1, above=0)] = 0.5
    end_value: float = 1.0

    def __call__(self, fraction: float) -> float:
        return self.end_value * min(fraction * self.cycles % 1 / self.rising, 1.0) if fraction < 1 else self.end_value


class ScheduledValue(nn.Module):
    """A number that may follow a schedule. Before and after training it has the schedule's final value.

    `value` is a plain number if it is fixed; else it is a single tensor that changes in place, so that a recorded step
    uses the current value.

    Args:
        value: a number, or a schedule.

    >>> weight = ScheduledValue(Linear(0.0, 2.0))
    >>> weight.set_progress(0.25)
    >>> weight.value, ScheduledValue(3.0).value
    (tensor(0.5000), 3.0)
    """

    _current: Tensor

    def __init__(self, value: float | Schedule) -> None:
        super().__init__()
        self.schedule = value if isinstance(value, Schedule) else None
        self.fixed = value
        if self.schedule:
            self.register_buffer("_current", torch.tensor(self.schedule(1.0)), persistent=False)

    @property
    def value(self) -> float | Tensor:
        return self._current if self.schedule else self.fixed  # type: ignore[return-value]

    def set_progress(self, fraction: float) -> None:
        """Set the value to that of the schedule at `fraction` of training."""
        if self.schedule:
            self._current.fill_(self.schedule(fraction))


def scheduled_values(*modules: nn.Module) -> list[ScheduledValue]:
    """Every `ScheduledValue` inside the modules that follows a schedule."""
    return [
        part for module in modules for part in module.modules() if isinstance(part, ScheduledValue) and part.schedule
    ]
