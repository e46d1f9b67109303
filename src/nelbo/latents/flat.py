"""Latents with one level: z ~ q(z | x, c) to infer, z ~ p(z | c) to generate."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn

from nelbo.conditionals import AggregatePrior, Conditional, HamiltonianPosterior, Likelihood, RiemannianPosterior
from nelbo.distributions import draw, has_kl, sample_and_log_prob, temper, typical
from nelbo.latents.level import Level


class Latent(nn.Module, ABC):
    """Who draws z, and what is recorded of it. `h` is what the likelihood is conditioned on."""

    def bind(self, likelihood: Likelihood) -> None:
        """Give the likelihood to those parts that use it; most have none."""

    @abstractmethod
    def infer(self, x: Tensor, c: Tensor | None = None, shape: Sequence[int] = ()) -> tuple[Tensor, tuple[Level, ...]]:
        """Draw from the posterior `shape` times for each datum; h is `(*shape, batch, features)`."""

    @abstractmethod
    def generate(self, n: int, c: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        """h of `n` draws from the model's own prior, `(n, features)`."""

    def draw(self, n: int, c: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        """The codes, as `embed` has them, of `n` draws from the prior: `expand` makes of them what `generate` gives."""
        return self.generate(n, c, temperature)

    def expand(self, code: Tensor, c: Tensor | None = None) -> Tensor:
        """h of a code `(batch, n)` as `embed` gives it."""
        return code

    @abstractmethod
    def embed(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """The posterior's mean, `(batch, features)`: no randomness."""

    def typical(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """A code that stands for the posterior's draws, `(batch, features)`: the mean, if there is no better one."""
        return self.embed(x, c)


class Flat(Latent):
    """One level: a prior and a posterior over vectors."""

    def __init__(self, prior: Conditional, posterior: Conditional) -> None:
        super().__init__()
        self.prior, self.posterior = prior, posterior
        if isinstance(prior, AggregatePrior):
            prior.bind(posterior)

    def bind(self, likelihood: Likelihood) -> None:
        if isinstance(self.posterior, HamiltonianPosterior | RiemannianPosterior):
            self.posterior.bind(self.prior, likelihood)

    def infer(self, x: Tensor, c: Tensor | None = None, shape: Sequence[int] = ()) -> tuple[Tensor, tuple[Level, ...]]:
        q, p = self.posterior(x, c), self.prior(c)
        if has_kl(q, p):  # then nobody may ever ask for log q, which would cost as much as the draw
            z = draw(q, shape)
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

    def typical(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        return typical(self.posterior(x, c))
