"""The base class of likelihoods: a decoder whose outputs are the parameters of a distribution."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.distributions.constraints import Constraint

from nelbo.distributions.base import ConditionalDistribution, apply_over_sample_dims

UNIT, BINARY = ("binary", "unit"), ("binary",)


class Likelihood(ConditionalDistribution, ABC):
    """p(x | h, c) of data x, given features h of the latents.

    Class attributes:
        support: the set that x must lie in.
        accepts: the supports of a schema ("binary", "unit", "real") that lie in it.
        raw_counts: whether x must be whole numbers that are neither scaled nor shifted.
        normalized: whether it is a density (or mass) on its support. If it is not, likelihoods and bits per
            dimension do not exist, and computing them raises an error.
        missing: whether elements of x may be missing (NaN).
        reconstruct_from_typical: whether x is reconstructed from an embedding of the norm of posterior samples,
            instead of the posterior mean.
        link: maps a mean to the decoder's first output.

    Args:
        decoder: maps h `(batch, features)` and a context to `(batch, n_outputs, *shape)`.
        event_dims: number of dimensions of a datum.
    """

    family: ClassVar[str] = "likelihood"
    support: Constraint
    accepts: tuple[str, ...] = ("binary", "unit", "real")
    raw_counts = False
    normalized = True
    missing = False
    reconstruct_from_typical = False
    link: Callable[[Tensor], Tensor] = staticmethod(torch.clone)

    def __init__(self, decoder: nn.Module, event_dims: int) -> None:
        super().__init__()
        self.net, self.event_dims = decoder, event_dims

    @classmethod
    def n_outputs(cls, **options: Any) -> int:
        """The number of outputs of the decoder for each element of x."""
        return 1

    @property
    def name(self) -> str:
        """The name to use in messages."""
        return type(self).__name__

    def init_output_bias(self, mean: Tensor) -> None:
        """Set the output bias before training so that the likelihood's mean is near `mean`, of the shape of a datum."""
        self.set_bias(0, mean, self.link)

    def fill_missing(self, rows: Tensor, mean: Tensor) -> Tensor:
        """Training rows to initialize parts from; missing elements are replaced by the mean if the nets accept none."""
        return rows

    def outputs(self, *context: Tensor | None) -> tuple[Tensor, ...]:
        """The decoder's outputs, one tensor of shape `(*sample, batch, *shape)` for each parameter of the density."""
        h, *rest = context
        assert h is not None
        outputs, dim = apply_over_sample_dims(self.net, h, *rest), h.dim() - 1
        if outputs.shape[dim] == 1:  # the gradient of unbind is a copy
            return (outputs.squeeze(dim),)
        return outputs.unbind(dim)

    def set_bias(self, output: int, mean: Tensor, link: Callable[[Tensor], Tensor]) -> None:
        """Set the bias of one output to `link(mean)`, the mean first averaged down to the shape of the bias."""
        bias: Tensor = self.net.output_bias[output]  # type: ignore[index, assignment]
        reduced = [d for d in range(mean.dim()) if bias.shape[d] == 1]
        with torch.no_grad():
            bias.copy_(link(mean.mean(reduced, keepdim=True) if reduced else mean))
