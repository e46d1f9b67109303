"""Bounds on log p(x) from the importance weights of several samples.

    w_i = p(x, z_i) / q(z_i | x),  z_i ~ q(z | x);   E[w] = p(x)
    ELBO = E[log w] <= IWAE_k = E[log (1/k) sum_i w_i] <= log p(x) <= CUBO_n = (1/n) log E[w^n],  n >= 1

A bound maps a trace of sample shape `(*outer, k)` to nats of shape `(*outer, batch)`. Its value is that of the bound,
even where its gradient is another estimator.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from nelbo.config.registry import Count, Range, register
from nelbo.distributions import detach
from nelbo.errors import UserError
from nelbo.objectives.base import Losses, Objective, add_penalty, encoder_decoder_groups, single_level
from nelbo.vae import VAE, Trace

Bound = Callable[[Trace], Tensor]


def log_mean_exp(log_weight: Tensor) -> Tensor:
    """log (1/k) sum_i w_i over the k samples in dimension -2."""
    return log_weight.logsumexp(-2) - math.log(log_weight.shape[-2])


def _path_log_weight(trace: Trace) -> Tensor:
    """log w, with the gradient of log q through the samples alone."""
    log_p = reduce(torch.add, [level.log_p - detach(level.q).log_prob(level.z) for level in trace.levels])
    path = log_p - trace.distortion
    return path + (trace.log_weight - path).detach()


def _shares(log_weight: Tensor) -> Tensor:
    """w_i / sum_j w_j, without a gradient."""
    return log_weight.detach().softmax(-2)


def iwae(trace: Trace) -> Tensor:
    """log (1/k) sum_i w_i. Source: Burda, Grosse, Salakhutdinov (2016), Importance Weighted Autoencoders."""
    return log_mean_exp(trace.log_weight)


def stl(trace: Trace) -> Tensor:
    """`iwae` without the score of q: less noise, and for k > 1 a gradient with a bias.

    Source: Roeder, Wu, Duvenaud (2017), Sticking the Landing; the bias: Tucker et al. (2019).
    """
    return log_mean_exp(_path_log_weight(trace))


def dreg(trace: Trace) -> Tensor:
    """`iwae` with the doubly reparameterised gradient: unbiased, with noise that vanishes as k grows.

        d/d phi = sum_i s_i^2 (d log w_i / d z_i) (d z_i / d phi),  d/d theta = sum_i s_i d log w_i / d theta

    with the shares s_i = w_i / sum_j w_j. Source: Tucker, Lawson, Gu, Maddison (2019), Doubly Reparameterized Gradient
    Estimators for Monte Carlo Objectives.

    Raises:
        UserError: for a hierarchy.
    """
    z = single_level(trace, "dreg").z
    log_weight = _path_log_weight(trace)
    share = _shares(log_weight)
    if z.requires_grad:
        z.register_hook(lambda gradient: gradient * share.view(*share.shape, *[1] * (z.dim() - share.dim())))
    surrogate = (share * log_weight).sum(-2)
    return surrogate + (log_mean_exp(log_weight) - surrogate).detach()


def iwae_of_all(trace: Trace) -> Tensor:
    """`iwae` over the samples of all sample dimensions."""
    return log_mean_exp(trace.log_weight.flatten(0, -2))


def ciwae(beta: float) -> Bound:
    """beta * ELBO + (1 - beta) * IWAE, where the ELBO is the mean of log w.

    Source: Rainforth et al. (2018), Tighter Variational Bounds are Not Necessarily Better.
    """

    def ciwae(trace: Trace) -> Tensor:
        return (1 - beta) * iwae(trace) + beta * trace.log_weight.mean(-2)

    return ciwae


def renyi(alpha: float) -> Bound:
    """(1 / (1 - alpha)) log (1/k) sum_i w_i^(1 - alpha): the ELBO at alpha -> 1, `iwae` at 0.

    For alpha >= 0 it is a lower bound on log p(x); for alpha < 0 an upper bound in the limit of large k.
    Source: Li, Turner (2016), Renyi Divergence Variational Inference.
    """
    if alpha == 1:
        raise UserError("alpha=1: that is the ELBO; use elbo()")
    return lambda trace: log_mean_exp((1 - alpha) * trace.log_weight) / (1 - alpha)


def cubo(order: float) -> Bound:
    """(1/n) log (1/k) sum_i w_i^n, n = order >= 1: an upper bound on log p(x) for large k, and less for small k.

    Source: Dieng, Tran, Ranganath, Paisley, Blei (2017), Variational Inference via chi Upper Bound Minimization.
    """
    if order < 1:
        raise UserError(f"order={order}: give 1 or more, below it is not an upper bound")
    return renyi(1 - order)


def wake(trace: Trace) -> Tensor:
    """sum_i s_i log q(z_i | x), with detached shares s and samples z: minus a cross-entropy of p(z | x) and q.

    It is not a bound. Source: Bornschein, Bengio (2015), Reweighted Wake-Sleep.
    """
    level = single_level(trace, "wake")
    return (_shares(trace.log_weight) * level.q.log_prob(level.z.detach())).sum(-2)


class ImportanceWeightedObjective(Objective):
    """Each player maximises a bound of the same trace. The loss that two players report is the decoder's.

    Args:
        bounds: the bound of each player: "vae", or "encoder" and "decoder".
        sample_shape: shape of the latent samples of each datum.
    """

    def __init__(self, bounds: Mapping[str, Bound], sample_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.bounds = dict(bounds)
        self.sample_shape = sample_shape

    def forward(self, vae: VAE, x: Tensor, c: Tensor | None = None) -> Losses:
        trace = vae(x, c, self.sample_shape)
        scored = {player: add_penalty(trace, -bound(trace).mean()) for player, bound in self.bounds.items()}
        losses = {player: loss for player, (loss, _) in scored.items()}
        loss, parts = list(scored.values())[-1]
        return Losses(losses, parts if len(losses) == 1 else {"loss": loss.detach(), **parts})

    def param_groups(self, vae: VAE) -> dict[str, list[nn.Parameter]]:
        return super().param_groups(vae) if len(self.bounds) == 1 else encoder_decoder_groups(vae)


GRADIENTS: dict[str, Bound] = {"plain": iwae, "stl": stl, "dreg": dreg}


@register(
    "objective",
    "iwae",
    cite="burda2016importance",
    cite_if={
        "rainforth2018tighter": lambda options: options["m"] > 1,
        "roeder2017sticking": lambda options: options["gradient"] == "stl",
        "tucker2019doubly": lambda options: options["gradient"] == "dreg",
    },
)
def importance_weighted(
    *, k: Count = 5, m: Count = 1, gradient: Literal["plain", "stl", "dreg"] = "plain"
) -> ImportanceWeightedObjective:
    """Minus the mean of m bounds of k samples each: IWAE, and MIWAE for m > 1.

    Args:
        k: samples of each bound; more make it tighter.
        m: number of bounds.
        gradient: "plain", "stl" or "dreg"; see the functions `stl` and `dreg`.
    """
    return ImportanceWeightedObjective({"vae": GRADIENTS[gradient]}, (m, k))


@register("objective", "ciwae", cite=("burda2016importance", "rainforth2018tighter"))
def combined(*, k: Count = 5, beta: Annotated[float, Range(0, 1)] = 0.5) -> ImportanceWeightedObjective:
    """beta * ELBO + (1 - beta) * IWAE (CIWAE, Rainforth et al., 2018).

    Args:
        k: number of samples.
        beta: weight of the ELBO, from 0 to 1.
    """
    return ImportanceWeightedObjective({"vae": ciwae(beta)}, (k,))


@register("objective", "piwae", cite=("burda2016importance", "rainforth2018tighter"))
def piwae(*, k: Count = 5, m: Count = 5) -> ImportanceWeightedObjective:
    """The encoder maximises the mean of m bounds of k samples, the decoder one bound of all m k samples.

    Source: Rainforth et al. (2018), Tighter Variational Bounds are Not Necessarily Better.

    Args:
        k: samples of each bound.
        m: number of bounds.
    """
    return ImportanceWeightedObjective({"encoder": iwae, "decoder": iwae_of_all}, (m, k))


def _check_alpha(options: Mapping[str, Any]) -> None:
    if options["alpha"] == 1:
        raise UserError('alpha = 1.0: that is the ELBO, kind = "elbo"')


@register("objective", "renyi", cite="li2016renyi", check=_check_alpha)
def renyi_bound(*, alpha: float = 0.5, k: Count = 5) -> ImportanceWeightedObjective:
    """The Renyi bound of order alpha (Li, Turner, 2016, Renyi Divergence Variational Inference).

    Args:
        alpha: the order; 0 is IWAE, towards 1 the ELBO.
        k: number of samples.
    """
    return ImportanceWeightedObjective({"vae": renyi(alpha)}, (k,))


@register("objective", "chivi", cite=("dieng2017variational", "burda2016importance"))
def chivi(*, order: Annotated[float, Range(1)] = 2.0, k: Count = 5) -> ImportanceWeightedObjective:
    """The encoder minimises the upper bound `cubo`, the decoder maximises `iwae` (CHIVI, Dieng et al., 2017).

    A decoder that minimised an upper bound would make the data less likely.

    Args:
        order: order n of the upper bound.
        k: number of samples.
    """
    upper = cubo(order)
    return ImportanceWeightedObjective({"encoder": lambda trace: -upper(trace), "decoder": iwae}, (k,))


@register("objective", "wake-wake", cite=("bornschein2015reweighted", "le2019revisiting"))
def wake_wake(*, k: Count = 5) -> ImportanceWeightedObjective:
    """The encoder maximises `wake`, the decoder `iwae`. Source: Le et al. (2019), Revisiting Reweighted Wake-Sleep.

    Args:
        k: number of samples.
    """
    return ImportanceWeightedObjective({"encoder": wake, "decoder": iwae}, (k,))
