"""Two outlier detectors that are used together: an ensemble of small VAEs, and histograms.

The histograms score the rarity of the cells of a row, column by column:

    score(x) = - sum_j log p_j(x_j),    p_j a histogram of column j

over x_j transformed to sign(u) log(1 + |u|), u = (x_j - median) / robust standard deviation, so that a long tail does
not leave all rows in one bin. The count of a bin is its number of rows plus one, and that of a value beyond the ends
half a row. A missing cell, or the value of a constant column, adds nothing.

PyOD's was weighed: it does not support missing cells and constant columns.

The VAEs are trained at once, on stacked weights: an ensemble costs a few batched products.

Each member has latents z of L dimensions, a prior N(0, I), a Normal likelihood of one learned variance, and linear maps
with a small perceptron beside them:

    q(z|y) = N(y A + f(y), diag exp(a + h(y))),    p(y|z) = N(z W + b + g(z), s2 I)

They start at the maximum of the likelihood of the linear model, probabilistic PCA, where the ELBO is exact: with
eigenvalues w and eigenvectors V of the covariance, and gains r_i = sqrt(w_i - s2),

    W = r V',    A = V r / (r^2 + s2),    exp a = s2 / (r^2 + s2)

(Tipping and Bishop, 1999, Probabilistic Principal Component Analysis); f, g and h start at 0. A missing cell (NaN) is
read as the mean, 0, and left out of the likelihood.

Source: Goldstein, Dengel (2012), Histogram-based Outlier Score (HBOS).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nelbo.distributions import DiagonalNormal, StandardNormal
from nelbo.distributions.base import kl_divergence
from nelbo.distributions.gaussian import LOG_2PI

BINS = 10
QUARTILES = 1.349  # between the quartiles of N(0, 1)


class HBOS:
    """The histograms of the rows x, float64 `(n, D)`, NaN where a cell is missing."""

    def __init__(self, x: np.ndarray) -> None:
        with np.errstate(all="ignore"):
            low, self.middle, high = np.nan_to_num(np.nanquantile(_seen(x), [0.25, 0.5, 0.75], axis=0))
            wide = np.nan_to_num(np.nanstd(_seen(x), axis=0))
        spread = (high - low) / QUARTILES
        spread = np.where(spread > 1e-3 * wide, spread, wide)
        self.spread = np.where(spread > 1e-8 * np.maximum(np.abs(self.middle), 1), spread, 1.0)
        v = self._even(x)
        self.low, self.high = np.nan_to_num(np.fmin.reduce(v)), np.nan_to_num(np.fmax.reduce(v))
        places, n = self._places(v), np.isfinite(v).sum(0)
        counts = np.stack([(places == k).sum(0) for k in range(BINS)])
        self.costs = np.log(n + BINS) - np.log(np.concatenate([counts + 1, np.full((1, len(n)), 0.5)]))
        self.costs[:-1, self.high <= self.low] = 0  # the value of a constant column adds nothing

    def anomaly_score(self, x: np.ndarray) -> np.ndarray:
        """The scores of rows, nats `(n,)`."""
        v = self._even(x)
        costs = np.take_along_axis(self.costs, np.clip(self._places(v), 0, BINS), 0)
        return np.where(np.isfinite(v), costs, 0.0).sum(1)

    def _even(self, x: np.ndarray) -> np.ndarray:
        u = (x - self.middle) / self.spread
        return np.sign(u) * np.log1p(np.abs(u))

    def _places(self, v: np.ndarray) -> np.ndarray:
        """The bin of each cell; `BINS` for a value beyond the ends, and -1 for a missing one."""
        width = np.where(self.high > self.low, self.high - self.low, 1.0)
        places = np.floor(np.nan_to_num((v - self.low) / width) * BINS).clip(0, BINS - 1).astype(int)
        beyond = (v < self.low) | (v > self.high)
        return np.where(np.isnan(v), -1, np.where(beyond, BINS, places))


def _seen(x: np.ndarray) -> np.ndarray:
    """x with a row of zeros in place of columns that are all missing."""
    return np.where(np.isnan(x).all(0), 0.0, x)


FLOOR = 0.05  # the least initial noise, as a fraction of the mean variance of a column
QUIETEST = -6.0  # the lowest log s2
WIDE = 400  # columns; of more than that, only the leading eigenvectors are computed


@dataclass(frozen=True)
class EnsembleTrainingConfig:
    """Training of the members by Adam with a one-cycle learning rate.

    Args:
        steps: the number of steps.
        batch_size: rows per step.
        learning_rate: the peak of the learning rate.
    """

    steps: int = 500
    batch_size: int = 256
    learning_rate: float = 3e-3


class VAEEnsemble:
    """M VAEs of rows `(M, n, D)`, each standardized by its own mean and a single scale.

    Latents have `min(n_components, D)` dimensions. The first dimension of each parameter (A, W and the rest, see the
    module) is the members.
    """

    def __init__(
        self, x: Tensor, n_components: int = 32, hidden_size: int = 64, generator: torch.Generator | None = None
    ) -> None:
        seen = x.isfinite()
        count = seen.sum(1, keepdim=True).clamp_min(1)
        self.mean = x.nan_to_num().sum(1, keepdim=True) / count
        squares = (x - self.mean).nan_to_num().square()
        self.scale = (squares.sum((1, 2), keepdim=True) / seen.sum((1, 2), keepdim=True)).sqrt().clamp_min(1e-6)
        y, members, width = self.rows(x).nan_to_num(), len(x), x.shape[2]
        n_components = min(n_components, width)
        values, vectors, noise = pca(y, n_components, generator)
        gains = (values - noise).clamp_min(0.01).sqrt()

        def normal(before: int, after: int) -> Tensor:
            return torch.randn(members, before, after, generator=generator) / before**0.5

        start = {
            "A": vectors * (gains / (gains.square() + noise))[:, None],
            "W": (vectors * gains[:, None]).transpose(1, 2),
            "b": torch.zeros(members, 1, width),
            "a": (noise / (gains.square() + noise)).log()[:, None],
            "log_s2": noise.log()[:, :, None],
            "encode": normal(width, hidden_size),
            "encode_bias": torch.zeros(members, 1, hidden_size),
            "encoded": torch.zeros(members, hidden_size, 2 * n_components),
            "decode": normal(n_components, hidden_size),
            "decode_bias": torch.zeros(members, 1, hidden_size),
            "decoded": torch.zeros(members, hidden_size, width),
        }
        self.parameters = {name: value.clone().contiguous().requires_grad_() for name, value in start.items()}

    def rows(self, x: Tensor) -> Tensor:
        """Standardize x, `(M, n, D)` -> `(M, n, D)`; missing cells stay NaN."""
        return (x - self.mean) / self.scale

    def posterior(self, y: Tensor) -> DiagonalNormal:
        """q(z|y) of rows without missing cells."""
        p = self.parameters
        mean, spread = (F.silu(torch.baddbmm(p["encode_bias"], y, p["encode"])) @ p["encoded"]).chunk(2, -1)
        return DiagonalNormal(torch.baddbmm(mean, y, p["A"]), 0.5 * (p["a"] + spread).clamp(-12, 4))

    def decode(self, z: Tensor) -> Tensor:
        """The mean of p(y|z)."""
        p = self.parameters
        inner = F.silu(torch.baddbmm(p["decode_bias"], z, p["decode"]))
        return torch.baddbmm(p["b"], z, p["W"]) + inner @ p["decoded"]

    def elbo(self, y: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """E_q[log p(y|z)] - KL(q || N(0, I)) by one draw of z, nats, of rows `(M, n, D)` -> `(M, n)`."""
        seen = y.isfinite()
        q = self.posterior(y.nan_to_num())
        z = q.loc + q.log_scale.exp() * torch.randn(q.loc.shape, generator=generator)
        log_s2 = self.parameters["log_s2"].clamp_min(QUIETEST)
        errors = torch.where(seen, y.nan_to_num() - self.decode(z), 0).square()
        cells = errors.sum(2) * torch.exp(-log_s2[..., 0]) + seen.sum(2) * (log_s2[..., 0] + LOG_2PI)
        return -0.5 * cells - kl_divergence(q, StandardNormal(q.loc.shape[-1], q.loc))

    def fit(self, x: Tensor, training: EnsembleTrainingConfig, generator: torch.Generator | None = None) -> VAEEnsemble:
        """Train each member on its own rows, independently of the others.

        Not by `training.fit`: members start at probabilistic PCA, with linear maps beside the perceptrons, and
        `nelbo.nets` has no such net. Time is not the reason: four VAEs of that size, one after the other, take 0.9 of
        it.
        """
        y, members = self.rows(x), len(x)
        parameters = list(self.parameters.values())
        optimizer = torch.optim.Adam(parameters, training.learning_rate)
        cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, training.learning_rate, total_steps=training.steps + 1)
        which = torch.arange(members)[:, None]
        for _ in range(training.steps):
            picked = torch.randint(y.shape[1], (members, min(training.batch_size, y.shape[1])), generator=generator)
            loss = -self.elbo(y[which, picked], generator).mean(1).sum() / y.shape[2]
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            cycle.step()
        self.parameters = {name: value.detach() for name, value in self.parameters.items()}
        return self

    @torch.no_grad()
    def coordinates(self, x: Tensor) -> Tensor:
        """Embedding and residual of x as one vector, in units of the latent noise: `(M, n, L + D)`.

            (c mu(y), y - g(mu(y))),    c_i = r_i / sqrt(r_i^2 + 1)

        r_i is the length of the i-th row of W: how far a unit of the latent moves y. A latent that moves y far has a
        weight of the prior's deviation, one that hardly moves it a small weight. The residual of a missing cell is 0.
        """
        y = self.rows(x)
        z = self.posterior(y.nan_to_num()).loc
        gains = self.parameters["W"].norm(dim=2)[:, None]
        residual = torch.where(y.isfinite(), y.nan_to_num() - self.decode(z), 0)
        return torch.cat([z * gains / (gains.square() + 1).sqrt(), residual], 2)


def pca(y: Tensor, n_components: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Leading eigenvalues `(M, L)` and eigenvectors `(M, D, L)` of the covariance, and the noise `(M, 1)`.

    The noise of probabilistic PCA is the mean of the other eigenvalues, here at least `FLOOR`. For many columns, the
    leading space is computed by subspace iteration (Halko, Martinsson, Tropp, 2011, Finding Structure with Randomness).
    """
    members, rows, width = y.shape
    basis = torch.eye(width).expand(members, -1, -1)
    if width > WIDE:
        basis = torch.randn(members, width, min(n_components + 8, width), generator=generator)
        for _ in range(4):
            basis = torch.linalg.qr(y.transpose(1, 2) @ (y @ basis)).Q
    inner = y @ basis if width > WIDE else y
    values, vectors = torch.linalg.eigh(inner.transpose(1, 2) @ inner / rows)
    values, vectors = values.flip(-1).clamp_min(0)[:, :n_components], (basis @ vectors.flip(-1))[..., :n_components]
    total = y.square().mean(1).sum(1, keepdim=True)
    noise = (total - values.sum(1, keepdim=True)) / max(width - n_components, 1)
    return values, vectors, noise.clamp_min(FLOOR)
