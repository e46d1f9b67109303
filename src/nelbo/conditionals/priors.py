"""Learned priors: mixtures, the VampPrior, the exemplar prior, a sequence model of codes, a second VAE.

    mixture    p(z) = sum_k w_k N(z; mu_k, Sigma_k)
    VampPrior  p(z) = (1/K) sum_k q(z | u_k),            pseudo-inputs u_k learned
    exemplar   p(z) = (1/N) sum_n N(z; mu(x_n), s^2 I),  exemplars x_n data, one learned s
    sequence   p(k) = prod_i p(k_i | k_1 ... k_{i-1})
    two-stage  p(z) = integral of p(z | u) N(u; 0, I) du

The best prior of a VAE is the aggregate posterior, (1/N) sum_n q(z | x_n); the second and third approximate it. They
are made of the posterior, which they use but do not own: its weights are in the model once. Prior of a conditional
model or not, these do not depend on c; the sequence model does.

Sources: Tomczak, Welling (2018), VAE with a VampPrior; Norouzi, Fleet, Norouzi (2020), Exemplar VAE: Linking
Generative Models, Nearest Neighbor Retrieval, and Data Augmentation; Dai, Wipf (2019), Diagnosing and Enhancing VAE
Models.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, MultivariateNormal

from nelbo import distributions
from nelbo.conditionals.base import Conditional, Likelihood, through


class Mixture(Conditional):
    """p(z) = sum_k w_k N(z; mu_k, Sigma_k), all learned; Sigma_k is diagonal, or any covariance with `full`."""

    def __init__(self, dim: int, components: int, full: bool = False) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(components))
        self.loc = nn.Parameter(torch.randn(components, dim))
        self.log_scale = nn.Parameter(torch.zeros(components, dim))
        self.lower = nn.Parameter(torch.zeros(components, dim, dim)) if full else None

    def forward(self, *context: Tensor | None) -> distributions.Mixture:
        components: Distribution = distributions.DiagonalNormal(self.loc, self.log_scale)
        if self.lower is not None:
            root = self.lower.tril(-1) + torch.diag_embed(self.log_scale.exp())
            components = MultivariateNormal(self.loc, scale_tril=root, validate_args=False)
        return distributions.Mixture(components, self.logits)


class AggregatePrior(Conditional, ABC):
    """A prior made of the posterior: `Flat` binds the two; `start_from` gives it data before training."""

    _posterior: tuple[Conditional, ...] = ()

    def bind(self, posterior: Conditional) -> None:
        """Use this posterior without owning it: in a tuple it is no submodule, so no weight is saved twice."""
        self._posterior = (posterior,)

    def encode(self, x: Tensor, c: Tensor | None = None) -> Distribution:
        """q(z | x, c) under the bound posterior."""
        assert self._posterior, "bind the posterior first"
        return self._posterior[0](x, c)

    @abstractmethod
    def start_from(self, rows: Tensor) -> None:
        """Set what is made of data from random training rows `(n, *shape)`; of too few, some are taken again."""


def fill(target: Tensor, rows: Tensor) -> None:
    """Copy rows into the target, from the first again where they are too few."""
    with torch.no_grad():
        target.copy_(rows[torch.arange(len(target), device=rows.device) % len(rows)])


class VampPrior(AggregatePrior):
    """p(z) = (1/K) sum_k q(z | u_k, c_k), where the pseudo-inputs u_k `(K, *shape)` are learned.

    For a conditional model each has a pseudo-context c_k of `context` numbers.

    Source: Tomczak, Welling (2018), VAE with a VampPrior.
    """

    def __init__(self, shape: Sequence[int], components: int, context: int = 0) -> None:
        super().__init__()
        self.pseudo_inputs = nn.Parameter(torch.rand(components, *shape))
        self.pseudo_contexts = nn.Parameter(torch.randn(components, context)) if context else None
        self.register_buffer("logits", torch.zeros(components), persistent=False)

    def start_from(self, rows: Tensor) -> None:
        fill(self.pseudo_inputs, rows)

    def forward(self, *context: Tensor | None) -> distributions.Mixture:
        return distributions.Mixture(self.encode(self.pseudo_inputs, self.pseudo_contexts), self.logits)  # type: ignore[arg-type]


class ExemplarPrior(AggregatePrior):
    """p(z) = (1/N) sum_n N(z; mu(x_n), s^2 I) over N fixed exemplars of the training data, with one learned s.

    mu is the mean of the posterior. The exemplars are saved with the model. They are a sample of the data, so that
    leaving out the datum under training, as the authors do, is left out here.

    Source: Norouzi, Fleet, Norouzi (2020), Exemplar VAE.
    """

    exemplars: Tensor
    logits: Tensor

    def __init__(self, shape: Sequence[int], components: int, context: int = 0) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(()))
        self.register_buffer("exemplars", torch.rand(components, *shape))
        self.register_buffer("contexts", torch.zeros(components, context) if context else None)
        self.register_buffer("logits", torch.zeros(components), persistent=False)

    def start_from(self, rows: Tensor) -> None:
        fill(self.exemplars, rows)

    def forward(self, *context: Tensor | None) -> distributions.Mixture:
        loc = self.encode(self.exemplars, self.contexts).mean  # type: ignore[arg-type]
        return distributions.Mixture(distributions.DiagonalNormal(loc, self.log_scale), self.logits)


class AutoregressiveCodes(Conditional):
    """p(k | c) = prod_i p(k_i | k_1 ... k_{i-1}, c), by a net of `nelbo.nets` that maps codes to logits.

    Source: van den Oord, Kalchbrenner, Kavukcuoglu (2016), Pixel Recurrent Neural Networks.
    """

    origin: Tensor

    def __init__(self, net: nn.Module, positions: int, codes: int) -> None:
        super().__init__()
        self.net, self.positions, self.codes = net, positions, codes
        self.register_buffer("origin", torch.zeros(()), persistent=False)

    def forward(self, *context: Tensor | None) -> distributions.AutoregressiveCodes:
        present = [c for c in context if c is not None]
        shape = torch.Size((*(present[0].shape[:-1] if present else ()), self.positions))

        def logits(value: Tensor) -> Tensor:
            return through(self.net, value, *present)

        return distributions.AutoregressiveCodes(logits, shape, self.codes, self.origin)


class TwoStage(Conditional):
    """p(z) = integral of p(z | u) N(u; 0, I) du: a second, small VAE whose data are the codes z.

    `posterior` is q(u | z), `likelihood` p(z | u), `dim` the size of u. It draws exactly; its density is known as a
    lower bound only (see `distributions.Marginal`), from `samples` importance samples.

    Source: Dai, Wipf (2019), Diagnosing and Enhancing VAE Models.
    """

    origin: Tensor

    def __init__(self, posterior: Conditional, likelihood: Likelihood, dim: int, samples: int = 1) -> None:
        super().__init__()
        self.posterior, self.likelihood = posterior, likelihood
        self.dim, self.samples = dim, samples
        self.register_buffer("origin", torch.zeros(()), persistent=False)

    def forward(self, *context: Tensor | None) -> distributions.Marginal:
        prior = distributions.StandardNormal(self.dim, self.origin)
        return distributions.Marginal(prior, self.likelihood, self.posterior, self.samples)
