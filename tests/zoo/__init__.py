"""Every part of nelbo: a part that has a row here gets every law of its family.

A *row* is one registered part in one configuration, as plain options of a recipe. A *law* is a test over all rows of a
family, and a *mutant* a published bug that is planted in a part, so that a law must fail. To add a part, add one row
to the module of its family. Sizes are tiny, and numbers are float64 wherever a law is exact.

    rows           what a row is; `table` and `over`
    laws, spaces   what laws use: data, points and densities of each space, the comparison of means
    distributions, divergences
    priors, posteriors, transforms, likelihoods, latents, nets, objectives, schedules
    vaes           a VAE with each of them
"""

from zoo.distributions import DISTRIBUTIONS, Family
from zoo.divergences import PAIRS
from zoo.latents import DISCRETE, HIERARCHIES, LATENTS, LatentRow, top_down
from zoo.laws import assert_mean, perturb_parameters
from zoo.likelihoods import LIKELIHOODS, LikelihoodRow
from zoo.nets import DECODERS, ENCODERS, NETS, NetRow
from zoo.objectives import OBJECTIVES, ObjectiveRow
from zoo.posteriors import POSTERIORS, PosteriorRow
from zoo.priors import PRIORS, PriorRow
from zoo.rows import CONTEXT, LATENT, SHAPE, Row, Shape, over
from zoo.schedules import OPTIMIZERS, SCHEDULES, OptimizerRow, ScheduleRow
from zoo.spaces import context, data
from zoo.transforms import TRANSFORMS, TransformRow
from zoo.vaes import VAES, VaeRow, linear_vae, single_level_vae, vae_of

ROWS: list[Row] = [
    *PRIORS.values(),
    *POSTERIORS.values(),
    *TRANSFORMS.values(),
    *LIKELIHOODS.values(),
    *LATENTS.values(),
    *NETS.values(),
    *OBJECTIVES.values(),
    *SCHEDULES.values(),
    *OPTIMIZERS.values(),
]
"""The rows of all registered parts."""
