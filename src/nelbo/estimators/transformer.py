"""`VAETransformer`: rows to codes and back, and how likely they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted

from nelbo.data import tables
from nelbo.errors import UserError
from nelbo.estimators.base import TableEstimator
from nelbo.model import imputation


class VAETransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, TableEstimator):  # type: ignore[misc]
    """Embeds the rows of a table: `transform` gives the mean of q(z | x), `(n, n_components)` float32.

    Cells may be missing (NaN), texts or categories (in a DataFrame). `score` is the mean of `score_samples`, so that
    a search may choose `n_components` by it. See `TableEstimator` for the parameters.

    >>> x = np.random.default_rng(0).normal(size=(50, 3))
    >>> embed = VAETransformer(n_components=2, max_iter=1, random_state=0).fit(x)
    >>> embed.transform(x).shape, embed.inverse_transform(embed.transform(x)).shape
    ((50, 2), (50, 3))
    """

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def fit(self, X: Any, y: Any = None) -> VAETransformer:
        """Train on the rows of X, `(n, features)`; y is not used."""
        self._train(self._begin(X), {})
        return self

    @property
    def _n_features_out(self) -> int:
        return len(self.model_.kl_per_latent)

    def transform(self, X: Any) -> np.ndarray:
        """The posterior's mean of each row, `(n, n_components)` float32."""
        return self.model_.embed(self._table(X))

    def inverse_transform(self, X: Any) -> Any:
        """The rows to expect of codes `(n, n_components)`, as X of `fit` was: means of numbers, likeliest categories.

        Each cell is told by the code alone. NaN in columns that are not modelled, identifiers.
        """
        check_is_fitted(self)
        codes = check_array(X, dtype=np.float32)
        if codes.shape[1] != self._n_features_out:
            raise UserError(f"codes have {codes.shape[1]} numbers: give {self._n_features_out}, as transform does")
        with torch.no_grad():
            x = imputation.expected_cells(self.model_.vae, torch.from_numpy(codes), self.model_.schema)
        return self._like(tables.decode(x.numpy(), self.model_.schema))

    def score_samples(self, X: Any) -> np.ndarray:
        """A lower bound on log p(x) of each row, `(n,)` nats, columns in standard units: low for an unlikely row.

        Source: Burda, Grosse, Salakhutdinov (2016), Importance Weighted Autoencoders.
        """
        return self._scores(self._table(X))

    def score(self, X: Any, y: Any = None) -> float:
        """The mean of `score_samples`, nats per row."""
        return float(self.score_samples(X).mean(dtype=np.float64))

    def sample(self, n_samples: int = 1, random_state: Any = None) -> Any:
        """Rows drawn from the model, as X of `fit` was; the same for the same `random_state`."""
        check_is_fitted(self)
        seed = int(check_random_state(random_state).randint(2**31 - 1))
        return self._like(self.model_.sample(n_samples, seed))
