"""Terms of an objective: functions of a trace, in nats per datum.

Terms that hold the rate where it is wanted, take it apart, latent by latent, or hold the aggregate's moments.

The mean rate over N data is a sum of three divergences, with q(z) = (1/N) sum_n q(z | x_n) the aggregate posterior:

    mean KL(q(z | x_n) || p(z)) = I(x; z) + KL(q(z) || prod_j q(z_j)) + sum_j KL(q(z_j) || p(z_j))
                                  mutual information, total correlation, divergence of each latent

How far the draws of the aggregate posterior are from the prior's, or from independent, by samples alone.

None of these asks for log q, so that the posterior may be a point. All compare the draws z `(batch, latents)` of
one level, one a datum, with as many draws of its prior.

Source: Chen, Li, Grosse, Duvenaud (2018), Isolating Sources of Disentanglement in Variational Autoencoders.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import singledispatch

import torch
from torch import Tensor
from torch.distributions import Distribution

from nelbo.distributions import DiagonalNormal, StandardNormal, noise
from nelbo.errors import UserError
from nelbo.latents import LatentLevel
from nelbo.objectives.base import StatefulTerm, Term, prior_draws, single_level
from nelbo.schedules import Schedule, ScheduledValue
from nelbo.vae import Trace

Weights = Callable[[int, int, Tensor], Tensor]
"""(batch, n, like) -> log weights `(batch, batch)` of datum j's posterior in the aggregate at datum i's draw."""


@singledispatch
def per_dimension(d: Distribution) -> Distribution:
    """`d` with each number of its event a member of the batch: `(*batch, latents)` distributions of one number.

    Raises `UserError` for a family whose latents are not independent.
    """
    raise UserError(f"{type(d).__name__} does not factorise over latents: use a diagonal Normal")


@per_dimension.register
def _(d: DiagonalNormal) -> DiagonalNormal:
    dims = len(d.event_shape)
    log_scale = d.log_scale.expand_as(d.loc)
    return DiagonalNormal(d.loc.flatten(-dims).unsqueeze(-1), log_scale.flatten(-dims).unsqueeze(-1))


@per_dimension.register
def _(d: StandardNormal) -> StandardNormal:
    return StandardNormal(1, d.like)


def split_level(level: LatentLevel) -> LatentLevel:
    """The level with each latent on its own: its terms are `(*sample, batch, latents)`."""
    z = level.z.flatten(level.z.dim() - len(level.q.event_shape)).unsqueeze(-1)
    return LatentLevel(z, per_dimension(level.q), per_dimension(level.p))


class Capacity(StatefulTerm):
    """|rate - C|, nats, of the batch's mean rate; the capacity C is a number or a schedule in nats.

    Source: Burgess et al. (2018), Understanding disentangling in beta-VAE.
    """

    name = "capacity"

    def __init__(self, capacity: float | Schedule) -> None:
        super().__init__()
        self.capacity = ScheduledValue(capacity)

    def forward(self, trace: Trace) -> Tensor:
        return (trace.rate.mean() - self.capacity.value).abs()


def free_bits(floor: float, per_level: bool = False) -> Term:
    """The rate of which the first `floor` nats of each latent (or each level) are free.

        sum_j max(floor, mean over the batch of KL_j)

    Source: Kingma et al. (2016), Improved Variational Inference with Inverse Autoregressive Flow.
    """

    def free_bits(trace: Trace) -> Tensor:
        rates = [level.kl.unsqueeze(-1) if per_level else split_level(level).kl for level in trace.levels]
        return torch.stack([r.flatten(0, -2).mean(0).clamp_min(floor).sum() for r in rates]).sum()

    return free_bits


def minibatch_stratified_sampling(batch: int, n: int, like: Tensor) -> Tensor:
    """Weights under which the aggregate posterior is unbiased: 1/n for the datum that z was drawn for, and what is
    left, (n - 1)/n, shared among the other data of the batch. Where the batch is the data, all are 1/n.

    It is the mean, over which other datum comes last, of the estimator in Chen et al. (2018), appendix C.2.
    """
    if batch == 1:
        return like.new_zeros(1, 1)
    log_weights = like.new_full((batch, batch), math.log(max(n - 1, 1) / (n * (batch - 1))))
    return log_weights.fill_diagonal_(-math.log(n))


def minibatch_weighted_sampling(batch: int, n: int, like: Tensor) -> Tensor:
    """1 / (n * batch) for all: a biased estimate whose mean logarithm is at most that of the aggregate.

    Source: Chen et al. (2018), appendix C.1.
    """
    return like.new_full((batch, batch), -math.log(n * batch))


def aggregate_posterior_log_prob(
    level: LatentLevel, n: int, weights: Weights = minibatch_stratified_sampling
) -> tuple[Tensor, Tensor]:
    """log q(z) and log prod_j q(z_j) of the aggregate posterior over n data at the level's draws, `(*sample, batch)`.

    With `minibatch_stratified_sampling` weights q(z) is unbiased for the data of the batch, drawn without replacement.
    Several processes each pair the data they hold. Raises `UserError` if q does not factorise.
    """
    if not n:
        raise ValueError("n=0: the aggregate posterior needs the number of training data; call objective.start() first")
    flat = level.z.flatten(level.z.dim() - len(level.q.event_shape))
    pairs = per_dimension(level.q).log_prob(flat.unsqueeze(-2).unsqueeze(-1))  # (*sample, i, j, latents)
    log_weights = weights(pairs.shape[-2], n, flat)
    joint = (pairs.sum(-1) + log_weights).logsumexp(-1)
    return joint, (pairs + log_weights.unsqueeze(-1)).logsumexp(-2).sum(-1)


class TotalCorrelation(StatefulTerm):
    """log q(z) - sum_j log q(z_j), nats: its mean is how far the latents are from independent over the data."""

    name = "total_correlation"

    def __init__(self, weights: Weights = minibatch_stratified_sampling) -> None:
        super().__init__()
        self.weights = weights

    def forward(self, trace: Trace) -> Tensor:
        joint, product = aggregate_posterior_log_prob(single_level(trace, self.name), self.n, self.weights)
        return joint - product


class MutualInformation(StatefulTerm):
    """log q(z | x) - log q(z), nats: its mean is the information the latents hold on which datum it was."""

    name = "mutual_information"

    def __init__(self, weights: Weights = minibatch_stratified_sampling) -> None:
        super().__init__()
        self.weights = weights

    def forward(self, trace: Trace) -> Tensor:
        level = single_level(trace, self.name)
        return level.log_q - aggregate_posterior_log_prob(level, self.n, self.weights)[0]


def covariance_of_means(level: LatentLevel) -> Tensor:
    """Cov_x[E[z | x]] over the batch, divided by its size: `(latents, latents)`. DIP-VAE I."""
    mean = level.q.mean
    centred = mean - mean.mean(0)
    return centred.T @ centred / len(mean)


def covariance(level: LatentLevel) -> Tensor:
    """Cov[z] of the batch's aggregate posterior: Cov_x[E[z | x]] + E_x[Cov[z | x]]. DIP-VAE II."""
    return covariance_of_means(level) + torch.diag(per_dimension(level.q).variance.squeeze(-1).mean(0))


def dip(off_diagonal: float, diagonal: float, of: Callable[[LatentLevel], Tensor] = covariance_of_means) -> Term:
    """The squared distance of a covariance C from the identity.

        off_diagonal * sum_{i != j} C_ij^2 + diagonal * sum_i (C_ii - 1)^2

    With `covariance` it is DIP-VAE II, else I. Raises `UserError` for a hierarchy.

    Source: Kumar, Sattigeri, Balakrishnan (2018), Variational Inference of Disentangled Latent Concepts from Unlabeled
    Observations.
    """

    def dip(trace: Trace) -> Tensor:
        c = of(single_level(trace, "dip-vae"))
        d = c.diagonal()
        return off_diagonal * (c.square().sum() - d.square().sum()) + diagonal * (d - 1).square().sum()

    return dip


Kernel = Callable[[Tensor, int], Tensor]
"""(squared distances, dimensions) -> values in (0, 1], 1 at distance 0."""


def rbf(scales: Sequence[float] = (1.0,)) -> Kernel:
    """The mean over scales s of exp(-d^2 / h), h = 2 * dim * s, the mean d^2 of two standard Normals at s = 1."""
    return lambda d2, dim: torch.stack([torch.exp(-d2 / (2 * dim * s)) for s in scales]).mean(0)


def imq(scales: Sequence[float] = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)) -> Kernel:
    """The mean over scales s of h / (h + d^2), h = 2 * dim * s: an inverse multiquadratic, with heavier tails."""
    return lambda d2, dim: torch.stack([2 * dim * s / (2 * dim * s + d2) for s in scales]).mean(0)


def _squared_distances(x: Tensor, y: Tensor) -> Tensor:
    return (x.unsqueeze(1) - y.unsqueeze(0)).square().sum(-1)


def mmd_squared(x: Tensor, y: Tensor, kernel: Kernel, biased: bool = False) -> Tensor:
    """The squared maximum mean discrepancy E[k(x, x') + k(y, y') - 2 k(x, y)] of samples `(n, dim)` and `(m, dim)`.

    Unbiased it leaves out the pairs of a sample with itself, and may be below 0; biased it is 0 or more.

    Source: Gretton et al. (2012), A Kernel Two-Sample Test.
    """

    def within(a: Tensor) -> Tensor:
        k = kernel(_squared_distances(a, a), a.shape[-1])
        return k.mean() if biased or len(a) == 1 else (k.sum() - k.diagonal().sum()) / (len(a) * (len(a) - 1))

    return within(x) + within(y) - 2 * kernel(_squared_distances(x, y), x.shape[-1]).mean()


def mmd(kernel: Kernel, biased: bool = False) -> Term:
    """The maximum mean discrepancy, squared, of the posteriors' draws and the prior's.

    Source: Zhao, Song, Ermon (2019), InfoVAE: Balancing Learning and Inference in Variational Autoencoders;
    Tolstikhin, Bousquet, Gelly, Schölkopf (2018), Wasserstein Auto-Encoders.
    """

    def mmd(trace: Trace) -> Tensor:
        level = single_level(trace, "mmd")
        return mmd_squared(level.z.flatten(1), prior_draws(level).flatten(1), kernel, biased)

    return mmd


def sliced_wasserstein(projections: int = 50) -> Term:
    """The squared 2-Wasserstein distance of z and prior draws, mean over random directions.

        mean over directions u of mean_i (sort(z u)_i - sort(y u)_i)^2

    Source: Kolouri, Pope, Martin, Rohde (2019), Sliced Wasserstein Auto-Encoders.
    """

    def sliced_wasserstein(trace: Trace) -> Tensor:
        level = single_level(trace, "sliced_wasserstein")
        z, y = level.z.flatten(1), prior_draws(level).flatten(1)
        u = noise.normal(torch.Size((projections,)), torch.Size(), z.shape[1:], z)
        u = u / u.norm(dim=-1, keepdim=True)
        return ((z @ u.T).sort(0).values - (y @ u.T).sort(0).values).square().mean()

    return sliced_wasserstein


def dhsic(blocks: Sequence[Tensor], kernel: Kernel) -> Tensor:
    """dHSIC of the blocks `(n, dim_b)`, with their Gram matrices K_b: 0 in the limit just where they are independent.

        mean_ij prod_b K_b(i, j) + prod_b mean_ij K_b(i, j) - 2 mean_i prod_b mean_j K_b(i, j)

    Of two blocks it is HSIC, tr(K H L H) / n^2; biased, 0 or more. Source: Pfister, Bühlmann, Schölkopf, Peters
    (2018), Kernel-based Tests for Joint Independence.
    """
    grams = torch.stack([kernel(_squared_distances(b, b), b.shape[-1]) for b in blocks])
    rows = grams.mean(-1)
    return grams.prod(0).mean() + rows.mean(-1).prod() - 2 * rows.prod(0).mean()


def hsic(sizes: Sequence[int] = (), kernel: Kernel | None = None) -> Term:
    """The dependence of blocks of latents: `sizes` of consecutive blocks, by default each latent for itself.

    Source: Lopez, Regier, Jordan, Yosef (2018), Information Constraints on Auto-Encoding Variational Bayes.
    """
    chosen = kernel or rbf()

    def hsic(trace: Trace) -> Tensor:
        z = single_level(trace, "hsic").z.flatten(1)
        if sizes and sum(sizes) != z.shape[1]:
            raise UserError(f"hsic sizes={list(sizes)}: give sizes that sum to the {z.shape[1]} latents")
        return dhsic(z.split(list(sizes) or 1, 1), chosen)

    return hsic
