"""Objectives, schedules and optimizers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from nelbo import objectives, schedules, training
from nelbo.errors import UserError
from nelbo.registry import register
from nelbo.schedules import Schedule

register(Schedule, "constant")(schedules.Constant)
register(Schedule, "linear")(schedules.Linear)
register(Schedule, "cosine")(schedules.Cosine)
register(Schedule, "one-cycle")(schedules.OneCycle)
register(training.Optimizer, "adam")(training.Adam)


class Objective(ABC):
    """What is minimised."""

    @abstractmethod
    def build(self) -> objectives.Objective:
        """The objective."""


@register(Objective, "elbo")
@dataclass(frozen=True)
class ELBO(Objective):
    """Distortion + beta * rate; with `stl` the rate's gradient flows through the draw alone."""

    beta: float | Schedule = 1.0
    stl: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.beta, Schedule) and self.beta < 0:
            raise UserError(f"beta={self.beta}: give 0 or more")

    def build(self) -> objectives.Objective:
        return objectives.elbo(self.beta, self.stl)
