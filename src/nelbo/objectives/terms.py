"""Terms that hold the rate where it is wanted, take it apart, latent by latent, or hold the aggregate's moments.

The mean rate over N data is a sum of three divergences, with q(z) = (1/N) sum_n q(z | x_n) the aggregate posterior:

    mean KL(q(z | x_n) || p(z)) = I(x; z) + KL(q(z) || prod_j q(z_j)) + sum_j KL(q(z_j) || p(z_j))
                                  mutual information, total correlation, divergence of each latent

Source: Chen, Li, Grosse, Duvenaud (2018), Isolating Sources of Disentanglement in Variational Autoencoders.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import singledispatch

import torch
from torch import Tensor
from torch.distributions import Distribution

from nelbo.distributions import DiagonalNormal, StandardNormal
from nelbo.errors import UserError
from nelbo.latents import LatentLevel
from nelbo.objectives.base import StatefulTerm, Term, only
from nelbo.schedules import Clock, Schedule
from nelbo.vae import Trace

Weights = Callable[[int, int, Tensor], Tensor]
"""(batch, n, like) -> log weights `(batch, batch)` of datum j's posterior in the aggregate at datum i's draw."""


@singledispatch
def factors(d: Distribution) -> Distribution:
    """`d` with each number of its event a member of the batch: `(*batch, latents)` distributions of one number.

    Raises `UserError` for a family whose latents are not independent.
    """
    raise UserError(f"{type(d).__name__} does not factorise over latents: use a diagonal Normal")


@factors.register
def _(d: DiagonalNormal) -> DiagonalNormal:
    dims = len(d.event_shape)
    log_scale = d.log_scale.expand_as(d.loc)
    return DiagonalNormal(d.loc.flatten(-dims).unsqueeze(-1), log_scale.flatten(-dims).unsqueeze(-1))


@factors.register
def _(d: StandardNormal) -> StandardNormal:
    return StandardNormal(1, d.like)


def latents_of(level: LatentLevel) -> LatentLevel:
    """The level with each latent on its own: its terms are `(*sample, batch, latents)`."""
    z = level.z.flatten(level.z.dim() - len(level.q.event_shape)).unsqueeze(-1)
    return LatentLevel(z, factors(level.q), factors(level.p))


class Capacity(StatefulTerm):
    """|rate - C|, nats, of the batch's mean rate; the capacity C is a number or a schedule in nats.

    Source: Burgess et al. (2018), Understanding disentangling in beta-VAE.
    """

    name = "capacity"

    def __init__(self, capacity: float | Schedule) -> None:
        super().__init__()
        self.capacity = Clock(capacity)

    def forward(self, trace: Trace) -> Tensor:
        return (trace.rate.mean() - self.capacity.now).abs()


def free_bits(floor: float, per_level: bool = False) -> Term:
    """The rate of which the first `floor` nats of each latent (or each level) are free.

        sum_j max(floor, mean over the batch of KL_j)

    Source: Kingma et al. (2016), Improved Variational Inference with Inverse Autoregressive Flow.
    """

    def free_bits(trace: Trace) -> Tensor:
        rates = [level.kl.unsqueeze(-1) if per_level else latents_of(level).kl for level in trace.levels]
        return torch.stack([r.flatten(0, -2).mean(0).clamp_min(floor).sum() for r in rates]).sum()

    return free_bits


def stratified(batch: int, n: int, like: Tensor) -> Tensor:
    """Weights under which the aggregate posterior is unbiased: 1/n for the datum that z was drawn for, and what is
    left, (n - 1)/n, shared among the other data of the batch. Where the batch is the data, all are 1/n.

    It is the mean, over which other datum comes last, of the estimator in Chen et al. (2018), appendix C.2.
    """
    if batch == 1:
        return like.new_zeros(1, 1)
    log_weights = like.new_full((batch, batch), math.log(max(n - 1, 1) / (n * (batch - 1))))
    return log_weights.fill_diagonal_(-math.log(n))


def weighted(batch: int, n: int, like: Tensor) -> Tensor:
    """1 / (n * batch) for all: a biased estimate whose mean logarithm is at most that of the aggregate.

    Source: Chen et al. (2018), appendix C.1.
    """
    return like.new_full((batch, batch), -math.log(n * batch))


def aggregate(level: LatentLevel, n: int, weights: Weights = stratified) -> tuple[Tensor, Tensor]:
    """log q(z) and log prod_j q(z_j) of the aggregate posterior over n data at the level's draws, `(*sample, batch)`.

    With `stratified` weights q(z) is unbiased for the data of the batch, drawn without replacement.
    Several processes each pair the data they hold. Raises `UserError` if q does not factorise.
    """
    if not n:
        raise ValueError("n=0: the aggregate posterior needs the number of training data; call objective.start() first")
    flat = level.z.flatten(level.z.dim() - len(level.q.event_shape))
    pairs = factors(level.q).log_prob(flat.unsqueeze(-2).unsqueeze(-1))  # (*sample, i, j, latents)
    log_weights = weights(pairs.shape[-2], n, flat)
    joint = (pairs.sum(-1) + log_weights).logsumexp(-1)
    return joint, (pairs + log_weights.unsqueeze(-1)).logsumexp(-2).sum(-1)


class TotalCorrelation(StatefulTerm):
    """log q(z) - sum_j log q(z_j), nats: its mean is how far the latents are from independent over the data."""

    name = "total_correlation"

    def __init__(self, weights: Weights = stratified) -> None:
        super().__init__()
        self.weights = weights

    def forward(self, trace: Trace) -> Tensor:
        joint, product = aggregate(only(trace, self.name), self.n, self.weights)
        return joint - product


class MutualInformation(StatefulTerm):
    """log q(z | x) - log q(z), nats: its mean is the information the latents hold on which datum it was."""

    name = "mutual_information"

    def __init__(self, weights: Weights = stratified) -> None:
        super().__init__()
        self.weights = weights

    def forward(self, trace: Trace) -> Tensor:
        level = only(trace, self.name)
        return level.log_q - aggregate(level, self.n, self.weights)[0]


def covariance_of_means(level: LatentLevel) -> Tensor:
    """Cov_x[E[z | x]] over the batch, divided by its size: `(latents, latents)`. DIP-VAE I."""
    mean = level.q.mean
    centred = mean - mean.mean(0)
    return centred.T @ centred / len(mean)


def covariance(level: LatentLevel) -> Tensor:
    """Cov[z] of the batch's aggregate posterior: Cov_x[E[z | x]] + E_x[Cov[z | x]]. DIP-VAE II."""
    return covariance_of_means(level) + torch.diag(factors(level.q).variance.squeeze(-1).mean(0))


def dip(off_diagonal: float, diagonal: float, of: Callable[[LatentLevel], Tensor] = covariance_of_means) -> Term:
    """The squared distance of a covariance C from the identity.

        off_diagonal * sum_{i != j} C_ij^2 + diagonal * sum_i (C_ii - 1)^2

    With `covariance` it is DIP-VAE II, else I. Raises `UserError` for a hierarchy.

    Source: Kumar, Sattigeri, Balakrishnan (2018), Variational Inference of Disentangled Latent Concepts from Unlabeled
    Observations.
    """

    def dip(trace: Trace) -> Tensor:
        c = of(only(trace, "dip"))
        d = c.diagonal()
        return off_diagonal * (c.square().sum() - d.square().sum()) + diagonal * (d - 1).square().sum()

    return dip
