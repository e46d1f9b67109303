"""Variants that change the latents: their prior, their posterior, their space, or their levels."""

from __future__ import annotations

from nelbo import nets
from nelbo.config.presets.base import ELBO, Preset, flat, objective, preset
from nelbo.config.registry import Component
from nelbo.schedules import Linear

WARM_UP = Linear(0.0, 1.0, until=0.5)  # of beta: a hierarchy otherwise loses its upper levels at once (Sønderby 2016)


@preset("vamp", "tomczak2018vae")
def vamp(dim: int = 20, components: int = 100) -> Preset:
    """The prior is the mean posterior of learned pseudo-inputs."""
    return Preset(ELBO, flat(dim=dim, prior=Component("prior", "vamp", components=components)))


@preset("exemplar", "norouzi2020exemplar")
def exemplar(dim: int = 20, components: int = 500) -> Preset:
    """The prior is a mixture around the codes of training data."""
    return Preset(ELBO, flat(dim=dim, prior=Component("prior", "exemplar", components=components)))


@preset("mixture-prior", "dilokthanakul2016deep")
def mixture_prior(dim: int = 20, components: int = 10) -> Preset:
    """The prior is a learned mixture of Normals."""
    return Preset(ELBO, flat(dim=dim, prior=Component("prior", "mixture", components=components)))


@preset("flow-prior", "chen2017variational")
def flow_prior(dim: int = 20) -> Preset:
    """The prior is a coupling flow."""
    return Preset(ELBO, flat(dim=dim, prior=Component("prior", "flow", transform="realnvp")))


@preset("linear-flow", "rezende2015variational")
def linear_flow(dim: int = 20) -> Preset:
    """A posterior of planar steps."""
    return Preset(ELBO, flat(dim=dim, posterior=Component("posterior", "flow", transform="planar")))


@preset("sylvester", "berg2018sylvester")
def sylvester(dim: int = 20) -> Preset:
    """A posterior of Sylvester steps."""
    return Preset(ELBO, flat(dim=dim, posterior=Component("posterior", "flow", transform="sylvester")))


@preset("iaf", "kingma2016improved")
def iaf(dim: int = 20) -> Preset:
    """A posterior of inverse autoregressive steps."""
    return Preset(ELBO, flat(dim=dim, posterior=Component("posterior", "flow", transform="iaf")))


@preset("hvae", "caterini2018hamiltonian")
def hvae(dim: int = 20) -> Preset:
    """A posterior of Hamiltonian steps towards the true one."""
    return Preset(ELBO, flat(dim=dim, posterior="hamiltonian"))


@preset("rhvae", "chadebec2020geometry")
def rhvae(dim: int = 10) -> Preset:
    """A posterior of Hamiltonian steps along a learned metric of the latents."""
    return Preset(ELBO, flat(dim=dim, posterior="riemannian"))


@preset("full-covariance", "kingma2019introduction")
def full_covariance(dim: int = 20) -> Preset:
    """A Normal posterior with a full covariance."""
    return Preset(ELBO, flat(dim=dim, posterior="full-normal"))


@preset("laplace", "barello2018sparse")
def laplace(dim: int = 20) -> Preset:
    """Laplace posterior and prior: sparser codes."""
    return Preset(ELBO, flat(dim=dim, prior="laplace", posterior="laplace"))


@preset("s-vae", "davidson2018hyperspherical")
def s_vae(dim: int = 20) -> Preset:
    """Codes on a sphere: von Mises-Fisher posterior, uniform prior."""
    return Preset(ELBO, flat(dim=dim, prior="uniform-sphere", posterior="von-mises-fisher"))


@preset("power-spherical", "cao2020power")
def power_spherical(dim: int = 20) -> Preset:
    """Codes on a sphere: power spherical posterior, uniform prior."""
    return Preset(ELBO, flat(dim=dim, prior="uniform-sphere", posterior="power-spherical"))


@preset("poincare", "mathieu2019continuous")
def poincare(dim: int = 20, curvature: float = 1.0) -> Preset:
    """Codes in a hyperbolic ball: wrapped Normal posterior and prior."""
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
    """Codes on the simplex: logistic-Normal posterior, Dirichlet-like prior."""
    return Preset(ELBO, flat(dim=dim, prior="dirichlet", posterior="logistic-normal"))


@preset("gamma", "figurnov2018implicit")
def gamma(dim: int = 20) -> Preset:
    """Positive codes: Gamma posterior and prior."""
    return Preset(ELBO, flat(dim=dim, prior="gamma", posterior="gamma"))


@preset("bernoulli-vae", "maddison2017concrete")
def bernoulli_vae(dim: int = 40) -> Preset:
    """Bits as latents, relaxed in training."""
    return Preset(ELBO, Component("latent", "binary", dim=dim))


@preset("categorical-vae", "jang2017categorical")
def categorical_vae(variables: int = 20, classes: int = 10) -> Preset:
    """Categories as latents, relaxed by Gumbel noise at a falling temperature."""
    return Preset(
        ELBO, Component("latent", "categorical", variables=variables, classes=classes, temperature=Linear(1.0, 0.5))
    )


@preset("joint-vae", "dupont2018learning")
def joint_vae(dim: int = 10, classes: int = 10) -> Preset:
    """A Normal code and a category side by side."""
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
def vq_vae(groups: int = 16, codes: int = 512) -> Preset:
    """Codes from a learned codebook; fit a prior over them to sample."""
    return Preset(ELBO, Component("latent", "vq", groups=groups, codes=codes))


@preset("residual-vq", "adiban2022hierarchical")
def residual_vq(groups: int = 16, codes: int = 256, depth: int = 4) -> Preset:
    """Codebooks in a row, each for what the one before left over."""
    return Preset(ELBO, Component("latent", "vq", groups=groups, codes=codes, depth=depth))


@preset("fsq", "mentzer2024finite")
def fsq(groups: int = 16) -> Preset:
    """Codes by rounding a few bounded numbers: no codebook."""
    return Preset(ELBO, Component("latent", "fsq", groups=groups))


@preset("lfq", "yu2024language")
def lfq(groups: int = 16) -> Preset:
    """Codes by the signs of a few numbers."""
    return Preset(ELBO, Component("latent", "lfq", groups=groups))


@preset("ladder", "sonderby2016ladder")
def ladder() -> Preset:
    """A ladder: each posterior merges what comes up with what comes down."""
    return Preset(objective("elbo", beta=WARM_UP), Component("latent", "ladder", dims=(8, 16, 32)), learning_rate=1e-3)


@preset("two-level", "tomczak2018vae")
def two_level() -> Preset:
    """Two levels of latents, both seen by the likelihood."""
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
