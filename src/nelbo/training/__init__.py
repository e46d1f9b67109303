"""Training: one loop, its settings, its checkpoints, and callbacks.

Names are imported when they are first used, so that `nelbo.training.progress` costs no import of torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nelbo.training.config import TrainingConfig
    from nelbo.training.loop import State, fit
    from nelbo.training.metrics import Callback, Progress
    from nelbo.training.optim import Adam, Optimizer

_HOMES = {
    "Adam": "optim",
    "Callback": "metrics",
    "Optimizer": "optim",
    "Progress": "metrics",
    "TrainingConfig": "config",
    "State": "loop",
    "fit": "loop",
}

__all__ = ["Adam", "Callback", "Optimizer", "Progress", "State", "TrainingConfig", "fit"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'nelbo.training' has no attribute {name!r}")
    return getattr(importlib.import_module(f"nelbo.training.{_HOMES[name]}"), name)
