"""What every distribution here has beside the interface of `torch.distributions.Distribution`.

Two operations are looked up by type, so that a new family adds a function and edits none:

- `sample_and_log_prob(d, shape)` draws z and the log-density of that draw in one go (a flow knows the
  log-determinant only while it draws);
- `temper(d, t)` is the distribution whose spread is scaled by the temperature t.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution as TorchDistribution


class Distribution(TorchDistribution):
    """Base of the distributions in this package: a density over events of any rank.

    Parameters have the shape `(*batch_shape, *event_shape)`; `log_prob` sums over the event and returns
    nats of shape `(*sample_shape, *batch_shape)`.

    `normalized` tells whether `exp(log_prob)` is a density (or a mass) that sums to one over the data it
    is given; where it is not, likelihoods and bits per dimension do not exist.
    """

    normalized = True
    arg_constraints: ClassVar[dict[str, torch.distributions.constraints.Constraint]] = {}

    def __init__(self, shape: torch.Size, event_dims: int) -> None:
        split = len(shape) - event_dims
        super().__init__(shape[:split], shape[split:], validate_args=False)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:  # type: ignore[override]
        """A draw through which no gradient flows."""
        with torch.no_grad():
            return self.rsample(torch.Size(sample_shape))

    def sum_event(self, values: Tensor) -> Tensor:
        """Sum over the event's dimensions: per element -> per datum."""
        return values.flatten(-len(self.event_shape)).sum(-1) if self.event_shape else values


@singledispatch
def sample_and_log_prob(d: TorchDistribution, shape: Sequence[int] = ()) -> tuple[Tensor, Tensor]:
    """A reparameterised draw z ~ d and log d(z), of shapes `(*shape, *batch, *event)` and `(*shape, *batch)`.

    >>> z, log_q = sample_and_log_prob(torch.distributions.Normal(torch.zeros(3), 1.0), (5,))
    >>> z.shape, log_q.shape
    (torch.Size([5, 3]), torch.Size([5, 3]))
    """
    z = d.rsample(torch.Size(shape))
    return z, d.log_prob(z)


@singledispatch
def temper(d: TorchDistribution, temperature: float) -> TorchDistribution:
    """`d` with its standard deviation multiplied by `temperature` (below 1: more typical, less varied).

    Raises `NotImplementedError` for a family that has no such scale.
    """
    raise NotImplementedError(f"{type(d).__name__} has no temperature: leave temperature at 1")


@singledispatch
def detach(d: TorchDistribution) -> TorchDistribution:
    """`d` with parameters through which no gradient flows."""
    raise NotImplementedError(f"{type(d).__name__} cannot be detached, so it has no path-derivative gradient")
