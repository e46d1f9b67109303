"""Outliers of a table by their distance to exemplars, in the coordinates of an ensemble of small VAEs.

A member is a VAE (`nelbo.apps.outliers.ensemble`) of some rows under one scaling of the columns. It maps x to u, its
embedding and residual. For a prior centred on the embeddings of exemplars, p(z) = mean_k N(z; z_k, h^2) with small h
(Norouzi, Fleet, Norouzi, 2020, Exemplar VAE), with a residual that is noise about that of the exemplar,

    -log p(x) = min_k |u(x) - u(x_k)|^2 / (2 h^2) + const,    to first order in h

The score of a row is the logarithm of that distance, averaged over the members, so that h and the units drop out:

    score(x) = mean_m log( e_m + mean_t min_{k in S_mt} |u_m(x) - u_m(x_k)| )

S_mt: the exemplars of draw t; e_m: a hundredth of the median distance of training, for rows that are exemplars
themselves. Columns are scaled to their range.

If the training rows may contain outliers, exemplars are few and drawn often, so that outliers are seldom exemplars (as
in Sugiyama and Borgwardt, 2013, Rapid Distance-Based Outlier Detection via Sampling); the whole is fitted twice, the
second time without the rows that scored highest; and the rarity of single cells (`nelbo.apps.outliers.ensemble`) is
added, both on the scale of their quartiles over the training rows. Where the rows are known to be clean, all are
exemplars, and every other member has the columns scaled to their standard deviation, cut at 5.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from nelbo.apps.outliers.ensemble import HBOS, EnsembleTrainingConfig, VAEEnsemble

CUT = 5.0  # standard deviations
TRIMMED = 0.25  # of the rows, before the second fit
NEAR = 0.01  # of the median distance: a floor of distances
AT_ONCE = 1024  # rows scored together


@dataclass(frozen=True)
class EnsembleConfig:
    """The configuration of an ensemble.

    Args:
        n_estimators: the number of members.
        max_rows: the largest number of training rows of a member.
        n_exemplars: the exemplars in each draw.
        draws: the number of draws of exemplars.
        n_components: the largest number of latents.
        hidden_size: units of the hidden layers.
        scalings: 1 scales columns to their range; 2 scales them to their standard deviation for every other member.
        training: how the members are trained.
    """

    n_estimators: int = 4
    max_rows: int = 1024
    n_exemplars: int = 16
    draws: int = 8
    n_components: int = 32
    hidden_size: int = 64
    scalings: int = 1
    training: EnsembleTrainingConfig = field(default_factory=EnsembleTrainingConfig)

    @property
    def clean(self) -> EnsembleConfig:
        """The configuration for data without outliers: more rows, all of them exemplars."""
        return replace(self, max_rows=4096, n_exemplars=4096, draws=1, scalings=2)


class Scaling:
    """x -> (x - shift) / scale, clipped at `cut`, column by column; missing cells stay NaN.

    `min_max_scaling` and `standard_scaling` fit it.
    """

    def __init__(self, shift: np.ndarray, scale: np.ndarray, cut: float = np.inf) -> None:
        self.shift = np.nan_to_num(shift)
        self.scale = np.where(scale > 1e-8 * np.maximum(np.abs(self.shift), 1e-8), scale, 1.0)
        self.cut = cut

    def __call__(self, x: np.ndarray) -> Tensor:
        return torch.from_numpy(((x - self.shift) / self.scale).clip(-self.cut, self.cut).astype(np.float32))


def min_max_scaling(x: np.ndarray) -> Scaling:
    """The scaling by the lowest and the highest value of each column."""
    return Scaling(np.fmin.reduce(x), np.fmax.reduce(x) - np.fmin.reduce(x))


def standard_scaling(x: np.ndarray) -> Scaling:
    """The scaling by mean and standard deviation, cut at 5."""
    seen = np.isfinite(x)
    count = np.maximum(seen.sum(0), 1)
    mean = np.where(seen, x, 0).sum(0) / count
    return Scaling(mean, np.sqrt((np.where(seen, x - mean, 0) ** 2).sum(0) / count), CUT)


class ExemplarEnsemble:
    """An ensemble fitted to the rows x, float64 `(n, D)`, NaN where a cell is missing.

    `anomaly_score(x)` is low where rows lie near exemplars; `floor` is e_m of the module's formula, `(M, 1)`.
    """

    def __init__(self, x: np.ndarray, plan: EnsembleConfig, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.scalings = (min_max_scaling(x), standard_scaling(x))[: plan.scalings]
        self.members = [m % len(self.scalings) for m in range(plan.n_estimators)]
        rows = max(min(plan.max_rows, len(x) * 9 // 10), min(len(x), 8))
        kept = torch.stack([torch.randperm(len(x), generator=generator)[:rows] for _ in self.members])
        trained = self._scaled(x, kept)
        self.stack = VAEEnsemble(trained, plan.n_components, plan.hidden_size, generator)
        self.stack.fit(trained, plan.training, generator)
        points = self.stack.coordinates(trained)
        size = min(plan.n_exemplars, rows if plan.draws == 1 else max(rows // 2, 1))
        # The exemplars of each draw: their coordinates, and which rows of x they are.
        self.draws: list[tuple[Tensor, Tensor]] = []
        for _ in range(plan.draws):
            chosen = torch.stack([torch.randperm(rows, generator=generator)[:size] for _ in self.members])
            places = chosen[..., None].expand(-1, -1, points.shape[2])
            self.draws.append((points.gather(1, places), kept.gather(1, chosen)))
        sample = torch.randperm(len(x), generator=generator)[: 4 * AT_ONCE]
        self.floor = torch.zeros(plan.n_estimators, 1)
        self.floor = NEAR * self._distances(x[sample.numpy()], sample).median(1, keepdim=True).values.clamp_min(1e-9)

    def anomaly_score(self, x: np.ndarray, leave_one_out: bool = False) -> np.ndarray:
        """The scores of rows, float64 `(n,)`; with `leave_one_out`, x are the training rows, none its own exemplar."""
        found = [
            (self._distances(x[part], torch.as_tensor(part) if leave_one_out else None) + self.floor)
            .double()
            .log()
            .mean(0)
            for part in parts(len(x))
        ]
        return torch.cat(found).numpy()

    def _scaled(self, x: np.ndarray, kept: Tensor) -> Tensor:
        """The rows of x with indices `kept`, `(M, n)`, in the scaling of each member, `(M, n, D)`."""
        return torch.stack([self.scalings[s](x[i.numpy()]) for s, i in zip(self.members, kept, strict=True)])

    def _distances(self, x: np.ndarray, own: Tensor | None) -> Tensor:
        """mean_t min_k |u - u_k|, `(M, n)`; `own` holds the indices of x among the training rows, to exclude itself."""
        views = [scaling(x) for scaling in self.scalings]
        u = self.stack.coordinates(torch.stack([views[s] for s in self.members]))
        total = torch.zeros(u.shape[:2])
        for points, rows in self.draws:
            distance = torch.cdist(u, points)
            if own is not None:
                distance = distance.masked_fill(own[:, None] == rows[:, None], torch.inf)
            total += distance.min(2).values
        return total / len(self.draws)


def parts(rows: int) -> Iterator[np.ndarray]:
    """Chunks of the row indices."""
    for first in range(0, rows, AT_ONCE):
        yield np.arange(first, min(first + AT_ONCE, rows))


class OutlierScorer:
    """Scores rows relative to the rows x, most of which are normal, or all of them if `clean`.

    `exemplars`, and where x may hold outliers `margins`, with the median and the quartiles' distance of each's scores.
    """

    def __init__(self, x: np.ndarray, plan: EnsembleConfig, seed: int, clean: bool = False) -> None:
        self.margins: HBOS | None = None
        if clean:
            self.exemplars = ExemplarEnsemble(x, plan.clean, seed)
            return
        first = ExemplarEnsemble(x, plan, seed).anomaly_score(x)
        kept = x[first <= np.quantile(first, 1 - TRIMMED)]
        self.exemplars, self.margins = ExemplarEnsemble(kept, plan, seed), HBOS(kept)
        both = np.stack([self.exemplars.anomaly_score(x), self.margins.anomaly_score(x)])
        low, self.middle, high = np.quantile(both, [0.25, 0.5, 0.75], axis=1)
        self.spread = np.maximum(high - low, 1e-9)

    def anomaly_score(self, x: np.ndarray, leave_one_out: bool = False) -> np.ndarray:
        """The scores of rows, float64 `(n,)`, high for outliers.

        With `leave_one_out`, x are the training rows, none its own exemplar.
        """
        distances = self.exemplars.anomaly_score(x, leave_one_out)
        if self.margins is None:
            return distances
        both = np.stack([distances, self.margins.anomaly_score(x)], 1)
        return ((both - self.middle) / self.spread).mean(1)
