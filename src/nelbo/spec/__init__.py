"""What a VAE is made of, as plain values: one frozen dataclass per component, and `build`.

    build(ModelSpec(...), shape) -> VAE          and the spec is what is saved with the weights

What a spec leaves out (None) is chosen from the data by `resolve`. Each module here holds one family of
components, registered under the names that recipes use.
"""

from nelbo.spec.codes import FSQ, LFQ, VQ, CodePrior, PixelCNN, Quantised, Transformer, fit_code_prior
from nelbo.spec.discrete import Binary, Categorical, Product
from nelbo.spec.flows import (
    IAF,
    MAF,
    FlowPosterior,
    FlowPrior,
    HamiltonianPosterior,
    Planar,
    RealNVP,
    Sylvester,
    Transform,
    Zuko,
)
from nelbo.spec.geometry import (
    Dirac,
    Dirichlet,
    FullNormal,
    GammaPosterior,
    GammaPrior,
    LaplacePosterior,
    LaplacePrior,
    LogisticNormal,
    LowRankNormal,
    PowerSpherical,
    UniformSphere,
    VonMisesFisher,
    WrappedNormalPosterior,
    WrappedNormalPrior,
)
from nelbo.spec.hierarchy import Head, Ladder, TopDownConv
from nelbo.spec.latents import Flat, Latent
from nelbo.spec.learned_priors import DataPrior, ExemplarPrior, MixturePrior, TwoStagePrior, VampPrior
from nelbo.spec.likelihoods import Bernoulli, ContinuousBernoulli, Likelihood, Normal
from nelbo.spec.likelihoods import Table as TableCells
from nelbo.spec.likelihoods import Text as Tokens
from nelbo.spec.likelihoods_pixels import (
    SSIM,
    Beta,
    Categorical256,
    DiscretisedLogistic,
    DiscretisedLogisticMixture,
    Perceptual,
)
from nelbo.spec.likelihoods_real import Laplace, LogCosh, NegativeBinomial, OneHot, Poisson, StudentT
from nelbo.spec.model import Input, ModelSpec, build, check_support, resolve, start
from nelbo.spec.nets import MLP, Conv, Conv1d, Grid, Net, Recurrent, Table
from nelbo.spec.objectives import ELBO, Objective
from nelbo.spec.objectives_more import (
    CIWAE,
    DIP,
    HSIC,
    IWAE,
    PIWAE,
    SWAE,
    WAE,
    BetaTC,
    Capacity,
    Chi,
    Constrained,
    FreeBits,
    Info,
    Renyi,
    WakeWake,
)
from nelbo.spec.players import AAE, RAE, VAEGAN, Factor, SemiSupervised
from nelbo.spec.posteriors import DiagonalNormal, Posterior
from nelbo.spec.priors import Prior, StandardNormal
from nelbo.spec.riemannian import MetricPrior, RiemannianPosterior
from nelbo.spec.text import TextGRU, TextTransformer
