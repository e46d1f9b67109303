"""Quality of samples, measured on the features of a named network; see `nelbo.metrics.samples`."""

from nelbo.metrics.samples import frechet_distance, neighbourhoods, quality

__all__ = ["frechet_distance", "neighbourhoods", "quality"]
