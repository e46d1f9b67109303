"""What is minimised: terms of a trace and their sums, bounds from importance weights, and games with a critic."""

from nelbo.objectives.adversarial import VAEGAN, AdversarialAutoencoder, FactorVAE
from nelbo.objectives.base import Losses, Objective, StatefulTerm, Term, WeightedTerms, distortion, path_rate, rate
from nelbo.objectives.bounds import (
    ImportanceWeightedObjective,
    chi,
    ciwae,
    cubo,
    dreg,
    importance_weighted,
    iwae,
    piwae,
    renyi,
    stl,
    wake_wake,
)
from nelbo.objectives.regularized import GECO, RAE, decoder_gradient, decoder_spectrum, decoder_weights
from nelbo.objectives.semi_supervised import SemiSupervised
from nelbo.objectives.terms import (
    Capacity,
    MutualInformation,
    TotalCorrelation,
    covariance,
    covariance_of_means,
    dip,
    factors,
    free_bits,
    hsic,
    imq,
    latents_of,
    mmd,
    rbf,
    sliced_wasserstein,
    stratified,
    weighted,
)
from nelbo.objectives.weighted_sums import elbo
