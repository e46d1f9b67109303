"""Latents with one level, of vectors, bits or one-hot vectors: z ~ q(z | x, c) to infer, z ~ p(z | c) to generate.

Bits and one-hot vectors are relaxed in training. Several latents side by side are independent given x, such as a Normal
and a categorical part:

    q(z | x) = prod_j q_j(z_j | x),   p(z) = prod_j p_j(z_j),   rate = sum_j KL(q_j || p_j)

A latent with one level over the embeddings is also a prior: p(z) = integral of p(z | u) N(u; 0, I) du.

Source: Maddison, Mnih, Teh (2017), The Concrete Distribution; Jang, Gu, Poole (2017), Categorical Reparameterization
with Gumbel-Softmax; Dupont (2018), Learning Disentangled Joint Continuous and Discrete Representations; Dai, Wipf
(2019), Diagnosing and Enhancing VAE Models.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from nelbo import distributions
from nelbo.config.registry import MOST, Component, Count, Positive, Range, register
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
from nelbo.likelihoods import Likelihood, Normal
from nelbo.nets import MLPDecoder, Net
from nelbo.nets.mlp import perceptron
from nelbo.posteriors import DiagonalNormal, Posterior, RelaxedBernoulli, RelaxedOneHot
from nelbo.priors import ParameterFreePrior, Prior, StandardNormal
from nelbo.schedules import Schedule


class LatentLevel:
    """A sample z of one level, with its distributions q and p and its terms, of shape `(*sample, batch)`.

    Args:
        z: the sample, `(*sample, batch, *event)`.
        q: the posterior.
        p: the prior.
        log_q: log q(z | x), nats, if sampling computed it (a flow); None computes it on first use.
        penalty: losses other than the KL, such as a commitment loss; None for 0.
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
    """The latents of a model: they infer z from x, sample z from the prior, and compute features h for the likelihood.

    `features` is the length of h; in a hierarchy of pictures, its channels. `discrete` is True if z are indices of a
    codebook. `prior_over` is the type of z for a prior fitted after training; "" if none can be fitted.
    """

    family: ClassVar[str] = "latent"
    discrete = False
    features: int
    prior_over: Literal["vectors", "codes", ""] = ""

    def bind(self, likelihood: Likelihood) -> None:
        """Attach the likelihood to the parts that use it; most latents ignore it."""

    @abstractmethod
    def infer(
        self, x: Tensor, c: Tensor | None = None, shape: Sequence[int] = ()
    ) -> tuple[Tensor, tuple[LatentLevel, ...]]:
        """Sample from the posterior.

        Args:
            x: data `(batch, *shape)`.
            c: context `(batch, context)`; None for none.
            shape: shape of independent samples for each example; () for one sample.

        Returns:
            h `(*shape, batch, features)`, and the levels.
        """

    @abstractmethod
    def sample_prior(self, n: int, c: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        """Sample h from the prior, `(n, features)`.

        Args:
            n: number of samples.
            c: context `(n, context)`; None for none.
            temperature: factor of the standard deviation of z; below 1, samples are more typical and less varied.
        """

    def sample_prior_embedding(self, n: int, c: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        """Sample embeddings from the prior, of the shape that `embed` returns.

        Args:
            n: number of samples.
            c: context `(n, context)`; None for none.
            temperature: factor of the standard deviation of z; below 1, samples are more typical and less varied.
        """
        return self.sample_prior(n, c, temperature)

    def embedding_to_features(self, embedding: Tensor, c: Tensor | None = None) -> Tensor:
        """Map embeddings to h, `(batch, features)`.

        Args:
            embedding: embeddings of the shape that `embed` returns.
            c: context `(batch, context)`; None for none.
        """
        return embedding

    @abstractmethod
    def embed(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """The posterior mean, `(batch, features)`, without randomness.

        Args:
            x: data `(batch, *shape)`.
            c: context `(batch, context)`; None for none.
        """

    def typical_embedding(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """An embedding with the norm of posterior samples, `(batch, features)`; by default the posterior mean.

        Args:
            x: data `(batch, *shape)`.
            c: context `(batch, context)`; None for none.
        """
        return self.embed(x, c)

    def log_q(self, h: Tensor, c: Tensor | None = None) -> Callable[[Tensor], Tensor] | None:
        """The function that maps data x to log q(h | x, c), nats `(batch,)`; None if it is unknown.

        Args:
            h: features `(batch, features)`.
            c: context `(batch, context)`; None for none.
        """
        return None

    def single_posterior(self, x: Tensor, c: Tensor | None = None) -> Distribution | None:
        """q(z | x, c) of a latent with a single level that is not quantized; None for other latents.

        Args:
            x: data `(batch, *shape)`.
            c: context `(batch, context)`; None for none.
        """
        return None

    def has_normal_noise(self, c: Tensor | None = None) -> bool:
        """Whether samples of the prior use only Normal noise, which can be truncated.

        Args:
            c: context `(batch, context)`; None for none.
        """
        return False

    def encoder_parameters(self) -> list[nn.Parameter] | None:
        """The posterior's parameters; None if prior and posterior share modules, as in a hierarchy."""
        return None


class SingleLevelLatent(Latent):
    """One level: a prior and a posterior over vectors.

    Args:
        prior: p(z | c).
        posterior: q(z | x, c).
        features: length of h, from which the decoder is built; 0 if unknown.
    """

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
        if has_kl(q, p):  # then log q, which costs as much as the sample, may never be needed
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
        net: architecture of the encoder.
        shape: shape of an example.
        context: length of the context vector; 0 for none.
        dim: number of latent dimensions.
        prior: p(z | c).
        posterior: q(z | x, c).
    """
    spaces = [part.entry.make.space(**part.options) for part in (posterior, prior)]  # type: ignore[attr-defined]
    if spaces[0] != spaces[1]:
        raise UserError(
            f"posterior {posterior.kind} draws from {spaces[0]} and prior {prior.kind} from {spaces[1]}: choose a "
            "posterior and a prior on the same space"
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
    net: Net, shape: tuple[int, ...], context: int = 0, *, dim: Count = 40, temperature: Positive | Schedule = 2 / 3
) -> SingleLevelLatent:
    """Bits with a Bernoulli(1/2) prior.

    Args:
        net: architecture of the encoder.
        shape: shape of an example.
        context: length of the context vector; 0 for none.
        dim: number of bits.
        temperature: temperature of the relaxation that is used in training.
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
    classes: Annotated[int, Range(2, MOST)] = 10,
    temperature: Positive | Schedule = 2 / 3,
) -> SingleLevelLatent:
    """One-hot vectors with a uniform prior.

    Args:
        net: architecture of the encoder.
        shape: shape of an example.
        context: length of the context vector; 0 for none.
        variables: number of one-hot vectors.
        classes: entries of each vector.
        temperature: temperature of the relaxation that is used in training.
    """
    features = variables * classes
    posterior = RelaxedOneHot(net.encoder(shape, features, context), len(shape), classes, temperature)
    prior = ParameterFreePrior(features, lambda zeros: distributions.OneHot(zeros, classes))
    return SingleLevelLatent(prior, posterior, features)


class ProductLatent(Latent):
    """Several latents: h is the concatenation of theirs, and the levels are those of all.

    Args:
        parts: the latents, in order.
    """

    def __init__(self, parts: Sequence[Latent]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.features = sum(part.features for part in parts)

    def infer(
        self, x: Tensor, c: Tensor | None = None, shape: Sequence[int] = ()
    ) -> tuple[Tensor, tuple[LatentLevel, ...]]:
        results = [part.infer(x, c, shape) for part in self.parts]  # type: ignore[operator]
        return torch.cat([h for h, _ in results], -1), tuple(level for _, levels in results for level in levels)

    def sample_prior(self, n: int, c: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        return torch.cat([part.sample_prior(n, c, temperature) for part in self.parts], -1)  # type: ignore[operator]

    def embed(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        return torch.cat([part.embed(x, c) for part in self.parts], -1)  # type: ignore[operator]

    def typical_embedding(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        return torch.cat([part.typical_embedding(x, c) for part in self.parts], -1)  # type: ignore[operator]


def _check_parts(options: Mapping[str, Any]) -> None:
    if not options["parts"]:
        raise UserError('parts = {}: give one latent or more, such as {style = {kind = "flat"}}')


JOINT = {
    "continuous": Component[Latent]("latent", "flat", dim=10),
    "discrete": Component[Latent]("latent", "categorical", variables=1),
}


@register("latent", "product", cite="dupont2018learning", check=_check_parts)
def product(
    net: Net, shape: tuple[int, ...], context: int = 0, *, parts: dict[str, Component[Latent]] = JOINT
) -> ProductLatent:
    """Named latents side by side, each with its own encoder.

    Args:
        net: architecture of the encoders.
        shape: shape of an example.
        context: length of the context vector; 0 for none.
        parts: the latents by name.
    """
    return ProductLatent([part.build(net=net, shape=shape, context=context) for part in parts.values()])


@register("prior", "two-stage", cite="dai2019diagnosing")
class TwoStagePrior(Prior):
    """A VAE whose data are z, with as many latent dimensions as z has.

    It is sampled exactly; of its density only a lower bound is known (see `distributions.Marginal`).

    Args:
        dim: number of latents.
        hidden: hidden layers of its encoder; its decoder has them in reverse.
        samples: importance samples of the bound on its density; more make it tighter.
    """

    def __init__(self, dim: int, *, hidden: tuple[Count, ...] = (128, 128), samples: Count = 1) -> None:
        super().__init__()
        posterior = DiagonalNormal(perceptron([dim, *hidden, 2 * dim]), 1)
        likelihood = Normal(MLPDecoder(dim, (dim,), hidden[::-1]), 1, sigma="learned")
        latent = SingleLevelLatent(StandardNormal(dim), posterior, dim)
        self.vae = nn.ModuleDict({"latent": latent, "likelihood": likelihood})
        self.samples = samples

    def forward(self, *context: Tensor | None) -> distributions.Marginal:
        latent: Any = self.vae["latent"]
        return distributions.Marginal(latent.prior(), self.vae["likelihood"], latent.posterior, self.samples)
