"""Anomaly scores of a datum under a model, each in nats and higher for what is more anomalous.

    nll             -log p(x), from importance samples
    bound           -log (1/K) sum_k w_k: the same estimate if the likelihood is not a density
    reconstruction  -log p(x | z) at the posterior's mean
    latent          KL(q(z | x) || p(z)), the rate
    regret          the gain from the best posterior for this one datum: `nelbo.apps.anomaly.regret`
    ratio           for pictures, log-ratio of the reconstruction error to the error of predicting each pixel by its
                    neighbour

Each takes a model, rows, a number of draws and a seed, and draws for each row independently.

The first three are high for complex data: under a model of clothes, the strokes of a digit are simpler than clothes,
and its -log p is lower. `ratio` compares the model with one that is the same for all pictures, in which a pixel is its
neighbour plus an error: both with Normal errors, of the variance that is best for this one picture,

    ratio(x) = D/2 log (v / u),   v = mean_i (x_i - E[x_i | z])^2,   u = mean_{i ~ j} (x_i - x_j)^2

z the posterior's mean, D the pixels, i ~ j adjacent ones; the variance of rounding to bytes is added to v and u.

Source: An, Cho (2015), Variational Autoencoder based Anomaly Detection using Reconstruction Probability; Burda, Grosse,
Salakhutdinov (2016), Importance Weighted Autoencoders; Xiao, Yan, Amit (2020), Likelihood Regret; Ren et al. (2019),
Likelihood Ratios for Out-of-Distribution Detection, and Serra et al. (2020), Input Complexity and Out-of-distribution
Detection with Likelihood-based Generative Models, for a ratio to a second model; Rybkin, Daniilidis, Levine (2021),
Simple and Effective VAE Training with Calibrated Decoders, for the best variance.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import numpy as np
import torch
from torch import Tensor

from nelbo.apps.anomaly.regret import regret
from nelbo.data import Dataset, subset
from nelbo.distributions import Distribution
from nelbo.errors import UserError, nearest
from nelbo.model import Model
from nelbo.model.batching import BLOCK
from nelbo.model.scoring import importance_weighted_bound
from nelbo.vae import VAE

Score = Callable[[Model, Dataset, int, int], np.ndarray]
Piecewise = Callable[[VAE, Tensor, Tensor | None, int], Tensor]
DECODED = 1000  # draws of all data together that are decoded at once
ROUNDING = 1 / 255**2 / 12  # the variance of rounding to one of 256 levels


def at_mean(vae: VAE, x: Tensor, c: Tensor | None) -> Distribution:
    """p(x | z) at the posterior's mean of each datum."""
    d = vae.decode(vae.latent.embedding_to_features(vae.latent.embed(x, c), c), c)
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
    """The rate: in closed form if there is one, else the mean over draws."""
    _, levels = vae.latent.infer(x, c, (samples,))
    return reduce(torch.add, [level.kl for level in levels]).mean(0)


def _ratio(vae: VAE, x: Tensor, c: Tensor | None, samples: int) -> Tensor:
    """D/2 log (v / u) of the module's docstring; raises `UserError` for data other than pictures."""
    if x.dim() != 4:
        raise UserError("score='ratio' compares adjacent pixels, and the data are not pictures: use score='auto'")
    error = (x - at_mean(vae, x, c).mean).square().flatten(1).nanmean(1)
    beside = torch.cat([x.diff(dim=2).flatten(1), x.diff(dim=3).flatten(1)], 1).square().nanmean(1)
    return x[0].numel() / 2 * torch.log((error + ROUNDING) / (beside + ROUNDING))


def _drawn(function: Piecewise, draws: int = 0) -> Score:
    """The score from a function of a batch, which decodes `draws` draws of a datum at once (0: all samples)."""

    def score(model: Model, rows: Dataset, samples: int, seed: int) -> np.ndarray:
        def over(x: Tensor, c: Tensor | None) -> Tensor:
            return function(model.vae, x, c, samples)

        size = min(model.schema.inference_batch_size, max(BLOCK, DECODED // (draws or samples)))
        with torch.no_grad():
            return model.map_batches(rows, over, seed=seed, batch_size=size)

    return score


SCORES: dict[str, Score] = {
    "nll": lambda model, rows, samples, seed: -model.log_likelihood(rows, samples, seed),
    "bound": lambda model, rows, samples, seed: -importance_weighted_bound(model, rows, samples, seed),
    "reconstruction": _drawn(_reconstruction, 1),
    "latent": _drawn(_latent),
    "regret": _drawn(regret, 2),
    "ratio": _drawn(_ratio, 1),
}


def choose(name: str, model: Model, rows: Dataset) -> str:
    """The score of this name; "auto" is ratio for pictures, else the first supported of nll, bound and reconstruction.

    Raises `UserError` for an unknown name.
    """
    if name != "auto":
        if name not in SCORES:
            raise UserError(f"score={name!r} is unknown: {nearest(name, ['auto', *SCORES])}")
        return name
    if rows.schema.data_kind.is_picture:
        return "ratio"
    try:
        SCORES["bound"](model, subset(rows, [0]), 1, 0)
    except UserError:
        SCORES["reconstruction"](model, subset(rows, [0]), 1, 0)  # raises the same error if the row has it
        return "reconstruction"
    return "nll" if model.vae.likelihood.normalized else "bound"


def finite(scores: np.ndarray, what: str) -> np.ndarray:
    """The scores; raises `UserError` if one is NaN (infinity is an anomaly)."""
    missing = np.isnan(scores)
    if missing.any():
        raise UserError(
            f"{what}: the scores of {missing.sum()} of {len(scores)} rows are NaN, the first in row "
            f"{missing.argmax()}: leave such rows out, or train the model again if all are NaN"
        )
    return scores
