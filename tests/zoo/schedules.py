"""Schedules, and the optimizers that follow them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import ClassVar

from nelbo.schedules import Schedule
from zoo.rows import Row, table


@dataclass(frozen=True)
class ScheduleRow(Row):
    """A schedule.

    Args:
        corners: values that it is known to have, by the fraction of training done.
    """

    family: ClassVar[str] = "schedule"

    _: KW_ONLY
    corners: Mapping[float, float] = field(default_factory=dict)

    def build(self) -> Schedule:
        """The schedule."""
        return self.component.build()  # type: ignore[no-any-return]


@dataclass(frozen=True)
class OptimizerRow(Row):
    """An optimizer; a trained linear VAE is its law."""

    family: ClassVar[str] = "optimizer"


SCHEDULES = table(
    ScheduleRow("constant", corners={0.0: 1, 1.0: 1}),
    ScheduleRow(
        "linear",
        {"start_value": 0.5, "end_value": 4.5, "start_at": 0.1, "end_at": 0.5},
        corners={0.0: 0.5, 0.1: 0.5, 0.3: 2.5, 0.5: 4.5, 1.0: 4.5},
    ),
    ScheduleRow("cosine", corners={0.0: 1, 0.5: 0.5, 1.0: 0}),
    ScheduleRow(
        "cosine",
        {"warmup": 0.1, "end_value": 0.01},
        "warm-up",
        corners={0.0: 0, 0.05: 0.5, 0.1: 1, 0.55: 0.505, 1.0: 0.01},
    ),
    ScheduleRow("one-cycle", corners={0.0: 0.04, 0.05: 0.52, 0.1: 1, 0.55: 0.5, 1.0: 0}),
    ScheduleRow(
        "one-cycle",
        {"warmup": 0.0, "start_value": 0.1, "end_value": 0.2},
        "no warm-up",
        corners={0.0: 1, 0.5: 0.6, 1.0: 0.2},
    ),
    ScheduleRow("cyclical", {"cycles": 2, "rising": 0.25, "end_value": 4.0}, elsewhere="test_objectives"),
)
OPTIMIZERS = table(
    OptimizerRow("adam", {"beta1": 0.5, "beta2": 0.9, "eps": 1e-30, "weight_decay": 0.01}, elsewhere="test_training"),
)
