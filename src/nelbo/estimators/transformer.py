"""`VAETransformer`: rows to embeddings and back, and the likelihood of rows."""

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
    """Embeds the rows of a table: `transform` returns the mean of q(z | x), `(n, n_components)` float32.

    Cells may be missing (NaN), texts or categories (in a DataFrame). `score` is the mean of `score_samples`, so that a
    search can choose `n_components`.

    Args:
        n_components: the number of latents.
        width: units of the networks' layers; None: 64, and up to 256 for many rows.
        max_iter: the largest number of epochs.
        batch_size: rows per step; None: an eighth of them, between 32 and 512.
        learning_rate: the highest learning rate, after the warm-up.
        random_state: fixes the weights, the order of the rows and all draws.
        verbose: 1 prints two lines per epoch; 0 prints nothing.

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
        """Train on the rows of X.

        Args:
            X: the rows, `(n, features)`.
            y: ignored.
        """
        self._train(self._begin(X), {})
        return self

    @property
    def _n_features_out(self) -> int:
        return len(self.model_.kl_per_latent)

    def transform(self, X: Any) -> np.ndarray:
        """The posterior mean of each row, `(n, n_components)` float32."""
        return self.model_.embed(self._table(X))

    def inverse_transform(self, X: Any) -> Any:
        """Decode embeddings `(n, n_components)` to rows in the form of X in `fit`: means, and most probable categories.

        Each cell depends on the embedding alone. Columns that are not modelled, such as identifiers, are NaN.
        """
        check_is_fitted(self)
        codes = check_array(X, dtype=np.float32)
        if codes.shape[1] != self._n_features_out:
            raise UserError(f"codes have {codes.shape[1]} numbers: give {self._n_features_out}, as transform does")
        with torch.no_grad():
            x = imputation.expected_cells(self.model_.vae, torch.from_numpy(codes), self.model_.schema)
        return self._like(tables.decode(x.numpy(), self.model_.schema))

    def score_samples(self, X: Any) -> np.ndarray:
        """A lower bound on log p(x) of each row, `(n,)` nats, with standardized columns: low for an unlikely row.

        Source: Burda, Grosse, Salakhutdinov (2016), Importance Weighted Autoencoders.
        """
        return self._scores(self._table(X))

    def score(self, X: Any, y: Any = None) -> float:
        """The mean of `score_samples`, nats per row.

        Args:
            X: the rows, `(n, features)`.
            y: ignored.
        """
        return float(self.score_samples(X).mean(dtype=np.float64))

    def sample(self, n_samples: int = 1, random_state: Any = None) -> Any:
        """Draw rows from the model, in the form of X in `fit`.

        Args:
            n_samples: the number of rows.
            random_state: fixes the draws.
        """
        check_is_fitted(self)
        seed = int(check_random_state(random_state).randint(2**31 - 1))
        return self._like(self.model_.sample(n_samples, seed))
