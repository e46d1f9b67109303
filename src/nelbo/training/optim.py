"""The optimizer, and the average of the weights.

Optimizers: a frozen choice (`Adam(...)`) whose `over(parameters)` holds the state of one run.

They call the functions of `torch.optim`, in one pass over all parameters. Its classes were weighed: constructing a
class of torch.optim imports the compiler, 3.1 against 1.7 s a process.

An exponential moving average of the weights, which often tests better than the last weights.

    average <- lambda * average + (1 - lambda) * weights,   lambda = min(decay, (1 + t) / (10 + t))

torch.optim.swa_utils was weighed: it deep-copies the model, where a copy of each parameter does.

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
    """An optimizer at work on its parameters."""

    @abstractmethod
    def step(self, gradients: Sequence[Tensor], lr: float) -> None:
        """Move the parameters against `gradients` at learning rate `lr`."""

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """The tensors that a resumed run must have; they are the live ones."""


class Optimizer(ABC):
    """A kind of optimizer and its constants."""

    family: ClassVar[str] = "optimizer"

    @abstractmethod
    def init(self, parameters: Sequence[nn.Parameter]) -> OptimizerState:
        """Start on these parameters."""


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
        beta1: weight on the past in the average of the gradient.
        beta2: weight on the past in the average of its square.
        eps: added to the root of that average.
        weight_decay: decoupled weight decay.
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
        self.taken = torch.zeros(len(self.parameters), device=self.parameters[0].device)  # steps, of each parameter
        self.choice = choice

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor], lr: float) -> None:
        adamw(
            list[Tensor](self.parameters),
            list(gradients),
            self.means,
            self.squares,
            [],
            list(self.taken.unbind()),
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
