"""scikit-learn estimators for tables: they fit arrays and DataFrames, in pipelines and searches.

    from nelbo.estimators import VAEDetector, VAEImputer, VAESampler, VAETransformer

They need scikit-learn: `pip install 'nelbo[sklearn]'`. The detector is an ensemble of small VAEs; each of the others
trains a model by the recipe "table", for at most `max_iter` epochs. Cells may be missing (NaN).
"""

from nelbo.estimators.detector import VAEDetector
from nelbo.estimators.imputer import VAEImputer
from nelbo.estimators.sampler import VAESampler
from nelbo.estimators.transformer import VAETransformer

__all__ = ["VAEDetector", "VAEImputer", "VAESampler", "VAETransformer"]
