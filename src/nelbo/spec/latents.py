"""Latents: who draws z."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from nelbo import latents
from nelbo.errors import UserError
from nelbo.registry import kind_of, register
from nelbo.spec.learned_priors import DataPrior
from nelbo.spec.nets import Net
from nelbo.spec.posteriors import DiagonalNormal, Posterior
from nelbo.spec.priors import Prior, StandardNormal


class Latent(ABC):
    """Who draws the latents."""

    @abstractmethod
    def build(self, net: Net, shape: tuple[int, ...], context: int = 0) -> latents.Latent:
        """The latents over data of this shape."""

    @property
    @abstractmethod
    def features(self) -> int:
        """How many numbers the likelihood is conditioned on."""


@register(Latent, "flat")
@dataclass(frozen=True)
class Flat(Latent):
    """One level of `dim` latents."""

    dim: int = 20
    prior: Prior = field(default_factory=StandardNormal)
    posterior: Posterior = field(default_factory=DiagonalNormal)

    def __post_init__(self) -> None:
        if self.dim < 1:
            raise UserError(f"dim={self.dim}: give 1 latent or more")

    def build(self, net: Net, shape: tuple[int, ...], context: int = 0) -> latents.Latent:
        if self.prior.space() != self.posterior.space():
            raise UserError(
                f"posterior {kind_of(self.posterior)} draws from {self.posterior.space()} and prior "
                f"{kind_of(self.prior)} from {self.prior.space()}: choose both on one space"
            )
        prior = (
            self.prior.build_over(shape, context)
            if isinstance(self.prior, DataPrior)
            else self.prior.build(self.dim, context)
        )
        return latents.Flat(prior, self.posterior.build(net, shape, self.dim, context))

    @property
    def features(self) -> int:
        return self.dim
