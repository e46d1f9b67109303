"""The base class of priors, and those of priors without parameters and of mixtures of the posterior."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution

from nelbo.distributions.base import ConditionalDistribution
from nelbo.nets import InitializedFromData

REALS, SPHERE, SIMPLEX, POSITIVE = "real vectors", "the unit sphere", "the simplex", "positive numbers"


class Prior(ConditionalDistribution, ABC):
    """p(z | c). `has_density` is False for a prior that can only be sampled from."""

    family: ClassVar[str] = "prior"
    has_density = True

    @classmethod
    def space(cls, **options: Any) -> str:
        """A description of the set that z lies in; it must equal the posterior's."""
        return REALS

    def bind(self, posterior: ConditionalDistribution) -> None:
        """Attach the posterior, in priors that are built from it; most ignore it."""


class ParameterFreePrior(Prior):
    """A fixed distribution, independent of the context.

    Args:
        dim: number of latent dimensions.
        factory: builds the distribution from zeros `(dim,)` of the model's dtype and device.

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
    """A mixture of the posterior at several data. It uses the posterior but does not own it."""

    _posterior: tuple[ConditionalDistribution, ...] = ()

    def bind(self, posterior: ConditionalDistribution) -> None:
        self._posterior = (posterior,)  # in a tuple it is not a submodule, so no weight is saved twice

    @property
    def posterior(self) -> ConditionalDistribution:
        """The bound posterior."""
        assert self._posterior, "bind the posterior first"
        return self._posterior[0]

    @abstractmethod
    def init_from_data(self, x: Tensor) -> None:
        """Copy the data of the mixture from random training rows `(n, *shape)`; if there are too few, some repeat."""


def copy_cyclic(target: Tensor, rows: Tensor) -> None:
    """Copy rows into the target, and start again with the first row if there are too few."""
    with torch.no_grad():
        target.copy_(rows[torch.arange(len(target), device=rows.device) % len(rows)])
