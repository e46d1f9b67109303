"""A constraint on the distortion in place of a weight (GECO), and regularised autoencoders (RAE).

GECO minimises the rate subject to a target distortion. A regularised autoencoder has a deterministic encoder, a penalty
on the norm of the embedding and one on the decoder:

    loss = distortion + latent * |z|^2 / 2 + weight * regularizer(decoder)

Source: Ghosh, Sajjadi, Vergari, Black, Schölkopf (2020), From Variational to Deterministic Autoencoders.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from nelbo.config.registry import NonNegative, Share, register
from nelbo.distributions import noise
from nelbo.errors import UserError
from nelbo.objectives.base import Losses, Objective, add_penalty, single_level
from nelbo.vae import VAE


@register("objective", "geco", cite="rezende2018taming")
class GECO(Objective):
    """min KL(q(z | x) || p(z)) subject to mean distortion <= target, nats per example (GECO).

        loss = rate + lambda * (distortion - target)
        log lambda <- log lambda + step * clip(average of (distortion - target) / max(|target|, 1), -1, 1)

    The multiplier lambda changes in training only and is saved with the run; it rises while the target is not reached.
    The average has weight `momentum` on the past. Unlike in the paper, the gap is relative and clipped, so that the
    same step suits all data.

    Source: Rezende, Viola (2018), Taming VAEs.

    Args:
        target: the distortion to reach, nats per example.
        step: step size of log lambda.
        momentum: weight of the past in the average of the gap, below 1.
    """

    log_multiplier: Tensor
    gap: Tensor
    batches: Tensor

    def __init__(self, *, target: float = 100.0, step: NonNegative = 0.01, momentum: Share = 0.9) -> None:
        super().__init__()
        self.target, self.step, self.momentum = target, step, momentum
        for name in ("log_multiplier", "gap", "batches"):
            self.register_buffer(name, torch.zeros(()))

    def forward(self, vae: VAE, x: Tensor, c: Tensor | None = None) -> Losses:
        trace = vae(x, c)
        gap = trace.distortion.mean() - self.target
        if self.training and torch.is_grad_enabled():
            self._observe(gap.detach().clone())
        multiplier = self.log_multiplier.exp()
        loss, parts = add_penalty(trace, trace.rate.mean() + multiplier * gap, multiplier=multiplier)
        return Losses({"vae": loss}, parts)

    def _observe(self, gap: Tensor) -> None:
        """Average the gap over all processes and update the multiplier."""
        if torch.distributed.is_initialized():
            torch.distributed.all_reduce(gap)
            gap /= torch.distributed.get_world_size()
        self.batches += 1
        self.gap.lerp_(gap.to(self.gap.dtype), (1 / self.batches).clamp_min(1 - self.momentum))
        self.log_multiplier += self.step * (self.gap / max(abs(self.target), 1.0)).clamp(-1, 1)


Regularizer = Callable[[VAE, Tensor, Tensor | None], Tensor]
"""(vae, z, c) -> a number, or nats per example."""


def decoder_weights(vae: VAE, z: Tensor, c: Tensor | None = None) -> Tensor:
    """The sum of the squares of the likelihood's parameters (weight decay, RAE-L2).

    Args:
        vae: the model.
        z: latents; not used.
        c: context; not used.
    """
    return torch.stack([p.square().sum() for p in vae.likelihood.parameters()]).sum()


def decoder_spectrum(vae: VAE, z: Tensor, c: Tensor | None = None) -> Tensor:
    """The sum of the squared largest singular values of the likelihood's weights.

    RAE-SN divides the weights by it instead, which is a property of the net and not of the loss. Source: Yoshida,
    Miyato (2017), Spectral Norm Regularization for Improving the Generalizability of Deep Learning.

    Args:
        vae: the model.
        z: latents; not used.
        c: context; not used.
    """
    weights = [p.flatten(1) for p in vae.likelihood.parameters() if p.dim() > 1]
    return torch.stack([torch.linalg.matrix_norm(w, 2).square() for w in weights]).sum()


def decoder_gradient(vae: VAE, z: Tensor, c: Tensor | None = None) -> Tensor:
    """|d mean(x | z) / d z|^2, the squared Frobenius norm of the decoder's Jacobian (RAE-GP), `(batch,)`.

    It is estimated without bias as |v' J|^2 with v ~ N(0, I).
    Source: Hutchinson (1990), A Stochastic Estimator of the Trace of the Influence Matrix.

    Args:
        vae: the model.
        z: latents `(batch, features)`.
        c: context `(batch, context)`; None for none.

    Raises:
        UserError: if the likelihood's mean has no gradient, as for a table.
    """
    with torch.enable_grad():
        h = z if z.requires_grad else z.detach().requires_grad_()
        mean = vae.likelihood(h, c).mean
        if not mean.requires_grad:
            raise UserError("regularizer='gradient': the mean of a table's cells is not a smooth function: use 'l2'")
        v = noise.normal(torch.Size(), mean.shape[:1], mean.shape[1:], mean)
        (gradient,) = torch.autograd.grad(mean, h, v, create_graph=True)
    return gradient.flatten(1).square().sum(1)


REGULARIZERS: dict[str, Regularizer] = {
    "l2": decoder_weights,
    "gradient": decoder_gradient,
    "spectral": decoder_spectrum,
}


@register(
    "objective",
    "rae",
    cite="ghosh2020variational",
    cite_if={"yoshida2017spectral": lambda options: options["regularizer"] == "spectral"},
)
class RAE(Objective):
    """Distortion + latent * |z|^2 / 2 + weight * a regularizer of the decoder.

    Args:
        latent: weight of half the squared norm of the embedding.
        weight: weight of the regularizer.
        regularizer: "l2" (weight decay), "gradient" (gradient penalty) or "spectral" (largest singular values).
    """

    def __init__(
        self,
        *,
        latent: NonNegative = 1e-2,
        weight: NonNegative = 1e-4,
        regularizer: Literal["l2", "gradient", "spectral"] = "l2",
    ) -> None:
        super().__init__()
        self.latent, self.weight, self.regularizer = latent, weight, REGULARIZERS[regularizer]

    def forward(self, vae: VAE, x: Tensor, c: Tensor | None = None) -> Losses:
        trace = vae(x, c)
        z = single_level(trace, "rae").z
        size = 0.5 * z.flatten(1).square().sum(1).mean()
        decoder = self.regularizer(vae, z, c).mean()
        loss = trace.distortion.mean() + self.latent * size + self.weight * decoder
        loss, parts = add_penalty(trace, loss, code=size, regularizer=decoder)
        return Losses({"vae": loss}, parts)
