"""The likelihood of data with missing elements.

Source: Little, Rubin (1987), Statistical Analysis with Missing Data; Mattei, Frellsen (2019), MIWAE: Deep Generative
Modelling and Imputation of Incomplete Data Sets.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nelbo import distributions
from nelbo.likelihoods.base import Likelihood


class MissingDataLikelihood(Likelihood):
    """p(x_o | h) of the observed elements; NaN marks the missing ones, which add 0.

    Args:
        base: a likelihood of independent elements.
    """

    missing = True

    def __init__(self, base: Likelihood) -> None:
        nn.Module.__init__(self)  # the net belongs to the base, and is saved once
        self.base, self.event_dims = base, base.event_dims
        self.accepts, self.raw_counts = base.accepts, base.raw_counts
        self.normalized, self.support = base.normalized, base.support

    @property
    def net(self) -> nn.Module:  # type: ignore[override]
        """The decoder."""
        return self.base.net

    @property
    def name(self) -> str:
        return self.base.name

    def forward(self, *context: Tensor | None) -> distributions.Masked:
        d = self.base(*context)
        assert isinstance(d, distributions.Distribution)
        return distributions.Masked(d)

    def fill_missing(self, rows: Tensor, mean: Tensor) -> Tensor:
        return torch.where(rows.isnan(), mean, rows)

    def init_output_bias(self, mean: Tensor) -> None:
        self.base.init_output_bias(mean)
