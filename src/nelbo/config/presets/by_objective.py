"""Variants that change what is minimised, or the likelihood: the latents stay Normal, or points."""

from __future__ import annotations

from nelbo import nets
from nelbo.config.presets.base import ELBO, Preset, flat, objective, preset
from nelbo.config.registry import Component
from nelbo.schedules import Linear


@preset("vae", "kingma2014auto")
def vae(dim: int = 20) -> Preset:
    """A diagonal Normal posterior, a standard Normal prior, the ELBO."""
    return Preset(ELBO, flat(dim=dim))


@preset("beta-vae", "higgins2017beta")
def beta_vae(dim: int = 20, beta: float = 4.0) -> Preset:
    """The rate weighted by beta: fewer and more independent latents."""
    return Preset(objective("elbo", beta=beta), flat(dim=dim))


@preset("disentangled-beta-vae", "burgess2018understanding")
def disentangled_beta_vae(dim: int = 20, weight: float = 30.0, capacity: float = 25.0) -> Preset:
    """The rate held near a capacity that rises in training."""
    return Preset(objective("capacity", weight=weight, capacity=Linear(0.0, capacity, until=0.8)), flat(dim=dim))


@preset("sigma-vae", "rybkin2021simple")
def sigma_vae(dim: int = 20) -> Preset:
    """A Normal likelihood whose variance is the best for each batch: no beta to choose."""
    return Preset(ELBO, flat(dim=dim), Component("likelihood", "normal", sigma="optimal"))


@preset("free-bits", "kingma2016improved")
def free_bits(dim: int = 20, floor: float = 0.1) -> Preset:
    """No gain from pushing a latent's rate below a floor."""
    return Preset(objective("free-bits", floor=floor), flat(dim=dim))


@preset("geco", "rezende2018taming")
def geco(dim: int = 20, target: float = 90.0) -> Preset:
    """The least rate at which the distortion meets a target."""
    return Preset(objective("constrained", target=target), flat(dim=dim))


@preset("stl", "roeder2017sticking")
def stl(dim: int = 20) -> Preset:
    """The ELBO with a gradient of the rate that is less noisy late in training."""
    return Preset(objective("elbo", stl=True), flat(dim=dim))


@preset("cvae", "sohn2015learning")
def cvae(dim: int = 20) -> Preset:
    """Prior, posterior and likelihood given the label."""
    return Preset(ELBO, flat(dim=dim), condition="label")


@preset("m2", "kingma2014semi")
def m2(dim: int = 20, classes: int = 10) -> Preset:
    """Semi-supervised: the label is a latent where it is missing, and a classifier is learned beside."""
    return Preset(objective("semi-supervised", classes=classes), flat(dim=dim), condition="label")


@preset("beta-tc", "chen2018isolating")
def beta_tc(dim: int = 20, beta: float = 6.0) -> Preset:
    """The total correlation part of the rate weighted by beta."""
    return Preset(objective("beta-tc", beta=beta), flat(dim=dim))


@preset("factor-vae", "kim2018disentangling")
def factor_vae(dim: int = 20, weight: float = 6.0) -> Preset:
    """Total correlation as a critic of the latents sees it."""
    return Preset(objective("factor", weight=weight), flat(dim=dim))


@preset("dip-vae-1", "kumar2018variational")
def dip_vae_1(dim: int = 20) -> Preset:
    """The covariance of the posterior means pulled towards the identity."""
    return Preset(objective("dip", version="I"), flat(dim=dim))


@preset("dip-vae-2", "kumar2018variational")
def dip_vae_2(dim: int = 20) -> Preset:
    """The covariance of the draws pulled towards the identity."""
    return Preset(objective("dip", version="II"), flat(dim=dim))


@preset("info-vae", "zhao2019infovae")
def info_vae(dim: int = 20) -> Preset:
    """A weaker rate, and the aggregate posterior matched to the prior by MMD."""
    return Preset(objective("info"), flat(dim=dim))


@preset("hsic-vae", "lopez2018information")
def hsic_vae(dim: int = 20) -> Preset:
    """Blocks of latents made independent by a kernel criterion."""
    return Preset(objective("hsic"), flat(dim=dim))


@preset("iwae", "burda2016importance")
def iwae(dim: int = 20, k: int = 5) -> Preset:
    """The importance-weighted bound of k draws."""
    return Preset(objective("iwae", k=k), flat(dim=dim))


@preset("dreg", "tucker2019doubly")
def dreg(dim: int = 20, k: int = 5) -> Preset:
    """The same bound with doubly reparameterised gradients."""
    return Preset(objective("iwae", k=k, gradient="dreg"), flat(dim=dim))


@preset("miwae", "rainforth2018tighter")
def miwae(dim: int = 20, k: int = 5, m: int = 3) -> Preset:
    """The mean of m importance-weighted bounds."""
    return Preset(objective("iwae", k=k, m=m), flat(dim=dim))


@preset("ciwae", "rainforth2018tighter")
def ciwae(dim: int = 20, k: int = 5, beta: float = 0.5) -> Preset:
    """Between the ELBO and the importance-weighted bound."""
    return Preset(objective("ciwae", k=k, beta=beta), flat(dim=dim))


@preset("piwae", "rainforth2018tighter")
def piwae(dim: int = 20, k: int = 5, m: int = 3) -> Preset:
    """The tight bound for the decoder, the better gradient for the encoder."""
    return Preset(objective("piwae", k=k, m=m), flat(dim=dim))


@preset("renyi", "li2016renyi")
def renyi(dim: int = 20, alpha: float = 0.5) -> Preset:
    """The Renyi bound of order alpha."""
    return Preset(objective("renyi", alpha=alpha), flat(dim=dim))


@preset("wae-mmd", "tolstikhin2018wasserstein")
def wae_mmd(dim: int = 20) -> Preset:
    """A deterministic encoder whose codes match the prior by MMD."""
    return Preset(objective("wae-mmd"), flat(dim=dim, posterior="dirac"))


@preset("swae", "kolouri2019sliced")
def swae(dim: int = 20) -> Preset:
    """A deterministic encoder whose codes match the prior in sliced Wasserstein distance."""
    return Preset(objective("swae"), flat(dim=dim, posterior="dirac"))


@preset("ae", "rumelhart1986learning")
def ae(dim: int = 20) -> Preset:
    """A deterministic autoencoder; fit a prior after training to sample from it."""
    return Preset(ELBO, flat(dim=dim, posterior="dirac"))


@preset("rae-l2", "ghosh2020variational")
def rae_l2(dim: int = 20) -> Preset:
    """A deterministic autoencoder with weight decay on the decoder."""
    return Preset(objective("rae", regulariser="l2"), flat(dim=dim, posterior="dirac"))


@preset("rae-gp", "ghosh2020variational")
def rae_gp(dim: int = 20) -> Preset:
    """A deterministic autoencoder with a gradient penalty on the decoder."""
    return Preset(objective("rae", regulariser="gradient"), flat(dim=dim, posterior="dirac"))


@preset("aae", "makhzani2016adversarial")
def aae(dim: int = 20) -> Preset:
    """Codes matched to the prior by a critic."""
    return Preset(objective("aae"), flat(dim=dim, posterior="dirac"), learning_rate=1e-3)


@preset("vae-gan", "larsen2016autoencoding")
def vae_gan(dim: int = 20) -> Preset:
    """Pictures compared by the features of a critic that tells them from data."""
    return Preset(objective("vae-gan", weight=0.05, critic=nets.Conv(4), ratio=0.5), flat(dim=dim))


@preset("ms-ssim", "snell2017learning")
def ms_ssim(dim: int = 20) -> Preset:
    """Pictures compared by multi-scale structural similarity."""
    return Preset(ELBO, flat(dim=dim), Component("likelihood", "ssim"))


@preset("dfc", "hou2017deep")
def dfc(dim: int = 20) -> Preset:
    """Pictures compared by the features of a fixed network."""
    return Preset(ELBO, flat(dim=dim), Component("likelihood", "perceptual"))


@preset("log-cosh", "chen2019log")
def log_cosh(dim: int = 20) -> Preset:
    """A log-cosh error: squared near zero, absolute far away."""
    return Preset(ELBO, flat(dim=dim), Component("likelihood", "log-cosh"))


@preset("student-t", "takahashi2018student")
def student_t(dim: int = 20) -> Preset:
    """A likelihood with heavy tails, for data with outliers."""
    return Preset(ELBO, flat(dim=dim), Component("likelihood", "student-t"))


@preset("discretised-logistic", "kingma2016improved")
def discretised_logistic(dim: int = 20) -> Preset:
    """The mass of each of 256 pixel values: a likelihood in bits per dimension."""
    return Preset(ELBO, flat(dim=dim), Component("likelihood", "discretised-logistic"))
