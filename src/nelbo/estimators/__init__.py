"""scikit-learn faces of the model of tables: fit on arrays and DataFrames, in pipelines and searches.

    from nelbo.estimators import VAETransformer

They need scikit-learn: `pip install 'nelbo[sklearn]'`. Each trains a model of its own by the recipe "table", for
`max_iter` epochs; cells may be missing (NaN).
"""

from nelbo.estimators.imputer import VAEImputer
from nelbo.estimators.sampler import VAESampler
from nelbo.estimators.transformer import VAETransformer

__all__ = ["VAEImputer", "VAESampler", "VAETransformer"]
