"""Training: one loop, its settings, its checkpoints, and who may listen."""

from nelbo.training.callbacks import Callback, Progress
from nelbo.training.loop import State, fit
from nelbo.training.optimizers import Adam, Optimizer
from nelbo.training.settings import Settings

__all__ = ["Adam", "Callback", "Optimizer", "Progress", "Settings", "State", "fit"]
