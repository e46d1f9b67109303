"""Posteriors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from nelbo import conditionals
from nelbo.registry import register
from nelbo.spec.nets import Net


class Posterior(ABC):
    """q(z | x)."""

    @abstractmethod
    def build(self, net: Net, shape: tuple[int, ...], dim: int, context: int = 0) -> conditionals.Conditional:
        """The conditional over `dim` latents, on top of an encoder it makes from `net`."""

    def space(self) -> str:
        """Where z lies, in words: the prior's must be the same."""
        return "real vectors"


@register(Posterior, "diagonal-normal")
@dataclass(frozen=True)
class DiagonalNormal(Posterior):
    """N(mu(x), diag(sigma^2(x))); `initial_logvar` is the bias of log sigma^2 before training."""

    initial_logvar: float | None = None

    def build(self, net: Net, shape: tuple[int, ...], dim: int, context: int = 0) -> conditionals.Conditional:
        return conditionals.DiagonalNormal(net.encoder(shape, 2 * dim, context), len(shape), self.initial_logvar)
