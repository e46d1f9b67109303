"""Priors p(z | c) and posteriors q(z | x, c)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from nelbo import distributions
from nelbo.conditionals.base import Conditional, Posterior


class StandardNormal(Conditional):
    """p(z | c) = N(0, I), whatever the context."""

    origin: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.register_buffer("origin", torch.zeros(()), persistent=False)

    def forward(self, *context: Tensor | None) -> distributions.StandardNormal:
        return distributions.StandardNormal(self.dim, self.origin)


class Fixed(Conditional):
    """p(z | c): one distribution over `dim` latents without parameters, whatever the context.

    `make` is given zeros `(dim,)` of the model's dtype and device.

    >>> Fixed(3, lambda zeros: distributions.UniformSphere(3, zeros))().mean.tolist()
    [0.0, 0.0, 0.0]
    """

    zeros: Tensor

    def __init__(self, dim: int, make: Callable[[Tensor], distributions.Distribution]) -> None:
        super().__init__()
        self.make = make
        self.register_buffer("zeros", torch.zeros(dim), persistent=False)

    def forward(self, *context: Tensor | None) -> distributions.Distribution:
        return self.make(self.zeros)


class DiagonalNormal(Posterior):
    """q(z | x, c) = N(mu(x, c), diag(sigma^2(x, c))), where one net returns mu and log sigma^2 side by side.

    `event_dims` is the number of dimensions of a datum; `initial_logvar` is log sigma^2 before training: well
    below 0, the first draws of z tell something of x (None: as the net starts).

    Source: Kingma, Welling (2014), Auto-Encoding Variational Bayes, appendix C.
    """

    def __init__(self, net: nn.Module, event_dims: int, initial_logvar: float | None = None) -> None:
        super().__init__(net, event_dims)
        if initial_logvar is not None:
            bias: Tensor = net.output_bias  # type: ignore[assignment]
            with torch.no_grad():
                bias.chunk(2)[1].fill_(initial_logvar)

    def forward(self, *context: Tensor | None) -> distributions.DiagonalNormal:
        loc, logvar = self.encode(*context).chunk(2, -1)
        return distributions.DiagonalNormal(loc, 0.5 * logvar)
