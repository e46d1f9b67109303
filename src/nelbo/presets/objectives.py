"""Variants that change what is minimised, or the likelihood: the latents stay Normal, or points."""

from __future__ import annotations

from nelbo import spec as s
from nelbo.presets.base import Preset, preset
from nelbo.schedules import Linear


@preset("vae", "kingma2014auto")
def vae(dim: int = 20) -> Preset:
    """A diagonal Normal posterior, a standard Normal prior, the ELBO."""
    return Preset(s.ELBO(), s.Flat(dim))


@preset("beta-vae", "higgins2017beta")
def beta_vae(dim: int = 20, beta: float = 4.0) -> Preset:
    """The rate weighted by beta: fewer and more independent latents."""
    return Preset(s.ELBO(beta), s.Flat(dim))


@preset("disentangled-beta-vae", "burgess2018understanding")
def disentangled_beta_vae(dim: int = 20, weight: float = 30.0, capacity: float = 25.0) -> Preset:
    """The rate held near a capacity that rises in training."""
    return Preset(s.Capacity(weight, Linear(0.0, capacity, until=0.8)), s.Flat(dim))


@preset("sigma-vae", "rybkin2021simple")
def sigma_vae(dim: int = 20) -> Preset:
    """A Normal likelihood whose variance is the best for each batch: no beta to choose."""
    return Preset(s.ELBO(), s.Flat(dim), s.Normal("optimal"))


@preset("free-bits", "kingma2016improved")
def free_bits(dim: int = 20, floor: float = 0.1) -> Preset:
    """No gain from pushing a latent's rate below a floor."""
    return Preset(s.FreeBits(floor), s.Flat(dim))


@preset("geco", "rezende2018taming")
def geco(dim: int = 20, target: float = 90.0) -> Preset:
    """The least rate at which the distortion meets a target."""
    return Preset(s.Constrained(target), s.Flat(dim))


@preset("stl", "roeder2017sticking")
def stl(dim: int = 20) -> Preset:
    """The ELBO with a gradient of the rate that is less noisy late in training."""
    return Preset(s.ELBO(stl=True), s.Flat(dim))


@preset("cvae", "sohn2015learning")
def cvae(dim: int = 20) -> Preset:
    """Prior, posterior and likelihood given the label."""
    return Preset(s.ELBO(), s.Flat(dim), condition="label")


@preset("m2", "kingma2014semi")
def m2(dim: int = 20, classes: int = 10) -> Preset:
    """Semi-supervised: the label is a latent where it is missing, and a classifier is learned beside."""
    return Preset(s.SemiSupervised(classes), s.Flat(dim), condition="label")


@preset("beta-tc", "chen2018isolating")
def beta_tc(dim: int = 20, beta: float = 6.0) -> Preset:
    """The total correlation part of the rate weighted by beta."""
    return Preset(s.BetaTC(beta), s.Flat(dim))


@preset("factor-vae", "kim2018disentangling")
def factor_vae(dim: int = 20, weight: float = 6.0) -> Preset:
    """Total correlation as a critic of the latents sees it."""
    return Preset(s.Factor(weight), s.Flat(dim))


@preset("dip-vae-1", "kumar2018variational")
def dip_vae_1(dim: int = 20) -> Preset:
    """The covariance of the posterior means pulled towards the identity."""
    return Preset(s.DIP("I"), s.Flat(dim))


@preset("dip-vae-2", "kumar2018variational")
def dip_vae_2(dim: int = 20) -> Preset:
    """The covariance of the draws pulled towards the identity."""
    return Preset(s.DIP("II"), s.Flat(dim))


@preset("info-vae", "zhao2019infovae")
def info_vae(dim: int = 20) -> Preset:
    """A weaker rate, and the aggregate posterior matched to the prior by MMD."""
    return Preset(s.Info(), s.Flat(dim))


@preset("hsic-vae", "lopez2018information")
def hsic_vae(dim: int = 20) -> Preset:
    """Blocks of latents made independent by a kernel criterion."""
    return Preset(s.HSIC(), s.Flat(dim))


@preset("iwae", "burda2016importance")
def iwae(dim: int = 20, k: int = 5) -> Preset:
    """The importance-weighted bound of k draws."""
    return Preset(s.IWAE(k), s.Flat(dim))


@preset("dreg", "tucker2019doubly")
def dreg(dim: int = 20, k: int = 5) -> Preset:
    """The same bound with doubly reparameterised gradients."""
    return Preset(s.IWAE(k, gradient="dreg"), s.Flat(dim))


@preset("miwae", "rainforth2018tighter")
def miwae(dim: int = 20, k: int = 5, m: int = 3) -> Preset:
    """The mean of m importance-weighted bounds."""
    return Preset(s.IWAE(k, m), s.Flat(dim))


@preset("ciwae", "rainforth2018tighter")
def ciwae(dim: int = 20, k: int = 5, beta: float = 0.5) -> Preset:
    """Between the ELBO and the importance-weighted bound."""
    return Preset(s.CIWAE(k, beta), s.Flat(dim))


@preset("piwae", "rainforth2018tighter")
def piwae(dim: int = 20, k: int = 5, m: int = 3) -> Preset:
    """The tight bound for the decoder, the better gradient for the encoder."""
    return Preset(s.PIWAE(k, m), s.Flat(dim))


@preset("renyi", "li2016renyi")
def renyi(dim: int = 20, alpha: float = 0.5) -> Preset:
    """The Renyi bound of order alpha."""
    return Preset(s.Renyi(alpha), s.Flat(dim))


@preset("wae-mmd", "tolstikhin2018wasserstein")
def wae_mmd(dim: int = 20) -> Preset:
    """A deterministic encoder whose codes match the prior by MMD."""
    return Preset(s.WAE(), s.Flat(dim, posterior=s.Dirac()))


@preset("swae", "kolouri2019sliced")
def swae(dim: int = 20) -> Preset:
    """A deterministic encoder whose codes match the prior in sliced Wasserstein distance."""
    return Preset(s.SWAE(), s.Flat(dim, posterior=s.Dirac()))


@preset("ae", "rumelhart1986learning")
def ae(dim: int = 20) -> Preset:
    """A deterministic autoencoder; fit a prior after training to sample from it."""
    return Preset(s.ELBO(), s.Flat(dim, posterior=s.Dirac()))


@preset("rae-l2", "ghosh2020variational")
def rae_l2(dim: int = 20) -> Preset:
    """A deterministic autoencoder with weight decay on the decoder."""
    return Preset(s.RAE(regulariser="l2"), s.Flat(dim, posterior=s.Dirac()))


@preset("rae-gp", "ghosh2020variational")
def rae_gp(dim: int = 20) -> Preset:
    """A deterministic autoencoder with a gradient penalty on the decoder."""
    return Preset(s.RAE(regulariser="gradient"), s.Flat(dim, posterior=s.Dirac()))


@preset("aae", "makhzani2016adversarial")
def aae(dim: int = 20) -> Preset:
    """Codes matched to the prior by a critic."""
    return Preset(s.AAE(), s.Flat(dim, posterior=s.Dirac()), learning_rate=1e-3)


@preset("vae-gan", "larsen2016autoencoding")
def vae_gan(dim: int = 20) -> Preset:
    """Pictures compared by the features of a critic that tells them from data."""
    return Preset(s.VAEGAN(0.05, critic=s.Conv(4), ratio=0.5), s.Flat(dim))


@preset("ms-ssim", "snell2017learning")
def ms_ssim(dim: int = 20) -> Preset:
    """Pictures compared by multi-scale structural similarity."""
    return Preset(s.ELBO(), s.Flat(dim), s.SSIM())


@preset("dfc", "hou2017deep")
def dfc(dim: int = 20) -> Preset:
    """Pictures compared by the features of a fixed network."""
    return Preset(s.ELBO(), s.Flat(dim), s.Perceptual())


@preset("log-cosh", "chen2019log")
def log_cosh(dim: int = 20) -> Preset:
    """A log-cosh error: squared near zero, absolute far away."""
    return Preset(s.ELBO(), s.Flat(dim), s.LogCosh())


@preset("student-t", "takahashi2018student")
def student_t(dim: int = 20) -> Preset:
    """A likelihood with heavy tails, for data with outliers."""
    return Preset(s.ELBO(), s.Flat(dim), s.StudentT())


@preset("discretised-logistic", "kingma2016improved")
def discretised_logistic(dim: int = 20) -> Preset:
    """The mass of each of 256 pixel values: a likelihood in bits per dimension."""
    return Preset(s.ELBO(), s.Flat(dim), s.DiscretisedLogistic())
