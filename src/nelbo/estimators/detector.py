"""An outlier detector for scikit-learn; see `nelbo.apps.outliers.exemplars`."""

from __future__ import annotations

import warnings
from numbers import Real
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from nelbo.apps.outliers.ensemble import EnsembleTrainingConfig
from nelbo.apps.outliers.exemplars import EnsembleConfig, OutlierScorer
from nelbo.data import tables
from nelbo.data.schema import Schema
from nelbo.errors import UserError

FEWEST = 4
"""Rows of which the exemplars are other rows than the scored ones."""


class VAEDetector(OutlierMixin, BaseEstimator):  # type: ignore[misc]
    """Detects outliers of a table of numbers, or of numbers and texts (a DataFrame); cells may be missing (NaN).

        score_samples(X) = - mean over members of log(distance to the nearest exemplar),    high for inliers

    Unless `novelty`, the rarity of single cells is added, on the same scale (see `nelbo.apps.outliers.exemplars`).

    Args:
        contamination: the share of the training rows that `predict` labels as outliers, in (0, 0.5].
        novelty: whether all training rows are known to be inliers. Each of them is then an exemplar, and `offset_` is
            taken from the scores of training rows among the others. Score other rows than those of `fit`.
        n_estimators: the number of VAEs.
        n_components: the largest number of latents of each.
        hidden_size: units of the hidden layers.
        steps: training steps.
        random_state: fixes the weights, the exemplars and all draws.

    After `fit`: `offset_`, below which `score_samples` means an outlier; under PyOD's names, `decision_scores_` (high
    for outliers), `threshold_` and `labels_` (1 for outliers) of the training rows; `ensemble_`, a
    `nelbo.apps.outliers.exemplars.OutlierScorer`; `n_features_in_`, and `feature_names_in_` for a DataFrame. Texts
    become one column per category. Raises `UserError` (a `ValueError`) for parameters out of range.

    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(200, 3))
    >>> X[0] = 9
    >>> VAEDetector(contamination=0.01, steps=10, random_state=0).fit_predict(X)[:3].tolist()
    [-1, 1, 1]
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
        self.contamination = contamination
        self.novelty = novelty
        self.n_estimators = n_estimators
        self.n_components = n_components
        self.hidden_size = hidden_size
        self.steps = steps
        self.random_state = random_state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit to the rows of X.

        Args:
            X: the rows, `(n, features)`.
            y: ignored.
        """
        self._check()
        x = self._rows(X, reset=True)
        if len(x) < FEWEST and not self.novelty:
            raise UserError(f"X has {len(x)} rows: give at least {FEWEST}, or set novelty=True if all are normal")
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        plan = EnsembleConfig(
            self.n_estimators,
            n_components=self.n_components,
            hidden_size=self.hidden_size,
            training=EnsembleTrainingConfig(self.steps),
        )
        self.ensemble_ = OutlierScorer(x, plan, seed, self.novelty)
        self.decision_scores_ = self.ensemble_.anomaly_score(x, leave_one_out=self.novelty)
        self.threshold_ = float(np.quantile(self.decision_scores_, 1 - self.contamination))
        self.offset_ = -self.threshold_
        self.labels_ = (self.decision_scores_ > self.threshold_).astype(int)
        return self

    def score_samples(self, X: Any) -> np.ndarray:
        """How normal each row is, `(n,)`: minus its score in `nelbo.apps.outliers.exemplars`."""
        check_is_fitted(self)
        return -self.ensemble_.anomaly_score(self._rows(X))

    def decision_function(self, X: Any) -> np.ndarray:
        """`score_samples(X) - offset_`: below 0 for outliers."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> np.ndarray:
        """1 for inliers, -1 for outliers."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def fit_predict(self, X: Any, y: Any = None) -> np.ndarray:
        """Fit to X; 1 for its inliers, -1 for its outliers.

        Args:
            X: the rows, `(n, features)`.
            y: ignored.
        """
        return np.where(self.fit(X).labels_ == 1, -1, 1)

    def _check(self) -> None:
        """Raise `UserError` for a parameter out of range."""
        if not (isinstance(self.contamination, Real) and 0 < self.contamination <= 0.5):
            raise UserError(f"contamination={self.contamination!r}: use a share above 0, at most 0.5")
        for name in ("n_estimators", "n_components", "hidden_size", "steps"):
            value = getattr(self, name)
            if not (isinstance(value, int | np.integer) and value >= 1):
                raise UserError(f"{name}={value!r}: use an integer of at least 1")

    def _rows(self, X: Any, reset: bool = False) -> np.ndarray:
        """X as float64 `(n, columns)`: numbers unchanged, a column per category of a text, NaN for missing cells."""
        frame = getattr(X, "select_dtypes", None)
        texts = frame is not None and X.shape[1] > frame(["number", "bool"]).shape[1]
        if reset:
            self.schema_ = None
        if not texts:
            if not reset and check_is_fitted(self) is None and self.schema_ is not None:
                raise UserError("X has numbers only, and fit had columns of texts: give the same columns as in fit")
            return validate_data(
                self, X, reset=reset, dtype=np.float64, ensure_all_finite="allow-nan", ensure_min_samples=1 + reset
            )
        validate_data(self, X, reset=reset, skip_check_array=True)
        if reset:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                self.schema_, _ = tables.infer(X)
        if self.schema_ is None:
            raise UserError("X has texts where fit had numbers: give numbers there")
        return one_hot(tables.encode(X, self.schema_), self.schema_)


def one_hot(x: np.ndarray, schema: Schema) -> np.ndarray:
    """x of a table with each column of k categories as k columns of 0 and 1 (one, if k is 2); NaN where missing."""
    columns = []
    for place, column in zip(x.T.astype(np.float64), schema.feature_columns, strict=True):
        if column.kind == "categorical":
            ones = (place[:, None] == np.arange(len(column.categories))).astype(np.float64)
            columns.append(np.where(np.isnan(place)[:, None], np.nan, ones))
        else:
            columns.append(place[:, None])
    return np.concatenate(columns, 1)
