"""Priors that are learned with the model, or fitted after it."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Literal

from nelbo import conditionals, nets
from nelbo.errors import UserError
from nelbo.nets.mlp import perceptron
from nelbo.registry import register
from nelbo.spec.priors import Prior


def _require_components(components: int) -> None:
    if components < 1:
        raise UserError(f"components={components}: give 1 or more")


class DataPrior(Prior):
    """A prior made of data and of the posterior, which a flat latent gives it."""

    @abstractmethod
    def build_over(self, shape: tuple[int, ...], context: int = 0) -> conditionals.Conditional:
        """The conditional, over the latents of data of this shape."""

    def build(self, dim: int, context: int = 0) -> conditionals.Conditional:
        raise UserError(f"the prior {type(self).__name__} is made of a posterior over data: use it in a flat latent")


@register(Prior, "mixture")
@dataclass(frozen=True)
class MixturePrior(Prior):
    """A mixture of Normals, of diagonal or full covariance."""

    components: int = 10
    covariance: Literal["diagonal", "full"] = "diagonal"

    def __post_init__(self) -> None:
        _require_components(self.components)

    def build(self, dim: int, context: int = 0) -> conditionals.Conditional:
        return conditionals.Mixture(dim, self.components, self.covariance == "full")


@register(Prior, "vamp")
@dataclass(frozen=True)
class VampPrior(DataPrior):
    """The mean of the posterior over learned pseudo-inputs."""

    components: int = 500

    def __post_init__(self) -> None:
        _require_components(self.components)

    def build_over(self, shape: tuple[int, ...], context: int = 0) -> conditionals.Conditional:
        return conditionals.VampPrior(shape, self.components, context)


@register(Prior, "exemplar")
@dataclass(frozen=True)
class ExemplarPrior(DataPrior):
    """Normals of one width around the codes of some training data."""

    components: int = 500

    def __post_init__(self) -> None:
        _require_components(self.components)

    def build_over(self, shape: tuple[int, ...], context: int = 0) -> conditionals.Conditional:
        return conditionals.ExemplarPrior(shape, self.components, context)


@register(Prior, "two-stage")
@dataclass(frozen=True)
class TwoStagePrior(Prior):
    """A second VAE over the codes, with as many latents; `samples` importance samples estimate its density."""

    hidden: tuple[int, ...] = (128, 128)
    samples: int = 1

    def __post_init__(self) -> None:
        if self.samples < 1 or any(size < 1 for size in self.hidden):
            raise UserError(f"samples={self.samples}, hidden={list(self.hidden)}: give 1 or more")

    def build(self, dim: int, context: int = 0) -> conditionals.Conditional:
        posterior = conditionals.DiagonalNormal(perceptron([dim, *self.hidden, 2 * dim]), 1)
        likelihood = conditionals.Normal(nets.MLPDecoder(dim, (dim,), self.hidden[::-1]), 1)
        return conditionals.TwoStage(posterior, likelihood, dim, self.samples)
