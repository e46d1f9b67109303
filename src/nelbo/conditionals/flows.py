"""Priors and posteriors that are normalizing flows: a Normal pushed through an invertible map.

    posterior   z = f(e; h(x)),  e ~ N(mu(x), diag(sigma^2(x))),   log q(z | x) = log N(e) - log |det df/de|
    prior       z = f(e; c),     e ~ N(0, I)

Sources: Rezende, Mohamed (2015), Variational Inference with Normalizing Flows; Kingma et al. (2016), Improved
Variational Inference with Inverse Autoregressive Flow; Chen et al. (2017), Variational Lossy Autoencoder.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nelbo import distributions
from nelbo.conditionals.base import Conditional, Posterior
from nelbo.nets.flows import Affine, Chain, Transform


class FlowPosterior(Posterior):
    """q(z | x, c): a diagonal Normal given x, pushed through `transform` given a context vector h(x, c).

    `net` returns mu, log sigma^2 (of `dim` numbers each) and then h. `event_dims` is a datum's number of dimensions.
    """

    def __init__(self, net: nn.Module, event_dims: int, transform: Transform, dim: int) -> None:
        super().__init__(net, event_dims)
        self.transform, self.dim = transform, dim

    def forward(self, *context: Tensor | None) -> distributions.Flow:
        loc, logvar, h = self.encode(*context).tensor_split((self.dim, 2 * self.dim), -1)
        return distributions.Flow(distributions.DiagonalNormal(loc, 0.5 * logvar), self.transform, h)


class FlowPrior(Conditional):
    """p(z | c): N(0, I) over `dim` numbers through `transform`, given c where it was built for `context` numbers.

    The map ends in a scale and shift of each number: the identity until it is learned, or set by `start_at`.
    """

    origin: Tensor

    def __init__(self, dim: int, transform: Transform, context: int = 0) -> None:
        super().__init__()
        self.transform = Chain([transform, Affine(dim)])
        self.context = context
        self.register_buffer("origin", torch.zeros(dim), persistent=False)

    @torch.no_grad()
    def start_at(self, codes: Tensor) -> None:
        """Begin with the means and standard deviations of codes `(n, dim)`."""
        affine = self.transform.transforms[-1]
        assert isinstance(affine, Affine)
        affine.loc.copy_(codes.mean(0))
        affine.log_scale.copy_(codes.std(0).clamp_min(1e-6).log())

    def forward(self, *context: Tensor | None) -> distributions.Flow:
        (c,) = context if self.context and context else (None,)
        if c is None:
            return distributions.Flow(distributions.StandardNormal(len(self.origin), self.origin), self.transform)
        loc = self.origin.expand(*c.shape[:-1], -1)
        return distributions.Flow(distributions.DiagonalNormal(loc, self.origin), self.transform, c)
