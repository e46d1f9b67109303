"""Single-level latents of bits and of one-hot vectors, relaxed in training.

Source: Maddison, Mnih, Teh (2017), The Concrete Distribution; Jang, Gu, Poole (2017), Categorical Reparameterization
with Gumbel-Softmax.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from nelbo import distributions
from nelbo.config.registry import Count, Positive, Range, register
from nelbo.errors import UserError
from nelbo.latents.single_level import SingleLevelLatent
from nelbo.nets import Net
from nelbo.posteriors import RelaxedBernoulli, RelaxedOneHot
from nelbo.priors import ParameterFreePrior
from nelbo.schedules import Schedule


def _check_temperature(options: Mapping[str, Any]) -> None:
    schedule = options["temperature"]
    if isinstance(schedule, Schedule) and min(schedule(i / 1000) for i in range(1001)) <= 0:
        raise UserError(f"temperature = {schedule}: give a number above 0, or a schedule that stays above 0")


@register("latent", "binary", cite=("maddison2017concrete", "jang2017categorical"), check=_check_temperature)
def binary(
    net: Net,
    shape: tuple[int, ...],
    context: int = 0,
    *,
    dim: Count = 40,
    temperature: Positive | Schedule = 2 / 3,
) -> SingleLevelLatent:
    """Bits under a Bernoulli(1/2) prior.

    Args:
        dim: number of bits.
        temperature: of the relaxation in training; a number, or a schedule.
    """
    posterior = RelaxedBernoulli(net.encoder(shape, dim, context), len(shape), temperature)
    return SingleLevelLatent(ParameterFreePrior(dim, distributions.Bernoulli), posterior, dim)


@register("latent", "categorical", cite=("jang2017categorical", "maddison2017concrete"), check=_check_temperature)
def categorical(
    net: Net,
    shape: tuple[int, ...],
    context: int = 0,
    *,
    variables: Count = 20,
    classes: Annotated[int, Range(2)] = 10,
    temperature: Positive | Schedule = 2 / 3,
) -> SingleLevelLatent:
    """One-hot vectors under a uniform prior.

    Args:
        variables: number of vectors.
        classes: entries of each.
        temperature: of the relaxation in training; a number, or a schedule.
    """
    features = variables * classes
    posterior = RelaxedOneHot(net.encoder(shape, features, context), len(shape), classes, temperature)
    prior = ParameterFreePrior(features, lambda zeros: distributions.OneHot(zeros, classes))
    return SingleLevelLatent(prior, posterior, features)
