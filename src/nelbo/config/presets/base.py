"""The published variants: each fills parts of a recipe and leaves the rest to it.

    nelbo train mnist --preset beta-tc            nelbo.config.presets.beta_tc(dim=10, beta=6.0)

A preset is a combination of parts, never a class. What it leaves None (a likelihood, a network) is the recipe's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nelbo.config.recipe import Recipe
from nelbo.config.registry import Component
from nelbo.errors import UserError, nearest
from nelbo.latents import Latent
from nelbo.likelihoods import Likelihood
from nelbo.nets import Net
from nelbo.objectives import Objective

ELBO: Component[Objective] = Component("objective", "elbo")


def objective(kind: str, **options: Any) -> Component[Objective]:
    """An objective by its kind."""
    return Component("objective", kind, **options)


def flat(**options: Any) -> Component[Latent]:
    """A single-level latent."""
    return Component("latent", "flat", **options)


PARTS = ("latent", "likelihood", "encoder", "decoder")


@dataclass(frozen=True)
class Preset:
    """The parts that a variant fills, and the learning rate and condition it is trained with."""

    objective: Component[Objective] | None = None
    latent: Component[Latent] | None = None
    likelihood: Component[Likelihood] | None = None
    encoder: Net | None = None
    decoder: Net | None = None
    condition: str | None = None
    learning_rate: float = 2e-3

    def over(self, recipe: Recipe, name: str) -> Recipe:
        """The recipe with this preset's parts in place of its own."""
        model, data = recipe.model, recipe.data
        parts = {f: getattr(self, f) or getattr(model, f) for f in PARTS}
        return dataclasses.replace(
            recipe,
            preset=name,
            prior="",  # none is fitted: the preset's own is a part of what it is
            data=dataclasses.replace(data, condition=self.condition or data.condition),
            model=dataclasses.replace(model, **parts),
            objective=self.objective or ELBO,
            training=dataclasses.replace(recipe.training, learning_rate=self.learning_rate),
        )

    @property
    def fills(self) -> list[str]:
        """The names of the parts that are not left to the recipe."""
        return [name for name in (*PARTS, "objective", "condition") if getattr(self, name) is not None]


@dataclass(frozen=True)
class PresetEntry:
    """A preset as it is listed: `make()` gives its parts; `paper` is a key of the bibliography."""

    make: Callable[..., Preset]
    paper: str

    @property
    def summary(self) -> str:
        return (self.make.__doc__ or "").partition("\n")[0]


PRESETS: dict[str, PresetEntry] = {}


def preset(name: str, paper: str) -> Callable[[Callable[..., Preset]], Callable[..., Preset]]:
    """Enter a function that makes a preset under a name."""

    def enter(make: Callable[..., Preset]) -> Callable[..., Preset]:
        PRESETS[name] = PresetEntry(make, paper)
        return make

    return enter


def find(name: str) -> Preset:
    """The preset of that name, as it stands; `UserError` suggests the nearest name.

    >>> find("beta-vae").objective
    Component('objective', 'elbo', beta=4.0, stl=False)
    """
    if name not in PRESETS:
        raise UserError(f"no preset {name!r}: {nearest(name, PRESETS)}")
    return PRESETS[name].make()
