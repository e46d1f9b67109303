"""The published variants: each sets parts of a recipe and leaves the rest to it.

    nelbo train mnist --preset beta-tc            nelbo.config.presets.beta_tc(dim=10, beta=6.0)

A preset is a combination of parts, never a class. Parts that it leaves None (a likelihood, a network) are the recipe's.

Some variants change the latents (prior, posterior, space or levels); the others change the objective or the likelihood.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nelbo import nets
from nelbo.config.aliases import PRESETS as OLD_NAMES
from nelbo.config.recipe import Recipe
from nelbo.config.registry import Component
from nelbo.errors import UserError, nearest
from nelbo.latents import Latent
from nelbo.likelihoods import Likelihood
from nelbo.nets import Net
from nelbo.objectives import Objective
from nelbo.schedules import Linear

ELBO: Component[Objective] = Component("objective", "elbo")


def objective(kind: str, **options: Any) -> Component[Objective]:
    """An objective by its kind."""
    return Component("objective", kind, **options)


def flat(**options: Any) -> Component[Latent]:
    """A single-level latent."""
    return Component("latent", "flat", **options)


PARTS = ("latent", "likelihood", "encoder", "decoder")


@dataclass(frozen=True)
class Preset:
    """The settings of a published variant; parts that are None are the recipe's.

    Args:
        objective: the loss; None for the ELBO.
        latent: the latents.
        likelihood: p(x | h).
        encoder: architecture of the encoder.
        decoder: architecture of the decoder.
        condition: the column or label to condition on.
        learning_rate: the learning rate.
    """

    objective: Component[Objective] | None = None
    latent: Component[Latent] | None = None
    likelihood: Component[Likelihood] | None = None
    encoder: Net | None = None
    decoder: Net | None = None
    condition: str | None = None
    learning_rate: float = 2e-3

    def apply_to(self, recipe: Recipe, name: str) -> Recipe:
        """The recipe with this preset's parts in place of its own."""
        model, data = recipe.model, recipe.data
        parts = {f: getattr(self, f) or getattr(model, f) for f in PARTS}
        return dataclasses.replace(
            recipe,
            preset=name,
            post_hoc_prior="",  # no post-hoc prior: the preset's prior is part of the variant
            data=dataclasses.replace(data, condition=self.condition or data.condition),
            model=dataclasses.replace(model, **parts),
            objective=self.objective or ELBO,
            training=dataclasses.replace(recipe.training, learning_rate=self.learning_rate),
        )

    @property
    def fills(self) -> list[str]:
        """The names of the parts that are not left to the recipe."""
        return [name for name in (*PARTS, "objective", "condition") if getattr(self, name) is not None]


@dataclass(frozen=True)
class PresetEntry:
    """A preset in the listing: `make()` returns its parts; `paper` is a key of the bibliography."""

    make: Callable[..., Preset]
    paper: str

    @property
    def summary(self) -> str:
        return (self.make.__doc__ or "").partition("\n")[0]


PRESETS: dict[str, PresetEntry] = {}


def preset(name: str, paper: str) -> Callable[[Callable[..., Preset]], Callable[..., Preset]]:
    """Register a function that returns a preset."""

    def enter(make: Callable[..., Preset]) -> Callable[..., Preset]:
        PRESETS[name] = PresetEntry(make, paper)
        return make

    return enter


def find(name: str) -> Preset:
    """The preset of that name, with its default options.

    Raises:
        UserError: for an unknown name, with the nearest known one.

    >>> find("beta-vae").objective
    Component('objective', 'elbo', beta=4.0, stl=False)
    """
    name = OLD_NAMES.get(name, name)
    if name not in PRESETS:
        raise UserError(f"no preset {name!r}: {nearest(name, PRESETS)}")
    return PRESETS[name].make()


WARM_UP = Linear(
    0.0, 1.0, end_at=0.5
)  # warm-up of beta: without it, a hierarchy loses its upper levels at once (Sønderby 2016)


@preset("vamp", "tomczak2018vae")
def vamp(dim: int = 20, components: int = 100) -> Preset:
    """The prior is the mixture (average) of the posteriors at learned pseudo-inputs.

    Args:
        dim: number of latent dimensions.
        components: number of pseudo-inputs.
    """
    return Preset(ELBO, flat(dim=dim, prior=Component("prior", "vamp", components=components)))


@preset("exemplar", "norouzi2020exemplar")
def exemplar(dim: int = 20, components: int = 500) -> Preset:
    """The prior is a mixture around the embeddings of training data.

    Args:
        dim: number of latent dimensions.
        components: number of exemplars.
    """
    return Preset(ELBO, flat(dim=dim, prior=Component("prior", "exemplar", components=components)))


@preset("mixture-prior", "dilokthanakul2016deep")
def mixture_prior(dim: int = 20, components: int = 10) -> Preset:
    """The prior is a learned mixture of Normals.

    Args:
        dim: number of latent dimensions.
        components: number of Normals.
    """
    return Preset(ELBO, flat(dim=dim, prior=Component("prior", "mixture", components=components)))


@preset("flow-prior", "chen2017variational")
def flow_prior(dim: int = 20) -> Preset:
    """The prior is a coupling flow.

    Args:
        dim: number of latent dimensions.
    """
    return Preset(ELBO, flat(dim=dim, prior=Component("prior", "flow", transform="realnvp")))


@preset("linear-flow", "rezende2015variational")
def linear_flow(dim: int = 20) -> Preset:
    """A posterior of planar steps.

    Args:
        dim: number of latent dimensions.
    """
    return Preset(ELBO, flat(dim=dim, posterior=Component("posterior", "flow", transform="planar")))


@preset("sylvester", "berg2018sylvester")
def sylvester(dim: int = 20) -> Preset:
    """A posterior of Sylvester steps.

    Args:
        dim: number of latent dimensions.
    """
    return Preset(ELBO, flat(dim=dim, posterior=Component("posterior", "flow", transform="sylvester")))


@preset("iaf", "kingma2016improved")
def iaf(dim: int = 20) -> Preset:
    """A posterior of inverse autoregressive steps.

    Args:
        dim: number of latent dimensions.
    """
    return Preset(ELBO, flat(dim=dim, posterior=Component("posterior", "flow", transform="iaf")))


@preset("hvae", "caterini2018hamiltonian")
def hvae(dim: int = 20) -> Preset:
    """A posterior of Hamiltonian steps towards the true one.

    Args:
        dim: number of latent dimensions.
    """
    return Preset(ELBO, flat(dim=dim, posterior="hamiltonian"))


@preset("rhvae", "chadebec2020geometry")
def rhvae(dim: int = 10) -> Preset:
    """A posterior of Hamiltonian steps along a learned metric of the latents.

    Args:
        dim: number of latent dimensions.
    """
    return Preset(ELBO, flat(dim=dim, posterior="riemannian"))


@preset("full-covariance", "kingma2019introduction")
def full_covariance(dim: int = 20) -> Preset:
    """A Normal posterior with a full covariance.

    Args:
        dim: number of latent dimensions.
    """
    return Preset(ELBO, flat(dim=dim, posterior="full-normal"))


@preset("laplace", "barello2018sparse")
def laplace(dim: int = 20) -> Preset:
    """Laplace posterior and prior: sparser latents.

    Args:
        dim: number of latent dimensions.
    """
    return Preset(ELBO, flat(dim=dim, prior="laplace", posterior="laplace"))


@preset("s-vae", "davidson2018hyperspherical")
def s_vae(dim: int = 20) -> Preset:
    """Latents on a sphere: von Mises-Fisher posterior, uniform prior.

    Args:
        dim: number of latent dimensions.
    """
    return Preset(ELBO, flat(dim=dim, prior="uniform-sphere", posterior="von-mises-fisher"))


@preset("power-spherical", "cao2020power")
def power_spherical(dim: int = 20) -> Preset:
    """Latents on a sphere: power spherical posterior, uniform prior.

    Args:
        dim: number of latent dimensions.
    """
    return Preset(ELBO, flat(dim=dim, prior="uniform-sphere", posterior="power-spherical"))


@preset("poincare", "mathieu2019continuous")
def poincare(dim: int = 20, curvature: float = 1.0) -> Preset:
    """Latents in a hyperbolic ball: wrapped Normal posterior and prior.

    Args:
        dim: number of latent dimensions.
        curvature: c; the latent space has curvature -c.
    """
    return Preset(
        ELBO,
        flat(
            dim=dim,
            prior=Component("prior", "wrapped-normal", curvature=curvature),
            posterior=Component("posterior", "wrapped-normal", curvature=curvature),
        ),
    )


@preset("dirichlet", "srivastava2017autoencoding")
def dirichlet(dim: int = 20) -> Preset:
    """Latents on the simplex: logistic-Normal posterior, Dirichlet-like prior.

    Args:
        dim: number of latent dimensions.
    """
    return Preset(ELBO, flat(dim=dim, prior="dirichlet", posterior="logistic-normal"))


@preset("gamma", "figurnov2018implicit")
def gamma(dim: int = 20) -> Preset:
    """Positive latents: Gamma posterior and prior.

    Args:
        dim: number of latent dimensions.
    """
    return Preset(ELBO, flat(dim=dim, prior="gamma", posterior="gamma"))


@preset("bernoulli-vae", "maddison2017concrete")
def bernoulli_vae(dim: int = 40) -> Preset:
    """Bits as latents, relaxed in training.

    Args:
        dim: number of bits.
    """
    return Preset(ELBO, Component("latent", "binary", dim=dim))


@preset("categorical-vae", "jang2017categorical")
def categorical_vae(variables: int = 20, classes: int = 10) -> Preset:
    """Categories as latents, relaxed by Gumbel noise at a decreasing temperature.

    Args:
        variables: number of one-hot vectors.
        classes: entries of each one-hot vector.
    """
    return Preset(
        ELBO, Component("latent", "categorical", variables=variables, classes=classes, temperature=Linear(1.0, 0.5))
    )


@preset("joint-vae", "dupont2018learning")
def joint_vae(dim: int = 10, classes: int = 10) -> Preset:
    """Normal and categorical latents side by side.

    Args:
        dim: number of Normal latents.
        classes: number of categories.
    """
    return Preset(
        ELBO,
        Component(
            "latent",
            "product",
            parts={
                "continuous": flat(dim=dim),
                "discrete": Component("latent", "categorical", variables=1, classes=classes),
            },
        ),
    )


@preset("vq-vae", "oord2017neural")
def vq_vae(groups: int = 16, codebook_size: int = 512) -> Preset:
    """Codes from a learned codebook; fit a prior over them to sample.

    Args:
        groups: number of vectors of an example.
        codebook_size: entries of the codebook.
    """
    return Preset(ELBO, Component("latent", "vq", groups=groups, codebook_size=codebook_size))


@preset("residual-vq", "adiban2022hierarchical")
def residual_vq(groups: int = 16, codebook_size: int = 256, depth: int = 4) -> Preset:
    """Several codebooks, each for the residual of those before.

    Args:
        groups: number of vectors of an example.
        codebook_size: entries of the codebook.
        depth: number of codebooks.
    """
    return Preset(ELBO, Component("latent", "vq", groups=groups, codebook_size=codebook_size, depth=depth))


@preset("fsq", "mentzer2024finite")
def fsq(groups: int = 16) -> Preset:
    """Codes by rounding a few bounded numbers, without a codebook.

    Args:
        groups: number of vectors of an example.
    """
    return Preset(ELBO, Component("latent", "fsq", groups=groups))


@preset("lfq", "yu2024language")
def lfq(groups: int = 16) -> Preset:
    """Codes by the signs of a few numbers.

    Args:
        groups: number of vectors of an example.
    """
    return Preset(ELBO, Component("latent", "lfq", groups=groups))


@preset("ladder", "sonderby2016ladder")
def ladder() -> Preset:
    """A ladder: each posterior merges bottom-up and top-down information."""
    return Preset(objective("elbo", beta=WARM_UP), Component("latent", "ladder", dims=(8, 16, 32)), learning_rate=1e-3)


@preset("two-level", "tomczak2018vae")
def two_level() -> Preset:
    """Two levels of latents, on both of which the likelihood depends."""
    return Preset(
        objective("elbo", beta=WARM_UP), Component("latent", "ladder", dims=(40, 40), posterior="direct", skip=True)
    )


@preset("vdvae", "child2021very")
def vdvae() -> Preset:
    """A deep convolutional hierarchy, top down."""
    return Preset(
        objective("elbo", beta=WARM_UP), Component("latent", "topdown-conv"), decoder=nets.Head(), learning_rate=1e-3
    )


@preset("nvae", "vahdat2020nvae")
def nvae() -> Preset:
    """A deep convolutional hierarchy whose posteriors are relative to the priors."""
    return Preset(
        objective("elbo", beta=WARM_UP),
        Component("latent", "topdown-conv", posterior="residual"),
        decoder=nets.Head(),
        learning_rate=1e-3,
    )


@preset("vae", "kingma2014auto")
def vae(dim: int = 20) -> Preset:
    """A diagonal Normal posterior, a standard Normal prior, the ELBO.

    Args:
        dim: number of latent dimensions.
    """
    return Preset(ELBO, flat(dim=dim))


@preset("beta-vae", "higgins2017beta")
def beta_vae(dim: int = 20, beta: float = 4.0) -> Preset:
    """The rate weighted by beta: fewer and more independent latent dimensions.

    Args:
        dim: number of latent dimensions.
        beta: weight of the rate; above 1, fewer latent dimensions are used, and they are more independent.
    """
    return Preset(objective("elbo", beta=beta), flat(dim=dim))


@preset("disentangled-beta-vae", "burgess2018understanding")
def disentangled_beta_vae(dim: int = 20, weight: float = 30.0, capacity: float = 25.0) -> Preset:
    """The rate constrained to a capacity that rises in training.

    Args:
        dim: number of latent dimensions.
        weight: weight of the constraint.
        capacity: the final capacity C, nats.
    """
    return Preset(objective("capacity", weight=weight, capacity=Linear(0.0, capacity, end_at=0.8)), flat(dim=dim))


@preset("sigma-vae", "rybkin2021simple")
def sigma_vae(dim: int = 20) -> Preset:
    """A Normal likelihood with the optimal variance of each batch, which replaces beta.

    Args:
        dim: number of latent dimensions.
    """
    return Preset(ELBO, flat(dim=dim), Component("likelihood", "normal", sigma="optimal"))


@preset("free-bits", "kingma2016improved")
def free_bits(dim: int = 20, floor: float = 0.1) -> Preset:
    """The rate of each latent dimension is free up to a floor.

    Args:
        dim: number of latent dimensions.
        floor: free nats of each latent dimension.
    """
    return Preset(objective("free-bits", floor=floor), flat(dim=dim))


@preset("geco", "rezende2018taming")
def geco(dim: int = 20, target: float = 90.0) -> Preset:
    """The smallest rate at which the distortion reaches a target.

    Args:
        dim: number of latent dimensions.
        target: the distortion to reach, nats per example.
    """
    return Preset(objective("geco", target=target), flat(dim=dim))


@preset("stl", "roeder2017sticking")
def stl(dim: int = 20) -> Preset:
    """The ELBO with a gradient of the rate that is less noisy late in training.

    Args:
        dim: number of latent dimensions.
    """
    return Preset(objective("elbo", stl=True), flat(dim=dim))


@preset("cvae", "sohn2015learning")
def cvae(dim: int = 20) -> Preset:
    """Prior, posterior and likelihood given the label.

    Args:
        dim: number of latent dimensions.
    """
    return Preset(ELBO, flat(dim=dim), condition="label")


@preset("m2", "kingma2014semi")
def m2(dim: int = 20, classes: int = 10) -> Preset:
    """Semi-supervised: a missing label is a latent, and a classifier is trained jointly.

    Args:
        dim: number of latent dimensions.
        classes: number of classes of the label.
    """
    return Preset(objective("semi-supervised", classes=classes), flat(dim=dim), condition="label")


@preset("beta-tc", "chen2018isolating")
def beta_tc(dim: int = 20, beta: float = 6.0) -> Preset:
    """The total correlation part of the rate weighted by beta.

    Args:
        dim: number of latent dimensions.
        beta: weight of the total correlation.
    """
    return Preset(objective("beta-tc", beta=beta), flat(dim=dim))


@preset("factor-vae", "kim2018disentangling")
def factor_vae(dim: int = 20, weight: float = 6.0) -> Preset:
    """The total correlation, estimated by a critic of the latents, as a penalty.

    Args:
        dim: number of latent dimensions.
        weight: weight of the total correlation.
    """
    return Preset(objective("factorvae", weight=weight), flat(dim=dim))


@preset("dip-vae-1", "kumar2018variational")
def dip_vae_1(dim: int = 20) -> Preset:
    """The covariance of the posterior means pulled towards the identity.

    Args:
        dim: number of latent dimensions.
    """
    return Preset(objective("dip-vae", version="I"), flat(dim=dim))


@preset("dip-vae-2", "kumar2018variational")
def dip_vae_2(dim: int = 20) -> Preset:
    """The covariance of the latent samples pulled towards the identity.

    Args:
        dim: number of latent dimensions.
    """
    return Preset(objective("dip-vae", version="II"), flat(dim=dim))


@preset("info-vae", "zhao2019infovae")
def info_vae(dim: int = 20) -> Preset:
    """A weaker rate, and the aggregate posterior matched to the prior by MMD.

    Args:
        dim: number of latent dimensions.
    """
    return Preset(objective("infovae"), flat(dim=dim))


@preset("hsic-vae", "lopez2018information")
def hsic_vae(dim: int = 20) -> Preset:
    """Blocks of latents made independent by a kernel criterion.

    Args:
        dim: number of latent dimensions.
    """
    return Preset(objective("hsic"), flat(dim=dim))


@preset("iwae", "burda2016importance")
def iwae(dim: int = 20, k: int = 5) -> Preset:
    """The importance-weighted bound of k samples.

    Args:
        dim: number of latent dimensions.
        k: samples of each bound; more make it tighter.
    """
    return Preset(objective("iwae", k=k), flat(dim=dim))


@preset("dreg", "tucker2019doubly")
def dreg(dim: int = 20, k: int = 5) -> Preset:
    """The importance-weighted bound with doubly reparameterised gradients.

    Args:
        dim: number of latent dimensions.
        k: samples of each bound; more make it tighter.
    """
    return Preset(objective("iwae", k=k, gradient="dreg"), flat(dim=dim))


@preset("miwae", "rainforth2018tighter")
def miwae(dim: int = 20, k: int = 5, m: int = 3) -> Preset:
    """The mean of m importance-weighted bounds.

    Args:
        dim: number of latent dimensions.
        k: samples of each bound; more make it tighter.
        m: number of bounds.
    """
    return Preset(objective("iwae", k=k, m=m), flat(dim=dim))


@preset("ciwae", "rainforth2018tighter")
def ciwae(dim: int = 20, k: int = 5, beta: float = 0.5) -> Preset:
    """Between the ELBO and the importance-weighted bound.

    Args:
        dim: number of latent dimensions.
        k: samples of each bound; more make it tighter.
        beta: weight of the ELBO, from 0 to 1.
    """
    return Preset(objective("ciwae", k=k, beta=beta), flat(dim=dim))


@preset("piwae", "rainforth2018tighter")
def piwae(dim: int = 20, k: int = 5, m: int = 3) -> Preset:
    """The tight bound for the decoder, the better gradient for the encoder.

    Args:
        dim: number of latent dimensions.
        k: samples of each bound; more make it tighter.
        m: number of bounds.
    """
    return Preset(objective("piwae", k=k, m=m), flat(dim=dim))


@preset("renyi", "li2016renyi")
def renyi(dim: int = 20, alpha: float = 0.5) -> Preset:
    """The Renyi bound of order alpha.

    Args:
        dim: number of latent dimensions.
        alpha: order of the bound; 0 is IWAE, towards 1 the ELBO.
    """
    return Preset(objective("renyi", alpha=alpha), flat(dim=dim))


@preset("wae-mmd", "tolstikhin2018wasserstein")
def wae_mmd(dim: int = 20) -> Preset:
    """A deterministic encoder whose embeddings match the prior by MMD.

    Args:
        dim: number of latent dimensions.
    """
    return Preset(objective("wae-mmd"), flat(dim=dim, posterior="point-mass"))


@preset("swae", "kolouri2019sliced")
def swae(dim: int = 20) -> Preset:
    """A deterministic encoder whose embeddings match the prior in sliced Wasserstein distance.

    Args:
        dim: number of latent dimensions.
    """
    return Preset(objective("swae"), flat(dim=dim, posterior="point-mass"))


@preset("ae", "rumelhart1986learning")
def ae(dim: int = 20) -> Preset:
    """A deterministic autoencoder; fit a prior after training to sample from it.

    Args:
        dim: number of latent dimensions.
    """
    return Preset(ELBO, flat(dim=dim, posterior="point-mass"))


@preset("rae-l2", "ghosh2020variational")
def rae_l2(dim: int = 20) -> Preset:
    """A deterministic autoencoder with weight decay on the decoder.

    Args:
        dim: number of latent dimensions.
    """
    return Preset(objective("rae", regularizer="l2"), flat(dim=dim, posterior="point-mass"))


@preset("rae-gp", "ghosh2020variational")
def rae_gp(dim: int = 20) -> Preset:
    """A deterministic autoencoder with a gradient penalty on the decoder.

    Args:
        dim: number of latent dimensions.
    """
    return Preset(objective("rae", regularizer="gradient"), flat(dim=dim, posterior="point-mass"))


@preset("aae", "makhzani2016adversarial")
def aae(dim: int = 20) -> Preset:
    """Latents matched to the prior by a critic.

    Args:
        dim: number of latent dimensions.
    """
    return Preset(objective("aae"), flat(dim=dim, posterior="point-mass"), learning_rate=1e-3)


@preset("vae-gan", "larsen2016autoencoding")
def vae_gan(dim: int = 20) -> Preset:
    """Pictures compared by the features of a critic that distinguishes them from data.

    Args:
        dim: number of latent dimensions.
    """
    return Preset(objective("vae-gan", weight=0.05, critic=nets.Conv(4), critic_lr_scale=0.5), flat(dim=dim))


@preset("ms-ssim", "snell2017learning")
def ms_ssim(dim: int = 20) -> Preset:
    """Pictures compared by multi-scale structural similarity.

    Args:
        dim: number of latent dimensions.
    """
    return Preset(ELBO, flat(dim=dim), Component("likelihood", "ssim"))


@preset("dfc", "hou2017deep")
def dfc(dim: int = 20) -> Preset:
    """Pictures compared by the features of a fixed network.

    Args:
        dim: number of latent dimensions.
    """
    return Preset(ELBO, flat(dim=dim), Component("likelihood", "perceptual"))


@preset("log-cosh", "chen2019log")
def log_cosh(dim: int = 20) -> Preset:
    """A log-cosh error: squared near zero, absolute far away.

    Args:
        dim: number of latent dimensions.
    """
    return Preset(ELBO, flat(dim=dim), Component("likelihood", "log-cosh"))


@preset("student-t", "takahashi2018student")
def student_t(dim: int = 20) -> Preset:
    """A likelihood with heavy tails, for data with outliers.

    Args:
        dim: number of latent dimensions.
    """
    return Preset(ELBO, flat(dim=dim), Component("likelihood", "student-t"))


@preset("discretized-logistic", "kingma2016improved")
def discretized_logistic(dim: int = 20) -> Preset:
    """The mass of each of 256 pixel values: a likelihood in bits per dimension.

    Args:
        dim: number of latent dimensions.
    """
    return Preset(ELBO, flat(dim=dim), Component("likelihood", "discretized-logistic"))
