"""Wrong likelihoods that others shipped, or nearly: each is planted here, and a law of the zoo rejects it."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import test_distributions as laws
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from nelbo import distributions
from nelbo.distributions import counts
from nelbo.nets import perceptual
from zoo import DISTRIBUTIONS, Family

Law = Callable[[Family], None]


def mass(family: Family) -> None:
    laws.test_mass_sums_to_one(family)


def ratio(family: Family) -> None:
    laws.test_density_ratio_has_mean_one(family, (3,))


def moments(family: Family) -> None:
    laws.test_moments_are_those_of_samples(family, (2,))


def shapes(family: Family) -> None:
    laws.test_shapes(family, (2,), (5,))


def line(family: Family) -> None:
    for row in family.line()[:2]:
        laws.test_density_over_a_line_integrates_to_one(*row)


def closed_edges(d: distributions.DiscretizedLogistic, value: Tensor) -> Tensor:
    """The first and last bins as narrow as the others: mass is lost beyond them."""
    half, x, precision = 0.5 / (d.count - 1), value.unsqueeze(-1), torch.exp(-d.log_scale)
    b, a = (x + half - d.loc) * precision, (x - half - d.loc) * precision
    return torch.logsumexp(d.logits.log_softmax(-1) + torch.log(b.sigmoid() - a.sigmoid()), -1)


def centre_density(d: distributions.DiscretizedLogistic, value: Tensor) -> Tensor:
    """The density at the bin's centre times its width: PixelCNN++'s fallback, used everywhere."""
    e = (value.unsqueeze(-1) - d.loc) * torch.exp(-d.log_scale)
    log_mass = e - 2 * softplus(e) - d.log_scale - math.log(d.count - 1)
    return torch.logsumexp(d.logits.log_softmax(-1) + log_mass, -1)


def unweighted(d: distributions.DiscretizedLogistic, value: Tensor) -> Tensor:
    """The mixture's weights left as logits."""
    return LOG_MASS(d, value) + d.logits.logsumexp(-1)


def off_by_a_level(d: distributions.PixelCategorical, value: Tensor) -> Tensor:
    """Truncation where rounding is meant: k / (K - 1) * (K - 1) falls below k in floating point."""
    index = (value * (d.count - 1) - 1e-9).clamp_min(0).long().unsqueeze(-1)
    log_mass = d.logits.log_softmax(-1)
    lead = torch.broadcast_shapes(index.shape[:-1], log_mass.shape[:-1])
    return log_mass.expand(*lead, -1).gather(-1, index.expand(*lead, 1)).squeeze(-1)


def poisson_loss(d: distributions.Poisson, count: Tensor) -> Tensor:
    """torch.nn.PoissonNLLLoss's default: log x! left out."""
    return count * d.log_mean - d.mean


def swapped(d: distributions.NegativeBinomial, count: Tensor) -> Tensor:
    """The probabilities of a success and of a failure exchanged: torch's `probs` is not scipy's p."""
    size, gap = d.log_size.exp(), d.log_mean - d.log_size
    norm = torch.lgamma(count + size) - torch.lgamma(size) - torch.lgamma(count + 1)
    return norm + size * logsigmoid(gap) + count * logsigmoid(-gap)


def zeros_once(d: distributions.NegativeBinomial, count: Tensor) -> Tensor:
    """A zero taken for an inflated one always: the zeros that the negative binomial has are forgotten."""
    assert d.zero_logit is not None
    plain = distributions.NegativeBinomial(d.log_mean, d.log_size).log_mass(count)
    return torch.where(count == 0, logsigmoid(d.zero_logit), plain + logsigmoid(-d.zero_logit))


def log_cosh_loss(d: distributions.LogCosh, e: Tensor) -> Tensor:
    """The loss without its constant, as it is published."""
    a = d.sharpness
    return -(a * e + softplus(-2 * a * e) - math.log(2)) / a


def secant_constant(d: distributions.LogCosh, e: Tensor) -> Tensor:
    """The constant of the hyperbolic secant, right at sharpness 1 alone."""
    return log_cosh_loss(d, e) - math.log(math.pi)


def student_without_df(d: distributions.StudentT, e: Tensor) -> Tensor:
    """log(df pi) / 2 left out of the constant."""
    norm = torch.lgamma((d.df + 1) / 2) - torch.lgamma(d.df / 2)
    return norm - (d.df + 1) / 2 * torch.log1p(e.square() / d.df)


def normal_tails(d: distributions.StudentT, sample_shape: torch.Size) -> Tensor:
    """A Box-Muller draw: a Normal, whatever df is."""
    return torch.sqrt(-2 * torch.log1p(-d.uniform(sample_shape))) * torch.cos(2 * math.pi * d.uniform(sample_shape))


def no_normaliser(d: distributions.Beta, value: Tensor) -> Tensor:
    return d.sum_event((d.alpha - 1) * value.log() + (d.beta - 1) * torch.log1p(-value))


def wrong_dimension(d: distributions.Categorical, value: Tensor) -> Tensor:
    """The softmax over the last dimension where the classes are channels."""
    return d.sum_event(value * d.logits.log_softmax(-1))


def one_poisson_too_high(rate: Tensor, u: Tensor) -> Tensor:
    return POISSON_QUANTILE(rate, u) + 1


LOG_MASS = distributions.DiscretizedLogistic.log_mass
POISSON_QUANTILE = counts.poisson_quantile
LOGISTIC, LEVELS = "discretised logistic mixture", "level categorical"
ZINB = "zero-inflated negative binomial"
MUTANTS: list[tuple[str, object, str, Callable[..., Tensor], Law]] = [
    (LOGISTIC, distributions.DiscretizedLogistic, "log_mass", closed_edges, mass),
    (LOGISTIC, distributions.DiscretizedLogistic, "log_mass", centre_density, mass),
    (LOGISTIC, distributions.DiscretizedLogistic, "log_mass", unweighted, mass),
    (LEVELS, distributions.PixelCategorical, "log_mass", off_by_a_level, mass),
    ("poisson", distributions.Poisson, "log_mass", poisson_loss, mass),
    ("poisson", counts, "poisson_quantile", one_poisson_too_high, mass),
    ("poisson", counts, "poisson_quantile", one_poisson_too_high, moments),
    ("negative binomial", distributions.NegativeBinomial, "log_mass", swapped, mass),
    (ZINB, distributions.NegativeBinomial, "log_mass", zeros_once, mass),
    ("log-cosh", distributions.LogCosh, "shape_log_prob", log_cosh_loss, ratio),
    ("log-cosh", distributions.LogCosh, "shape_log_prob", secant_constant, line),
    ("student-t", distributions.StudentT, "shape_log_prob", student_without_df, ratio),
    ("student-t", distributions.StudentT, "draw_shape", normal_tails, moments),
    ("student-t", distributions.StudentT, "draw_shape", normal_tails, ratio),
    ("beta", distributions.Beta, "log_prob", no_normaliser, line),
    ("categorical, along channels", distributions.Categorical, "log_prob", wrong_dimension, mass),
]


@pytest.mark.parametrize(
    ("name", "owner", "method", "mutant", "law"),
    [pytest.param(*m, id=f"{m[3].__name__}-{m[4].__name__}") for m in MUTANTS],
)
def test_a_law_rejects_the_mutant(
    name: str, owner: object, method: str, mutant: object, law: Law, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The law holds of the part as it is, and fails of the part with the bug."""
    torch.manual_seed(0)
    law(DISTRIBUTIONS[name])
    monkeypatch.setattr(owner, method, mutant)
    torch.manual_seed(0)
    with pytest.raises(AssertionError):
        law(DISTRIBUTIONS[name])


def test_ms_ssim_with_luminance_at_every_scale_is_another() -> None:
    """Wang's product takes luminance at the coarsest scale alone."""
    x = torch.rand(1, 1, 16, 16, dtype=torch.float64)
    shifted = x * 0.5
    fine = [part.mean() for part in perceptual.ssim_maps(x, shifted)]
    w = [weight / sum(perceptual.SCALES[:2]) for weight in perceptual.SCALES[:2]]
    half = [torch.nn.functional.avg_pool2d(p, 2) for p in (x, shifted)]
    luminance, structure = perceptual.ssim_maps(*half)
    right = fine[1] ** w[0] * (luminance * structure).mean() ** w[1]
    torch.testing.assert_close(perceptual.ms_ssim(x, shifted)[0], right)
    assert (right * fine[0] ** w[0] - right).abs() > 1e-2
