"""How good samples are, measured on the features of a network that is named; see `nelbo.metrics.samples`."""

from nelbo.metrics.samples import frechet_distance, neighbourhoods, quality

__all__ = ["frechet_distance", "neighbourhoods", "quality"]
