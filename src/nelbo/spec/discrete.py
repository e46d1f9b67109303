"""Discrete latents, and latents of several kinds side by side."""

from __future__ import annotations

from dataclasses import dataclass, field

from nelbo import conditionals, distributions, latents
from nelbo.errors import UserError
from nelbo.registry import register
from nelbo.schedules import Schedule
from nelbo.spec.latents import Flat, Latent
from nelbo.spec.nets import Net


def _check_temperature(temperature: float | Schedule) -> None:
    schedule = temperature if isinstance(temperature, Schedule) else None
    lowest = min(schedule(i / 1000) for i in range(1001)) if schedule else float(temperature)  # type: ignore[arg-type]
    if lowest <= 0:
        raise UserError(f"temperature={temperature}: give a number above 0, or a schedule that stays above 0")


def check_sizes(least: int = 1, **sizes: int) -> None:
    for name, size in sizes.items():
        if size < least:
            raise UserError(f"{name}={size}: give {least} or more")


@register(Latent, "binary")
@dataclass(frozen=True)
class Binary(Latent):
    """`dim` bits under a Bernoulli(1/2) prior, relaxed in training at a temperature that may follow a schedule."""

    dim: int = 40
    temperature: float | Schedule = 2 / 3

    def __post_init__(self) -> None:
        check_sizes(dim=self.dim)
        _check_temperature(self.temperature)

    def build(self, net: Net, shape: tuple[int, ...], context: int = 0) -> latents.Latent:
        encoder = net.encoder(shape, self.dim, context)
        posterior = conditionals.RelaxedBernoulli(encoder, len(shape), self.temperature)
        return latents.Flat(conditionals.Fixed(self.dim, distributions.Bernoulli), posterior)

    @property
    def features(self) -> int:
        return self.dim


@register(Latent, "categorical")
@dataclass(frozen=True)
class Categorical(Latent):
    """`variables` one-hot vectors of `classes` entries under a uniform prior, relaxed in training."""

    variables: int = 20
    classes: int = 10
    temperature: float | Schedule = 2 / 3

    def __post_init__(self) -> None:
        check_sizes(variables=self.variables)
        check_sizes(2, classes=self.classes)
        _check_temperature(self.temperature)

    def build(self, net: Net, shape: tuple[int, ...], context: int = 0) -> latents.Latent:
        encoder = net.encoder(shape, self.features, context)
        posterior = conditionals.RelaxedOneHot(encoder, len(shape), self.classes, self.temperature)
        prior = conditionals.Fixed(self.features, lambda zeros: distributions.OneHot(zeros, self.classes))
        return latents.Flat(prior, posterior)

    @property
    def features(self) -> int:
        return self.variables * self.classes


def _joint() -> dict[str, Latent]:
    return {"continuous": Flat(10), "discrete": Categorical(1, 10)}


@register(Latent, "product")
@dataclass(frozen=True)
class Product(Latent):
    """Named latents side by side, each with an encoder of its own."""

    parts: dict[str, Latent] = field(default_factory=_joint)

    def __post_init__(self) -> None:
        if not self.parts:
            raise UserError('parts={}: give one latent or more, such as {style = {kind = "flat"}}')

    def build(self, net: Net, shape: tuple[int, ...], context: int = 0) -> latents.Latent:
        return latents.Product([part.build(net, shape, context) for part in self.parts.values()])

    @property
    def features(self) -> int:
        return sum(part.features for part in self.parts.values())
