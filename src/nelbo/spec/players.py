"""Objectives for deterministic encoders, and those that own a critic or a classifier."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from nelbo import objectives
from nelbo.errors import UserError
from nelbo.registry import register
from nelbo.spec.nets import MLP, Net
from nelbo.spec.objectives import Objective

REGULARISERS = {
    "l2": objectives.decoder_weights,
    "gradient": objectives.decoder_gradient,
    "spectral": objectives.decoder_spectrum,
}


def _check(weight: float, *sizes: int, ratio: float = 1.0) -> None:
    if weight < 0 or ratio <= 0:
        raise UserError(f"weight={weight}, ratio={ratio}: give weight >= 0 and ratio > 0")
    if any(size < 1 for size in sizes):
        raise UserError(f"sizes {list(sizes)}: give sizes of 1 or more")


@register(Objective, "rae")
@dataclass(frozen=True)
class RAE(Objective):
    """Distortion + latent * |z|^2 / 2 + weight * a regulariser of the decoder (Ghosh 2020)."""

    latent: float = 1e-2
    weight: float = 1e-4
    regulariser: Literal["l2", "gradient", "spectral"] = "l2"

    def __post_init__(self) -> None:
        _check(self.weight)
        if self.latent < 0:
            raise UserError(f"latent={self.latent}: give 0 or more")

    def build(self) -> objectives.Objective:
        return objectives.Regularised(self.latent, self.weight, REGULARISERS[self.regulariser])


@register(Objective, "factor")
@dataclass(frozen=True)
class Factor(Objective):
    """ELBO + weight * total correlation, as a critic of z sees it; `ratio` of learning rates (Kim 2018)."""

    weight: float = 6.0
    hidden: tuple[int, ...] = (256, 256)
    ratio: float = 1.0

    def __post_init__(self) -> None:
        _check(self.weight, *self.hidden, ratio=self.ratio)

    def build(self) -> objectives.Objective:
        return objectives.FactorVAE(self.weight, self.hidden, self.ratio)


@register(Objective, "aae")
@dataclass(frozen=True)
class AAE(Objective):
    """Distortion + weight * how well a critic tells z from the prior's draws (Makhzani 2016)."""

    weight: float = 1.0
    hidden: tuple[int, ...] = (256, 256)
    ratio: float = 1.0

    def __post_init__(self) -> None:
        _check(self.weight, *self.hidden, ratio=self.ratio)

    def build(self) -> objectives.Objective:
        return objectives.AdversarialAutoencoder(self.weight, self.hidden, self.ratio)


@register(Objective, "vae-gan")
@dataclass(frozen=True)
class VAEGAN(Objective):
    """A VAE whose likeness is measured in the `features` of a critic of data, and in `pixels` (Larsen 2016)."""

    weight: float = 1.0
    features: int = 64
    critic: Net = field(default_factory=lambda: MLP((256,)))
    ratio: float = 1.0
    pixels: float = 1.0

    def __post_init__(self) -> None:
        _check(self.weight, self.features, ratio=self.ratio)
        _check(self.pixels)

    def build(self) -> objectives.Objective:
        make = partial(self.critic.encoder, features=self.features)
        return objectives.VAEGAN(make, self.features, self.weight, self.ratio, self.pixels)


@register(Objective, "semi-supervised")
@dataclass(frozen=True)
class SemiSupervised(Objective):
    """ELBO with the class as context, known or not, and a classifier, the net `classifier` (Kingma 2014, M2)."""

    classes: int = 10
    weight: float = 1.0
    classifier: Net = field(default_factory=lambda: MLP((256,)))

    def __post_init__(self) -> None:
        _check(self.weight, self.classes)

    def build(self) -> objectives.Objective:
        make = partial(self.classifier.encoder, features=self.classes)
        return objectives.SemiSupervised(make, self.classes, self.weight)
