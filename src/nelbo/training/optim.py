"""The optimizer, and the average of the weights.

An optimizer is a frozen value (`Adam(...)`); its `init(parameters)` returns the state of a run.

Optimizers call the functions of `torch.optim`, in one pass over all parameters. The classes of torch.optim are not used
because they import the compiler, 3.1 against 1.7 s for each process.

An exponential moving average of the weights, which often tests better than the last weights.

    average <- lambda * average + (1 - lambda) * weights,   lambda = min(decay, (1 + t) / (10 + t))

torch.optim.swa_utils is not used because it copies the whole model, where a copy of each parameter is enough.

Source: Polyak, Juditsky (1992), Acceleration of Stochastic Approximation by Averaging.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from nelbo.config.registry import NonNegative, Positive, Share, register


class OptimizerState(ABC):
    """The state of an optimizer for given parameters."""

    @abstractmethod
    def step(self, gradients: Sequence[Tensor], lr: float) -> None:
        """Update the parameters by `gradients` at learning rate `lr`."""

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """The live tensors that a resumed run needs."""


class Optimizer(ABC):
    """An optimizer and its constants."""

    family: ClassVar[str] = "optimizer"

    @abstractmethod
    def init(self, parameters: Sequence[nn.Parameter]) -> OptimizerState:
        """The initial state for these parameters."""


@register(
    "optimizer",
    "adam",
    cite="kingma2015adam",
    cite_if={"loshchilov2019decoupled": lambda options: options["weight_decay"] > 0},
)
@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam, with decoupled weight decay where `weight_decay` is above zero.

    Source: Kingma, Ba (2015), Adam: A Method for Stochastic Optimization; Loshchilov, Hutter (2019), Decoupled
    Weight Decay Regularization.

    Args:
        beta1: weight of the past in the average of the gradient.
        beta2: weight of the past in the average of the squared gradient.
        eps: added to the root of the latter average.
        weight_decay: decoupled weight decay; 0 for none.
    """

    beta1: Share = 0.9
    beta2: Share = 0.999
    eps: Positive = 1e-8
    weight_decay: NonNegative = 0.0

    def init(self, parameters: Sequence[nn.Parameter]) -> OptimizerState:
        return _AdamState(self, parameters)


class _AdamState(OptimizerState):
    def __init__(self, choice: Adam, parameters: Sequence[nn.Parameter]) -> None:
        self.parameters = list(parameters)
        self.means = [torch.zeros_like(p) for p in self.parameters]
        self.squares = [torch.zeros_like(p) for p in self.parameters]
        self.taken = torch.zeros(len(self.parameters), device=self.parameters[0].device)  # steps of each parameter
        self.steps = list(self.taken.unbind())  # views, which follow a checkpoint that is copied into `taken`
        self.choice = choice

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor], lr: float) -> None:
        adamw(
            list[Tensor](self.parameters),
            list(gradients),
            self.means,
            self.squares,
            [],
            self.steps,
            fused=True,
            amsgrad=False,
            maximize=False,
            lr=lr,
            beta1=self.choice.beta1,
            beta2=self.choice.beta2,
            eps=self.choice.eps,
            weight_decay=self.choice.weight_decay,
        )

    def state(self) -> dict[str, Tensor]:
        named = {"mean": self.means, "square": self.squares}
        moments = {f"{name}.{i}": tensor for name, tensors in named.items() for i, tensor in enumerate(tensors)}
        return moments | {"step": self.taken}


class EMA:
    """The moving average of a module's parameters; with `decay` 0, the parameters themselves."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.parameters = list(module.parameters())
        self.means: list[Tensor] = [p.detach().clone() for p in self.parameters] if decay else []

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Add the weights after step number `step`, from 1, to the average."""
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
