"""Adversarial objectives: a critic is a second player, which learns to distinguish two kinds of samples.

A critic's output l is a logit, P(first kind) = sigmoid(l); at its optimum l is the log-ratio of the two densities.
It minimises the mean cross-entropy of both kinds, on detached inputs:

    critic loss = -(1/2) E_first[log sigmoid(l)] - (1/2) E_second[log sigmoid(-l)]

The loss that a run reports is that of the VAE.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from nelbo.config.registry import Count, NonNegative, Positive, register
from nelbo.distributions import noise
from nelbo.errors import UserError
from nelbo.nets import MLP, Net
from nelbo.nets.mlp import perceptron
from nelbo.objectives.base import Losses, Objective, add_penalty, encoder_decoder_groups, prior_draws, single_level
from nelbo.vae import VAE


def discriminator_loss(first: Tensor, second: Tensor) -> Tensor:
    """The critic's loss from its logits on samples of the first and of the second kind."""
    return 0.5 * (softplus(-first).mean() + softplus(second).mean())


def permute_dims(z: Tensor) -> Tensor:
    """Permute each latent of samples `(batch, latents)` over the batch: samples of the product of marginals, nearly."""
    return z.gather(0, noise.uniform(torch.Size(), z.shape[:1], z.shape[1:], z).argsort(0))


def _like(net: nn.Module, vae: VAE) -> nn.Module:
    """The net with the dtype and on the device of a VAE."""
    return net.to(next(vae.parameters()))


class LatentCritic(Objective, ABC):
    """An objective with a critic of z, a perceptron.

    Args:
        weight: weight of the critic's term.
        hidden: sizes of the critic's hidden layers.
        critic_lr_scale: learning rate of the critic, as a multiple of that of the run.
    """

    def __init__(self, weight: float, hidden: Sequence[int], critic_lr_scale: float) -> None:
        super().__init__()
        self.weight = weight
        self.hidden = list(hidden)
        self.critic_lr_scale = critic_lr_scale
        self.critic = nn.Sequential()

    def setup(self, vae: VAE, x: Tensor, n: int, c: Tensor | None = None) -> None:
        mode, device = vae.training, next(vae.parameters()).device
        with torch.no_grad():
            z = vae.eval().latent.embed(x.to(device), None if c is None else c.to(device))  # type: ignore[operator]
        vae.train(mode)
        self.critic = _like(perceptron([z.shape[-1], *self.hidden, 1]), vae)  # type: ignore[assignment]

    def param_groups(self, vae: VAE) -> dict[str, list[nn.Parameter]]:
        return {**super().param_groups(vae), "critic": list(self.critic.parameters())}


@register("objective", "factorvae", cite="kim2018disentangling")
class FactorVAE(LatentCritic):
    """distortion + rate + weight * TC, where the total correlation TC is estimated by a critic's logit on z.

        TC = E_q(z)[log q(z) / prod_j q(z_j)];   first kind: z, second kind: z with permuted latents

    Source: Kim, Mnih (2018), Disentangling by Factorising.

    Args:
        weight: weight of the total correlation.
        hidden: sizes of the critic's hidden layers.
        critic_lr_scale: learning rate of the critic, as a multiple of that of the run.
    """

    def __init__(
        self, *, weight: NonNegative = 6.0, hidden: tuple[Count, ...] = (256, 256), critic_lr_scale: Positive = 1.0
    ) -> None:
        super().__init__(weight, hidden, critic_lr_scale)

    def forward(self, vae: VAE, x: Tensor, c: Tensor | None = None) -> Losses:
        trace = vae(x, c)
        z = single_level(trace, "factorvae").z
        correlation = self.critic(z).mean()
        critic = discriminator_loss(self.critic(z.detach()), self.critic(permute_dims(z.detach())))
        loss = trace.distortion.mean() + trace.rate.mean() + self.weight * correlation
        loss, parts = add_penalty(trace, loss, total_correlation=correlation, critic=critic)
        return Losses({"vae": loss, "critic": critic}, {"loss": loss.detach(), **parts})


@register("objective", "aae", cite="makhzani2016adversarial")
class AdversarialAutoencoder(LatentCritic):
    """distortion + weight * (-log sigmoid(l(z))): the encoder's samples become indistinguishable from the prior's.

    First kind: samples of the prior, second kind: z. It never needs log q, and does not bound the rate.

    Source: Makhzani, Shlens, Jaitly, Goodfellow, Frey (2016), Adversarial Autoencoders.

    Args:
        weight: weight of the adversarial loss.
        hidden: sizes of the critic's hidden layers.
        critic_lr_scale: learning rate of the critic, as a multiple of that of the run.
    """

    def __init__(
        self, *, weight: NonNegative = 1.0, hidden: tuple[Count, ...] = (256, 256), critic_lr_scale: Positive = 1.0
    ) -> None:
        super().__init__(weight, hidden, critic_lr_scale)

    def forward(self, vae: VAE, x: Tensor, c: Tensor | None = None) -> Losses:
        trace = vae(x, c)
        level = single_level(trace, "aae")
        deceit = softplus(-self.critic(level.z)).mean()
        critic = discriminator_loss(self.critic(prior_draws(level).detach()), self.critic(level.z.detach()))
        loss, parts = add_penalty(trace, trace.distortion.mean() + self.weight * deceit, deceit=deceit, critic=critic)
        return Losses({"vae": loss, "critic": critic}, {"loss": loss.detach(), **parts})


@register("objective", "vae-gan", cite="larsen2016autoencoding")
class VAEGAN(Objective):
    """A VAE whose reconstruction error is measured on the features f of a critic, and whose decoder fools that critic.

        likeness = |f(x) - f(x~)|^2 / 2 + pixels * distortion;  deceit = mean of -log sigmoid(l) over x~ and x_p
        encoder: rate + likeness;  decoder: weight * likeness + deceit;  critic: data first, x~ and x_p second

    x~ is the mean of p(x | z), x_p is decoded from samples of the prior. Training raises `UserError` for a hierarchy,
    and for data with missing elements.

    Source: Larsen, Sønderby, Larochelle, Winther (2016), Autoencoding beyond pixels using a learned similarity metric.

    Args:
        weight: weight of the likeness in the decoder's loss.
        features: number of features of the critic.
        critic: architecture of the critic.
        critic_lr_scale: learning rate of the critic, as a multiple of that of the run.
        pixels: weight of the distortion. With 0, as published, latents can collapse before the critic has learned.
    """

    def __init__(
        self,
        *,
        weight: NonNegative = 1.0,
        features: Count = 64,
        critic: Net = MLP((256,)),
        critic_lr_scale: Positive = 1.0,
        pixels: NonNegative = 1.0,
    ) -> None:
        super().__init__()
        self.critic_net, self.features = critic, features
        self.weight, self.critic_lr_scale, self.pixels = weight, critic_lr_scale, pixels
        self.trunk: nn.Module = nn.Sequential()
        self.head: nn.Module = nn.Sequential()

    def setup(self, vae: VAE, x: Tensor, n: int, c: Tensor | None = None) -> None:
        if vae.likelihood.missing:
            raise UserError(
                "vae-gan compares all elements of the data, and in tables and series some may be missing: use another "
                "objective"
            )
        self.trunk = _like(self.critic_net.encoder(tuple(x.shape[1:]), self.features), vae)
        self.head = _like(nn.Linear(self.features, 1), vae)  # built here, after the run's seed is set

    def forward(self, vae: VAE, x: Tensor, c: Tensor | None = None) -> Losses:
        trace = vae(x, c)
        reconstructed, sampled = (
            trace.likelihood.mean,
            vae.likelihood(prior_draws(single_level(trace, "vae-gan")).detach(), c).mean,
        )
        f, f_remade = self.trunk(x), self.trunk(reconstructed)
        likeness = 0.5 * (f - f_remade).square().sum(1).mean() + self.pixels * trace.distortion.mean()
        deceit = 0.5 * (softplus(-self.head(f_remade)).mean() + softplus(-self.head(self.trunk(sampled))).mean())
        fake_features = self.trunk(torch.cat([reconstructed, sampled]).detach())
        critic = discriminator_loss(self.head(f), self.head(fake_features))
        encoder, parts = add_penalty(
            trace, trace.rate.mean() + likeness, likeness=likeness, deceit=deceit, critic=critic
        )
        decoder = self.weight * likeness + deceit
        total = (encoder + decoder - likeness).detach()
        return Losses({"encoder": encoder, "decoder": decoder, "critic": critic}, {"loss": total, **parts})

    def param_groups(self, vae: VAE) -> dict[str, list[nn.Parameter]]:
        return {**encoder_decoder_groups(vae), "critic": [*self.trunk.parameters(), *self.head.parameters()]}
