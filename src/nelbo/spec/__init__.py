"""What a VAE is made of, as plain values: one frozen dataclass per component, and `build`.

    build(ModelSpec(...), shape) -> VAE          and the spec is what is saved with the weights

What a spec leaves out (None) is chosen from the data by `resolve`. Each module here holds one family of
components, registered under the names that recipes use.
"""

from nelbo.spec.latents import Flat, Latent
from nelbo.spec.likelihoods import Bernoulli, ContinuousBernoulli, Likelihood, Normal
from nelbo.spec.model import Input, ModelSpec, build, resolve, start
from nelbo.spec.nets import MLP, Conv, Net
from nelbo.spec.objectives import ELBO, Objective
from nelbo.spec.posteriors import DiagonalNormal, Posterior
from nelbo.spec.priors import Prior, StandardNormal

__all__ = [
    "ELBO",
    "MLP",
    "Bernoulli",
    "ContinuousBernoulli",
    "Conv",
    "DiagonalNormal",
    "Flat",
    "Input",
    "Latent",
    "Likelihood",
    "ModelSpec",
    "Net",
    "Normal",
    "Objective",
    "Posterior",
    "Prior",
    "StandardNormal",
    "build",
    "resolve",
    "start",
]
