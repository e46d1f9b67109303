"""The one model class: a VAE is a latent and a likelihood; a `Trace` is what one pass through it recorded.

    log p(x) >= ELBO = E_q[log p(x | z)] - KL(q(z | x) || p(z)),   -ELBO = distortion + rate

All terms are per datum, in nats, of shape `(*sample_shape, batch)`.

Source: Kingma, Welling (2014), Auto-Encoding Variational Bayes; Rezende, Mohamed, Wierstra (2014), Stochastic
Backpropagation and Approximate Inference in Deep Generative Models.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, reduce

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from nelbo.errors import UserError
from nelbo.latents import Latent, LatentLevel
from nelbo.likelihoods import Likelihood


class Trace:
    """One pass: the data, the likelihood given the drawn latents, and the levels."""

    def __init__(self, x: Tensor, likelihood: Distribution, levels: tuple[LatentLevel, ...]) -> None:
        self.x = x
        self.likelihood = likelihood
        self.levels = levels

    @cached_property
    def distortion(self) -> Tensor:
        """-log p(x | z), nats: how badly x is reconstructed."""
        return -self.likelihood.log_prob(self.x)

    @cached_property
    def rate(self) -> Tensor:
        """KL(q(z | x) || p(z)), nats, summed over levels: how much of x the latents carry."""
        return reduce(torch.add, [level.kl for level in self.levels])

    @cached_property
    def penalty(self) -> Tensor:
        """Losses of the latents other than the KL, such as a commitment loss; zero if there are none."""
        charged = [level.penalty for level in self.levels if level.penalty is not None]
        return reduce(torch.add, charged) if charged else torch.zeros_like(self.distortion)

    @cached_property
    def log_weight(self) -> Tensor:
        """log w = log p(x | z) + log p(z) - log q(z | x), nats: the importance weight of this draw.

        Raises:
            UserError: if a prior and a posterior are not both discrete or both continuous, since their densities are
                then against different measures and the ratio means nothing; or if a posterior is a point mass.
        """
        for level in self.levels:
            if not level.q.has_density:  # type: ignore[attr-defined]
                raise UserError(
                    "log_weight: the posterior is a point mass, which has no density, so its draws have no importance "
                    "weights: use the distortion, or a posterior with a density such as diagonal-normal"
                )
            if _is_discrete(level.q) != _is_discrete(level.p):
                raise UserError(
                    f"log_weight: q is {type(level.q).__name__} and p is {type(level.p).__name__}, one discrete and "
                    "one continuous; evaluate the model in eval() mode, where both are discrete"
                )
        return reduce(torch.add, [level.log_p - level.log_q for level in self.levels]) - self.distortion


def _is_discrete(d: Distribution) -> bool:
    return bool(d.support.is_discrete)  # type: ignore[union-attr]


class VAE(nn.Module):
    """p(x, z) = p(x | z) p(z), with q(z | x) to infer z.

    Shapes: x is `(batch, *shape)`, a context c is `(batch, n)` or None.
    """

    def __init__(self, latent: Latent, likelihood: Likelihood) -> None:
        super().__init__()
        self.latent = latent
        self.likelihood = likelihood
        latent.bind(likelihood)

    def forward(self, x: Tensor, c: Tensor | None = None, shape: Sequence[int] = ()) -> Trace:
        """Draw the latents of each datum `shape` times and score x under each draw."""
        h, levels = self.latent.infer(x, c, shape)
        return Trace(x, self.likelihood(h, c), levels)

    def encode(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """The embedding that x is rebuilt from: the posterior's mean, or for text a point of the norm of its draws."""
        return (self.latent.typical_embedding if self.likelihood.reconstruct_from_typical else self.latent.embed)(x, c)

    def decode(self, h: Tensor, c: Tensor | None = None) -> Distribution:
        """p(x | h, c)."""
        return self.likelihood(h, c)

    def decode_mean(self, h: Tensor, c: Tensor | None = None) -> Tensor:
        """x of an embedding `(batch, features)`: the mean of p(x | h, c), or for text the line that fits it best."""
        return self.decode(self.latent.embedding_to_features(h, c), c).reconstruct(self.latent.log_q(h, c))  # type: ignore[attr-defined]

    def generate(self, n: int, c: Tensor | None = None, temperature: float = 1.0) -> Distribution:
        """p(x | z) for `n` draws of z from the model's own prior; the temperature is that of a text's tokens, too."""
        return self.likelihood(self.latent.sample_prior(n, c, temperature), c).with_temperature(temperature)
