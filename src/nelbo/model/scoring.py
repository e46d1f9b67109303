"""log p(x) by importance sampling at the speed of the decoder, its parts, and what each latent carries.

    log p(x) >= E log (1/K) sum_k w_k,   w_k = p(x | z_k) p(z_k) / q(z_k | x),   z_k ~ q(z | x)

The bound rises to log p(x) as K grows; with K = 1 it is the ELBO. A few data with many draws each are decoded at a
time, so that what is made of a draw is still in the processor's cache when it is scored; data are taken in a random
order, so that the mean of those done is an estimate of the mean of all, with a standard error, at any time.

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
from nelbo.distributions import DiagonalNormal, StandardNormal, noise
from nelbo.errors import UserError
from nelbo.model.batching import BLOCK, padded
from nelbo.training.progress import track
from nelbo.training.replay import ReplayedFunction
from nelbo.training.threads import adapt_threads
from nelbo.vae import VAE

ROWS = 1000  # decoded at once
DRAWS = 100  # of one datum at once
REPORT_SECONDS = 0.25


@dataclass(frozen=True)
class Estimate:
    """The mean of the bounds of `done` of `total` data, nats, and its standard error."""

    mean: float
    error: float
    done: int
    total: int


def _bounds(
    vae: VAE,
    rows: Dataset,
    c: Tensor | None,
    n_importance_samples: int,
    seed: int,
    callback: Callable[[Estimate], None] | None = None,
) -> Tensor:
    """The bound of each datum, `(n,)` nats; see `importance_weighted_bound`."""
    draws = [min(DRAWS, n_importance_samples - first) for first in range(0, n_importance_samples, DRAWS)]
    like = next(vae.parameters())
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
    found, done, told = torch.empty(len(rows)), 0, time.monotonic()
    weigh = ReplayedFunction(partial(_log_sum_of_weights, vae))
    size = max(1, min(rows.schema.inference_batch_size, max(BLOCK, ROWS // draws[0] // BLOCK * BLOCK)))
    pieces = order.split(size)
    with torch.no_grad():
        parts = zip(pieces, batches(rows, pieces), strict=True)
        for index, x in adapt_threads(parts if callback else track(parts, "scoring", len(pieces))):
            x, given = padded(x, size), None if c is None else padded(c[index], size)
            keys = noise.keys_of_content(seed, x, given)
            x, given = x.to(like), None if given is None else given.to(like)
            each = [noise.folded(keys, torch.tensor(i)).to(like.device) for i in range(len(draws))]
            sums = [weigh(x, given, own, k)[0] for own, k in zip(each, draws, strict=True)]
            bounds: Tensor = torch.stack(sums).logsumexp(0) - math.log(n_importance_samples)  # type: ignore[arg-type]
            found[index] = bounds[: len(index)].to(found)
            done += len(index)
            if callback and (done == len(rows) or time.monotonic() - told > REPORT_SECONDS):
                told = time.monotonic()
                callback(estimate(found[order[:done]], len(rows)))
    return found


def _log_sum_of_weights(vae: VAE, x: Tensor, c: Tensor | None, keys: Tensor, k: int) -> list[Tensor]:
    """log sum_k w_k of each datum under k draws of z, `(batch,)`."""
    with noise.for_rows(keys):
        return [vae(x, c, (k,)).log_weight.logsumexp(0)]


def estimate(values: Tensor, total: int) -> Estimate:
    """Mean and standard error of the bounds of the data done so far.

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
    """Likelihood-based scores of data."""

    vae: VAE

    @abstractmethod
    def as_dataset(self, data: Any) -> Dataset:
        """Data that fits the model, from any form that training takes."""

    @abstractmethod
    def get_context(self, rows: Dataset) -> Tensor | None:
        """What rows of data are conditioned on, `(n, width)`, if they are."""

    @abstractmethod
    def map_batches(
        self, data: Any, function: Callable[..., Tensor], *more: Tensor, seed: int | None = None
    ) -> np.ndarray:
        """Apply to the data and their context in batches, and put the results together."""

    @torch.no_grad()
    def compute_kl_per_latent(self, data: Any) -> np.ndarray:
        """How much each number of the code carries over the data, `(features,)` nats; see `nelbo.model.scoring`."""
        moments = self.map_batches(data, partial(posterior_moments, self.vae), seed=0)
        return kl_from_moments(moments)

    def log_likelihood(
        self, data: Any, n_importance_samples: int = 100, seed: int = 0, callback: EstimateCallback | None = None
    ) -> np.ndarray:
        """The log-likelihood of each datum, estimated by the importance-weighted bound: higher is more likely.

            log (1/K) sum_k p(x | z_k) p(z_k) / q(z_k | x),   z_k ~ q(z | x)

        The estimate is a lower bound on log p(x) in the mean, and rises to it with the number of samples. x is in the
        model's units: pictures in [0, 1], columns standardised.

        Args:
            data: data in any form that training takes.
            n_importance_samples: K, the draws of z for each datum.
            seed: fixes the draws of z.
            callback: is called with an `Estimate` of the mean over the data as it grows.

        Returns:
            `(n,)` nats.

        Raises:
            UserError: if the likelihood is not normalized; `elbo` works for any likelihood.

        Source: Burda, Grosse, Salakhutdinov (2016), Importance Weighted Autoencoders.
        """
        if not self.vae.likelihood.normalized:
            raise UserError(
                f"log_likelihood: the {self.vae.likelihood.name} likelihood of these data is not normalized, so that "
                "the model has no log p(x): use elbo(), or train with --set model.likelihood=continuous-bernoulli"
            )
        return importance_weighted_bound(self, data, n_importance_samples, seed, callback)

    def elbo(self, data: Any, seed: int = 0) -> np.ndarray:
        """The ELBO of each datum from one draw of z, `(n,)` nats: higher is better. It works for any likelihood.

        log p(x | z) + log p(z) - log q(z | x),   z ~ q(z | x)
        """
        return importance_weighted_bound(self, data, 1, seed)

    def evaluate(
        self, data: Any, n_importance_samples: int = 0, seed: int = 0, callback: EstimateCallback | None = None
    ) -> dict[str, float]:
        """Means over the data, nats per datum: loss, distortion, rate, each with one draw of z.

        With `n_importance_samples`, also the mean `log_likelihood` from that many importance samples, and its
        `standard_error` over the data.
        """

        def parts(x: Tensor, c: Tensor | None) -> Tensor:
            trace = self.vae(x, c)
            return torch.stack([trace.distortion, trace.rate], 1)

        rows = self.as_dataset(data)  # once: a path would be read again by each use
        with torch.no_grad():
            distortion, rate = self.map_batches(rows, parts, seed=seed).mean(0, dtype=np.float64).tolist()
        result = {"n": len(rows), "loss": distortion + rate, "distortion": distortion, "rate": rate}
        if n_importance_samples:
            bounds = torch.from_numpy(self.log_likelihood(rows, n_importance_samples, seed, callback))
            mean_estimate = estimate(bounds, len(rows))
            result |= {"log_likelihood": mean_estimate.mean, "standard_error": mean_estimate.error}
        return result


def importance_weighted_bound(
    model: ScoringMixin, data: Any, n_importance_samples: int, seed: int = 0, callback: EstimateCallback | None = None
) -> np.ndarray:
    """`Model.log_likelihood` for any likelihood, `(n,)` nats; if the likelihood is unnormalized, only a score."""
    if n_importance_samples < 1:
        raise UserError(f"n_importance_samples={n_importance_samples}: give 1 or more")
    rows = model.as_dataset(data)
    return _bounds(model.vae, rows, model.get_context(rows), n_importance_samples, seed, callback).numpy()
