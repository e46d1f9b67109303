"""Objectives that are weighted sums of terms; see `nelbo.objectives.terms`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from nelbo.config.registry import Count, NonNegative, register
from nelbo.errors import UserError
from nelbo.objectives import terms
from nelbo.objectives.base import Term, WeightedTerms, distortion, rate, stl_kl
from nelbo.schedules import Linear, Schedule

Kernel = Literal["rbf", "imq"]
KERNELS = {"rbf": terms.rbf, "imq": terms.imq}
AGGREGATE_WEIGHTS = {"stratified": terms.minibatch_stratified_sampling, "weighted": terms.minibatch_weighted_sampling}
COVARIANCES = {"I": terms.covariance_of_means, "II": terms.covariance}


def _sum(weights: dict[Term, float]) -> WeightedTerms:
    """The sum of the terms whose weight is not 0."""
    return WeightedTerms({term: weight for term, weight in weights.items() if weight})


@register(
    "objective",
    "elbo",
    cite="kingma2014auto",
    cite_if={
        "higgins2017beta": lambda options: not isinstance(options["beta"], Schedule) and options["beta"] != 1,
        "bowman2016generating": lambda options: isinstance(options["beta"], Linear),
        "roeder2017sticking": lambda options: options["stl"],
    },
)
def elbo(*, beta: NonNegative | Schedule = 1.0, stl: bool = False) -> WeightedTerms:
    """The negative ELBO, with the rate weighted by beta (1 is the bound itself).

        loss = E_q[-log p(x | z)] + beta * KL(q(z | x) || p(z))

    Source: Kingma, Welling (2014), Auto-Encoding Variational Bayes; for beta other than 1: Higgins et al. (2017),
    beta-VAE: Learning Basic Visual Concepts with a Constrained Variational Framework.

    Args:
        beta: weight of the rate; a number, or a schedule. Above 1, fewer latent dimensions are used, and they are
            more independent.
        stl: use the gradient of `stl_kl` for the rate, which is equal in expectation and less noisy late in training.
    """
    return WeightedTerms({distortion: 1.0, stl_kl if stl else rate: beta}, parts=())


@register("objective", "capacity", cite="burgess2018understanding")
def capacity(
    *, weight: NonNegative = 1000.0, capacity: float | Schedule = Linear(0.0, 25.0, 0.0, 0.8)
) -> WeightedTerms:
    """Distortion + weight * |rate - C| (Burgess et al., 2018, Understanding disentangling in beta-VAE).

    Args:
        weight: weight of the constraint.
        capacity: C, nats; a number, or a schedule.
    """
    return WeightedTerms({distortion: 1.0, terms.Capacity(capacity): weight})


@register("objective", "free-bits", cite="kingma2016improved")
def free_bits(*, floor: NonNegative = 0.1, per_level: bool = False, beta: float | Schedule = 1.0) -> WeightedTerms:
    """Distortion + beta * rate, where the first nats of each latent dimension are free (Kingma et al., 2016).

    Args:
        floor: free nats of each latent dimension.
        per_level: apply the floor to each level instead of each latent dimension.
        beta: weight of the rate; a number, or a schedule.
    """
    return WeightedTerms({distortion: 1.0, terms.free_bits(floor, per_level): beta})


@register("objective", "beta-tc", cite="chen2018isolating")
def beta_tc(
    *,
    beta: NonNegative = 6.0,
    alpha: NonNegative = 1.0,
    gamma: NonNegative = 1.0,
    weights: Literal["stratified", "weighted"] = "stratified",
) -> WeightedTerms:
    """Distortion + alpha * mutual information + beta * total correlation + gamma * dimension-wise KL.

    As the three sum to the rate, it is distortion + gamma rate + (alpha - gamma) information + (beta - gamma) TC.

    Source: Chen, Li, Grosse, Duvenaud (2018), Isolating Sources of Disentanglement in Variational Autoencoders.

    Args:
        beta: weight of the total correlation.
        alpha: weight of the mutual information.
        gamma: weight of the dimension-wise KL.
        weights: minibatch estimator of the aggregate posterior: "stratified" or "weighted" sampling.
    """
    chosen = AGGREGATE_WEIGHTS[weights]
    information, correlation = terms.MutualInformation(chosen), terms.TotalCorrelation(chosen)
    return _sum({distortion: 1.0, rate: gamma, information: alpha - gamma, correlation: beta - gamma})


@register("objective", "dip-vae", cite="kumar2018variational")
def dip(
    *, version: Literal["I", "II"] = "I", off_diagonal: NonNegative = 10.0, diagonal: NonNegative = 100.0
) -> WeightedTerms:
    """ELBO + the squared distance of the latents' covariance from the identity (DIP-VAE, Kumar et al., 2018).

    Args:
        version: "I", the covariance of the posterior means, or "II", that of the aggregate posterior.
        off_diagonal: weight of the entries off the diagonal.
        diagonal: weight of the entries on the diagonal.
    """
    term = terms.dip(off_diagonal, diagonal, COVARIANCES[version])
    return WeightedTerms({distortion: 1.0, rate: 1.0, term: 1.0})


def _check_info(options: Mapping[str, Any]) -> None:
    alpha, weight = options["alpha"], options["weight"]
    if alpha > 1 or alpha + weight < 1:
        raise UserError(f"alpha = {alpha}, weight = {weight}: give alpha <= 1 and alpha + weight >= 1")


@register("objective", "infovae", cite=("zhao2019infovae", "gretton2012kernel"), check=_check_info)
def info(*, alpha: float = 0.5, weight: float = 1000.0, kernel: Kernel = "rbf", biased: bool = False) -> WeightedTerms:
    """Distortion + (1 - alpha) rate + (alpha + weight - 1) MMD^2 to the prior (InfoVAE, Zhao et al., 2019).

    Args:
        alpha: reduction of the rate's weight, at most 1; at 0 it is an ELBO with MMD.
        weight: lambda, the weight of the MMD.
        kernel: "rbf" or "imq".
        biased: use the biased estimate of the MMD, which is never negative.
    """
    term = terms.mmd(KERNELS[kernel](), biased)
    return _sum({distortion: 1.0, rate: 1 - alpha, term: alpha + weight - 1})


@register("objective", "wae-mmd", cite=("tolstikhin2018wasserstein", "gretton2012kernel"))
def wae_mmd(*, weight: NonNegative = 100.0, kernel: Kernel = "imq", biased: bool = False) -> WeightedTerms:
    """Distortion + weight * MMD^2 to the prior (Tolstikhin et al., 2018, Wasserstein Auto-Encoders).

    Args:
        weight: weight of the MMD.
        kernel: "rbf" or "imq".
        biased: use the biased estimate of the MMD, which is never negative.
    """
    return WeightedTerms({distortion: 1.0, terms.mmd(KERNELS[kernel](), biased): weight})


@register("objective", "swae", cite="kolouri2019sliced")
def swae(*, weight: NonNegative = 100.0, projections: Count = 50) -> WeightedTerms:
    """Distortion + weight * the squared sliced Wasserstein distance to the prior (Kolouri et al., 2019).

    Args:
        weight: weight of the distance.
        projections: number of random directions.
    """
    return WeightedTerms({distortion: 1.0, terms.sliced_wasserstein(projections): weight})


@register("objective", "hsic", cite=("lopez2018information", "pfister2018kernel"))
def hsic(*, weight: NonNegative = 1000.0, sizes: tuple[int, ...] = (), kernel: Kernel = "rbf") -> WeightedTerms:
    """ELBO + weight * the dependence of blocks of latents (HSIC-VAE, Lopez et al., 2018).

    Args:
        weight: weight of the dependence.
        sizes: sizes of consecutive blocks of latent dimensions; empty for one block for each of them.
        kernel: "rbf" or "imq".
    """
    return WeightedTerms({distortion: 1.0, rate: 1.0, terms.hsic(sizes, KERNELS[kernel]()): weight})
