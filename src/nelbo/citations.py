"""What to cite: the sources of exactly the parts that a recipe is made of.

    used(recipe) = nelbo + the VAE + the preset's paper + U over parts p of (CITES[type(p)] + WHEN[p])

`CITES` lists every registered component, with no key where it is common knowledge; `WHEN` adds what depends on a
part's fields. The entries are in `files/references.bib`.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Iterable, Iterator
from importlib import resources
from typing import Any

from nelbo import schedules
from nelbo import spec as s
from nelbo.errors import UserError
from nelbo.presets import PRESETS
from nelbo.recipes import DataSpec, Recipe
from nelbo.registry import nearest
from nelbo.training import Settings
from nelbo.training.optimizers import Adam

ALWAYS = ("nelbo", "kingma2014auto")

CITES: dict[type, tuple[str, ...]] = {
    # Nets
    s.MLP: (),
    s.Conv: ("he2016identity",),
    s.Conv1d: ("he2016identity",),
    s.Grid: ("he2016identity", "oord2017neural"),
    s.Recurrent: ("cho2014learning",),
    s.Table: ("he2016identity",),
    s.TextGRU: ("cho2014learning", "dieng2019avoiding", "long2020posterior"),
    s.TextTransformer: ("vaswani2017attention", "dieng2019avoiding", "long2020posterior"),
    s.Head: (),
    # Latents
    s.Flat: (),
    s.Binary: ("maddison2017concrete", "jang2017categorical"),
    s.Categorical: ("jang2017categorical", "maddison2017concrete"),
    s.Product: ("dupont2018learning",),
    s.VQ: ("oord2017neural",),
    s.FSQ: ("mentzer2024finite",),
    s.LFQ: ("yu2024language",),
    s.Ladder: ("sonderby2016ladder",),
    s.TopDownConv: ("sonderby2016ladder", "child2021very"),
    # Priors
    s.StandardNormal: (),
    s.MixturePrior: ("dilokthanakul2016deep",),
    s.VampPrior: ("tomczak2018vae",),
    s.ExemplarPrior: ("norouzi2020exemplar",),
    s.TwoStagePrior: ("dai2019diagnosing",),
    s.MetricPrior: ("chadebec2022data",),
    s.Transformer: ("vaswani2017attention",),
    s.PixelCNN: ("oord2016pixel",),
    s.FlowPrior: ("rezende2015variational", "chen2017variational"),
    s.LaplacePrior: ("barello2018sparse",),
    s.UniformSphere: ("davidson2018hyperspherical",),
    s.WrappedNormalPrior: ("nagano2019wrapped", "mathieu2019continuous"),
    s.Dirichlet: ("srivastava2017autoencoding",),
    s.GammaPrior: ("figurnov2018implicit",),
    # Posteriors
    s.DiagonalNormal: ("kingma2014auto", "rezende2014stochastic"),
    s.FlowPosterior: ("rezende2015variational",),
    s.HamiltonianPosterior: ("caterini2018hamiltonian",),
    s.RiemannianPosterior: ("chadebec2020geometry",),
    s.FullNormal: ("rezende2014stochastic", "kingma2019introduction"),
    s.LowRankNormal: ("rezende2014stochastic",),
    s.LaplacePosterior: (),
    s.VonMisesFisher: ("davidson2018hyperspherical",),
    s.PowerSpherical: ("cao2020power",),
    s.WrappedNormalPosterior: ("nagano2019wrapped", "mathieu2019continuous"),
    s.LogisticNormal: ("aitchison1980logistic", "srivastava2017autoencoding"),
    s.GammaPosterior: ("figurnov2018implicit",),
    s.Dirac: (),
    # Transforms
    s.IAF: ("kingma2016improved", "germain2015made"),
    s.MAF: ("papamakarios2017masked", "germain2015made"),
    s.RealNVP: ("dinh2017density",),
    s.Planar: ("rezende2015variational",),
    s.Sylvester: ("berg2018sylvester",),
    s.Zuko: ("rozet2022zuko",),
    # Likelihoods
    s.Bernoulli: (),
    s.ContinuousBernoulli: ("loaiza2019continuous",),
    s.Normal: (),
    s.DiscretisedLogistic: ("kingma2016improved",),
    s.DiscretisedLogisticMixture: ("salimans2017pixelcnn",),
    s.Categorical256: ("oord2016pixel",),
    s.Beta: ("smithson2006better",),
    s.SSIM: ("wang2004image",),
    s.Perceptual: ("hou2017deep",),
    s.Laplace: (),
    s.StudentT: ("takahashi2018student",),
    s.LogCosh: ("chen2019log",),
    s.Poisson: (),
    s.NegativeBinomial: ("lopez2018deep",),
    s.OneHot: (),
    s.TableCells: ("uria2014deep", "ivanov2019variational"),
    s.Tokens: ("bowman2016generating",),
    # Objectives
    s.ELBO: ("kingma2014auto",),
    s.Capacity: ("burgess2018understanding",),
    s.FreeBits: ("kingma2016improved",),
    s.Constrained: ("rezende2018taming",),
    s.IWAE: ("burda2016importance",),
    s.CIWAE: ("burda2016importance", "rainforth2018tighter"),
    s.PIWAE: ("burda2016importance", "rainforth2018tighter"),
    s.Renyi: ("li2016renyi",),
    s.Chi: ("dieng2017variational", "burda2016importance"),
    s.WakeWake: ("bornschein2015reweighted", "le2019revisiting"),
    s.BetaTC: ("chen2018isolating",),
    s.DIP: ("kumar2018variational",),
    s.Info: ("zhao2019infovae", "gretton2012kernel"),
    s.WAE: ("tolstikhin2018wasserstein", "gretton2012kernel"),
    s.SWAE: ("kolouri2019sliced",),
    s.HSIC: ("lopez2018information", "pfister2018kernel"),
    s.RAE: ("ghosh2020variational",),
    s.Factor: ("kim2018disentangling",),
    s.AAE: ("makhzani2016adversarial",),
    s.VAEGAN: ("larsen2016autoencoding",),
    s.SemiSupervised: ("kingma2014semi",),
    # Schedules and optimizers
    schedules.Constant: (),
    schedules.Linear: (),
    schedules.Cosine: ("loshchilov2017sgdr",),
    schedules.OneCycle: ("smith2018super",),
    schedules.Cyclical: ("fu2019cyclical",),
    Adam: ("kingma2015adam",),
}

WHEN: tuple[tuple[type, Callable[[Any], bool], str], ...] = (
    (DataSpec, lambda data: data.source == "mnist", "lecun1998gradient"),
    (DataSpec, lambda data: data.source == "fashion-mnist", "xiao2017fashion"),
    (DataSpec, lambda data: data.condition is not None, "sohn2015learning"),
    (s.VQ, lambda latent: latent.depth > 1, "zeghidour2022soundstream"),
    (s.Ladder, lambda latent: latent.posterior == "residual", "vahdat2020nvae"),
    (s.TopDownConv, lambda latent: latent.posterior == "residual", "vahdat2020nvae"),
    (s.Zuko, lambda transform: transform.flow == "MAF", "papamakarios2017masked"),
    (s.Zuko, lambda transform: transform.flow == "NSF", "durkan2019neural"),
    (s.Zuko, lambda transform: transform.flow == "NICE", "dinh2015nice"),
    (s.Normal, lambda likelihood: likelihood.sigma == "optimal", "rybkin2021simple"),
    (s.SSIM, lambda likelihood: likelihood.scales > 1, "wang2003multiscale"),
    (s.Perceptual, lambda likelihood: likelihood.weights is None, "saxe2011random"),
    (s.ELBO, lambda objective: isinstance(objective.beta, float | int) and objective.beta != 1, "higgins2017beta"),
    (s.ELBO, lambda objective: isinstance(objective.beta, schedules.Linear), "bowman2016generating"),
    (s.ELBO, lambda objective: objective.stl, "roeder2017sticking"),
    (s.IWAE, lambda objective: objective.m > 1, "rainforth2018tighter"),
    (s.IWAE, lambda objective: objective.gradient == "stl", "roeder2017sticking"),
    (s.IWAE, lambda objective: objective.gradient == "dreg", "tucker2019doubly"),
    (s.RAE, lambda objective: objective.regulariser == "spectral", "yoshida2017spectral"),
    (Adam, lambda optimizer: optimizer.weight_decay > 0, "loshchilov2019decoupled"),
    (Settings, lambda settings: settings.ema > 0, "polyak1992acceleration"),
)


def used(recipe: Recipe) -> list[str]:
    """The keys of what a recipe uses, each once: nelbo, the VAE, its preset's paper, then its parts as they come.

    A recipe of a trained model (`Model.recipe`) has every part; one that leaves parts to the data lacks these.

    >>> used(Recipe(model=s.ModelSpec(likelihood=s.Bernoulli())))
    ['nelbo', 'kingma2014auto', 'rezende2014stochastic', 'kingma2015adam']
    """
    keys = [*ALWAYS]
    if recipe.preset in PRESETS:
        keys.append(PRESETS[recipe.preset].paper)
    for part in _parts(recipe):
        keys += CITES.get(type(part), ())
        keys += [key for kind, holds, key in WHEN if isinstance(part, kind) and holds(part)]
    return list(dict.fromkeys(keys))


@functools.cache
def entries() -> dict[str, str]:
    """The BibTeX entries by key."""
    text = (resources.files("nelbo") / "files" / "references.bib").read_text("utf-8")
    return {found[1]: found[0] for found in re.finditer(r"^@\w+\{([^,]+),\n.*?^\}\n", text, re.MULTILINE | re.DOTALL)}


def bibtex(keys: Iterable[str]) -> str:
    """The BibTeX of these keys, in their order; `UserError` suggests the nearest of an unknown one.

    >>> print(bibtex(["kingma2014auto"]), end="")
    @inproceedings{kingma2014auto,
      author = {Kingma, Diederik P. and Welling, Max},
      title = {Auto-Encoding Variational {Bayes}},
      booktitle = {International Conference on Learning Representations},
      year = {2014},
    }
    """
    found = []
    for key in keys:
        if key not in entries():
            raise UserError(f"no reference {key!r}: {nearest(key, entries())}")
        found.append(entries()[key])
    return "\n".join(found)


def _parts(value: Any) -> Iterator[Any]:
    """The dataclasses within a value, itself included, from the outside in."""
    if dataclasses.is_dataclass(value):
        yield value
        for field in dataclasses.fields(value):
            yield from _parts(getattr(value, field.name))
    elif isinstance(value, dict | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _parts(item)
