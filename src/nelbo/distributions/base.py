"""What every distribution here has beside the interface of `torch.distributions.Distribution`.

Some operations are looked up by type, so that a new family adds a function and edits none:

- `sample_and_log_prob(d, shape)` draws z and the log-density of that draw in one go (a flow knows the
  log-determinant only while it draws);
- `temper(d, t)` is the distribution whose spread is scaled by the temperature t;
- `typical_point(d)` is a point that stands for the draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from copy import copy
from functools import singledispatch
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution as TorchDistribution
from torch.distributions import constraints

from nelbo.errors import UserError

LEAST_LENGTH = 1e-12  # squared, of a mean that has a direction


class Distribution(TorchDistribution):
    """Base of the distributions in this package: a density over events of any rank.

    Parameters have the shape `(*batch_shape, *event_shape)`; `log_prob` sums over the event and returns
    nats of shape `(*sample_shape, *batch_shape)`; where the elements of an event are independent, it is the sum of
    their `element_log_prob`.

    `normalized` tells whether `exp(log_prob)` is a density (or a mass) that sums to one over the data it
    is given; where it is not, likelihoods and bits per dimension do not exist. `has_density` is False for a point mass,
    whose draws have no importance weights. Unless a family says otherwise,
    `support` is the reals, `mean` is its `loc`, and draws have a gradient if it defines `rsample`.
    """

    normalized = True
    has_density = True
    support: constraints.Constraint = constraints.real
    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    loc: Tensor

    def __init__(self, shape: torch.Size, event_dims: int) -> None:
        split = len(shape) - event_dims
        super().__init__(shape[:split], shape[split:], validate_args=False)

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        return type(self).rsample is not TorchDistribution.rsample

    @property
    def mean(self) -> Tensor:
        return self.loc

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:  # type: ignore[override]
        """A draw through which no gradient flows."""
        with torch.no_grad():
            return self.rsample(torch.Size(sample_shape))

    def element_log_prob(self, value: Tensor) -> Tensor:
        """log p(x_i) of each element, nats of the shape of `value`, broadcast: they sum to `log_prob` over the event.

        A family of independent elements defines this and has `log_prob` from it; any other defines `log_prob` alone.
        Raises `UserError` where the family has no such terms.
        """
        raise UserError(
            f"{type(self).__name__} has no log-probability for each element by itself: use a model whose likelihood "
            "has independent elements, such as normal or bernoulli"
        )

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(x) of each datum, nats: the sum of its elements'."""
        return self.sum_event(self.element_log_prob(value))

    def with_temperature(self, temperature: float) -> Distribution:
        """The distribution whose draws are varied by a temperature; itself, unless its family has one of its own."""
        return self

    def reconstruct(self, log_q: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """The datum to show for this p(x | z), `(*batch, *event)`: its mean, unless its family has a better one.

        Args:
            log_q: log q(z | x) of data x at the z of this distribution, nats `(*batch,)`; None if it is not known.
        """
        return self.mean

    def without_gaps(self) -> Distribution:
        """The same where missing elements (NaN) of the data add nothing; itself, unless they are events of the data."""
        return self

    def marginals(self, x: Tensor) -> list[Tensor] | None:
        """The masses of the codes of each element given those of x that are there; None for independent elements."""
        return None

    def fill(self, x: Tensor, chosen: Tensor, gaps: bool = False) -> Tensor:
        """x `(n, *event)` with each missing element (NaN) drawn given the others.

        Args:
            x: data; the batch of this distribution is `(draws, n)`.
            chosen: which of the draws each datum is completed under, `(n,)`.
            gaps: whether an element may be drawn to be missing, in a family that knows such elements.
        """
        return torch.where(x.isnan(), self.sample()[chosen, torch.arange(len(x), device=x.device)], x)

    def sum_event(self, values: Tensor) -> Tensor:
        """Sum over the event's dimensions: per element -> per datum."""
        return values.flatten(-len(self.event_shape)).sum(-1) if self.event_shape else values


def draw(d: TorchDistribution, shape: Sequence[int] = ()) -> Tensor:
    """z ~ d of shape `(*shape, *batch, *event)`, reparameterised unless d is discrete, or in part so."""
    size = torch.Size(shape)
    discrete = d.support.is_discrete or not d.has_rsample  # type: ignore[union-attr]
    return d.sample(size) if discrete else d.rsample(size)


@singledispatch
def sample_and_log_prob(d: TorchDistribution, shape: Sequence[int] = ()) -> tuple[Tensor, Tensor]:
    """A draw z of d, reparameterised unless d is discrete, and log d(z).

    Shapes: `(*shape, *batch, *event)` and `(*shape, *batch)`.

    >>> z, log_q = sample_and_log_prob(torch.distributions.Normal(torch.zeros(3), 1.0), (5,))
    >>> z.shape, log_q.shape
    (torch.Size([5, 3]), torch.Size([5, 3]))
    """
    z = draw(d, shape)
    return z, d.log_prob(z)


def check_temperature(temperature: float) -> None:
    """Raises `UserError` for a temperature that is not above 0."""
    if not 0 < temperature < math.inf:
        raise UserError(f"temperature={temperature}: give a number above 0; 1 leaves the spread as it is")


@singledispatch
def temper(d: TorchDistribution, temperature: float) -> TorchDistribution:
    """`d` with its standard deviation multiplied by `temperature` (below 1: more typical, less varied).

    Raises `UserError` for a family that has no such scale.
    """
    raise UserError(f"temperature={temperature}: {type(d).__name__} has no temperature: leave it at 1")


def scaled(d: TorchDistribution, temperature: float) -> TorchDistribution:
    """`temper` for families of a `log_scale`: a copy of `d` in which it is that plus log `temperature`."""
    twin = copy(d)
    twin.log_scale = d.log_scale + math.log(temperature)  # type: ignore[attr-defined]
    return twin


@singledispatch
def typical_point(d: TorchDistribution) -> Tensor:
    """A point for all draws of `d` that lies where draws do; unless its family says otherwise, the mean."""
    return d.mean


def project_to_shell(d: TorchDistribution) -> Tensor:
    """`typical_point` of Normals over vectors: the mean, moved out until it is as far from 0 as draws are.

    |z|^2 = E|z|^2 = |mu|^2 + sum_i sigma_i^2;   draws in many dimensions lie near that shell, and seldom inside
    """
    mean = d.mean
    length, spread = (part.sum(-1, keepdim=True) for part in (mean.square(), d.variance))
    return mean * (1 + spread / length.clamp_min(LEAST_LENGTH)).sqrt()


@singledispatch
def detach(d: TorchDistribution) -> TorchDistribution:
    """`d` with parameters through which no gradient flows; `UserError` for a family that has none such."""
    raise UserError(f"stl: a {type(d).__name__} has no path-derivative gradient: set objective.stl=false")


def detached(d: TorchDistribution) -> TorchDistribution:
    """`detach` for families made of tensors alone: a copy of `d` in which each is detached."""
    twin = copy(d)
    vars(twin).update({name: value.detach() for name, value in vars(d).items() if isinstance(value, Tensor)})
    return twin


def log_pochhammer(a: Tensor, x: Tensor) -> Tensor:
    """log Gamma(a + x) - log Gamma(a) for a > 0, x >= 0: by Stirling's series where a is large.

        (a - 1/2) log(1 + x/a) + x log(a + x) - x + c(a + x) - c(a),   c(a) = 1 / (12 a) - 1 / (360 a^3)

    >>> round(log_rising(torch.tensor(1e6), torch.tensor(2.0)).item(), 3)  # log(1e6) + log(1e6 + 1)
    27.631
    """
    small = a < 50
    near, far = torch.where(small, a, torch.ones_like(a)), torch.where(small, torch.full_like(a, 50), a)
    total = far + x
    series = (
        (far - 0.5) * torch.log1p(x / far)
        + x * total.log()
        - x
        + (1 / total - 1 / far) / 12
        - (total**-3 - far**-3) / 360
    )
    return torch.where(small, torch.lgamma(near + x) - torch.lgamma(near), series)
