"""How surprising data are under a model, and what that is made of: for whatever can take data through a VAE."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nelbo import likelihood, rates
from nelbo.data import Dataset
from nelbo.distributions.noise import seeded
from nelbo.errors import UserError
from nelbo.vae import VAE

Report = Callable[[likelihood.Estimate], None]


class Scorer(ABC):
    """What is told of data by their bound on log p(x)."""

    vae: VAE

    @abstractmethod
    def rows(self, data: Any) -> Dataset:
        """Data that fits the model, from any form that training takes."""

    @abstractmethod
    def context_of(self, rows: Dataset) -> Tensor | None:
        """What rows of data are conditioned on, `(n, width)`, if they are."""

    @abstractmethod
    def over(self, data: Any, function: Callable[[Tensor, Tensor | None], Tensor]) -> np.ndarray:
        """Apply to the data and their context in batches, and put the results together."""

    @torch.no_grad()
    def measure_rates(self, data: Any) -> np.ndarray:
        """How much each number of the code carries over the data, `(features,)` nats; see `nelbo.rates`."""
        with seeded(0):
            moments = self.over(data, partial(rates.moments, self.vae))
        return rates.carried(moments)

    def score(self, data: Any, samples: int = 1, seed: int = 0, report: Report | None = None) -> np.ndarray:
        """How surprising each datum is, `(n,)` nats: minus the importance-weighted bound.

            -log (1/K) sum_k p(x | z_k) p(z_k) / q(z_k | x),   z_k ~ q(z | x)

        With one sample it is a draw of the negative ELBO; with many it approaches -log p(x), if the likelihood
        is normalized. `report` is called with a `likelihood.Estimate` of the mean as it grows. Source: Burda, Grosse,
        Salakhutdinov (2016), Importance Weighted Autoencoders.
        """
        if samples < 1:
            raise UserError(f"samples={samples}: give 1 or more")
        rows = self.rows(data)
        with seeded(seed):
            return likelihood.scores(self.vae, rows, self.context_of(rows), samples, report).numpy()

    def nll(self, data: Any, samples: int = 100, seed: int = 0, report: Report | None = None) -> np.ndarray:
        """An upper bound on -log p(x) of each datum, nats, from `samples` importance samples; see `score`.

        x is in the model's units: pictures in [0, 1], columns standardised.

        Raises `UserError` where the likelihood is not a density.
        """
        if not self.vae.likelihood.normalized:
            raise UserError(
                f"the {self.vae.likelihood.name} likelihood as it is used here is no density, so the model has no "
                "-log p(x): train with --set model.likelihood=continuous-bernoulli, or use score()"
            )
        return self.score(data, samples, seed, report)

    def evaluate(self, data: Any, samples: int = 0, seed: int = 0, report: Report | None = None) -> dict[str, float]:
        """Means over the data, nats per datum: loss, distortion, rate, each with one draw of z.

        With `samples`, also `nll` from that many importance samples and its standard error over the data.
        """

        def parts(x: Tensor, c: Tensor | None) -> Tensor:
            trace = self.vae(x, c)
            return torch.stack([trace.distortion, trace.rate], 1)

        rows = self.rows(data)  # once: a path would be read again by each use
        with torch.no_grad(), seeded(seed):
            distortion, rate = self.over(rows, parts).mean(0, dtype=np.float64).tolist()
        result = {"n": len(rows), "loss": distortion + rate, "distortion": distortion, "rate": rate}
        if samples:
            found = likelihood.estimate(torch.from_numpy(self.nll(rows, samples, seed, report)), len(rows))
            result |= {"nll": found.mean, "nll_error": found.error}
        return result
