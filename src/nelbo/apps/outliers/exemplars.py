"""Outliers of a table by their distance to exemplars, in the coordinates of an ensemble of small VAEs.

A member is a VAE (`nelbo.apps.outliers.ensemble`) of some rows under one scaling of the columns. It takes x to u, the
code and the residual of x. Under a prior that sits at the codes of exemplars, p(z) = mean_k N(z; z_k, h^2) with small h
(Norouzi, Fleet, Norouzi, 2020, Exemplar VAE), and a residual taken as noise about that of the exemplar,

    -log p(x) = min_k |u(x) - u(x_k)|^2 / (2 h^2) + const,    to first order in h

The score of a row is the logarithm of that distance, averaged over the members, so that h and the units drop out:

    score(x) = mean_m log( e_m + mean_t min_{k in S_mt} |u_m(x) - u_m(x_k)| )

S_mt: the exemplars of draw t; e_m: a hundredth of the median distance of training, for rows that are exemplars
themselves. Columns are scaled to their range.

Where the training rows may hold outliers, exemplars are few and drawn often, so that an outlier seldom is one (as in
Sugiyama and Borgwardt, 2013, Rapid Distance-Based Outlier Detection via Sampling); the whole is fitted twice, the
second time without the rows that scored highest; and the rarity of single cells (`nelbo.apps.outliers.ensemble`) is added,
both on the scale of their quartiles over the training rows. Where the rows are known to be clean, all are exemplars,
and every other member has the columns scaled to their standard deviation, cut at 5.
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
NEAR = 0.01  # of the median distance: nearer than that is the same
AT_ONCE = 1024  # rows scored together


@dataclass(frozen=True)
class EnsembleConfig:
    """An ensemble: its members, the rows each is trained on at most, and its exemplars in each of some draws.

    `scalings` is 1 where columns are scaled to their range, 2 where for every other member to their deviation.
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
        """The same where no row is an outlier: more rows, and all of them exemplars."""
        return replace(self, max_rows=4096, n_exemplars=4096, draws=1, scalings=2)


class Scaling:
    """x -> (x - shift) / scale, cut at `cut`, column by column; fitted by `min_max_scaling` or
    `standard_scaling`; gaps stay NaN.
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
        """The scores of rows, float64 `(n,)`; with `leave_one_out`, x are those of training, none its own exemplar."""
        found = [
            (self._distances(x[part], torch.as_tensor(part) if leave_one_out else None) + self.floor)
            .double()
            .log()
            .mean(0)
            for part in parts(len(x))
        ]
        return torch.cat(found).numpy()

    def _scaled(self, x: np.ndarray, kept: Tensor) -> Tensor:
        """The rows `kept`, `(M, n)`, of x as each member has them scaled, `(M, n, D)`."""
        return torch.stack([self.scalings[s](x[i.numpy()]) for s, i in zip(self.members, kept, strict=True)])

    def _distances(self, x: np.ndarray, own: Tensor | None) -> Tensor:
        """mean_t min_k |u - u_k|, `(M, n)`; `own` says which rows of training x are, not to be their own exemplars."""
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
    """The numbers of the rows, some at once."""
    for first in range(0, rows, AT_ONCE):
        yield np.arange(first, min(first + AT_ONCE, rows))


class OutlierScorer:
    """How odd rows are beside those of x, of which most are usual; or, if they are known to be `clean`, all.

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
        """The scores of rows, float64 `(n,)`, high for odd ones; `leave_one_out` as in
        `ExemplarEnsemble.anomaly_score`.
        """
        distances = self.exemplars.anomaly_score(x, leave_one_out)
        if self.margins is None:
            return distances
        both = np.stack([distances, self.margins.anomaly_score(x)], 1)
        return ((both - self.middle) / self.spread).mean(1)
