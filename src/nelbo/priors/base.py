"""What priors have in common, and the two bases of those without parameters and those made of the posterior."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution

from nelbo.distributions.conditional import ConditionalDistribution
from nelbo.nets import InitializedFromData

REALS, SPHERE, SIMPLEX, POSITIVE = "real vectors", "the unit sphere", "the simplex", "positive numbers"


class Prior(ConditionalDistribution, ABC):
    """p(z | c). `has_density` is False for a prior that can only be sampled from."""

    family: ClassVar[str] = "prior"
    has_density = True

    @classmethod
    def space(cls, **options: Any) -> str:
        """The set that z lies in, in words: it must be the posterior's."""
        return REALS

    def bind(self, posterior: ConditionalDistribution) -> None:
        """Use this posterior, if the prior is made of one; most are not."""


class ParameterFreePrior(Prior):
    """One distribution over `dim` latents without parameters, whatever the context.

    `factory` is called with zeros `(dim,)` of the model's dtype and device.

    >>> from nelbo import distributions
    >>> ParameterFreePrior(3, lambda zeros: distributions.UniformSphere(3, zeros))().mean.tolist()
    [0.0, 0.0, 0.0]
    """

    zeros: Tensor

    def __init__(self, dim: int, factory: Callable[[Tensor], Distribution]) -> None:
        super().__init__()
        self.factory = factory
        self.register_buffer("zeros", torch.zeros(dim), persistent=False)

    def forward(self, *context: Tensor | None) -> Distribution:
        return self.factory(self.zeros)


class PosteriorMixturePrior(Prior, InitializedFromData, ABC):
    """A prior made of the posterior at some data. It uses the posterior but does not own it."""

    _posterior: tuple[ConditionalDistribution, ...] = ()

    def bind(self, posterior: ConditionalDistribution) -> None:
        self._posterior = (posterior,)  # in a tuple it is not a submodule, so that no weight is saved twice

    @property
    def posterior(self) -> ConditionalDistribution:
        """The bound posterior."""
        assert self._posterior, "bind the posterior first"
        return self._posterior[0]

    @abstractmethod
    def init_from_data(self, x: Tensor) -> None:
        """Set the data that the prior is made of from random training rows `(n, *shape)`; of too few, some repeat."""


def copy_cyclic(target: Tensor, rows: Tensor) -> None:
    """Copy rows into the target, from the first again where they are too few."""
    with torch.no_grad():
        target.copy_(rows[torch.arange(len(target), device=rows.device) % len(rows)])
