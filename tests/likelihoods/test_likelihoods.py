"""Likelihoods against scipy, definitions worked by hand, and closed forms."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
import torch
from safetensors.torch import save_file
from scipy.signal import convolve2d
from torch import Tensor

from nelbo import distributions, likelihoods, nets
from nelbo.config.build import ModelSpec, build, check_support
from nelbo.config.registry import Component
from nelbo.data import Schema
from nelbo.distributions.base import log_pochhammer
from nelbo.distributions.counts import poisson_quantile
from nelbo.errors import UserError
from nelbo.likelihoods import Likelihood
from nelbo.nets.perceptual import SCALES, ms_ssim
from zoo import LATENT, LIKELIHOODS, LikelihoodRow, assert_mean, data, over

BYTES = torch.arange(256, dtype=torch.float64) / 255


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def close(ours: Tensor, theirs: object, rtol: float = 1e-7, atol: float = 1e-9) -> None:
    torch.testing.assert_close(ours, torch.as_tensor(theirs, dtype=ours.dtype), rtol=rtol, atol=atol)


@pytest.mark.parametrize("df", [1.5, 4.0, 99.0, 101.0, 1e8])
def test_student_t_agrees_with_scipy(df: float) -> None:
    x = torch.randn(40, dtype=torch.float64) * 6
    d = distributions.StudentT(torch.full_like(x, 0.3), numbers(0.7), numbers(df), 0)
    close(d.log_prob(x), scipy.stats.t(df, 0.3, math.exp(0.7)).logpdf(x))
    close(d.variance[0], scipy.stats.t(df, 0.3, math.exp(0.7)).var())


@pytest.mark.parametrize("df", [1.1, 3.0, 60.0])
def test_student_t_draws_agree_with_scipy(df: float) -> None:
    """In distribution, where moments do not exist."""
    draws = distributions.StudentT(torch.zeros(20_000).double(), numbers(0.0), numbers(df), 0).sample()
    assert scipy.stats.kstest(draws, scipy.stats.t(df).cdf).pvalue > 1e-3


def test_log_cosh_is_the_hyperbolic_secant_between_a_normal_and_a_laplace() -> None:
    x = torch.randn(30, dtype=torch.float64) * 3
    zero = numbers(0.0)
    close(distributions.LogCosh(1.0, zero, zero, 0).log_prob(x), -np.log(np.pi * np.cosh(x.numpy())))
    close(distributions.LogCosh(1e-6, zero, zero, 0).log_prob(x), scipy.stats.norm(0, 1e3).logpdf(x), rtol=1e-6)
    wide = 1e3 * x
    close(distributions.LogCosh(1e-6, zero, zero, 0).log_prob(wide), scipy.stats.norm(0, 1e3).logpdf(wide), rtol=1e-4)
    close(distributions.LogCosh(1e3, zero, zero, 0).log_prob(x), scipy.stats.laplace.logpdf(x), rtol=2e-3, atol=2e-3)
    d = distributions.LogCosh(10.0, zero, zero, 0)  # the loss of Chen et al., up to a constant
    close((d.log_prob(x) - d.log_prob(zero)), -np.log(np.cosh(10 * x.numpy())) / 10)


@pytest.mark.parametrize("sharpness", [0.01, 1.0, 10.0, 100.0])
def test_log_cosh_draws_have_its_distribution(sharpness: float) -> None:
    """tanh(a e) is 2 W - 1 with W of Beta(1/2a, 1/2a), also where float32 would overflow."""
    for dtype in (torch.float32, torch.float64):
        d = distributions.LogCosh(sharpness, torch.zeros(20_000, dtype=dtype), torch.zeros((), dtype=dtype), 0)
        draws = d.sample().double()
        assert draws.isfinite().all()
        half, w = 0.5 / sharpness, torch.sigmoid(-2 * sharpness * draws.abs())  # of |e|: w is at most 1/2
        uniform = 2 * scipy.special.betainc(half, half, w.numpy())
        assert sharpness > 50 or scipy.stats.kstest(uniform, "uniform").pvalue > 1e-3  # w underflows there
        assert_mean(draws, 0.0)
        assert_mean(draws.square(), d.variance[0].double())


@pytest.mark.parametrize("a", [1e-3, 0.7, 49.9, 50.1, 1e5, 1e12])
def test_log_rising(a: float) -> None:
    for x in (0.0, 0.5, 3.0, 1e4):
        expected = -scipy.special.betaln(a, x) + scipy.special.gammaln(x) if x else 0.0
        assert log_pochhammer(numbers(a), numbers(x)).item() == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert torch.autograd.gradcheck(lambda b: log_pochhammer(b, numbers(2.5)), numbers(a).requires_grad_(), atol=1e-7)


@pytest.mark.parametrize("margin", [0.0, 1 / 512])
def test_beta_agrees_with_scipy(margin: float) -> None:
    """With a margin, as the density of the squeezed value; over [0, 1] that integrates to what lies inside."""
    a, b = numbers(0.3, 1, 2, 60, 800), numbers(4, 1, 2, 75, 3)
    for x in (0.004, 0.5, 0.97):
        inner = margin + (1 - 2 * margin) * x
        theirs = scipy.stats.beta(a, b).logpdf(inner) + math.log1p(-2 * margin)
        close(distributions.Beta(a, b, 0, margin).log_prob(numbers(x)), theirs)
    d = distributions.Beta(numbers(0.5), numbers(0.5), 0, margin)
    assert d.normalized == (margin == 0)
    if margin:
        assert d.log_prob(numbers(0.0, 1.0)).isfinite().all()
        x = np.linspace(0, 1, 20_001)
        total = scipy.integrate.simpson(d.log_prob(torch.from_numpy(x)).exp(), x=x)
        assert total == pytest.approx(1 - 2 * scipy.stats.beta(0.5, 0.5).cdf(margin), abs=1e-4)
        assert total < 0.95
        draws = d.sample((2000,))
        assert ((draws >= 0) & (draws <= 1)).all() and (draws == 0).any() and (draws == 1).any()


@pytest.mark.parametrize("log_scale", [-9.0, -5.5, -2.0, 0.0, 3.0])
def test_discretised_logistic_has_the_mass_of_its_bins(log_scale: float) -> None:
    """Differences of scipy's logistic distribution function, its ends open; mean and variance from them."""
    edges = np.concatenate([[-np.inf], (np.arange(255) + 0.5) / 255, [np.inf]])
    for loc in (-0.2, 0.0, 0.3, 0.5, 1.004):
        logistic = scipy.stats.logistic(loc, math.exp(log_scale))
        mass = np.where(edges[1:] < loc, np.diff(logistic.cdf(edges)), -np.diff(logistic.sf(edges)))
        zero = numbers(0.0)
        d = distributions.DiscretizedLogistic(zero, numbers(loc), numbers(log_scale), 0)
        ours = d.log_prob(BYTES)
        assert ours.isfinite().all() and ours.exp().sum().item() == pytest.approx(1, abs=1e-12)
        close(ours.exp(), mass, rtol=1e-8, atol=1e-14)
        mean = (mass * BYTES.numpy()).sum()
        assert abs(d.mean.item() - mean) < (1e-4 if math.exp(log_scale) > 1 / 510 else 1 / 510 + 1e-9)
        assert d.variance.item() == pytest.approx((mass * BYTES.numpy() ** 2).sum() - mean**2, abs=1e-9)
        draws = d.sample((4000,))
        assert d.support.check(draws).all()
        assert_mean(draws - torch.as_tensor(mean), 0.0, 5.0) if draws.std() else None


def test_discretised_logistic_in_float32_far_from_its_location() -> None:
    """A pixel 250 levels off still has a finite score and a slope towards it."""
    loc = torch.zeros(1, requires_grad=True)
    score = distributions.DiscretizedLogistic(torch.zeros(1), loc, torch.full((1,), -7.0), 0).log_prob(torch.ones(()))
    assert -1200 < score.item() < -900 and torch.autograd.grad(score, loc)[0].item() > 500


def test_mixture_is_the_weighted_sum_of_its_parts() -> None:
    logits, loc, log_scale = torch.randn(3, 4, dtype=torch.float64).unbind(0)
    whole = distributions.DiscretizedLogistic(logits, loc, log_scale, 0).log_prob(BYTES).exp()
    parts = [
        distributions.DiscretizedLogistic(numbers(0.0), *p, 0)
        for p in zip(loc[:, None], log_scale[:, None], strict=True)
    ]
    close(whole, sum(w * p.log_prob(BYTES).exp() for w, p in zip(logits.softmax(0), parts, strict=True)))


def test_level_categorical_reads_the_level() -> None:
    logits = torch.randn(256)
    d = distributions.PixelCategorical(logits, 0)
    for dtype in (torch.float32, torch.float16):
        x = (torch.arange(256) / 255).to(dtype).float()
        close(d.log_prob(x), logits.log_softmax(0))
    frequencies = torch.bincount((d.sample((200_000,)) * 255).round().long(), minlength=256)
    expected = 200_000 * logits.double().softmax(0)
    assert scipy.stats.chisquare(frequencies, expected / expected.sum() * 200_000).pvalue > 1e-3


def test_counts_agree_with_scipy() -> None:
    x = torch.arange(40).double()
    for mean in (1e-3, 0.7, 30.0):
        close(distributions.Poisson(numbers(math.log(mean)), 0).log_prob(x), scipy.stats.poisson(mean).logpmf(x))
        for size in (0.05, 3.0, 1e3):
            arguments = numbers(math.log(mean)), numbers(math.log(size))
            theirs = scipy.stats.nbinom(size, size / (size + mean))
            close(distributions.NegativeBinomial(*arguments, event_dims=0).log_prob(x), theirs.logpmf(x), rtol=1e-6)
            inflated = distributions.NegativeBinomial(*arguments, numbers(-0.4), 0)
            pi = 1 / (1 + math.exp(0.4))
            close(inflated.log_prob(x), np.log(pi * (x.numpy() == 0) + (1 - pi) * theirs.pmf(x)), rtol=1e-6)
            assert inflated.variance.item() == pytest.approx(
                (1 - pi) * (theirs.var() + mean**2) - ((1 - pi) * mean) ** 2
            )


def test_large_sizes_are_poisson_in_float32() -> None:
    x = torch.tensor([0.0, 3.0, 40.0])
    d = distributions.NegativeBinomial(torch.tensor(3.0), torch.tensor(17.0), event_dims=0)
    close(d.log_prob(x), distributions.Poisson(torch.tensor(3.0), 0).log_prob(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rate", [0.0, 1e-3, 0.8, 25.0, 1e4])
def test_poisson_quantile_agrees_with_scipy(rate: float) -> None:
    u = torch.rand(2000, dtype=torch.float64)
    u[:2] = numbers(0.0, 1 - 2**-53)
    ours = poisson_quantile(torch.full_like(u, rate), u)
    assert ours[0] == 0 or rate > 700
    close(ours[2:], scipy.stats.poisson(rate).ppf(u[2:]) if rate else np.zeros(1998))


def test_what_is_no_count_has_no_mass() -> None:
    d = distributions.Poisson(numbers(0.0), 0)
    assert d.log_prob(numbers(-1.0, 0.5, 2.000001)).tolist() == [-math.inf] * 3
    assert d.log_prob(numbers(0.0, 7.0)).isfinite().all()


def _ssim_by_hand(x: np.ndarray, y: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Luminance and structure maps, from the definition: moments under a Gaussian window."""
    bell = np.exp(-0.5 * ((np.arange(side) - side // 2) / 1.5) ** 2)
    window = np.outer(bell, bell) / bell.sum() ** 2
    mx, my = convolve2d(x, window, "valid"), convolve2d(y, window, "valid")
    vx, vy = convolve2d(x * x, window, "valid") - mx**2, convolve2d(y * y, window, "valid") - my**2
    cov = convolve2d(x * y, window, "valid") - mx * my
    return (2 * mx * my + 1e-4) / (mx**2 + my**2 + 1e-4), (2 * cov + 9e-4) / (vx + vy + 9e-4)


def test_ssim_is_its_definition() -> None:
    x, y = torch.rand(2, 1, 1, 20, 15, dtype=torch.float64).unbind(0)
    luminance, structure = _ssim_by_hand(x[0, 0].numpy(), y[0, 0].numpy(), 11)
    close(ms_ssim(x, y, 1)[0], (luminance * structure).mean())


def test_ms_ssim_is_its_definition_at_two_scales_and_averages_channels() -> None:
    x = torch.rand(1, 2, 28, 28, dtype=torch.float64)
    y = (x + 0.3 * torch.rand_like(x)).clamp(0, 1)
    weights = np.array(SCALES[:2]) / sum(SCALES[:2])
    expected = []
    for a, b in zip(x[0].numpy(), y[0].numpy(), strict=True):
        fine = _ssim_by_hand(a, b, 11)[1].mean()
        half = [p.reshape(14, 2, 14, 2).mean((1, 3)) for p in (a, b)]
        luminance, structure = _ssim_by_hand(*half, 11)
        expected.append(fine ** weights[0] * (luminance * structure).mean() ** weights[1])
    close(ms_ssim(x, y)[0], np.mean(expected))


@pytest.mark.parametrize("side", [1, 2, 7, 8, 9, 28, 64, 128])
def test_ms_ssim_at_any_size(side: int) -> None:
    """1 of a picture and itself, less of another; of two constants the luminance term to the power of its weight."""
    x = torch.rand(3, 1, side, side + 1, dtype=torch.float64)
    close(ms_ssim(x, x), np.ones(3))
    y = torch.rand_like(x).requires_grad_()
    value = ms_ssim(x, y)
    assert ((value < 0.95) & (value > -1)).all() and torch.autograd.grad(value.sum(), y)[0].isfinite().all()
    close(ms_ssim(y.detach(), x), value.detach())
    a, b = torch.full_like(x, 0.2), torch.full_like(x, 0.6)
    fits = max(1, sum(side >> scale >= 8 for scale in range(5)))
    power = SCALES[fits - 1] / sum(SCALES[:fits])
    close(ms_ssim(a, b), np.full(3, ((2 * 0.12 + 1e-4) / (0.04 + 0.36 + 1e-4)) ** power))


def test_ssim_likelihood() -> None:
    likelihood = Component("likelihood", "ssim", weight=7.0, scales=1).build(
        decoder=nets.MLPDecoder(2, (1, 8, 8), []), event_dims=3
    )
    d, x = likelihood(torch.randn(4, 2)), torch.rand(4, 1, 8, 8)
    close(d.log_prob(x), -7 * (1 - ms_ssim(x, d.mean, 1)).detach(), rtol=1e-5, atol=1e-5)
    assert torch.equal(d.log_prob(d.mean), torch.zeros(4)) or d.log_prob(d.mean).abs().max() < 1e-4


@pytest.mark.parametrize("component", [Component("likelihood", "ssim"), Component("likelihood", "perceptual")])
def test_energies_are_no_densities_and_refuse_what_they_cannot_do(component: Component[Likelihood]) -> None:
    shape = (1, 8, 8)
    likelihood = component.build(decoder=nets.MLPDecoder(2, shape, []), event_dims=3, shape=shape)
    d = likelihood(torch.randn(4, 2))
    assert not likelihood.normalized and not d.normalized
    with pytest.raises(UserError, match="no draws"):
        d.sample()
    with pytest.raises(UserError, match="pictures"):
        component.build(decoder=nets.MLPDecoder(2, (8, 8), []), event_dims=1, shape=(8, 8))


def _features(widths: tuple[int, ...], folder: Path, **change: Tensor) -> str:
    tensors = {k: torch.randn_like(v) for k, v in nets.FixedFeatures(1, widths).layers.state_dict().items()}
    save_file(tensors | change, folder / "features.safetensors")
    return str(folder / "features.safetensors")


def test_perceptual_distance_is_that_of_the_layers() -> None:
    """By hand from the fixed weights; 0 at the reconstruction itself; the weights are not trained."""
    likelihood = Component("likelihood", "perceptual", weight=3.0, pixel_weight=0.5, widths=(4, 5)).build(
        decoder=nets.MLPDecoder(2, (2, 8, 8), []), event_dims=3, shape=(2, 8, 8)
    )
    d, x = likelihood(torch.randn(4, 2)), torch.rand(4, 2, 8, 8)
    expected, a, b = 0.25 * (x - d.mean).square().sum((1, 2, 3)), x, d.mean
    for i in range(2):
        weight, bias = (likelihood.state_dict()[f"energy.features.layers.{i}.{name}"] for name in ("weight", "bias"))
        a, b = (torch.relu(torch.nn.functional.conv2d(p, weight, bias, 2, 1)) for p in (a, b))
        expected = expected + 1.5 * (a - b).square().mean((1, 2, 3))
    torch.testing.assert_close(d.log_prob(x), -expected)
    assert d.log_prob(d.mean.detach()).abs().max() < 1e-10
    assert not [name for name, _ in likelihood.named_parameters() if "features" in name]
    seeds = [nets.FixedFeatures(1, [3], seed).layers.state_dict()["0.weight"] for seed in (0, 0, 1)]
    assert torch.equal(seeds[0], seeds[1]) and not torch.equal(seeds[0], seeds[2])


def test_perceptual_weights_from_a_file_live_in_the_model(tmp_path: Path) -> None:
    """They are read once; a saved state is whole without the file, and without either the model refuses to score."""
    path, shape = _features((4, 5), tmp_path), (1, 8, 8)
    given = {"decoder": nets.MLPDecoder(2, shape, []), "event_dims": 3, "shape": shape}
    component = Component("likelihood", "perceptual", widths=(4, 5), weights=path)
    likelihood, h, x = component.build(**given), torch.randn(4, 2), torch.rand(4, 1, 8, 8)
    score = likelihood(h).log_prob(x)
    (tmp_path / "features.safetensors").unlink()
    again = component.build(**given)
    with pytest.raises(UserError, match=r"features\.safetensors.*no such file"):
        again(h).log_prob(x)
    again.load_state_dict(likelihood.state_dict())
    assert torch.equal(again(h).log_prob(x), score)
    for wrong in (_features((4,), tmp_path), _features((4, 5), tmp_path, more=torch.zeros(1))):
        with pytest.raises(UserError, match="other tensors"):
            Component("likelihood", "perceptual", widths=(4, 5), weights=wrong).build(**given)
    Path(path).write_bytes(b"no")
    with pytest.raises(UserError, match="not a complete safetensors"):
        component.build(**given)


@over([*LIKELIHOODS.values(), dataclasses.replace(LIKELIHOODS["one-hot, along channels"], elsewhere="")])
def test_rows_build_finite_scores(row: LikelihoodRow) -> None:
    """Of pictures with three channels, data in the support have finite scores, whatever the options."""
    shape = (3, 4, 4)
    likelihood = row.build(shape)
    likelihood.init_output_bias(torch.rand(shape))
    x = data(likelihood.support, 5, shape).float()
    assert likelihood(torch.randn(5, LATENT)).log_prob(x).isfinite().all()


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("laplace", {"sigma": 0.0}),
        ("student-t", {"df": 1.0}),
        ("student-t", {"sigma": -1.0}),
        ("log-cosh", {"sharpness": 0.0}),
        ("log-cosh", {"sigma": 0.0}),
        ("discretized-logistic-mixture", {"components": 0}),
        ("beta", {"margin": 0.5}),
        ("ssim", {"scales": 6}),
        ("ssim", {"weight": 0.0}),
        ("perceptual", {"widths": ()}),
        ("perceptual", {"weight": 0.0}),
        ("perceptual", {"pixel_weight": -1.0}),
        ("normal", {"sigma": "best"}),
    ],
)
def test_impossible_settings_are_refused(kind: str, fields: dict[str, object]) -> None:
    (name,) = fields
    with pytest.raises(UserError, match=rf"^{name} = .*: give "):
        _ = Component("likelihood", kind, **fields).options


HELD = {
    "laplace": {"binary", "unit", "real"},
    "beta": {"binary", "unit"},
    "categorical-256": {"binary", "unit"},
    "discretized-logistic": {"binary", "unit"},
    "one-hot": {"binary"},
    "poisson": {"binary", "real"},
    "negative-binomial": {"binary", "real"},
    "ssim": {"binary", "unit"},
}


@pytest.mark.parametrize("kind", HELD)
def test_a_model_refuses_data_that_its_likelihood_cannot_hold(kind: str) -> None:
    model = ModelSpec(likelihood=Component("likelihood", kind), encoder=nets.MLP(()), decoder=nets.MLP(()))
    vae = build(model, (3, 4, 4))
    for support in ("binary", "unit", "real"):
        schema = Schema("image", (3, 4, 4), (0.0,), (1.0,), support)  # type: ignore[arg-type]
        if support in HELD[kind]:
            check_support(vae, schema)
        else:
            with pytest.raises(UserError, match="likelihood takes"):
                check_support(vae, schema)
    if "poisson" in kind:
        with pytest.raises(UserError, match="raw counts"):
            check_support(vae, Schema("image", (3, 4, 4), (1.0,), (2.0,), "real"))


@pytest.mark.parametrize("df", [2.5, "learned"])
def test_student_t_learns_its_tail(df: float | Literal["learned"]) -> None:
    """Maximum likelihood of 4000 draws with df = 3, sigma = 0.5 finds the scale, and the tail where it is learned."""
    x = 2 + 0.5 * torch.distributions.StudentT(3.0).sample((4000, 1))
    likelihood = likelihoods.StudentT(nets.MLPDecoder(1, (1,), []), 1, df=df)
    likelihood.init_output_bias(x.median(0).values)
    optimizer = torch.optim.LBFGS(likelihood.parameters(), max_iter=60, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = -likelihood(torch.zeros(4000, 1)).log_prob(x).mean()
        value.backward()
        return value

    optimizer.step(loss)
    d = likelihood(torch.zeros(1, 1))
    assert d.df.item() == pytest.approx(3 if df == "learned" else df, rel=0.15)
    assert d.log_scale.exp().item() == pytest.approx(0.5, rel=0.06) if df == "learned" else True
    assert d.mean.item() == pytest.approx(2, abs=0.05)
