"""Terms of an objective: functions of a trace, in nats per datum.

Some constrain the rate, decompose it, or constrain the moments of the aggregate posterior.

The mean rate over N data is a sum of three divergences, with q(z) = (1/N) sum_n q(z | x_n) the aggregate posterior:

    mean KL(q(z | x_n) || p(z)) = I(x; z) + KL(q(z) || prod_j q(z_j)) + sum_j KL(q(z_j) || p(z_j))
                                  mutual information, total correlation, divergence of each latent

Others measure from samples alone how far the aggregate posterior is from the prior, or from independence. They do not
need log q, so the posterior may be a point mass. They compare samples z `(batch, latents)` of a single level, one for
each datum, with as many samples of its prior.

Source: Chen, Li, Grosse, Duvenaud (2018), Isolating Sources of Disentanglement in Variational Autoencoders.
"""

from __future__ import annotations

import math
from abc import ABC
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
"""(batch, n, like) -> log weights `(batch, batch)` of datum j's posterior in the aggregate at the sample of datum i."""


@singledispatch
def per_dimension(d: Distribution) -> Distribution:
    """Move the event of `d` into its batch: `(*batch, latents)` distributions of single numbers.

    Raises:
        UserError: for a family whose latents are not independent.
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
    """A level with the terms of each latent, `(*sample, batch, latents)`."""
    z = level.z.flatten(level.z.dim() - len(level.q.event_shape)).unsqueeze(-1)
    return LatentLevel(z, per_dimension(level.q), per_dimension(level.p))


class Capacity(StatefulTerm):
    """|rate - C|, nats, of the batch's mean rate.

    Args:
        capacity: C, nats; a number, or a schedule.


    Source: Burgess et al. (2018), Understanding disentangling in beta-VAE.
    """

    name = "capacity"

    def __init__(self, capacity: float | Schedule) -> None:
        super().__init__()
        self.capacity = ScheduledValue(capacity)

    def forward(self, trace: Trace) -> Tensor:
        return (trace.rate.mean() - self.capacity.value).abs()


def free_bits(floor: float, per_level: bool = False) -> Term:
    """The rate, with the first `floor` nats of each latent (or each level) free of charge.

        sum_j max(floor, mean over the batch of KL_j)

    Source: Kingma et al. (2016), Improved Variational Inference with Inverse Autoregressive Flow.

    Args:
        floor: free nats.
        per_level: apply the floor to the rate of each level instead of each latent dimension.
    """

    def free_bits(trace: Trace) -> Tensor:
        rates = [level.kl.unsqueeze(-1) if per_level else split_level(level).kl for level in trace.levels]
        return torch.stack([r.flatten(0, -2).mean(0).clamp_min(floor).sum() for r in rates]).sum()

    return free_bits


def minibatch_stratified_sampling(batch: int, n: int, like: Tensor) -> Tensor:
    """Log weights for an unbiased estimate of the aggregate posterior.

    The weight is 1/n for the datum of z; the other data of the batch share (n - 1)/n. If the batch is the whole data,
    all weights are 1/n. It is the mean over permutations of the estimator in Chen et al. (2018), appendix C.2.
    """
    if batch == 1:
        return like.new_zeros(1, 1)
    log_weights = like.new_full((batch, batch), math.log(max(n - 1, 1) / (n * (batch - 1))))
    return log_weights.fill_diagonal_(-math.log(n))


def minibatch_weighted_sampling(batch: int, n: int, like: Tensor) -> Tensor:
    """Log weights 1 / (n * batch): a biased estimate, whose mean logarithm is at most that of the aggregate.

    Source: Chen et al. (2018), appendix C.1.
    """
    return like.new_full((batch, batch), -math.log(n * batch))


def aggregate_posterior_log_prob(
    level: LatentLevel, n: int, weights: Weights = minibatch_stratified_sampling
) -> tuple[Tensor, Tensor]:
    """Estimate log q(z) and log prod_j q(z_j) of the aggregate posterior at the samples of a level.

    Each of several processes uses the data of its own part of the batch.

    Args:
        level: a level with samples `(*sample, batch, latents)`.
        n: number of training data.
        weights: log weights of the data of the batch. With `minibatch_stratified_sampling` q(z) is unbiased for a batch
            drawn without replacement.

    Returns:
        the two log-densities, nats `(*sample, batch)`.

    Raises:
        UserError: if q does not factorise.
    """
    if not n:
        raise ValueError("n=0: the aggregate posterior needs the number of training data; call objective.start() first")
    flat = level.z.flatten(level.z.dim() - len(level.q.event_shape))
    pairs = per_dimension(level.q).log_prob(flat.unsqueeze(-2).unsqueeze(-1))  # (*sample, i, j, latents)
    log_weights = weights(pairs.shape[-2], n, flat)
    joint = (pairs.sum(-1) + log_weights).logsumexp(-1)
    return joint, (pairs + log_weights.unsqueeze(-1)).logsumexp(-2).sum(-1)


class AggregateTerm(StatefulTerm, ABC):
    """A term of the aggregate posterior.

    Args:
        weights: estimator of the aggregate posterior, `minibatch_stratified_sampling` or `minibatch_weighted_sampling`.
    """

    def __init__(self, weights: Weights = minibatch_stratified_sampling) -> None:
        super().__init__()
        self.weights = weights


class TotalCorrelation(AggregateTerm):
    """log q(z) - sum_j log q(z_j), nats: its mean is the total correlation, 0 for independent latents."""

    name = "total_correlation"

    def forward(self, trace: Trace) -> Tensor:
        joint, product = aggregate_posterior_log_prob(single_level(trace, self.name), self.n, self.weights)
        return joint - product


class MutualInformation(AggregateTerm):
    """log q(z | x) - log q(z), nats: its mean is the mutual information of data and latents."""

    name = "mutual_information"

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

    Source: Kumar, Sattigeri, Balakrishnan (2018), Variational Inference of Disentangled Latent Concepts from Unlabeled
    Observations.

    Args:
        off_diagonal: weight of the entries off the diagonal.
        diagonal: weight of the entries on the diagonal.
        of: computes C from a level: `covariance_of_means` (DIP-VAE I) or `covariance` (DIP-VAE II).

    Raises:
        UserError: for a hierarchy.
    """

    def dip(trace: Trace) -> Tensor:
        c = of(single_level(trace, "dip-vae"))
        d = c.diagonal()
        return off_diagonal * (c.square().sum() - d.square().sum()) + diagonal * (d - 1).square().sum()

    return dip


Kernel = Callable[[Tensor, int], Tensor]
"""(squared distances, dimensions) -> values in (0, 1], 1 at distance 0."""


def rbf(scales: Sequence[float] = (1.0,)) -> Kernel:
    """The Gaussian kernel: the mean over scales s of exp(-d^2 / h), h = 2 * dim * s.

    Args:
        scales: the s; at s = 1, h is the mean of d^2 for two standard Normals.
    """
    return lambda d2, dim: torch.stack([torch.exp(-d2 / (2 * dim * s)) for s in scales]).mean(0)


def imq(scales: Sequence[float] = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)) -> Kernel:
    """The inverse multiquadratic kernel: the mean over scales s of h / (h + d^2), h = 2 * dim * s.

    Its tails are heavier than those of `rbf`.

    Args:
        scales: the s; at s = 1, h is the mean of d^2 for two standard Normals.
    """
    return lambda d2, dim: torch.stack([2 * dim * s / (2 * dim * s + d2) for s in scales]).mean(0)


def _squared_distances(x: Tensor, y: Tensor) -> Tensor:
    return (x.unsqueeze(1) - y.unsqueeze(0)).square().sum(-1)


def mmd_squared(x: Tensor, y: Tensor, kernel: Kernel, biased: bool = False) -> Tensor:
    """The squared maximum mean discrepancy E[k(x, x') + k(y, y') - 2 k(x, y)] of samples `(n, dim)` and `(m, dim)`.

    Source: Gretton et al. (2012), A Kernel Two-Sample Test.

    Args:
        x: samples `(n, dim)`.
        y: samples `(m, dim)`.
        kernel: k, such as `rbf()`.
        biased: include the pairs of a sample with itself: the estimate is never negative, but biased.
    """

    def within(a: Tensor) -> Tensor:
        k = kernel(_squared_distances(a, a), a.shape[-1])
        return k.mean() if biased or len(a) == 1 else (k.sum() - k.diagonal().sum()) / (len(a) * (len(a) - 1))

    return within(x) + within(y) - 2 * kernel(_squared_distances(x, y), x.shape[-1]).mean()


def mmd(kernel: Kernel, biased: bool = False) -> Term:
    """The squared maximum mean discrepancy of samples of the aggregate posterior and of the prior.

    Source: Zhao, Song, Ermon (2019), InfoVAE: Balancing Learning and Inference in Variational Autoencoders;
    Tolstikhin, Bousquet, Gelly, Schölkopf (2018), Wasserstein Auto-Encoders.

    Args:
        kernel: the kernel, such as `rbf()`.
        biased: use the biased estimate, which is never negative.
    """

    def mmd(trace: Trace) -> Tensor:
        level = single_level(trace, "mmd")
        return mmd_squared(level.z.flatten(1), prior_draws(level).flatten(1), kernel, biased)

    return mmd


def sliced_wasserstein(projections: int = 50) -> Term:
    """The squared 2-Wasserstein distance of z and prior samples y, averaged over random directions.

        mean over directions u of mean_i (sort(z u)_i - sort(y u)_i)^2

    Source: Kolouri, Pope, Martin, Rohde (2019), Sliced Wasserstein Auto-Encoders.

    Args:
        projections: number of random directions; more reduce the noise.
    """

    def sliced_wasserstein(trace: Trace) -> Tensor:
        level = single_level(trace, "sliced_wasserstein")
        z, y = level.z.flatten(1), prior_draws(level).flatten(1)
        u = noise.normal(torch.Size((projections,)), torch.Size(), z.shape[1:], z)
        u = u / u.norm(dim=-1, keepdim=True)
        return ((z @ u.T).sort(0).values - (y @ u.T).sort(0).values).square().mean()

    return sliced_wasserstein


def dhsic(blocks: Sequence[Tensor], kernel: Kernel) -> Tensor:
    """dHSIC of the blocks `(n, dim_b)`, with Gram matrices K_b: 0 in the limit if and only if they are independent.

        mean_ij prod_b K_b(i, j) + prod_b mean_ij K_b(i, j) - 2 mean_i prod_b mean_j K_b(i, j)

    For two blocks it is HSIC, tr(K H L H) / n^2. The estimate is biased and never negative. Source: Pfister, Bühlmann,
    Schölkopf, Peters (2018), Kernel-based Tests for Joint Independence.
    """
    grams = torch.stack([kernel(_squared_distances(b, b), b.shape[-1]) for b in blocks])
    rows = grams.mean(-1)
    return grams.prod(0).mean() + rows.mean(-1).prod() - 2 * rows.prod(0).mean()


def hsic(sizes: Sequence[int] = (), kernel: Kernel | None = None) -> Term:
    """The dependence of blocks of latents, measured by `dhsic`.

    Source: Lopez, Regier, Jordan, Yosef (2018), Information Constraints on Auto-Encoding Variational Bayes.

    Args:
        sizes: sizes of consecutive blocks; empty for one block for each latent.
        kernel: the kernel; None for `rbf()`.
    """
    chosen = kernel or rbf()

    def hsic(trace: Trace) -> Tensor:
        z = single_level(trace, "hsic").z.flatten(1)
        if sizes and sum(sizes) != z.shape[1]:
            raise UserError(f"hsic sizes={list(sizes)}: give sizes that sum to the {z.shape[1]} latents")
        return dhsic(z.split(list(sizes) or 1, 1), chosen)

    return hsic
