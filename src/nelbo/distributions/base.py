"""The bases of all distributions, with and without a context, and the table of closed-form KL divergences.

Some operations are looked up by the type of the distribution, so that a new family adds a function and edits none:

- `sample_and_log_prob(d, shape)` draws z and the log-density of that draw in one go (a flow knows the
  log-determinant only while it draws);
- `temper(d, t)` is the distribution whose spread is scaled by the temperature t;
- `typical_point(d)` is a point that represents the draws.

The table of Kullback-Leibler divergences has one row per pair of families.

    KL(q || p) = E_q[log q(z) - log p(z)], in nats, of the broadcast batch shape

A pair without a row is estimated by Monte Carlo where it is used. A new family adds its row with `@register_kl(Q, P)`;
a test compares every row with Monte Carlo. A row with `TorchDistribution` as P applies to every p.

Priors p(z | c), posteriors q(z | x, c) and likelihoods p(x | h, c) are distributions given a context:
`forward(*context)` returns a `torch.distributions.Distribution`. A context that is absent is `None`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from copy import copy
from functools import singledispatch
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution as TorchDistribution
from torch.distributions import constraints

from nelbo.errors import UserError

LEAST_LENGTH = 1e-12  # squared: a shorter mean has no direction


class Distribution(TorchDistribution):
    """Base of the distributions in this package: a density over events of any rank.

    Parameters have the shape `(*batch_shape, *event_shape)`. `log_prob` sums over the event and returns
    nats of shape `(*sample_shape, *batch_shape)`. Where the elements of an event are independent, it is the sum of
    their `element_log_prob`.

    `normalized` is True if `exp(log_prob)` is a density (or a mass) that sums to one over the data. If it is False,
    likelihoods and bits per dimension do not exist. `has_density` is False for a point mass, whose draws have no
    importance weights. By default `support` is the reals, `mean` is `loc`, and draws have a gradient if the family
    defines `rsample`.

    Args:
        shape: `(*batch_shape, *event_shape)`.
        event_dims: number of last dimensions that form one event, over which `log_prob` sums.
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
        """A draw without a gradient, `(*sample_shape, *batch_shape, *event_shape)`.

        Args:
            sample_shape: shape of independent draws; () for one draw.
        """
        with torch.no_grad():
            return self.rsample(torch.Size(sample_shape))

    def element_log_prob(self, value: Tensor) -> Tensor:
        """log p(x_i) of each element, nats, in the broadcast shape of `value`; its sum over the event is `log_prob`.

        A family of independent elements defines this and inherits `log_prob`; any other defines `log_prob` alone.

        Raises:
            UserError: if the elements are not independent.
        """
        raise UserError(
            f"{type(self).__name__} has no log-probability for each element by itself: use a model whose likelihood "
            "has independent elements, such as normal or bernoulli"
        )

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(x) of each datum, nats: the sum of `element_log_prob` over the event."""
        return self.sum_event(self.element_log_prob(value))

    def with_temperature(self, temperature: float) -> Distribution:
        """The distribution with its draws scaled by a temperature; by default itself, unchanged."""
        return self

    def reconstruct(self, log_q: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """The datum to show for this p(x | z), `(*batch, *event)`: its mean by default.

        Args:
            log_q: log q(z | x) of data x at the z of this distribution, nats `(*batch,)`; None if unknown.
        """
        return self.mean

    def without_gaps(self) -> Distribution:
        """The distribution to which missing elements (NaN) add nothing; itself, unless they are events of the data."""
        return self

    def marginals(self, x: Tensor) -> list[Tensor] | None:
        """The masses of the codes of each element given the observed ones of x; None for independent elements."""
        return None

    def fill(self, x: Tensor, chosen: Tensor, gaps: bool = False) -> Tensor:
        """Fill each missing element (NaN) of x `(n, *event)` by a draw given the others.

        Args:
            x: data; the batch of this distribution is `(draws, n)`.
            chosen: the index of the draw that completes each datum, `(n,)`.
            gaps: whether a draw may leave an element missing, in a family where that is an event of the data.
        """
        return torch.where(x.isnan(), self.sample()[chosen, torch.arange(len(x), device=x.device)], x)

    def sum_event(self, values: Tensor) -> Tensor:
        """Sum over the event's dimensions: per element -> per datum."""
        return values.flatten(-len(self.event_shape)).sum(-1) if self.event_shape else values


def draw(d: TorchDistribution, shape: Sequence[int] = ()) -> Tensor:
    """Draw z ~ d, `(*shape, *batch, *event)`, reparameterised unless d is discrete, even in part.

    Args:
        d: the distribution.
        shape: shape of independent draws; () for one draw.
    """
    size = torch.Size(shape)
    discrete = d.support.is_discrete or not d.has_rsample  # type: ignore[union-attr]
    return d.sample(size) if discrete else d.rsample(size)


@singledispatch
def sample_and_log_prob(d: TorchDistribution, shape: Sequence[int] = ()) -> tuple[Tensor, Tensor]:
    """Draw z ~ d, reparameterised unless d is discrete, and compute log d(z).

    Args:
        d: the distribution.
        shape: shape of independent draws; () for one draw.

    Returns:
        z `(*shape, *batch, *event)` and log d(z), nats `(*shape, *batch)`.

    >>> z, log_q = sample_and_log_prob(torch.distributions.Normal(torch.zeros(3), 1.0), (5,))
    >>> z.shape, log_q.shape
    (torch.Size([5, 3]), torch.Size([5, 3]))
    """
    z = draw(d, shape)
    return z, d.log_prob(z)


def check_temperature(temperature: float) -> None:
    """Check that a temperature is a finite number above 0.

    Raises:
        UserError: if it is not.
    """
    if not 0 < temperature < math.inf:
        raise UserError(f"temperature={temperature}: give a number above 0; 1 leaves the spread as it is")


@singledispatch
def temper(d: TorchDistribution, temperature: float) -> TorchDistribution:
    """`d` with its standard deviation multiplied by `temperature` (below 1: more typical, less varied).

    Raises:
        UserError: for a family without a scale.
    """
    raise UserError(f"temperature={temperature}: {type(d).__name__} has no temperature: leave it at 1")


def scaled(d: TorchDistribution, temperature: float) -> TorchDistribution:
    """`temper` for families with a `log_scale`: a copy of `d` with log `temperature` added to it."""
    twin = copy(d)
    twin.log_scale = d.log_scale + math.log(temperature)  # type: ignore[attr-defined]
    return twin


@singledispatch
def typical_point(d: TorchDistribution) -> Tensor:
    """A point that represents the draws of `d` and lies where they do; by default the mean."""
    return d.mean


def project_to_shell(d: TorchDistribution) -> Tensor:
    """`typical_point` of Normals over vectors: the mean, moved outwards to the distance that draws have from 0.

        |z|^2 = E|z|^2 = |mu|^2 + sum_i sigma_i^2

    In many dimensions, draws lie near that shell and seldom inside it.
    """
    mean = d.mean
    length, spread = (part.sum(-1, keepdim=True) for part in (mean.square(), d.variance))
    return mean * (1 + spread / length.clamp_min(LEAST_LENGTH)).sqrt()


@singledispatch
def detach(d: TorchDistribution) -> TorchDistribution:
    """A copy of `d` with detached parameters, through which no gradient flows.

    Raises:
        UserError: for a family without a path-derivative gradient.
    """
    raise UserError(f"stl: a {type(d).__name__} has no path-derivative gradient: set objective.stl=false")


def detached(d: TorchDistribution) -> TorchDistribution:
    """`detach` for families whose attributes are tensors: a copy of `d` with each tensor detached."""
    twin = copy(d)
    vars(twin).update({name: value.detach() for name, value in vars(d).items() if isinstance(value, Tensor)})
    return twin


def log_pochhammer(a: Tensor, x: Tensor) -> Tensor:
    """log Gamma(a + x) - log Gamma(a) for a > 0, x >= 0: by Stirling's series where a is large.

        (a - 1/2) log(1 + x/a) + x log(a + x) - x + c(a + x) - c(a),   c(a) = 1 / (12 a) - 1 / (360 a^3)

    >>> round(log_pochhammer(torch.tensor(1e6), torch.tensor(2.0)).item(), 3)  # log(1e6) + log(1e6 + 1)
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


KL_TABLE: dict[tuple[type, type], Callable[[Any, Any], Tensor]] = {}


def register_kl(q: type, p: type) -> Callable[[Callable[[Any, Any], Tensor]], Callable[[Any, Any], Tensor]]:
    """Enter the decorated function in the table as KL(q || p)."""

    def enter(function: Callable[[Any, Any], Tensor]) -> Callable[[Any, Any], Tensor]:
        KL_TABLE[q, p] = function
        return function

    return enter


def _row(q: TorchDistribution, p: TorchDistribution) -> Callable[[Any, Any], Tensor] | None:
    return KL_TABLE.get((type(q), type(p))) or KL_TABLE.get((type(q), TorchDistribution))


def has_kl(q: TorchDistribution, p: TorchDistribution) -> bool:
    """Whether KL(q || p) has a closed form here."""
    return _row(q, p) is not None


def kl_divergence(q: TorchDistribution, p: TorchDistribution) -> Tensor:
    """KL(q || p) in closed form, nats of the broadcast batch shape.

    Raises:
        NotImplementedError: if the table has no row for the pair.

    >>> import torch
    >>> from nelbo.distributions import DiagonalNormal, StandardNormal
    >>> q = DiagonalNormal(torch.zeros(3, 2), torch.zeros(3, 2))
    >>> kl_divergence(q, StandardNormal(2, torch.zeros(()))).tolist()
    [0.0, 0.0, 0.0]
    """
    row = _row(q, p)
    if row is None:
        raise NotImplementedError(
            f"no closed-form KL({type(q).__name__} || {type(p).__name__}): estimate it as the mean of log q - log p"
        )
    return row(q, p)


class ConditionalDistribution(nn.Module, ABC):
    """A module that returns a distribution given a context."""

    @abstractmethod
    def forward(self, *context: Tensor | None) -> TorchDistribution:
        """The distribution given the context."""


def apply_over_sample_dims(net: nn.Module, h: Tensor, *context: Tensor | None, event_dims: int = 1) -> Tensor:
    """Apply a net that takes one batch dimension to `h` of shape `(*sample, batch, *event)`.

    Args:
        net: called with `(batch, *event)` and the context.
        h: features `(*sample, batch, *event)`.
        context: tensors `(batch, n)`, repeated over the sample dimensions; None is left out.
        event_dims: number of event dimensions of `h`.

    Returns:
        the output of `net`, `(*sample, batch, *output)`.
    """
    lead = h.shape[: h.dim() - event_dims]
    present = [c.expand(*lead, c.shape[-1]) for c in context if c is not None]
    if len(lead) == 1:
        return net(h, *present)
    flat = net(h.reshape(-1, *h.shape[len(lead) :]), *[c.reshape(-1, c.shape[-1]) for c in present])
    return flat.view(*lead, *flat.shape[1:])
