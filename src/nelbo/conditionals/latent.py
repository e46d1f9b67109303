"""Priors p(z | c) and posteriors q(z | x, c)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nelbo import distributions
from nelbo.conditionals.base import Conditional, through


class StandardNormal(Conditional):
    """p(z | c) = N(0, I), whatever the context."""

    origin: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.register_buffer("origin", torch.zeros(()), persistent=False)

    def forward(self, *context: Tensor | None) -> distributions.StandardNormal:
        return distributions.StandardNormal(self.dim, self.origin)


class DiagonalNormal(Conditional):
    """q(z | x, c) = N(mu(x, c), diag(sigma^2(x, c))), where one net returns mu and log sigma^2 side by side.

    `event_dims` is the number of dimensions of a datum; `initial_logvar` is log sigma^2 before training: well
    below 0, the first draws of z tell something of x (None: as the net starts).

    Source: Kingma, Welling (2014), Auto-Encoding Variational Bayes, appendix C.
    """

    def __init__(self, net: nn.Module, event_dims: int, initial_logvar: float | None = None) -> None:
        super().__init__()
        self.net = net
        self.event_dims = event_dims
        if initial_logvar is not None:
            bias: Tensor = net.output_bias  # type: ignore[assignment]
            with torch.no_grad():
                bias.chunk(2)[1].fill_(initial_logvar)

    def forward(self, *context: Tensor | None) -> distributions.DiagonalNormal:
        x, *rest = context
        assert x is not None
        loc, logvar = through(self.net, x, *rest, event_dims=self.event_dims).chunk(2, -1)
        return distributions.DiagonalNormal(loc, 0.5 * logvar)
