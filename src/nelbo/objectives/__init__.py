"""Training objectives: terms of a trace and their sums, importance-weighted bounds, and adversarial objectives."""

from nelbo.objectives.adversarial import VAEGAN, AdversarialAutoencoder, FactorVAE
from nelbo.objectives.base import Losses, Objective, StatefulTerm, Term, WeightedTerms, distortion, rate, stl_kl
from nelbo.objectives.bounds import (
    ImportanceWeightedObjective,
    chivi,
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
    free_bits,
    hsic,
    imq,
    minibatch_stratified_sampling,
    minibatch_weighted_sampling,
    mmd,
    per_dimension,
    rbf,
    sliced_wasserstein,
    split_level,
)
from nelbo.objectives.weighted_sums import elbo
