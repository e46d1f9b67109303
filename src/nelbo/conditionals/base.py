"""The one noun of the design: a module whose `forward(*context)` returns a distribution.

A prior p(z | c), a posterior q(z | x, c) and a likelihood p(x | h, c) are all of this type. A context that is
absent is `None` and is left out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.distributions.constraints import Constraint


class Conditional(nn.Module, ABC):
    """A distribution given a context."""

    @abstractmethod
    def forward(self, *context: Tensor | None) -> Distribution:
        """The distribution given the context."""


class Posterior(Conditional, ABC):
    """q(z | x, c): a conditional over latents, made by an encoder net; a datum has `event_dims` dimensions.

    The net's numbers come in groups of `sizes`; of the second, the bias starts at `start`, if given.
    """

    def __init__(self, net: nn.Module, event_dims: int, sizes: Sequence[int] = (), start: float | None = None) -> None:
        super().__init__()
        self.net, self.event_dims = net, event_dims
        self.sizes = list(sizes)
        if start is not None:
            bias: Tensor = net.output_bias  # type: ignore[assignment]
            with torch.no_grad():
                bias.split(self.sizes)[1].fill_(start)

    def encode(self, *context: Tensor | None) -> Tensor:
        """The net's numbers for each datum, `(*sample, batch, n)`."""
        x, *rest = context
        assert x is not None
        return through(self.net, x, *rest, event_dims=self.event_dims)

    def numbers(self, *context: Tensor | None) -> tuple[Tensor, ...]:
        """The same in their groups."""
        return self.encode(*context).split(self.sizes, -1)


class Likelihood(Conditional, ABC):
    """p(x | h, c): a conditional over data, made by a decoder net.

    `support` is the set its data must lie in; `normalized` tells whether it is a density (or mass) on that
    set. Where it is not, negative log-likelihoods and bits per dimension do not exist and are refused. `link` is
    what the net's first output is of the mean. `typical`: x is rebuilt from a code like the posterior's draws, since
    their mean, nearer 0 than any of them, says less.
    """

    support: Constraint
    normalized = True
    typical = False
    link: Callable[[Tensor], Tensor] = staticmethod(torch.clone)

    def __init__(self, net: nn.Module, event_dims: int) -> None:
        super().__init__()
        self.net, self.event_dims = net, event_dims

    @property
    def name(self) -> str:
        """What to call it in messages."""
        return type(self).__name__

    def start_at(self, mean: Tensor) -> None:
        """Set the output bias so that, before training, the likelihood's mean is near `mean` (of shape `shape`)."""
        self.set_bias(0, mean, self.link)

    def outputs(self, *context: Tensor | None) -> tuple[Tensor, ...]:
        """The net's outputs, one tensor of shape `(*sample, batch, *shape)` for each parameter of the density."""
        h, *rest = context
        assert h is not None
        made, dim = through(self.net, h, *rest), h.dim() - 1
        return (made.squeeze(dim),) if made.shape[dim] == 1 else made.unbind(dim)  # the gradient of unbind is a copy

    def set_bias(self, output: int, mean: Tensor, link: Callable[[Tensor], Tensor]) -> None:
        """Set the bias of one output to `link(mean)`, the mean first averaged down to the shape the net's bias has."""
        bias: Tensor = self.net.output_bias[output]  # type: ignore[index, assignment]
        reduced = [d for d in range(mean.dim()) if bias.shape[d] == 1]
        with torch.no_grad():
            bias.copy_(link(mean.mean(reduced, keepdim=True) if reduced else mean))


def through(net: nn.Module, h: Tensor, *context: Tensor | None, event_dims: int = 1) -> Tensor:
    """Apply a net that takes one batch dimension to `h` of shape `(*sample, batch, *event)`.

    Context tensors are `(batch, n)`, repeated over the sample dimensions.
    """
    lead = h.shape[: h.dim() - event_dims]
    present = [c.expand(*lead, c.shape[-1]) for c in context if c is not None]
    if len(lead) == 1:
        return net(h, *present)
    flat = net(h.reshape(-1, *h.shape[len(lead) :]), *[c.reshape(-1, c.shape[-1]) for c in present])
    return flat.view(*lead, *flat.shape[1:])
