"""Which data are odd under a model, how sure that is, and which of their elements are to blame.

    detector = Detector(model, calibration="usual.npy")
    found = detector.detect("new.npy", false_alarms=0.01)
    found.odd, found.p_values, detector.blame("new.npy")

A score says how odd a datum is (`nelbo.apps.anomaly.scores`), rows known to be usual say how odd that is for such data
(`nelbo.apps.anomaly.conformal`), and the terms of the reconstruction say where in the datum it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch

from nelbo.apps.anomaly import conformal, scores
from nelbo.errors import UserError
from nelbo.experiment.run import load_test_data
from nelbo.model import Model


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
        """The share of usual data that are as odd, `(n,)`; see `nelbo.apps.anomaly.conformal`."""
        return conformal.p_values(self.calibration_scores, self.anomaly_score(data))

    def threshold(self, alpha: float = 0.01) -> float:
        """The score above which a datum is odd, nats, so that this share of usual data is, or less.

        Raises `UserError` where the calibration rows are too few to tell, and says how many are needed.
        """
        conformal.allowed_rank(len(self.calibration_data), alpha)  # raises before the work on the rows
        return conformal.threshold(self.calibration_scores, alpha)

    def detect(self, data: Any, alpha: float = 0.01) -> DetectionResult:
        """What is odd among the data. Of usual data, a share of `alpha` or less is found odd."""
        limit = self.threshold(alpha)  # before the work on what may be many data
        found = self.anomaly_score(data)
        return DetectionResult(found, conformal.p_values(self.calibration_scores, found), found > limit, limit)

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
