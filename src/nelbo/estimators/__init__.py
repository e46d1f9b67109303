"""scikit-learn faces of what nelbo does; they need scikit-learn: `pip install 'nelbo[sklearn]'`.

from nelbo.estimators import VAEDetector
"""

from nelbo.estimators.detector import VAEDetector

__all__ = ["VAEDetector"]
