"""An objective scores a trace: it returns a loss for each player, and the named parts it summed.

A player is a set of parameters that its own optimizer moves. Almost every objective has one, "vae"; an
adversarial one has two.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nelbo.distributions import detach
from nelbo.schedules import Clock, Schedule
from nelbo.vae import VAE, Trace

Term = Callable[[Trace], Tensor]
"""A function of a trace that returns nats per datum, of shape `(*sample, batch)`."""


@dataclass(frozen=True)
class Losses:
    """`players`: name -> scalar to minimise. `parts`: name -> scalar, mean over the batch, nats per datum."""

    players: dict[str, Tensor]
    parts: dict[str, Tensor]


class Objective(nn.Module, ABC):
    """Scores one batch under a VAE."""

    @abstractmethod
    def forward(self, vae: VAE, x: Tensor, c: Tensor | None = None) -> Losses:
        """The losses of a batch x `(batch, *shape)` with context c."""

    def players(self, vae: VAE) -> dict[str, list[nn.Parameter]]:
        """The parameters each player moves."""
        return {"vae": list(vae.parameters())}


def distortion(trace: Trace) -> Tensor:
    """-log p(x | z), nats per datum."""
    return trace.distortion


def rate(trace: Trace) -> Tensor:
    """KL(q(z | x) || p(z)), nats per datum."""
    return trace.rate


def path_rate(trace: Trace) -> Tensor:
    """The rate, with the gradient of log q(z | x) - log p(z) through the draw z alone ("sticking the landing").

    Its value is `rate`'s and so is its gradient in expectation: the part left out, the score of q, has mean zero.
    Near the optimum, where q is close to the true posterior, that part is only noise.

    Source: Roeder, Wu, Duvenaud (2017), Sticking the Landing: Simple, Lower-Variance Gradient Estimators for
    Variational Inference.
    """
    path = torch.stack([detach(level.q).log_prob(level.z) - level.log_p for level in trace.levels]).sum(0)
    return path + (trace.rate - path).detach()


class Sum(Objective):
    """A weighted sum of terms; a weight is a number, or a schedule over the course of training.

        loss = mean over the batch of sum_t weight_t * term_t(trace)

    The parts it reports are unweighted: `parts`, by default each term, and `distortion` and `rate` always.
    """

    def __init__(self, terms: Mapping[Term, float | Schedule], parts: Sequence[Term] | None = None) -> None:
        super().__init__()
        self.terms = dict(terms)
        self.parts = list(dict.fromkeys([distortion, rate, *(self.terms if parts is None else parts)]))
        self.clock = Clock()

    def forward(self, vae: VAE, x: Tensor, c: Tensor | None = None) -> Losses:
        trace = vae(x, c)
        means = {term: term(trace).mean() for term in dict.fromkeys([*self.terms, *self.parts])}
        loss = torch.stack([self.weight(term) * means[term] for term in self.terms]).sum()
        return Losses({"vae": loss}, {term.__name__: means[term].detach() for term in self.parts})

    def weight(self, term: Term) -> float:
        """The weight of a term now."""
        weight = self.terms[term]
        return weight(self.clock.fraction) if isinstance(weight, Schedule) else weight


def elbo(beta: float | Schedule = 1.0, stl: bool = False) -> Sum:
    """The negative ELBO, with the rate weighted by beta (1 is the bound itself).

        loss = E_q[-log p(x | z)] + beta * KL(q(z | x) || p(z))

    With `stl` the gradient of the rate is `path_rate`'s: the same in expectation, and less noisy late in training.

    Source: Kingma, Welling (2014), Auto-Encoding Variational Bayes; for beta other than 1: Higgins et al. (2017),
    beta-VAE: Learning Basic Visual Concepts with a Constrained Variational Framework.
    """
    return Sum({distortion: 1.0, path_rate if stl else rate: beta}, parts=())
