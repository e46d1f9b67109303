"""VAEDetector as a detector for PyOD, which must be installed: `pip install pyod`.

PyOD's scores are high for outliers, scikit-learn's low, so a single class cannot serve both. Here

    decision_function(X) = - VAEDetector.score_samples(X),    predict(X) = 1 for outliers, else 0
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from pyod.models.base import BaseDetector

from nelbo.estimators.detector import VAEDetector


class PyODDetector(BaseDetector):  # type: ignore[misc]
    """A `VAEDetector` with PyOD's interface and the same parameters; `detector_` after `fit`.

    PyODDetector(contamination=0.05, random_state=0).fit(X).decision_scores_
    """

    def __init__(
        self,
        contamination: float = 0.1,
        novelty: bool = False,
        n_estimators: int = 4,
        n_components: int = 32,
        hidden_size: int = 64,
        steps: int = 500,
        random_state: Any = None,
    ) -> None:
        super().__init__(contamination=contamination)
        self.novelty = novelty
        self.n_estimators = n_estimators
        self.n_components = n_components
        self.hidden_size = hidden_size
        self.steps = steps
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit to the rows of X, `(n, features)`; y is ignored."""
        self._set_n_classes(y)
        self.detector_ = VAEDetector(**self.get_params()).fit(X)
        self.decision_scores_ = self.detector_.decision_scores_
        self._process_decision_scores()
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """The anomaly score of each row, `(n,)`."""
        return -self.detector_.score_samples(X)
