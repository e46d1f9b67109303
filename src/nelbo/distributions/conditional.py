"""A distribution given a context: the type of priors p(z | c), posteriors q(z | x, c) and likelihoods p(x | h, c).

`forward(*context)` returns a `torch.distributions.Distribution`. A context that is absent is `None`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn
from torch.distributions import Distribution


class ConditionalDistribution(nn.Module, ABC):
    """A module that returns a distribution given a context."""

    @abstractmethod
    def forward(self, *context: Tensor | None) -> Distribution:
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
