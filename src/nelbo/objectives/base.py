"""An objective scores a trace: it returns a loss for each player, and the named parts it summed.

A player is a set of parameters that its own optimizer moves. Almost every objective has one, "vae"; an
adversarial one has two.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import ClassVar

import torch
from torch import Tensor, nn

from nelbo.distributions import detach
from nelbo.errors import UserError
from nelbo.latents import LatentLevel
from nelbo.schedules import Schedule, ScheduledValue
from nelbo.vae import VAE, Trace

Term = Callable[[Trace], Tensor]
"""A function of a trace that returns nats per datum, of shape `(*sample, batch)`, or one number for the batch."""


@dataclass(frozen=True)
class Losses:
    """`losses`: name -> scalar to minimise. `terms`: name -> scalar, mean over the batch, nats per datum.

    A part named "loss" is what a run reports and compares, where the sum over players would say nothing.
    """

    losses: dict[str, Tensor]
    terms: dict[str, Tensor]


class Objective(nn.Module, ABC):
    """Scores one batch under a VAE. `sample_shape` is how often the latents of each datum are drawn; `accepts_missing_context` tells
    whether data may be without a context (a row of NaN) among data that have one."""

    family: ClassVar[str] = "objective"
    sample_shape: tuple[int, ...] = ()
    accepts_missing_context = False
    critic_lr_scale = 1.0

    @abstractmethod
    def forward(self, vae: VAE, x: Tensor, c: Tensor | None = None) -> Losses:
        """The losses of a batch x `(batch, *sample_shape)` with context c."""

    def param_groups(self, vae: VAE) -> dict[str, list[nn.Parameter]]:
        """The parameters each player moves; no parameter has two players."""
        return {"vae": list(vae.parameters())}

    def lr_scale(self, player: str) -> float:
        """The learning rate of a player, as a multiple of the run's: `critic_lr_scale` for a critic."""
        return self.critic_lr_scale if player == "critic" else 1.0

    def setup(self, vae: VAE, x: Tensor, n: int, c: Tensor | None = None) -> None:
        """Called once before training on n data, of which x (with context c) is a batch: make what depends on sizes."""


class StatefulTerm(nn.Module, ABC):
    """A term with a state: a clock, or the number of training data `n`, which is 0 until training starts."""

    name: str
    n = 0

    @abstractmethod
    def forward(self, trace: Trace) -> Tensor:
        """The term's value, as a `Term`."""


def distortion(trace: Trace) -> Tensor:
    """-log p(x | z), nats per datum."""
    return trace.distortion


def rate(trace: Trace) -> Tensor:
    """KL(q(z | x) || p(z)), nats per datum."""
    return trace.rate


def stl_kl(trace: Trace) -> Tensor:
    """The rate, with the gradient of log q(z | x) - log p(z) through the draw z alone ("sticking the landing").

    Its value is `rate`'s and so is its gradient in expectation: the part left out, the score of q, has mean zero.
    Near the optimum, where q is close to the true posterior, that part is only noise.

    Source: Roeder, Wu, Duvenaud (2017), Sticking the Landing: Simple, Lower-Variance Gradient Estimators for
    Variational Inference.
    """
    path = reduce(torch.add, [detach(level.q).log_prob(level.z) - level.log_p for level in trace.levels])
    return path + (trace.rate - path).detach()


def add_penalty(trace: Trace, loss: Tensor, **parts: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss with what levels charge added, and its parts: always distortion and rate, a penalty if charged."""
    means = {"distortion": trace.distortion.mean(), "rate": trace.rate.mean(), **parts}
    if any(level.penalty is not None for level in trace.levels):
        means["penalty"] = trace.penalty.mean()
        loss = loss + means["penalty"]
    return loss, {name: value.detach() for name, value in means.items()}


def single_level(trace: Trace, name: str) -> LatentLevel:
    """The one level of a trace; `UserError` naming the term for a hierarchy."""
    if len(trace.levels) != 1:
        raise UserError(f"{name}: takes one level of latents, and the model has {len(trace.levels)}: use a flat latent")
    return trace.levels[0]


def encoder_decoder_groups(vae: VAE) -> dict[str, list[nn.Parameter]]:
    """Two players: "encoder" moves the posterior's parameters and "decoder" all others.

    Raises `UserError` for latents in which the two share a path.
    """
    encoder = vae.latent.encoder_parameters()
    if encoder is None:
        raise UserError(f"{type(vae.latent).__name__}: encoder and decoder share parameters: use a single-level latent")
    mine = set(encoder)
    return {"encoder": encoder, "decoder": [p for p in vae.parameters() if p not in mine]}


def prior_draws(level: LatentLevel) -> Tensor:
    """As many draws from the prior as there are data, of the shape of z `(batch, *event)`."""
    p = level.p
    shape = torch.Size(() if p.batch_shape else level.z.shape[:1])
    return p.rsample(shape) if p.has_rsample else p.sample(shape)


class WeightedTerms(Objective):
    """A weighted sum of terms; a weight is a number, or a schedule over the course of training.

        loss = mean over the batch of sum_t weight_t * term_t(trace) + penalty

    where the penalty is what levels charge (a commitment loss, say), which is always due. The parts it reports are
    unweighted: `parts`, by default each term, and `distortion` and `rate` always.
    """

    def __init__(self, terms: Mapping[Term, float | Schedule], parts: Sequence[Term] | None = None) -> None:
        super().__init__()
        self.terms = {term: ScheduledValue(weight) for term, weight in terms.items()}
        self.clocks = nn.ModuleList(self.terms.values())
        self.parts = list(dict.fromkeys([distortion, rate, *(self.terms if parts is None else parts)]))
        self.stateful = nn.ModuleList(term for term in self.terms if isinstance(term, StatefulTerm))

    def forward(self, vae: VAE, x: Tensor, c: Tensor | None = None) -> Losses:
        trace = vae(x, c)
        means = {term: term(trace).mean() for term in dict.fromkeys([*self.terms, *self.parts])}
        loss = reduce(torch.add, [_times(self.weight(term), means[term]) for term in self.terms])
        loss, parts = add_penalty(trace, loss, **{_name(term): means[term] for term in self.parts})
        return Losses({"vae": loss}, parts)

    def weight(self, term: Term) -> float | Tensor:
        """The weight of a term now."""
        return self.terms[term].value

    def setup(self, vae: VAE, x: Tensor, n: int, c: Tensor | None = None) -> None:
        for part in self.stateful:
            part.n = n  # type: ignore[assignment]


def _times(weight: float | Tensor, value: Tensor) -> Tensor:
    return value if isinstance(weight, float) and weight == 1 else weight * value


def _name(term: Term) -> str:
    return term.name if isinstance(term, StatefulTerm) else term.__name__
