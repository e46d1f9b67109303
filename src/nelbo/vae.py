"""The model class: a VAE is a latent and a likelihood; a `Trace` records a pass through it.

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
    """The record of a pass: the terms of the ELBO, nats per datum `(*sample_shape, batch)`.

    Args:
        x: data `(batch, *shape)`.
        likelihood: p(x | z) at the sampled latents.
        levels: the latents, with posterior and prior, top level first.
    """

    def __init__(self, x: Tensor, likelihood: Distribution, levels: tuple[LatentLevel, ...]) -> None:
        self.x = x
        self.likelihood = likelihood
        self.levels = levels

    @cached_property
    def distortion(self) -> Tensor:
        """-log p(x | z), nats: the reconstruction error of x."""
        return -self.likelihood.log_prob(self.x)

    @cached_property
    def rate(self) -> Tensor:
        """KL(q(z | x) || p(z)), nats, summed over levels: the information about x in the latents."""
        return reduce(torch.add, [level.kl for level in self.levels])

    @cached_property
    def penalty(self) -> Tensor:
        """Losses of the latents other than the KL, such as a commitment loss; zero if there are none."""
        charged = [level.penalty for level in self.levels if level.penalty is not None]
        return reduce(torch.add, charged) if charged else torch.zeros_like(self.distortion)

    @cached_property
    def log_weight(self) -> Tensor:
        """log w = log p(x | z) + log p(z) - log q(z | x), nats: the log importance weight of z.

        Raises:
            UserError: if a prior and a posterior are not both discrete or both continuous, since their densities
                are then against different measures and their ratio is meaningless; or if a posterior is a point mass.
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

    Args:
        latent: p(z) and q(z | x), and the features h of z.
        likelihood: p(x | h).
    """

    def __init__(self, latent: Latent, likelihood: Likelihood) -> None:
        super().__init__()
        self.latent = latent
        self.likelihood = likelihood
        latent.bind(likelihood)

    def forward(self, x: Tensor, c: Tensor | None = None, shape: Sequence[int] = ()) -> Trace:
        """Sample latents for each datum and score x under each sample.

        Args:
            x: data `(batch, *shape)`.
            c: context `(batch, context)`; None for none.
            shape: shape of the latent samples of each datum; () for one sample.
        """
        h, levels = self.latent.infer(x, c, shape)
        return Trace(x, self.likelihood(h, c), levels)

    def encode(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """The embedding from which x is reconstructed: the posterior mean.

        For text, that mean is rescaled to the norm of a typical draw.

        Args:
            x: data `(batch, *shape)`.
            c: context `(batch, context)`; None for none.
        """
        return (self.latent.typical_embedding if self.likelihood.reconstruct_from_typical else self.latent.embed)(x, c)

    def decode(self, h: Tensor, c: Tensor | None = None) -> Distribution:
        """p(x | h, c).

        Args:
            h: features `(*sample, batch, features)`.
            c: context `(batch, context)`; None for none.
        """
        return self.likelihood(h, c)

    def decode_mean(self, h: Tensor, c: Tensor | None = None) -> Tensor:
        """Reconstruct x from an embedding: the mean of p(x | h, c), or for text the line that fits it best.

        Args:
            h: embeddings `(batch, n)`.
            c: context `(batch, context)`; None for none.
        """
        return self.decode(self.latent.embedding_to_features(h, c), c).reconstruct(self.latent.log_q(h, c))  # type: ignore[attr-defined]

    def generate(self, n: int, c: Tensor | None = None, temperature: float = 1.0) -> Distribution:
        """p(x | z) for samples of z from the prior.

        Args:
            n: number of samples.
            c: context `(n, context)`; None for none.
            temperature: factor of the standard deviation of z, and divisor of the logits of text; below 1, samples are
                more typical and less varied.
        """
        return self.likelihood(self.latent.sample_prior(n, c, temperature), c).with_temperature(temperature)
