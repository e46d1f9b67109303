"""Likelihood regret: the gain in ELBO from the best posterior for a single datum.

    regret(x) = max over (m, s) of ELBO(x; N(m, diag(s^2))) - ELBO(x; q(z | x))

For a datum like those of training, the encoder's posterior is close to the best one; for an anomaly it is not. Unlike
the likelihood, the difference does not depend on the complexity of x. The decoder and the prior are fixed; the search
is over the encoder's output for each datum, not over its weights, so that a batch of data is searched at once.

The gradient is that of log p(x, z) - log q(z) along z alone: it is unbiased, since the score of q has mean 0, and
exactly 0 at the exact posterior, where the search therefore stays. Both bounds are then measured with the same draws.

Source: Xiao, Yan, Amit (2020), Likelihood Regret: An Out-of-Distribution Detection Score for Variational Auto-encoder;
Roeder, Wu, Duvenaud (2017), Sticking the Landing.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nelbo.distributions import DiagonalNormal, noise
from nelbo.errors import UserError
from nelbo.vae import VAE

STEPS = 100
STEP = 0.1  # the first step, in units of z and of log s; steps fall to 0 linearly
DECAY = (0.9, 0.99)  # of the running means of the gradient and of its square
Normal = tuple[Tensor, Tensor]  # m and log s, `(batch, dim)` each


def regret(vae: VAE, x: Tensor, c: Tensor | None, samples: int) -> Tensor:
    """The likelihood regret of each datum, `(batch,)` nats; both bounds are means of `samples` draws.

    Raises `UserError` unless the latent has one level with a diagonal Normal posterior.
    """
    with torch.no_grad():
        q = _posterior(vae, x, c)
        start = (q.loc, q.log_scale.expand_as(q.loc))
        found, gains = _search(vae, x, c, start), []
        for _ in range(samples):
            eps = _noise(q.loc)
            gains.append(_bound(vae, x, c, eps, found) - _bound(vae, x, c, eps, start))
        return torch.stack(gains).mean(0)


def _noise(like: Tensor) -> Tensor:
    return noise.normal(torch.Size(), like.shape[:1], like.shape[1:], like)


def _posterior(vae: VAE, x: Tensor, c: Tensor | None) -> DiagonalNormal:
    q = vae.latent.single_posterior(x, c)
    if not isinstance(q, DiagonalNormal):
        raise UserError(
            f"score='regret' needs a diagonal Normal posterior of one level, and the model's is a "
            f"{type(q or vae.latent).__name__}: "
            "use score='auto', or train with --set model.latent.posterior=diagonal-normal"
        )
    return q


def _bound(vae: VAE, x: Tensor, c: Tensor | None, eps: Tensor, at: Normal) -> Tensor:
    """log p(x, z) - log q(z) at z = m + s eps, `(*sample, batch)` nats, with the gradient along z alone."""
    loc, log_scale = at
    z = torch.addcmul(loc, log_scale.exp(), eps)
    q = DiagonalNormal(loc.detach(), log_scale.detach())
    prior = vae.latent.prior(c)  # type: ignore[operator]
    return vae.decode(z, c).log_prob(x) + prior.log_prob(z) - q.log_prob(z)


def _search(vae: VAE, x: Tensor, c: Tensor | None, start: Normal) -> Normal:
    """(m, log s) after Adam's ascent of the bound, for each datum by itself, with an antithetic pair of draws a step.

    It does not use `training.fit`, since it has no batches, epochs or module, but m and s of each datum. Adam's steps
    have a fixed length however small the gradient is, and would oscillate at a maximum. The constant added to its
    divisor is about the curvature there, 1/s^2 and 1: near the maximum, a step covers a tenth of the distance.
    """
    found = [*start]
    first, second = ([torch.zeros_like(value) for value in start] for _ in range(2))
    for step in range(STEPS):
        eps = _noise(found[0])
        loc, log_scale = (value.detach().requires_grad_() for value in found)
        with torch.enable_grad():
            value = _bound(vae, x, c, torch.stack([eps, -eps]), (loc, log_scale)).mean(0).sum()
        slopes = torch.autograd.grad(value, (loc, log_scale))
        curvature = (torch.exp(-2 * found[1]), torch.ones_like(found[1]))
        for place, slope in enumerate(slopes):
            first[place].lerp_(slope, 1 - DECAY[0])
            second[place].lerp_(slope.square(), 1 - DECAY[1])
            mean = first[place] / (1 - DECAY[0] ** (step + 1))
            spread = (second[place] / (1 - DECAY[1] ** (step + 1))).sqrt()
            found[place] = found[place] + STEP * (1 - step / STEPS) * mean / (spread + curvature[place])
    return found[0], found[1]
