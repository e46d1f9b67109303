"""Quality of samples, measured on the features of a named network; see `nelbo.metrics.samples`."""

from nelbo.metrics.samples import frechet_distance, neighbourhoods, quality
