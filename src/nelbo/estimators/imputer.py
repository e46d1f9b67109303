"""`VAEImputer` fills missing cells, given the other cells of their row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas
from sklearn.base import OneToOneFeatureMixin, TransformerMixin
from sklearn.utils import check_random_state

from nelbo.data import tables
from nelbo.estimators.base import TableEstimator


class VAEImputer(OneToOneFeatureMixin, TransformerMixin, TableEstimator):  # type: ignore[misc]
    """Fills the missing cells of a table; observed cells are unchanged.

    A number is filled with its mean given the row's other cells, a category with the most probable one. A column with a
    single value is filled with it; texts that are nearly all different are left unchanged. A column without any value
    in `fit` is dropped, as scikit-learn's imputers do. `fit` warns of each.

    Args:
        n_components: the number of latents.
        width: units of the networks' layers; None: 64, and up to 256 for many rows.
        max_iter: the largest number of epochs.
        batch_size: rows per step; None: an eighth of them, between 32 and 512.
        learning_rate: the highest learning rate, after the warm-up.
        sample_posterior: whether each cell is drawn, given the others, instead: call `transform` several times for
            multiple imputation, with `random_state` None or a RandomState.
        keep_empty_features: whether columns without any value in `fit` are kept, and numbers there filled with 0.
        random_state: fixes the weights, the order of the rows and all draws.
        verbose: 1 prints two lines per epoch; 0 prints nothing.

    Source: Mattei, Frellsen (2019), MIWAE: Deep Generative Modelling and Imputation of Incomplete Data Sets.

    >>> x = np.random.default_rng(0).normal(size=(50, 3))
    >>> x[::5, 0] = np.nan
    >>> filled = VAEImputer(max_iter=1, random_state=0).fit_transform(x)
    >>> bool(np.isnan(filled).any()), bool((filled[1] == x[1]).all())
    (False, True)
    """

    def __init__(
        self,
        n_components: int = 8,
        width: int | None = None,
        max_iter: int = 100,
        batch_size: int | None = None,
        learning_rate: float = 2e-3,
        sample_posterior: bool = False,
        keep_empty_features: bool = False,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        super().__init__(n_components, width, max_iter, batch_size, learning_rate, random_state, verbose)
        self.sample_posterior = sample_posterior
        self.keep_empty_features = keep_empty_features

    def fit(self, X: Any, y: Any = None) -> VAEImputer:
        """Train on the rows of X.

        Args:
            X: the rows, `(n, features)`, with their missing cells.
            y: ignored.
        """
        table = self._begin(X)
        self.random_state_ = check_random_state(self.random_state)
        self.empty_ = table.isna().all().to_numpy()
        self._train(table, {})
        return self

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """The names of the columns that `transform` returns.

        Args:
            input_features: the names of the columns of X, if `fit` had none; None: x0, x1, ...
        """
        names: np.ndarray = super().get_feature_names_out(input_features)
        return names if self.keep_empty_features else names[~self.empty_]

    def transform(self, X: Any) -> Any:
        """Fill the missing cells of X, in the type of X: an array or a DataFrame."""
        table = self._table(X)
        gaps = tables.gaps(table, self.model_.schema)
        if gaps.any():
            table = self._filled(table)
            for column in self.model_.schema.columns:
                j = table.columns.get_loc(column.name)
                if column.kind == "constant" and gaps[:, j].any():
                    table.isetitem(j, tables.fill_constant(table.iloc[:, j], column, gaps[:, j]))
        for j in np.flatnonzero(self.empty_ & gaps.any(0)) if self.keep_empty_features else ():
            if pandas.api.types.is_numeric_dtype(table.dtypes.iloc[j]):
                table.isetitem(j, table.iloc[:, j].fillna(0))
        kept = np.ones(len(self.empty_), bool) if self.keep_empty_features else ~self.empty_
        if not isinstance(X, pandas.DataFrame):
            return table.loc[:, kept].to_numpy()
        return table.set_axis(X.index).set_axis(X.columns, axis=1).loc[:, kept]

    def _filled(self, table: pandas.DataFrame) -> pandas.DataFrame:
        if self.sample_posterior:
            seed = int(self.random_state_.randint(2**31 - 1))
            return self.model_.impute(table, seed, sample_posterior=True)
        return self.model_.impute(table, self.seed_)
