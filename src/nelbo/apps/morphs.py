"""New pictures of a class from few: a VAE of how one turns into another, by moving its points.

    source, target = pairs(pictures, labels, 16_000)
    more = morph(learn(source, target), pictures)

The model is p(target | z, source), both of one class: `nelbo.nets.WarpDecoder` moves the points of the source, and z
says where to. A hundred labelled pictures, ten of each class, are 900 such pairs, and a bend that is usual between two
threes serves the fives. Draws of z from the prior then make many pictures of one, and its class is kept.

Source: Kingma, Welling (2014), Auto-Encoding Variational Bayes, conditional on the source; Antoniou, Storkey, Edwards
(2017), Data Augmentation Generative Adversarial Networks, for learning from pairs of one class; Zhao, Balakrishnan,
Durand, Guttag, Dalca (2019), Data Augmentation Using Learned Transformations for One-Shot Medical Image Segmentation.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from nelbo.conditionals import DiagonalNormal, Normal, StandardNormal
from nelbo.data import Schema
from nelbo.data.dataset import Arrays, subset
from nelbo.distributions.noise import seeded
from nelbo.errors import UserError
from nelbo.latents import Flat
from nelbo.nets import MLPEncoder, WarpDecoder
from nelbo.objectives import elbo
from nelbo.schedules import OneCycle
from nelbo.training import Settings, fit
from nelbo.vae import VAE

DIM, HIDDEN, INITIAL_LOGVAR = 16, (256, 256), -2.0
SIGMA = 0.15  # of a pixel about the moved picture, where white is 1
HELD_OUT = 50  # pairs at most that tell the test loss


def pairs(
    pictures: Tensor, labels: Tensor, n: int, seed: int = 0, vary: Callable[[Tensor], Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """`n` sources and their targets, two different pictures of one class each, `(n, *shape)`; `vary` augments both.

    Every picture is a source equally often in the mean. Raises `UserError` where a class has a single picture.
    """
    generator = torch.Generator().manual_seed(seed)
    order = labels.argsort(stable=True)
    counts = torch.bincount(labels)
    if (counts == 1).any():
        raise UserError(f"class {int((counts == 1).nonzero()[0])} has one picture: give two or more, or leave it out")
    first = torch.randint(len(pictures), (n,), generator=generator)
    size, place = counts[labels[order[first]]], first - (counts.cumsum(0) - counts)[labels[order[first]]]
    other = (place + 1 + (torch.rand(n, generator=generator) * (size - 1)).long()) % size  # never the same one
    source, target = pictures[order[first]], pictures[order[first - place + other]]
    return (source, target) if vary is None else (vary(source), vary(target))


def learn(source: Tensor, target: Tensor, epochs: int = 4, seed: int = 0) -> VAE:
    """The model of pairs of pictures `(n, *shape)` in [0, 1]: p(target | z, source)."""
    shape = tuple(source.shape[1:])
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = MLPEncoder(shape, 2 * DIM, HIDDEN, context=source[0].numel())
        latent = Flat(StandardNormal(DIM), DiagonalNormal(encoder, len(shape), INITIAL_LOGVAR))
        vae = VAE(latent, Normal(WarpDecoder(DIM, shape, HIDDEN), len(shape), SIGMA))
    rows = Arrays(target, Schema("image", shape, (0.0,), (1.0,), "unit"))
    rows.context = source.flatten(1)
    settings = Settings(epochs, 64, learning_rate=2e-3, schedule=OneCycle(), seed=seed)
    fit(vae, elbo(), rows, subset(rows, range(min(HELD_OUT, len(rows)))), settings)
    return vae.eval()


@torch.no_grad()
def morph(vae: VAE, pictures: Tensor, seed: int = 0, temperature: float = 1.0) -> Tensor:
    """One new picture of each, `(n, *shape)`: its points moved as a draw of z from the prior says."""
    with seeded(seed):
        z = vae.latent.generate(len(pictures), temperature=temperature)
    return vae.decode(z, pictures.flatten(1)).mean
