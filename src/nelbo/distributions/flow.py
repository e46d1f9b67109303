"""A distribution pushed through an invertible map: normalizing flows.

    y = f(z), z ~ base:   log p(y) = log base(z) - log |det df/dz|

Source: Rezende, Mohamed (2015), Variational Inference with Normalizing Flows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from nelbo.distributions.base import Distribution, sample_and_log_prob, temper


class Bijection(Protocol):
    """An invertible map with its log-determinant: the interface of `nelbo.nets.flows`."""

    def __call__(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """y and log |det dy/dz|."""

    def inverse(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """z and log |det dz/dy|."""


class Flow(Distribution):
    """The distribution of f(z), z ~ base.

    `sample_and_log_prob` evaluates the map once, forward; `log_prob` alone needs the inverse. `mean` is the image
    of the base's mean: a central point, not the expectation, which has no closed form.

    Args:
        base: a distribution over vectors.
        transform: the map f.
        context: input of the map besides z, `(*batch, n)`; None for an unconditional flow.
    """

    support = torch.distributions.constraints.real_vector

    def __init__(self, base: Distribution, transform: Bijection, context: Tensor | None = None) -> None:
        self.base, self.transform, self.context = base, transform, context
        super().__init__(base.batch_shape + base.event_shape, 1)

    @property
    def mean(self) -> Tensor:
        return self.transform(self.base.mean, self.context)[0]

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:  # type: ignore[override]
        return self.transform(self.base.rsample(torch.Size(sample_shape)), self.context)[0]

    def log_prob(self, value: Tensor) -> Tensor:
        z, log_det = self.transform.inverse(value, self.context)
        return self.base.log_prob(z) + log_det


@sample_and_log_prob.register
def _(d: Flow, shape: Sequence[int] = ()) -> tuple[Tensor, Tensor]:
    z, log_prob = sample_and_log_prob(d.base, shape)
    y, log_det = d.transform(z, d.context)
    return y, log_prob - log_det


@temper.register
def _(d: Flow, temperature: float) -> Flow:
    """Temper the base, as in Kingma, Dhariwal (2018), Glow."""
    return Flow(temper(d.base, temperature), d.transform, d.context)  # type: ignore[arg-type]
