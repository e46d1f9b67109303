"""Priors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from nelbo import conditionals
from nelbo.registry import register


class Prior(ABC):
    """p(z)."""

    @abstractmethod
    def build(self, dim: int, context: int = 0) -> conditionals.Conditional:
        """The conditional over `dim` latents."""

    def space(self) -> str:
        """Where z lies, in words: the posterior's must be the same."""
        return "real vectors"


@register(Prior, "standard-normal")
@dataclass(frozen=True)
class StandardNormal(Prior):
    """N(0, I)."""

    def build(self, dim: int, context: int = 0) -> conditionals.Conditional:
        return conditionals.StandardNormal(dim)
