"""Detection of anomalies under a model, with p-values, and the contribution of each element.

The p-value of a score is its rank among the scores of normal calibration rows.

    p = (1 + #{calibration scores >= s}) / (n + 1)

If a datum is exchangeable with the n calibration rows, P(p <= a) <= a for every a, whatever the model and the score: a
bad model detects fewer anomalies, but raises no more false alarms. The probability is over draws of the calibration
rows too: for fixed rows, the rate varies about a with a standard deviation of about sqrt(a (1 - a) / n).

Libraries of conformal prediction were weighed; this is one formula.

    detector = Detector(model, calibration="normal.npy")
    result = detector.detect("new.npy", alpha=0.01)
    result.is_anomaly, result.p_values, detector.feature_scores("new.npy")

An anomaly score is computed for each datum (`nelbo.apps.anomaly.scores`) and compared with the scores of normal data.
The terms of the reconstruction locate the anomaly within the datum.

`top_features` lists the largest contributions, with their value in the data's units:

    hours_per_week=99 (+7.1)    the value, and its contribution in nats above the mean of that column

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
from nelbo.data.kinds import RowNames
from nelbo.errors import UserError
from nelbo.experiment.run import load_test_data
from nelbo.model import Model


def p_values(calibration: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The conformal p-value of each score, `(k,)`, from calibration scores `(n,)`; it falls as the score rises.

    >>> p_values(np.array([1.0, 2.0, 3.0]), np.array([0.0, 2.5, 9.0])).tolist()
    [1.0, 0.5, 0.25]
    """
    below = np.searchsorted(np.sort(calibration), scores, side="left")
    return (1 + len(calibration) - below) / (1 + len(calibration))


ROUNDING = 1e-5  # of a score: other batches, threads or machines add in another order


def clearly(scores: np.ndarray) -> np.ndarray:
    """The scores less what rounding can add to them: a score that equals a calibration score is not above it."""
    return np.where(np.isinf(scores), scores, scores - ROUNDING * (1 + np.abs(scores)))


def allowed_rank(n: int, alpha: float) -> int:
    """The number of ranks among n calibration rows and a datum that are anomalous: floor(a (n + 1)), at least 1.

    Raises `UserError` for a rate outside (0, 1), and for a rate that needs more rows.

    >>> allowed_rank(99, 0.29)
    29
    """
    if not 0 < alpha < 1:
        raise UserError(f"alpha={alpha}: use a rate above 0 and below 1, such as 0.01")
    rate = Fraction(str(float(alpha)))  # 0.29 is 29/100, which a float cannot represent
    if rate * (n + 1) < 1:
        raise UserError(
            f"alpha={alpha}: {n} calibration rows are too few for so small a rate: give "
            f"{math.ceil(1 / rate) - 1} or more, or use a rate of {math.ceil(1e4 / (n + 1)) / 1e4:g} or more"
        )
    return math.floor(rate * (n + 1))


def threshold(calibration: np.ndarray, alpha: float) -> float:
    """The score above which p <= `alpha`: the ceil((1 - a)(n + 1))-th smallest of `(n,)`.

    Raises `UserError` as `allowed_rank` does.

    >>> threshold(np.arange(1.0, 20.0), 0.1)
    18.0
    """
    return float(np.sort(calibration)[len(calibration) - allowed_rank(len(calibration), alpha)])


@dataclass(frozen=True)
class DetectionResult:
    """The scores (nats) and p-values of n data, and which of them are anomalies: all `(n,)`.

    A datum is an anomaly if its score is above `threshold` by more than rounding or, equivalently, its p-value is at
    most `alpha`. Both depend on the datum and the calibration rows, not on the other data. `names`
    has the name of each datum: its file, its id or its index, or else its place in the source.
    """

    scores: np.ndarray
    p_values: np.ndarray
    is_anomaly: np.ndarray
    threshold: float
    names: RowNames


class Detector:
    """Detects anomalies with a bounded rate of false alarms, whatever the model is.

    Args:
        model: the trained model.
        score: "nll", "bound", "reconstruction", "latent", "regret" or "ratio" (see `nelbo.apps.anomaly.scores`). "auto"
            takes ratio for pictures; for other data nll, or bound if the likelihood is not a density, or
            reconstruction if draws of z have no weights. The attribute `score_name` is the choice.
        calibration: normal data that the model was not trained on, in any form that training takes; None: the test data
            of training.
        samples: draws of z per datum.
        seed: fixes the draws.

    Raises `UserError` for an unknown score, one that the model does not support, or one that is NaN.

    >>> import nelbo
    >>> x = torch.randn(400, 3, generator=torch.Generator().manual_seed(0))
    >>> detector = Detector(nelbo.fit(x[:300], epochs=1), calibration=x[300:])
    >>> found = detector.detect(torch.tensor([[0.0, 0.0, 0.0], [9.0, -9.0, 9.0]]), 0.05)
    >>> detector.score_name, found.is_anomaly.tolist()
    ('nll', [False, True])
    """

    def __init__(
        self, model: Model, score: str = "auto", calibration: Any = None, samples: int = 50, seed: int = 0
    ) -> None:
        if samples < 1:
            raise UserError(f"samples={samples}: use 1 or more")
        self.model, self.samples, self.seed = model, samples, seed
        self.calibration_data = load_test_data(model) if calibration is None else model.as_dataset(calibration)
        self.score_name = scores.choose(score, model, self.calibration_data)

    def anomaly_score(self, data: Any) -> np.ndarray:
        """The anomaly score of each datum, `(n,)` nats, higher for what is more anomalous."""
        found = scores.SCORES[self.score_name](self.model, self.model.as_dataset(data), self.samples, self.seed)
        return scores.finite(found, "data")

    @cached_property
    def calibration_scores(self) -> np.ndarray:
        """The scores of the calibration rows, `(n,)` nats: the same function of a row as for other data."""
        of = scores.SCORES[self.score_name]
        return scores.finite(of(self.model, self.calibration_data, self.samples, self.seed), "calibration")

    def p_values(self, data: Any) -> np.ndarray:
        """The share of normal data that are as anomalous, `(n,)`: conformal p-values."""
        return p_values(self.calibration_scores, clearly(self.anomaly_score(data)))

    def threshold(self, alpha: float = 0.01) -> float:
        """The score above which a datum is an anomaly, nats.

        Args:
            alpha: the largest share of normal data above the threshold.

        Raises `UserError` naming the number of calibration rows that are needed, if there are too few.
        """
        allowed_rank(len(self.calibration_data), alpha)  # raises before the work on the rows
        return threshold(self.calibration_scores, alpha)

    def detect(self, data: Any, alpha: float = 0.01) -> DetectionResult:
        """Detect anomalies among the data.

        Args:
            data: data in any form that training takes.
            alpha: the largest share of normal data that is detected.
        """
        limit = self.threshold(alpha)  # may raise, before work on many data
        rows = self.model.as_dataset(data)
        found, names = self.anomaly_score(rows), rows.schema.data_kind.row_names(rows)
        least = clearly(found)
        return DetectionResult(found, p_values(self.calibration_scores, least), least > limit, limit, names)

    def feature_scores(self, data: Any) -> np.ndarray:
        """The contribution of each element to the score, less `baseline`, `(n, *shape)` nats.

        Elements above 0 are more anomalous than on average. It raises the errors of the function `feature_scores`.
        """
        return feature_scores(self.model, data) - self.baseline

    @cached_property
    def baseline(self) -> np.ndarray:
        """The mean contribution of each element over the calibration rows, `(*shape)` nats."""
        return feature_scores(self.model, self.calibration_data).mean(0, dtype=np.float64).astype(np.float32)


def feature_scores(model: Model, data: Any) -> np.ndarray:
    """The contribution of each element to the reconstruction score, `(n, *shape)` nats.

        -log p(x_j | z),   z the posterior's mean

    The elements of a datum sum to its score "reconstruction"; a missing element (NaN) adds 0. x is in the model's
    units. Raises `UserError` if the likelihood has no terms for single elements.
    """
    with torch.no_grad():
        return model.map_batches(data, partial(scores.of_elements, model.vae))


COUNT = 3


def top_features(feature_scores: np.ndarray, rows: Dataset, count: int = COUNT) -> list[list[str]]:
    """The `count` largest contributions of each row of `feature_scores` `(n, columns)`, nats, as text."""
    kind = rows.schema.data_kind
    texts = kind.element_texts(rows)
    names = kind.element_names(rows.schema)
    order = np.argsort(-feature_scores, 1, kind="stable")[:, :count].tolist()
    return [
        [f"{names[j]}={cells[j]} ({of[j]:+.1f})" for j in chosen]
        for chosen, cells, of in zip(order, texts, feature_scores.tolist(), strict=True)
    ]
