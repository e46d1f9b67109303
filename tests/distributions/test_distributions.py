"""Laws of every distribution: it is a density, its moments are those of its samples, its gradients are right."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable

import pytest
import scipy.integrate
import scipy.stats
import torch
from torch import Tensor
from torch.distributions import Distribution

from nelbo.distributions import (
    Bernoulli,
    ContinuousBernoulli,
    DiagonalNormal,
    FullNormal,
    LogisticNormal,
    LowRankNormal,
    Mixture,
    PowerSpherical,
    RelaxedOneHot,
    UniformSphere,
    VonMisesFisher,
    WrappedNormal,
    noise,
    sample_and_log_prob,
    temper,
    typical_point,
)
from nelbo.errors import UserError
from zoo import (
    CONTEXT,
    DISTRIBUTIONS,
    POSTERIORS,
    PRIORS,
    SHAPE,
    Family,
    PosteriorRow,
    PriorRow,
    assert_mean,
    context,
    data,
    over,
    perturb_parameters,
)
from zoo.spaces import CURVED, chart, narrower, values

FAMILIES = list(DISTRIBUTIONS.values())
CONTINUOUS = [family for family in FAMILIES if not family.make(()).support.is_discrete]
DISCRETE = [family for family in FAMILIES if family not in CONTINUOUS]
REPARAMETERISED = [family for family in CONTINUOUS if family.make(()).has_rsample]
WHOLE = {  # families whose elements are not independent, or on whose space they have no density each
    *(FullNormal, LowRankNormal, LogisticNormal, RelaxedOneHot, Mixture),
    *(UniformSphere, VonMisesFisher, PowerSpherical, WrappedNormal),
}
LINES = [pytest.param(*row, id=f"{n}-{i}") for n, f in DISTRIBUTIONS.items() for i, row in enumerate(f.line())]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def over_families(families: Iterable[Family]) -> pytest.MarkDecorator:
    return over(families, "family")


def assert_ratio(q: Distribution, reference: Callable[[Distribution], Distribution]) -> None:
    """E_q[r / q] = 1 for a density r inside q; the standard error must be small, or the law could not fail."""
    r = reference(q)
    z, log_q = sample_and_log_prob(q, (100_000,))
    inside = r.support.check(z)
    inside = inside if inside.dim() == log_q.dim() else inside.flatten(log_q.dim()).all(-1)
    ratio = torch.where(inside, torch.exp(r.log_prob(z) - log_q), 0.0)
    assert (ratio.std(0) / len(ratio) ** 0.5).max() < 0.05
    assert_mean(ratio, 1.0)


@over_families(CONTINUOUS)
@pytest.mark.parametrize("batch", [(), (3,)])
def test_density_ratio_has_mean_one(family: Family, batch: tuple[int, ...]) -> None:
    assert_ratio(family.make(batch), family.reference)


@over(PRIORS.values())
def test_prior_is_a_density(row: PriorRow) -> None:
    """Over codes, the masses of all sequences add up to one."""
    p = perturb_parameters(row.build_bound(CONTEXT)).eval()(context(4))
    if p.support.is_discrete:
        mass = p.log_prob(values(p).unsqueeze(1)).exp().sum(0)
        torch.testing.assert_close(mass, torch.ones_like(mass))
    else:
        assert_ratio(p, narrower)


@over(row for row in POSTERIORS.values() if row.density)
@pytest.mark.parametrize("contexts", [0, CONTEXT])
def test_posterior_density_ratio_has_mean_one(row: PosteriorRow, contexts: int) -> None:
    posterior = perturb_parameters(row.build(SHAPE, contexts)).eval()
    x = data(torch.distributions.constraints.real, 4, SHAPE)
    with torch.no_grad():
        q = posterior(x, context(4) if contexts else None)
        assert_ratio(q, narrower)


@pytest.mark.parametrize(("d", "low", "high"), LINES)
def test_density_over_a_line_integrates_to_one(d: Distribution, low: float, high: float) -> None:
    """And its first two moments under quadrature are `mean` and `variance`."""
    mean, spread = d.mean.item(), d.stddev.item()
    cuts = [low, high, *(low + (high - low) * 10.0**-k for k in range(1, 6))]
    cuts += [high - (high - low) * 10.0**-k for k in range(1, 6)]
    cuts = sorted({*cuts, *(c for k in (-6, -2, 0, 2, 6) if low < (c := mean + k * spread) < high)})

    def integral(weight: Callable[[float], float]) -> float:
        def density(x: float) -> float:
            return weight(x) * d.log_prob(torch.tensor([x], dtype=torch.float64)).exp().item()

        return sum(scipy.integrate.quad(density, a, b, epsabs=1e-13)[0] for a, b in itertools.pairwise(cuts))

    assert integral(lambda x: 1.0) == pytest.approx(1, abs=1e-8)
    assert integral(lambda x: (x - mean) / spread) == pytest.approx(0, abs=1e-6)
    assert integral(lambda x: ((x - mean) / spread) ** 2) == pytest.approx(1, abs=1e-5)


@over_families(DISCRETE)
def test_mass_sums_to_one(family: Family) -> None:
    d = family.make((3,))
    every = values(d)
    assert d.support.check(every).all()
    log_mass = d.log_prob(every.view(-1, 1, *d.event_shape))
    torch.testing.assert_close(log_mass.exp().sum(0), torch.ones(3, dtype=torch.float64))
    draws = d.sample((40_000,))
    for common in {int(i) for i in log_mass.argmax(0)}:  # the mass of a value is how often it is drawn
        drawn = torch.isclose(draws.flatten(2), every[common].flatten()).all(-1).double()
        assert_mean(drawn, log_mass[common].exp())


@over_families(FAMILIES)
@pytest.mark.parametrize("batch", [(), (2,)])
@pytest.mark.parametrize("sample", [(), (3,)])
def test_log_prob_is_the_sum_of_the_elements(family: Family, batch: tuple[int, ...], sample: tuple[int, ...]) -> None:
    """Where a family has terms for the elements; none has that is not known here to have none."""
    d = family.make(batch)
    value = d.sample(sample)
    if type(d) in WHOLE:
        with pytest.raises(UserError, match=f"{type(d).__name__} has no log-probability for each element"):
            d.element_log_prob(value)  # type: ignore[attr-defined]
        return
    elements = d.element_log_prob(value)  # type: ignore[attr-defined]
    assert elements.shape == value.shape == (*sample, *d.batch_shape, *d.event_shape)
    torch.testing.assert_close(elements.flatten(-len(d.event_shape)).sum(-1), d.log_prob(value))


@over_families(family for family in FAMILIES if family.moments)
@pytest.mark.parametrize("batch", [(), (2,)])
def test_moments_are_those_of_samples(family: Family, batch: tuple[int, ...]) -> None:
    d = family.make(batch)
    draws = d.sample((40_000,))
    about = chart(d, draws)
    assert_mean(about, 0.0)
    assert_mean(about**2, d.variance)
    torch.testing.assert_close(d.stddev**2, d.variance)
    assert d.support.check(draws).all()


@over_families(FAMILIES)
@pytest.mark.parametrize("batch", [(), (2,)])
@pytest.mark.parametrize("shape", [(), (5,), (5, 4)])
def test_shapes(family: Family, batch: tuple[int, ...], shape: tuple[int, ...]) -> None:
    """Draws are (*sample, *batch, *event), log_prob (*sample, *batch), and equals scoring one draw at a time."""
    d = family.make(batch)
    z = d.sample(shape)
    assert z.shape == (*shape, *d.batch_shape, *d.event_shape) and not z.requires_grad
    if shape:
        assert len(z.flatten(0, len(shape) - 1).unique(dim=0)) > 1, "every draw is the same"
    log_prob = d.log_prob(z)
    assert log_prob.shape == (*shape, *d.batch_shape)
    one_by_one = [d.log_prob(part) for part in z.reshape(-1, *d.batch_shape, *d.event_shape)]
    torch.testing.assert_close(log_prob, torch.stack(one_by_one).view(log_prob.shape))
    one_event = z.flatten()[: math.prod(d.event_shape)].view(d.event_shape)
    assert torch.equal(d.log_prob(one_event), d.log_prob(one_event.expand(*d.batch_shape, *d.event_shape)))


@over_families(FAMILIES)
def test_log_prob_gradient(family: Family) -> None:
    """The derivative of log_prob, in the value and in each parameter, is its difference quotient."""
    d = family.make((2,))
    z = d.sample((3,))
    if not d.support.is_discrete:
        z.requires_grad_()
    leaves = [getattr(d, name).detach().requires_grad_() for name in family.parameters]

    def log_prob(value: Tensor, *parameters: Tensor) -> Tensor:
        e = family.make((2,))
        for name, parameter in zip(family.parameters, parameters, strict=True):
            setattr(e, name, parameter)
        return e.log_prob(value)

    if z.requires_grad or leaves:
        assert torch.autograd.gradcheck(log_prob, (z, *leaves))


@over_families(
    family
    for family in REPARAMETERISED
    if family.parameters and family.moments and not isinstance(family.make(()), CURVED)
)
def test_pathwise_gradient(family: Family) -> None:
    """d/dtheta E[z] = E[dz/dtheta], sample by sample against the closed mean and second moment."""
    d = family.make(())
    leaves = {name: getattr(d, name).detach().clone().requires_grad_() for name in family.parameters}
    for name, leaf in leaves.items():
        setattr(d, name, leaf)
    draws = [d.rsample((5_000,)) for _ in range(20)]
    for moment, exact in ((1, d.mean), (2, d.variance + d.mean**2)):
        for leaf in leaves.values():
            closed = torch.autograd.grad(exact.sum(), leaf, retain_graph=True, materialize_grads=True)[0]
            sampled = [
                torch.autograd.grad((z**moment).mean(0).sum(), leaf, retain_graph=True, materialize_grads=True)[0]
                for z in draws
            ]
            assert_mean(torch.stack(sampled), closed, 5.0)


@over_families(family for family in REPARAMETERISED if family.smooth)
def test_rsample_gradient(family: Family) -> None:
    """With the noise held still, rsample is a differentiable function of its parameters."""
    d = family.make((2,))
    leaves = [getattr(d, name).detach().clone().requires_grad_() for name in family.parameters]

    def draw(*parameters: Tensor) -> Tensor:
        e = family.make((2,))
        for name, parameter in zip(family.parameters, parameters, strict=True):
            setattr(e, name, parameter)
        torch.manual_seed(7)
        return sample_and_log_prob(e, (3,))[0]

    if leaves:
        assert torch.autograd.gradcheck(draw, tuple(leaves))


@over_families(family for family in FAMILIES if family.make((7,)).batch_shape)
def test_shards_are_rows_of_the_whole(family: Family) -> None:
    """Two processes that each draw their rows draw, bit for bit, what one process would."""
    whole = family.make((7,))
    leaves = {name: getattr(whole, name) for name in family.parameters}
    for sample in [(), (3,), (3, 2)]:
        torch.manual_seed(8)
        expected = whole.sample(sample)
        parts = []
        for start, stop in ((0, 4), (4, 7)):
            part = family.make((stop - start,))
            for name, leaf in leaves.items():
                batched = leaf.shape[:1] == (7,) and leaf.dim() > len(whole.event_shape)
                setattr(part, name, leaf[start:stop] if batched else leaf)
            torch.manual_seed(8)
            with noise.shard(start, stop, 7):
                parts.append(part.sample(sample))
        assert torch.equal(torch.cat(parts, len(sample)), expected)
    assert noise.normal(torch.Size(), torch.Size((2,)), torch.Size(), torch.zeros(())).shape == (2,)  # shard is over


@over_families(FAMILIES)
def test_temper_scales_the_standard_deviation(family: Family) -> None:
    d = family.make((2,))
    if not family.tempered:
        with pytest.raises(ValueError, match=type(d).__name__):
            temper(d, 0.3)
        return
    cold = temper(d, 0.3)
    if isinstance(d, Mixture):  # its components' standard deviations: their means stay apart
        assert torch.equal(cold.logits, d.logits)
        d, cold = d.components, cold.components
    torch.testing.assert_close(cold.stddev, 0.3 * d.stddev)
    torch.testing.assert_close(cold.mean, d.mean)
    draws = cold.sample((20_000,))
    assert_mean(chart(d, draws) ** 2, 0.09 * d.variance)
    assert (cold.batch_shape, cold.event_shape) == (d.batch_shape, d.event_shape)


@over_families(DISTRIBUTIONS[name] for name in ("diagonal normal", "full normal", "low-rank normal"))
def test_a_typical_point_is_as_far_from_0_as_draws(family: Family) -> None:
    d = family.make((2,))
    assert_mean(d.sample((50_000,)).square().sum(-1), typical_point(d).square().sum(-1))
    torch.testing.assert_close(torch.cosine_similarity(typical_point(d), d.mean), torch.ones(2).to(d.mean))


EXTREME = torch.tensor([-90.0, -20.0, -3.0, -0.4, -0.06, -0.01, 0.0, 1e-6, 0.03, 0.2, 1.0, 7.0, 40.0, 90.0]).double()


def test_normal_agrees_with_scipy() -> None:
    loc, log_scale, x = (torch.randn(50, 1, dtype=torch.float64) * spread for spread in (3, 2, 5))
    ours = DiagonalNormal(loc, log_scale).log_prob(x)
    theirs = scipy.stats.norm(loc.squeeze(1), log_scale.exp().squeeze(1)).logpdf(x.squeeze(1))
    torch.testing.assert_close(ours, torch.as_tensor(theirs))
    entropy = DiagonalNormal(loc.expand(50, 4), log_scale[0]).entropy()
    torch.testing.assert_close(entropy[0].item(), 4 * scipy.stats.norm(0, log_scale[0].exp()).entropy().item())
    assert entropy.shape == (50,)


def test_bernoulli_agrees_with_torch_and_scipy() -> None:
    for x in (0.0, 1.0):
        value = torch.full_like(EXTREME, x)
        ours = Bernoulli(EXTREME, 0).log_prob(value)
        torch.testing.assert_close(ours, torch.distributions.Bernoulli(logits=EXTREME).log_prob(value))
        inner = EXTREME.abs() < 30
        oracle = scipy.stats.bernoulli(EXTREME[inner].sigmoid()).logpmf(int(x))
        torch.testing.assert_close(ours[inner], torch.as_tensor(oracle))
    logits = EXTREME.float().requires_grad_()
    Bernoulli(logits).log_prob(logits.detach() > 0).backward()  # truth values are data too
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, (EXTREME > 0).float() - EXTREME.float().sigmoid())


def test_grey_bernoulli_gradient() -> None:
    """Where the target is itself a function of parameters, the hand-written backward is right in it, too."""
    logits, x = torch.randn(2, 1, 3).double().requires_grad_(), torch.rand(4, 3).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda lo, v: Bernoulli(lo, 1, allow_soft_targets=True).log_prob(v), (logits, x))


@pytest.mark.parametrize("logit", [0.0, 5e-4, -9e-4, 2e-3, -0.3])
def test_continuous_bernoulli_pathwise_gradient_near_zero(logit: float) -> None:
    """d E[x] / dl = Var[x] (an exponential family), at l = 0 too: a net starts there."""
    logits = torch.full((20_000,), logit, dtype=torch.float64, requires_grad=True)
    slope = torch.autograd.grad(ContinuousBernoulli(logits, 0).rsample().sum(), logits)[0]
    assert_mean(slope, ContinuousBernoulli(logits, 0).variance[0].item())


def test_continuous_bernoulli_agrees_with_torch() -> None:
    theirs = torch.distributions.ContinuousBernoulli(logits=EXTREME, lims=(0.4999, 0.5001))
    ours, mild = ContinuousBernoulli(EXTREME, 0), EXTREME.abs() <= 20
    for x in (0.0, 0.1, 0.5, 0.77, 1.0):
        value = torch.full_like(EXTREME, x)
        torch.testing.assert_close(ours.log_prob(value)[mild], theirs.log_prob(value)[mild], rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(ours.mean[mild], theirs.mean[mild], rtol=1e-6, atol=1e-8)
    wide = mild & (EXTREME.abs() > 0.1)  # torch's variance cancels near 0
    torch.testing.assert_close(ours.variance[wide], theirs.variance[wide], rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_continuous_bernoulli_is_finite_at_every_logit(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Value and gradient, also where the noise is exactly 0 or just below 1; samples stay in [0, 1]."""
    sizes = torch.cat([torch.zeros(1), torch.logspace(-30, 4, 200)])
    logits = torch.cat([sizes, -sizes]).to(dtype).requires_grad_()
    d = ContinuousBernoulli(logits, 0)
    for u in (0.0, 0.5, 1 - torch.finfo(dtype).eps / 2):
        monkeypatch.setattr(noise, "uniform", lambda *shapes, u=u: torch.full_like(logits, u))
        x = d.rsample()
        assert d.support.check(x).all()
        for value in (x, d.mean, d.variance, d.log_prob(x.detach())):
            assert value.isfinite().all() and torch.autograd.grad(value.sum(), logits)[0].isfinite().all()
    lower = d.mean.detach()[len(sizes) :]
    assert ((lower > 0) & (lower <= 0.5)).all() and (lower.diff() <= 1e-6).all()


def test_grey_bernoulli_is_no_density() -> None:
    """On grey values the cross-entropy integrates to less than one, and says so."""
    grey = Bernoulli(torch.tensor([0.7], dtype=torch.float64), allow_soft_targets=True)
    x = torch.linspace(0, 1, 1001, dtype=torch.float64)
    integral = torch.trapezoid(grey.log_prob(x.unsqueeze(1)).exp(), x)
    assert integral < 0.6 and not grey.normalized
    assert Bernoulli(torch.zeros(1)).normalized and ContinuousBernoulli(torch.zeros(1)).normalized
