"""Which data are anomalies under a model, how sure that is, and which of their elements are the reason.

Scores become p-values by their rank among the scores of rows known to be usual.

    p = (1 + #{calibration scores >= s}) / (n + 1)

Where the datum is exchangeable with the n calibration rows, P(p <= a) <= a for every a, whatever the model and the
score: a bad model finds fewer odd data, but raises no more false alarms. That rate is over draws of the calibration
rows too: with a given set of them, it varies about a with a standard deviation of about sqrt(a (1 - a) / n).

Libraries of conformal prediction were weighed; this is one formula.

    detector = Detector(model, calibration="usual.npy")
    found = detector.detect("new.npy", false_alarms=0.01)
    found.odd, found.p_values, detector.blame("new.npy")

A score says how odd a datum is (`nelbo.apps.anomaly.scores`), rows known to be usual say how odd that is for such data
(`nelbo.apps.anomaly.detector`), and the terms of the reconstruction say where in the datum it is.

`top_features` names those elements with their value in the data's own units:

    hours_per_week=99 (+7.1)    the value, and the nats that it costs above what is usual for that column

Source: Vovk, Gammerman, Shafer (2005), Algorithmic Learning in a Random World; Bates, Candès, Lei, Romano, Sesia
(2023), Testing for Outliers with Conformal p-values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch

from nelbo.apps.anomaly import scores
from nelbo.data import Dataset
from nelbo.errors import UserError
from nelbo.experiment.run import load_test_data
from nelbo.model import Model


def p_values(calibration: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The conformal p-value of each score, `(k,)`, from calibration scores `(n,)`; the higher the score, the lower.

    >>> p_values(np.array([1.0, 2.0, 3.0]), np.array([0.0, 2.5, 9.0])).tolist()
    [1.0, 0.5, 0.25]
    """
    below = np.searchsorted(np.sort(calibration), scores, side="left")
    return (1 + len(calibration) - below) / (1 + len(calibration))


def allowed_rank(n: int, alpha: float) -> int:
    """How many ranks among n calibration rows and a datum are odd at this rate: floor(a (n + 1)), 1 or more.

    Raises `UserError` for a rate outside (0, 1), and for one that so few rows cannot tell.

    >>> alarms(99, 0.29)
    29
    """
    if not 0 < alpha < 1:
        raise UserError(f"alpha={alpha}: give a rate above 0 and below 1, such as 0.01")
    rate = Fraction(str(float(alpha)))  # 0.29 is 29/100, which no float is
    if rate * (n + 1) < 1:
        raise UserError(
            f"alpha={alpha}: {n} calibration rows cannot tell so small a rate: give "
            f"{math.ceil(1 / rate) - 1} or more, or a rate of {math.ceil(1e4 / (n + 1)) / 1e4:g} or more"
        )
    return math.floor(rate * (n + 1))


def threshold(calibration: np.ndarray, alpha: float) -> float:
    """The score above which, and only there, p <= `alpha`: the ceil((1 - a)(n + 1))-th least of `(n,)`.

    Raises `UserError` as `allowed_rank` does.

    >>> threshold(np.arange(1.0, 20.0), 0.1)
    18.0
    """
    return float(np.sort(calibration)[len(calibration) - allowed_rank(len(calibration), alpha)])


@dataclass(frozen=True)
class DetectionResult:
    """Of each of n data its score (nats), its p-value, and whether it is odd: all `(n,)`.

    Odd is a score above `threshold` or, what is the same, a p-value up to the rate of false alarms that was asked for.
    """

    scores: np.ndarray
    p_values: np.ndarray
    is_anomaly: np.ndarray
    threshold: float


class Detector:
    """Finds odd data, at a rate of false alarms that holds whatever the model is.

    `anomaly_score` is "nll", "bound", "reconstruction", "latent", "regret" or "ratio" (see `nelbo.apps.anomaly.scores`); "auto"
    is ratio for pictures, else nll, bound where the likelihood is no density, and reconstruction where draws of z have
    no weights; `score_name` says which. `calibration_scores` is data known to be usual and not trained on, from any form that
    training takes; by default what training held out. `samples` draws of z are taken of each datum; `seed` fixes them.

    Raises `UserError` for an unknown score, one that the model does not have, or one that is NaN.

    >>> import nelbo
    >>> x = torch.randn(400, 3, generator=torch.Generator().manual_seed(0))
    >>> detector = Detector(nelbo.fit(x[:300], epochs=1), calibration=x[300:])
    >>> detector.score_name, detector.detect(torch.tensor([[0.0, 0.0, 0.0], [9.0, -9.0, 9.0]]), 0.05).odd.tolist()
    ('nll', [False, True])
    """

    def __init__(
        self, model: Model, score: str = "auto", calibration: Any = None, samples: int = 50, seed: int = 0
    ) -> None:
        if samples < 1:
            raise UserError(f"samples={samples}: give 1 or more")
        self.model, self.samples, self.seed = model, samples, seed
        self.calibration_data = load_test_data(model) if calibration is None else model.as_dataset(calibration)
        self.score_name = scores.choose(score, model, self.calibration_data)

    def anomaly_score(self, data: Any) -> np.ndarray:
        """How odd each datum is, `(n,)` nats, higher for what is odder."""
        found = scores.SCORES[self.score_name](self.model, self.model.as_dataset(data), self.samples, self.seed)
        return scores.finite(found, "data")

    @cached_property
    def calibration_scores(self) -> np.ndarray:
        """The scores of the calibration rows, `(n,)` nats.

        Their draws are others than those of the data, or two rows of the same number would share them and so be no
        longer exchangeable with the rest.
        """
        of = scores.SCORES[self.score_name]
        return scores.finite(of(self.model, self.calibration_data, self.samples, self.seed + 1), "calibration")

    def p_values(self, data: Any) -> np.ndarray:
        """The share of usual data that are as odd, `(n,)`; see `nelbo.apps.anomaly.detector`."""
        return p_values(self.calibration_scores, self.anomaly_score(data))

    def threshold(self, alpha: float = 0.01) -> float:
        """The score above which a datum is odd, nats, so that this share of usual data is, or less.

        Raises `UserError` where the calibration rows are too few to tell, and says how many are needed.
        """
        allowed_rank(len(self.calibration_data), alpha)  # raises before the work on the rows
        return threshold(self.calibration_scores, alpha)

    def detect(self, data: Any, alpha: float = 0.01) -> DetectionResult:
        """What is odd among the data. Of usual data, a share of `alpha` or less is found odd."""
        limit = self.threshold(alpha)  # before the work on what may be many data
        found = self.anomaly_score(data)
        return DetectionResult(found, p_values(self.calibration_scores, found), found > limit, limit)

    def feature_scores(self, data: Any) -> np.ndarray:
        """`feature_scores`, less what each element costs calibration rows in the mean, `(n, *shape)` nats.

        What is above 0 is odder than usual there; see `feature_scores` for the errors.
        """
        return feature_scores(self.model, data) - self.baseline

    @cached_property
    def baseline(self) -> np.ndarray:
        """What each element costs calibration rows in the mean, `(*shape)` nats."""
        return feature_scores(self.model, self.calibration_data).mean(0, dtype=np.float64).astype(np.float32)


def feature_scores(model: Model, data: Any) -> np.ndarray:
    """What each element adds to the reconstruction score, `(n, *shape)` nats.

        -log p(x_j | z),   z the posterior's mean

    The elements of a datum sum to its score "reconstruction"; one that is missing (NaN) adds 0. x is in the model's
    units. Raises `UserError` where the likelihood has no terms for single elements.
    """
    with torch.no_grad():
        return model.map_batches(data, partial(scores.of_elements, model.vae))


COUNT = 3


def top_features(feature_scores: np.ndarray, rows: Dataset, count: int = COUNT) -> list[list[str]]:
    """For each row of `feature_scores` `(n, columns)`, nats, its `count` worst columns in words, the worst first."""
    kind = rows.schema.data_kind
    texts = kind.element_texts(rows.batch(torch.arange(len(rows))), rows.schema)
    names = kind.element_names(rows.schema)
    order = np.argsort(-feature_scores, 1, kind="stable")[:, :count].tolist()
    return [
        [f"{names[j]}={cells[j]} ({of[j]:+.1f})" for j in chosen]
        for chosen, cells, of in zip(order, texts, feature_scores.tolist(), strict=True)
    ]
