"""An objective scores a trace: it returns a loss for each player, and the named terms of the sum.

A player is a set of parameters with its own optimizer. Almost every objective has one player, "vae"; an adversarial
objective has two.
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
"""A function of a trace that returns nats per example, of shape `(*sample, batch)`, or one number for the batch."""


@dataclass(frozen=True)
class Losses:
    """The result of an objective.

    Args:
        losses: player -> scalar to minimise.
        terms: name -> scalar, mean over the batch, nats per example. A term named "loss" replaces the sum over players
            in what a run reports and compares.
    """

    losses: dict[str, Tensor]
    terms: dict[str, Tensor]


class Objective(nn.Module, ABC):
    """The loss of a batch under a VAE.

    `sample_shape` is the shape of the latent samples of each example. `accepts_missing_context` is True if some
    examples may have no context (a row of NaN). `critic_lr_scale` is the learning rate of a critic as a multiple of
    the run's.
    """

    family: ClassVar[str] = "objective"
    sample_shape: tuple[int, ...] = ()
    accepts_missing_context = False
    critic_lr_scale = 1.0

    @abstractmethod
    def forward(self, vae: VAE, x: Tensor, c: Tensor | None = None) -> Losses:
        """Compute the losses of a batch.

        Args:
            vae: the model.
            x: data `(batch, *shape)`.
            c: context `(batch, context)`; None for none.
        """

    def param_groups(self, vae: VAE) -> dict[str, list[nn.Parameter]]:
        """The parameters of each player; no parameter has two players."""
        return {"vae": list(vae.parameters())}

    def lr_scale(self, player: str) -> float:
        """The learning rate of a player as a multiple of the run's: `critic_lr_scale` for a critic, else 1."""
        return self.critic_lr_scale if player == "critic" else 1.0

    def setup(self, vae: VAE, x: Tensor, n: int, c: Tensor | None = None) -> None:
        """Prepare for training: build the parts whose sizes depend on the data. It is called once.

        Args:
            vae: the model.
            x: a batch of data, `(batch, *shape)`.
            n: number of training data.
            c: context `(batch, context)`; None for none.
        """


class StatefulTerm(nn.Module, ABC):
    """A term with a state: a scheduled value, or the number of training data `n`, 0 until training starts."""

    name: str
    n = 0

    @abstractmethod
    def forward(self, trace: Trace) -> Tensor:
        """The value of the term, nats per example."""


def distortion(trace: Trace) -> Tensor:
    """-log p(x | z), nats per example."""
    return trace.distortion


def rate(trace: Trace) -> Tensor:
    """KL(q(z | x) || p(z)), nats per example."""
    return trace.rate


def stl_kl(trace: Trace) -> Tensor:
    """The rate, with the gradient of log q(z | x) - log p(z) through the sample z alone ("sticking the landing").

    Its value is that of `rate`, and so is its gradient in expectation: the omitted part, the score of q, has mean zero.
    Near the optimum, where q is close to the true posterior, that part is only noise.

    Source: Roeder, Wu, Duvenaud (2017), Sticking the Landing: Simple, Lower-Variance Gradient Estimators for
    Variational Inference.
    """
    path = reduce(torch.add, [detach(level.q).log_prob(level.z) - level.log_p for level in trace.levels])
    return path + (trace.rate - path).detach()


def add_penalty(trace: Trace, loss: Tensor, **parts: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Add the penalty of the latents to a loss.

    Returns:
        the loss, and its terms: distortion, rate, the penalty if there is one, and `parts`.
    """
    means = {"distortion": trace.distortion.mean(), "rate": trace.rate.mean(), **parts}
    if any(level.penalty is not None for level in trace.levels):
        means["penalty"] = trace.penalty.mean()
        loss = loss + means["penalty"]
    return loss, {name: value.detach() for name, value in means.items()}


def single_level(trace: Trace, name: str) -> LatentLevel:
    """The single level of a trace; raises `UserError` with the name of the term for a hierarchy."""
    if len(trace.levels) != 1:
        raise UserError(f"{name}: takes one level of latents, and the model has {len(trace.levels)}: use a flat latent")
    return trace.levels[0]


def encoder_decoder_groups(vae: VAE) -> dict[str, list[nn.Parameter]]:
    """Two players: "encoder" with the posterior's parameters, and "decoder" with all others.

    Raises:
        UserError: for latents in which the two share modules.
    """
    encoder = vae.latent.encoder_parameters()
    if encoder is None:
        raise UserError(
            "this objective needs an encoder and a decoder without shared parameters, which the latent "
            f"{type(vae.latent).__name__} does not have: use a single-level latent, such as flat"
        )
    mine = set(encoder)
    return {"encoder": encoder, "decoder": [p for p in vae.parameters() if p not in mine]}


def prior_draws(level: LatentLevel) -> Tensor:
    """Samples from the prior, one for each example, of the shape of z `(batch, *event)`."""
    p = level.p
    shape = torch.Size(() if p.batch_shape else level.z.shape[:1])
    return p.rsample(shape) if p.has_rsample else p.sample(shape)


class WeightedTerms(Objective):
    """A weighted sum of terms; a weight is a number, or a schedule over the course of training.

        loss = mean over the batch of sum_t weight_t * term_t(trace) + penalty

    where the penalty is that of the latents (such as a commitment loss). The reported terms are unweighted; distortion
    and rate are always among them.

    Args:
        terms: the weight of each term: a number, or a schedule.
        parts: the terms to report; None for all.
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
        """The current weight of a term."""
        return self.terms[term].value

    def setup(self, vae: VAE, x: Tensor, n: int, c: Tensor | None = None) -> None:
        for part in self.stateful:
            part.n = n  # type: ignore[assignment]


def _times(weight: float | Tensor, value: Tensor) -> Tensor:
    return value if isinstance(weight, float) and weight == 1 else weight * value


def _name(term: Term) -> str:
    return term.name if isinstance(term, StatefulTerm) else term.__name__
