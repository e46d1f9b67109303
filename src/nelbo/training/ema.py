"""An exponential moving average of the weights, which often tests better than the last weights.

    average <- lambda * average + (1 - lambda) * weights,   lambda = min(decay, (1 + t) / (10 + t))

torch.optim.swa_utils was weighed: it deep-copies the model, where a copy of each parameter does.

Source: Polyak, Juditsky (1992), Acceleration of Stochastic Approximation by Averaging.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """The average of a module's parameters; with `decay` 0 it is the parameters themselves."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.parameters = list(module.parameters())
        self.means: list[Tensor] = [p.detach().clone() for p in self.parameters] if decay else []

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after step number `step`, from 1."""
        if self.decay:
            weight = 1 - min(self.decay, (1 + step) / (10 + step))
            torch._foreach_lerp_(self.means, [p.detach() for p in self.parameters], weight)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within it, the module has the averaged weights."""
        self.swap()
        try:
            yield
        finally:
            self.swap()

    def swap(self) -> None:
        """Exchange the module's weights and the averages."""
        for parameter, mean in zip(self.parameters, self.means, strict=False):
            parameter.data, mean.data = mean.data, parameter.data
