"""Latents with one level: z ~ q(z | x, c) to infer, z ~ p(z | c) to generate."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nelbo.conditionals import Conditional
from nelbo.distributions import has_kl, sample_and_log_prob, temper
from nelbo.latents.level import Level


class Latent(nn.Module, ABC):
    """Who draws z, and what is recorded of it. `h` is what the likelihood is conditioned on."""

    @abstractmethod
    def infer(self, x: Tensor, c: Tensor | None = None, shape: Sequence[int] = ()) -> tuple[Tensor, tuple[Level, ...]]:
        """Draw from the posterior `shape` times for each datum; h is `(*shape, batch, features)`."""

    @abstractmethod
    def generate(self, n: int, c: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        """h of `n` draws from the model's own prior, `(n, features)`."""

    @abstractmethod
    def embed(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """The posterior's mean, `(batch, features)`: no randomness."""


class Flat(Latent):
    """One level: a prior and a posterior over vectors."""

    def __init__(self, prior: Conditional, posterior: Conditional) -> None:
        super().__init__()
        self.prior = prior
        self.posterior = posterior

    def infer(self, x: Tensor, c: Tensor | None = None, shape: Sequence[int] = ()) -> tuple[Tensor, tuple[Level, ...]]:
        q, p = self.posterior(x, c), self.prior(c)
        if has_kl(q, p):  # then nobody may ever ask for log q, which would cost as much as the draw
            z = q.rsample(torch.Size(shape))
            return z, (Level(z, q, p),)
        z, log_q = sample_and_log_prob(q, shape)
        return z, (Level(z, q, p, log_q),)

    def generate(self, n: int, c: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        p = self.prior(c)
        if temperature != 1.0:
            p = temper(p, temperature)
        return p.sample(() if p.batch_shape else (n,))

    def embed(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        return self.posterior(x, c).mean
