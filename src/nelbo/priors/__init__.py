"""Priors p(z | c): modules whose `forward(*context)` returns a distribution over the latents."""

from nelbo.priors.base import ParameterFreePrior, PosteriorMixturePrior, Prior
from nelbo.priors.codes import AutoregressivePrior, PixelCNNPrior, TransformerPrior
from nelbo.priors.curved import MetricVolumePrior, UniformSphere, WrappedNormalPrior
from nelbo.priors.flow import FlowPrior
from nelbo.priors.gaussian import DirichletPrior, GammaPrior, LaplacePrior, StandardNormal
from nelbo.priors.mixture import ExemplarPrior, MixturePrior, VampPrior
