"""Latents with one level, of vectors, bits or one-hot vectors.

Latents with one level: z ~ q(z | x, c) to infer, z ~ p(z | c) to generate; and the record of one level's draw.

Single-level latents of bits and of one-hot vectors, relaxed in training.

Source: Maddison, Mnih, Teh (2017), The Concrete Distribution; Jang, Gu, Poole (2017), Categorical Reparameterization
with Gumbel-Softmax.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

from torch import Tensor, nn
from torch.distributions import Distribution

from nelbo import distributions
from nelbo.config.registry import Component, Count, Positive, Range, register
from nelbo.distributions import (
    draw,
    has_kl,
    has_normal_noise,
    kl_divergence,
    sample_and_log_prob,
    temper,
    typical_point,
)
from nelbo.errors import UserError
from nelbo.likelihoods import Likelihood
from nelbo.nets import Net
from nelbo.posteriors import Posterior, RelaxedBernoulli, RelaxedOneHot
from nelbo.priors import ParameterFreePrior, Prior
from nelbo.schedules import Schedule


class LatentLevel:
    """One level: the draw z, the distributions q and p it is scored under, and terms of shape `(*sample, batch)`.

    `log_q` is passed where only drawing knows it (a flow); otherwise it is computed when asked for.
    """

    def __init__(
        self, z: Tensor, q: Distribution, p: Distribution, log_q: Tensor | None = None, penalty: Tensor | None = None
    ) -> None:
        self.z, self.q = z, q
        self.p, self.penalty = p, penalty
        if log_q is not None:
            self.log_q = log_q

    @cached_property
    def log_q(self) -> Tensor:
        """log q(z | x), nats."""
        return self.q.log_prob(self.z)

    @cached_property
    def log_p(self) -> Tensor:
        """log p(z), nats."""
        return self.p.log_prob(self.z)

    @cached_property
    def kl(self) -> Tensor:
        """KL(q || p) in nats: the closed form if the table has one, else the estimate log q(z) - log p(z)."""
        if has_kl(self.q, self.p):
            sample = self.z.shape[: self.z.dim() - len(self.q.batch_shape) - len(self.q.event_shape)]
            kl = kl_divergence(self.q, self.p)
            return kl.expand(*sample, *kl.shape) if sample else kl
        return self.log_q - self.log_p


class Latent(nn.Module, ABC):
    """Who draws z, and what is recorded of it. `h` is what the likelihood is conditioned on.

    `features` is the size of h; in a hierarchy of pictures, its channels. `discrete`: z are indices of a codebook.
    `prior_over`: what a prior is over that is fitted after training; "" where none can be.
    """

    family: ClassVar[str] = "latent"
    discrete = False
    features: int
    prior_over: Literal["vectors", "codes", ""] = ""

    def bind(self, likelihood: Likelihood) -> None:
        """Pass the likelihood to those parts that use it; most latents have none."""

    @abstractmethod
    def infer(
        self, x: Tensor, c: Tensor | None = None, shape: Sequence[int] = ()
    ) -> tuple[Tensor, tuple[LatentLevel, ...]]:
        """Draw from the posterior `shape` times for each datum; h is `(*shape, batch, features)`."""

    @abstractmethod
    def sample_prior(self, n: int, c: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        """h of `n` draws from the model's own prior, `(n, features)`."""

    def sample_prior_embedding(self, n: int, c: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        """Embeddings of `n` draws from the prior, of the form that `embed` returns; `embedding_to_features` maps them to h."""
        return self.sample_prior(n, c, temperature)

    def embedding_to_features(self, embedding: Tensor, c: Tensor | None = None) -> Tensor:
        """h of an embedding `(batch, n)` of the form that `embed` returns."""
        return embedding

    @abstractmethod
    def embed(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """The posterior's mean, `(batch, features)`: no randomness."""

    def typical_embedding(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """An embedding of the norm that the posterior's draws have, `(batch, features)`; by default the mean."""
        return self.embed(x, c)

    def log_q(self, h: Tensor, c: Tensor | None = None) -> Callable[[Tensor], Tensor] | None:
        """The function that maps data x to log q(h | x, c), nats `(batch,)`; None where it is not known."""
        return None

    def single_posterior(self, x: Tensor, c: Tensor | None = None) -> Distribution | None:
        """q(z | x, c) of a latent of one level that is not quantized; None of others."""
        return None

    def has_normal_noise(self, c: Tensor | None = None) -> bool:
        """Whether draws of the prior are made of Normal noise, so that the noise can be truncated."""
        return False

    def encoder_parameters(self) -> list[nn.Parameter] | None:
        """The posterior's parameters; None where prior and posterior share a path, as in a hierarchy."""
        return None


class SingleLevelLatent(Latent):
    """One level: a prior and a posterior over vectors."""

    prior_over = "vectors"

    def __init__(self, prior: Prior, posterior: Posterior, features: int = 0) -> None:
        super().__init__()
        self.prior, self.posterior = prior, posterior
        self.features = features
        prior.bind(posterior)

    def bind(self, likelihood: Likelihood) -> None:
        self.posterior.bind(self.prior, likelihood)

    def single_posterior(self, x: Tensor, c: Tensor | None = None) -> Distribution:
        return self.posterior(x, c)

    def has_normal_noise(self, c: Tensor | None = None) -> bool:
        return has_normal_noise(self.prior(c))

    def infer(
        self, x: Tensor, c: Tensor | None = None, shape: Sequence[int] = ()
    ) -> tuple[Tensor, tuple[LatentLevel, ...]]:
        q, p = self.posterior(x, c), self.prior(c)
        if has_kl(q, p):  # then nobody may ever ask for log q, which would cost as much as the draw
            z = draw(q, shape)
            return z, (LatentLevel(z, q, p),)
        z, log_q = sample_and_log_prob(q, shape)
        return z, (LatentLevel(z, q, p, log_q),)

    def sample_prior(self, n: int, c: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        p = self.prior(c)
        if temperature != 1.0:
            p = temper(p, temperature)
        return p.sample(() if p.batch_shape else (n,))

    def embed(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        return self.posterior(x, c).mean

    def typical_embedding(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        return typical_point(self.posterior(x, c))

    def log_q(self, h: Tensor, c: Tensor | None = None) -> Callable[[Tensor], Tensor]:
        return lambda x: self.posterior(x, c).log_prob(h)

    def encoder_parameters(self) -> list[nn.Parameter]:
        return list(self.posterior.parameters())


@register("latent", "flat")
def single_level(
    net: Net,
    shape: tuple[int, ...],
    context: int = 0,
    *,
    dim: Count = 20,
    prior: Component[Prior] = Component("prior", "standard-normal"),
    posterior: Component[Posterior] = Component("posterior", "diagonal-normal"),
) -> SingleLevelLatent:
    """One level of vectors.

    Args:
        dim: number of latents.
        prior: p(z | c).
        posterior: q(z | x, c).
    """
    spaces = [part.entry.make.space(**part.options) for part in (posterior, prior)]  # type: ignore[attr-defined]
    if spaces[0] != spaces[1]:
        raise UserError(
            f"posterior {posterior.kind} draws from {spaces[0]} and prior {prior.kind} from {spaces[1]}: choose both "
            "on one space"
        )
    sizes = {"dim": dim, "shape": shape, "context": context, "event_dims": len(shape)}
    p = prior.build(**sizes)
    n_params = posterior.entry.make.n_params(dim, **posterior.options)  # type: ignore[attr-defined]
    return SingleLevelLatent(p, posterior.build(encoder=net.encoder(shape, n_params, context), **sizes), dim)


def _check_temperature(options: Mapping[str, Any]) -> None:
    schedule = options["temperature"]
    if isinstance(schedule, Schedule) and min(schedule(i / 1000) for i in range(1001)) <= 0:
        raise UserError(f"temperature = {schedule}: give a number above 0, or a schedule that stays above 0")


@register("latent", "binary", cite=("maddison2017concrete", "jang2017categorical"), check=_check_temperature)
def binary(
    net: Net,
    shape: tuple[int, ...],
    context: int = 0,
    *,
    dim: Count = 40,
    temperature: Positive | Schedule = 2 / 3,
) -> SingleLevelLatent:
    """Bits under a Bernoulli(1/2) prior.

    Args:
        dim: number of bits.
        temperature: of the relaxation in training; a number, or a schedule.
    """
    posterior = RelaxedBernoulli(net.encoder(shape, dim, context), len(shape), temperature)
    return SingleLevelLatent(ParameterFreePrior(dim, distributions.Bernoulli), posterior, dim)


@register("latent", "categorical", cite=("jang2017categorical", "maddison2017concrete"), check=_check_temperature)
def categorical(
    net: Net,
    shape: tuple[int, ...],
    context: int = 0,
    *,
    variables: Count = 20,
    classes: Annotated[int, Range(2)] = 10,
    temperature: Positive | Schedule = 2 / 3,
) -> SingleLevelLatent:
    """One-hot vectors under a uniform prior.

    Args:
        variables: number of vectors.
        classes: entries of each.
        temperature: of the relaxation in training; a number, or a schedule.
    """
    features = variables * classes
    posterior = RelaxedOneHot(net.encoder(shape, features, context), len(shape), classes, temperature)
    prior = ParameterFreePrior(features, lambda zeros: distributions.OneHot(zeros, classes))
    return SingleLevelLatent(prior, posterior, features)
