"""-log p(x) by importance sampling at the speed of the decoder, its parts, and what each latent carries.

    -log p(x) <= -E log (1/K) sum_k w_k,   w_k = p(x | z_k) p(z_k) / q(z_k | x),   z_k ~ q(z | x)

The bound falls to -log p(x) as K grows. A few data with many draws each are decoded at a time, so that what is made of
a draw is still in the processor's cache when it is scored; data are taken in a random order, so that the mean of those
done is an estimate of the mean of all, with a standard error, at any time.

How much each number of a code carries, its rate, is for one level of diagonal Normals under N(0, I) the mean KL,

    (mu^2 + sigma^2 - 1 - log sigma^2) / 2,  averaged over the data

For other latents it is log(1 + v) / 2, v being the variance of the number over the data: what a channel of that
variance carries under unit noise. Nats, 0 for a number that carries nothing.

Source: Burda, Grosse, Salakhutdinov (2016), Importance Weighted Autoencoders.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nelbo.data import Dataset, batches
from nelbo.distributions import DiagonalNormal, StandardNormal
from nelbo.distributions.noise import seeded
from nelbo.errors import UserError
from nelbo.training.progress import track
from nelbo.training.replay.tape import ReplayedFunction
from nelbo.vae import VAE

ROWS = 1000  # decoded at once
DRAWS = 100  # of one datum at once
REPORT_SECONDS = 0.25


@dataclass(frozen=True)
class Estimate:
    """The mean of the scores of `done` of `total` data, nats, and its standard error."""

    mean: float
    error: float
    done: int
    total: int


def scores(
    vae: VAE,
    rows: Dataset,
    c: Tensor | None,
    n_importance_samples: int,
    callback: Callable[[Estimate], None] | None = None,
) -> Tensor:
    """The bound of each datum from `n_importance_samples` draws, `(n,)` nats; `callback` hears of the estimate as it grows."""
    draws = [min(DRAWS, n_importance_samples - first) for first in range(0, n_importance_samples, DRAWS)]
    device = next(vae.parameters()).device
    order = torch.arange(len(rows)) if n_importance_samples == 1 else torch.randperm(len(rows))
    found, done, told = torch.empty(len(rows)), 0, time.monotonic()
    weigh = ReplayedFunction(lambda x, c, k: [vae(x, c, (k,)).log_weight.logsumexp(0)])
    pieces = order.split(max(1, ROWS // draws[0]))
    with torch.no_grad():
        parts = zip(pieces, batches(rows, pieces), strict=True)
        for index, x in parts if callback else track(parts, "scoring", len(pieces)):
            given = None if c is None else c[index].to(device)
            sums = [weigh(x.to(device), given, k)[0] for k in draws]
            found[index] = (math.log(n_importance_samples) - torch.stack(sums).logsumexp(0)).cpu()  # type: ignore[arg-type]
            done += len(index)
            if callback and (done == len(rows) or time.monotonic() - told > REPORT_SECONDS):
                told = time.monotonic()
                callback(estimate(found[order[:done]], len(rows)))
    return found


def estimate(values: Tensor, total: int) -> Estimate:
    """Mean and standard error of the scores found so far.

    >>> estimate(torch.tensor([1.0, 3.0]), 10)
    Estimate(mean=2.0, error=1.0, done=2, total=10)
    """
    values = values.double()
    error = values.std().item() / math.sqrt(len(values)) if len(values) > 1 else math.inf
    return Estimate(values.mean().item(), error, len(values), total)


def posterior_moments(vae: VAE, x: Tensor, c: Tensor | None = None) -> Tensor:
    """The mean and standard deviation of each number of the code, `(batch, features, 2)`; NaN where not Normal."""
    level, *below = vae.latent.infer(x, c)[1]
    if not below and isinstance(level.q, DiagonalNormal) and isinstance(level.p, StandardNormal):
        return torch.stack([level.q.mean, level.q.stddev], -1)
    code = vae.latent.embed(x, c)
    return torch.stack([code, torch.full_like(code, torch.nan)], -1)


def kl_from_moments(values: np.ndarray) -> np.ndarray:
    """Nats `(features,)` from the posterior_moments `(n, features, 2)` of all data."""
    mean, deviation = values[..., 0], values[..., 1]
    if np.isnan(deviation).any():
        return 0.5 * np.log1p(mean.var(0))
    return 0.5 * (mean**2 + deviation**2 - 1 - 2 * np.log(deviation)).mean(0)


EstimateCallback = Callable[[Estimate], None]


class ScoringMixin(ABC):
    """What is told of data by their bound on log p(x)."""

    vae: VAE

    @abstractmethod
    def as_dataset(self, data: Any) -> Dataset:
        """Data that fits the model, from any form that training takes."""

    @abstractmethod
    def get_context(self, rows: Dataset) -> Tensor | None:
        """What rows of data are conditioned on, `(n, width)`, if they are."""

    @abstractmethod
    def map_batches(self, data: Any, function: Callable[[Tensor, Tensor | None], Tensor]) -> np.ndarray:
        """Apply to the data and their context in batches, and put the results together."""

    @torch.no_grad()
    def compute_kl_per_latent(self, data: Any) -> np.ndarray:
        """How much each number of the code carries over the data, `(features,)` nats; see `nelbo.model.scoring`."""
        with seeded(0):
            moments = self.map_batches(data, partial(posterior_moments, self.vae))
        return kl_from_moments(moments)

    def score(
        self, data: Any, n_importance_samples: int = 1, seed: int = 0, callback: EstimateCallback | None = None
    ) -> np.ndarray:
        """How surprising each datum is, `(n,)` nats: minus the importance-weighted bound.

            -log (1/K) sum_k p(x | z_k) p(z_k) / q(z_k | x),   z_k ~ q(z | x)

        With one sample it is a draw of the negative ELBO; with many it approaches -log p(x), if the likelihood
        is normalized. `callback` is called with an `Estimate` of the mean as it grows. Source: Burda, Grosse,
        Salakhutdinov (2016), Importance Weighted Autoencoders.
        """
        if n_importance_samples < 1:
            raise UserError(f"n_importance_samples={n_importance_samples}: give 1 or more")
        rows = self.as_dataset(data)
        with seeded(seed):
            return scores(self.vae, rows, self.get_context(rows), n_importance_samples, callback).numpy()

    def nll(
        self, data: Any, n_importance_samples: int = 100, seed: int = 0, callback: EstimateCallback | None = None
    ) -> np.ndarray:
        """An upper bound on -log p(x) of each datum, nats, from `n_importance_samples` importance samples; see `score`.

        x is in the model's units: pictures in [0, 1], columns standardised.

        Raises `UserError` where the likelihood is not a density.
        """
        if not self.vae.likelihood.normalized:
            raise UserError(
                f"the {self.vae.likelihood.name} likelihood as it is used here is no density, so the model has no "
                "-log p(x): train with --set model.likelihood=continuous-bernoulli, or use score()"
            )
        return self.score(data, n_importance_samples, seed, callback)

    def evaluate(
        self, data: Any, n_importance_samples: int = 0, seed: int = 0, callback: EstimateCallback | None = None
    ) -> dict[str, float]:
        """Means over the data, nats per datum: loss, distortion, rate, each with one draw of z.

        With `n_importance_samples`, also `nll` from that many importance samples and its standard error over the data.
        """

        def parts(x: Tensor, c: Tensor | None) -> Tensor:
            trace = self.vae(x, c)
            return torch.stack([trace.distortion, trace.rate], 1)

        rows = self.as_dataset(data)  # once: a path would be read again by each use
        with torch.no_grad(), seeded(seed):
            distortion, rate = self.map_batches(rows, parts).mean(0, dtype=np.float64).tolist()
        result = {"n": len(rows), "loss": distortion + rate, "distortion": distortion, "rate": rate}
        if n_importance_samples:
            mean_estimate = estimate(torch.from_numpy(self.nll(rows, n_importance_samples, seed, callback)), len(rows))
            result |= {"nll": mean_estimate.mean, "nll_error": mean_estimate.error}
        return result
