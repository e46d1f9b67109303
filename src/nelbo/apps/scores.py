"""How odd a datum is under a model: scores, each in nats and higher for what is odder.

    nll             -log p(x), from importance samples
    bound           -log (1/K) sum_k w_k: the same estimate where the likelihood is no density
    reconstruction  -log p(x | z) at the posterior's mean
    latent          KL(q(z | x) || p(z)), the rate
    regret          what a better posterior for this one datum would have gained: `nelbo.apps.regret`

Each takes a model, rows, a number of draws and a seed, and draws for each row by itself.

Source: An, Cho (2015), Variational Autoencoder based Anomaly Detection using Reconstruction Probability; Burda, Grosse,
Salakhutdinov (2016), Importance Weighted Autoencoders; Xiao, Yan, Amit (2020), Likelihood Regret.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce

import numpy as np
import torch
from torch import Tensor

from nelbo.apps.regret import regret
from nelbo.data import Dataset, subset
from nelbo.distributions import Distribution
from nelbo.distributions.noise import seeded
from nelbo.errors import UserError
from nelbo.model import Model
from nelbo.registry import nearest
from nelbo.vae import VAE

Score = Callable[[Model, Dataset, int, int], np.ndarray]
Piecewise = Callable[[VAE, Tensor, Tensor | None, int], Tensor]
DECODED = 1000  # draws of all data together that are decoded at once


def at_mean(vae: VAE, x: Tensor, c: Tensor | None) -> Distribution:
    """p(x | z) at the posterior's mean of each datum."""
    d = vae.decode(vae.latent.expand(vae.latent.embed(x, c), c), c)
    assert isinstance(d, Distribution)
    return d


def of_elements(vae: VAE, x: Tensor, c: Tensor | None) -> Tensor:
    """-log p(x_j | z) at the posterior's mean, `(batch, *shape)` nats; 0 where x_j is missing (NaN)."""
    return elements_under(at_mean(vae, x, c), x)


def elements_under(d: Distribution, x: Tensor) -> Tensor:
    """-log p(x_j) of each element, nats; 0 where it is missing (NaN)."""
    return -d.element_log_prob(x).masked_fill(x.isnan(), 0.0)


def _reconstruction(vae: VAE, x: Tensor, c: Tensor | None, samples: int) -> Tensor:
    return -at_mean(vae, x, c).log_prob(x)


def _latent(vae: VAE, x: Tensor, c: Tensor | None, samples: int) -> Tensor:
    """The rate, its closed form where there is one and else the mean over draws."""
    _, levels = vae.latent.infer(x, c, (samples,))
    return reduce(torch.add, [level.kl for level in levels]).mean(0)


def _drawn(function: Piecewise, draws: int = 0) -> Score:
    """The score that a function of a batch gives, which decodes so many draws of a datum at once (0: all samples)."""

    def score(model: Model, rows: Dataset, samples: int, seed: int) -> np.ndarray:
        def over(x: Tensor, c: Tensor | None) -> Tensor:
            at_once = max(1, DECODED // (draws or samples))
            contexts = [None] * math.ceil(len(x) / at_once) if c is None else c.split(at_once)
            pieces = zip(x.split(at_once), contexts, strict=True)
            return torch.cat([function(model.vae, part, given, samples) for part, given in pieces])

        with torch.no_grad(), seeded(seed):
            return model.over(rows, over)

    return score


SCORES: dict[str, Score] = {
    "nll": lambda model, rows, samples, seed: model.nll(rows, samples, seed),
    "bound": lambda model, rows, samples, seed: model.score(rows, samples, seed),
    "reconstruction": _drawn(_reconstruction, 1),
    "latent": _drawn(_latent),
    "regret": _drawn(regret, 2),
}


def choose(name: str, model: Model, rows: Dataset) -> str:
    """The score of this name; for "auto" the first that the model has of nll, bound and reconstruction.

    Raises `UserError` for a name that no score has.
    """
    if name != "auto":
        if name not in SCORES:
            raise UserError(f"score={name!r}: there is no such score, {nearest(name, ['auto', *SCORES])}")
        return name
    try:
        SCORES["bound"](model, subset(rows, [0]), 1, 0)
    except UserError:
        SCORES["reconstruction"](model, subset(rows, [0]), 1, 0)  # raises the same error if the row has it
        return "reconstruction"
    return "nll" if model.vae.likelihood.normalized else "bound"


def finite(scores: np.ndarray, what: str) -> np.ndarray:
    """The scores; raises `UserError` if one is no number: infinite is odd, NaN is nothing."""
    missing = np.isnan(scores)
    if missing.any():
        raise UserError(
            f"{what}: the score of {missing.sum()} of {len(scores)} rows is NaN, the first that of row "
            f"{missing.argmax()}: leave such rows out, or train the model again if none has a score"
        )
    return scores
