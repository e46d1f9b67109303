"""Shared code of the estimators: arrays and DataFrames as tables, and the training of a model of them.

The recipe is "table", made smaller for few rows: an epoch passes through all rows, in at least `STEPS` steps; training
stops early when the held-out rows (a tenth) no longer improve. Nothing depends on, or changes, torch's global
generators; results for a row do not depend on the other rows of a call.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from nelbo.config import recipe as recipes
from nelbo.data import load
from nelbo.errors import UserError
from nelbo.experiment.console import Lines
from nelbo.model import Model
from nelbo.model.scoring import importance_weighted_bound
from nelbo.nets.table import default_bins
from nelbo.training import signals

STEPS = 10  # the fewest steps of an epoch
DRAWS = 16  # draws of z for the score of a row
CARRIED = 4.0  # free nats of the code, as in the recipe
ROWS_OF_A_BIN = 20  # fewer rows estimate a bin's mass too badly


class TableEstimator(BaseEstimator):  # type: ignore[misc]
    """A model of the rows of X, `(n, features)`: a float array, NaN where a cell is missing, or a DataFrame.

    Args:
        n_components: the number of latents.
        width: units of the networks' layers; None: 64, and up to 256 for many rows.
        max_iter: the largest number of epochs.
        batch_size: rows per step; None: an eighth of them, between 32 and 512.
        learning_rate: the highest learning rate, after the warm-up.
        random_state: fixes the weights, the order of the rows and all draws.
        verbose: 1 prints two lines per epoch; 0 prints nothing.

    After `fit`: `model_`, a `nelbo.Model`; `n_iter_`, the number of epochs; `n_features_in_`, and
    `feature_names_in_` for a DataFrame. Raises `UserError` (a `ValueError`) for faults that a user can correct.
    """

    def __init__(
        self,
        n_components: int = 8,
        width: int | None = None,
        max_iter: int = 100,
        batch_size: int | None = None,
        learning_rate: float = 2e-3,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.n_components = n_components
        self.width = width
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.random_state = random_state
        self.verbose = verbose

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def _begin(self, X: Any) -> pandas.DataFrame:
        """X as the training table; its form is stored, and the seed is drawn."""
        self.seed_ = int(check_random_state(self.random_state).randint(2**31 - 1))
        table = self._table(X, reset=True)
        self.form_ = X.iloc[:0] if isinstance(X, pandas.DataFrame) else None
        return table

    def _table(self, X: Any, reset: bool = False) -> pandas.DataFrame:
        """X as a table, with the column names of `fit`."""
        if not reset:
            check_is_fitted(self)
        if isinstance(X, pandas.DataFrame):
            validate_data(self, X, reset=reset, skip_check_array=True)
            table = densify(X).reset_index(drop=True)
            if not all(X.shape):
                raise UserError(f"X has shape {X.shape}: give a table of at least one row and one column")
        else:
            x = validate_data(self, X, reset=reset, ensure_all_finite="allow-nan", ensure_min_samples=1 + reset)
            table = pandas.DataFrame(x)
        return table.set_axis(self._names(), axis=1)

    def _names(self) -> list[str]:
        """The model's names of the columns."""
        known = vars(self).get("feature_names_in_")
        return [f"x{j}" for j in range(self.n_features_in_)] if known is None else [str(name) for name in known]

    def _train(self, table: pandas.DataFrame, columns: Mapping[str, str]) -> None:
        """Train `model_` on a table; `columns` sets the kinds of some columns."""
        kept = (
            {}
            if self.form_ is not None
            else {n: "continuous" for n in table if n not in columns and is_sequential(table[n])}
        )
        data = load(table, seed=self.seed_, columns={**kept, **columns})
        recipe = recipes.load("table", recipe_overrides(self, *table.shape))
        self.model_ = Model.from_recipe(recipe, data.schema)
        state = self.model_.fit(data, None, [Lines()] if self.verbose else [])
        if state.reason == "interrupted":
            signals.deliver(state.signal)
        self.n_iter_ = int(state.rows[-1]["epoch"])

    def _like(self, table: pandas.DataFrame) -> Any:
        """A table of the model in the form of X in `fit`, an array or a DataFrame; NaN where undefined."""
        whole = table.reindex(columns=self._names())
        if self.form_ is None:
            return whole.to_numpy(np.float64, na_value=np.nan)
        return whole.set_axis(self.form_.columns, axis=1)

    def _scores(self, table: pandas.DataFrame) -> np.ndarray:
        """A lower bound on log p of each row, `(n,)` nats; see `nelbo.Model.log_likelihood`.

        log (1/K) sum_k p(x | z_k) p(z_k) / q(z_k | x),   z_k ~ q(z | x),   K = 16
        """
        return importance_weighted_bound(self.model_, table, DRAWS, self.seed_)


def recipe_overrides(estimator: TableEstimator, n: int, columns: int) -> dict[str, Any]:
    """The settings of the recipe "table" that an estimator changes for n rows of these many columns."""
    for name in ("n_components", "max_iter"):
        if getattr(estimator, name) < 1:
            raise UserError(f"{name}={getattr(estimator, name)}: use 1 or more")
    width = estimator.width or int(np.clip(2 ** round(np.log2(2 * n**0.5)), 64, 256))
    bins = int(np.clip(n // ROWS_OF_A_BIN, 8, default_bins(columns)))
    batch = estimator.batch_size or int(np.clip(n // 8, 32, 512))
    return {
        "epochs": estimator.max_iter,
        "batch_size": batch,
        "samples_per_epoch": max(n, STEPS * batch),
        "early_stopping_patience": max(5, estimator.max_iter // 5),
        "learning_rate": estimator.learning_rate,
        "seed": estimator.seed_,
        "objective.floor": CARRIED / estimator.n_components,
        "model.latent.dim": estimator.n_components,
        **{f"model.{net}.width": width for net in ("encoder", "decoder")},
        **{f"model.{net}.bins": bins for net in ("encoder", "decoder")},
    }


def is_sequential(v: pandas.Series) -> bool:
    """Whether a column holds consecutive integers, in any order: in an array it is then not an identifier."""
    return bool(v.is_unique and v.max() - v.min() == len(v) - 1 and (v % 1 == v.min() % 1).all())


def densify(X: pandas.DataFrame) -> pandas.DataFrame:
    """The table without sparse columns."""
    return X.astype({name: t.subtype for name, t in X.dtypes.items() if isinstance(t, pandas.SparseDtype)})
