"""Laws of every prior, posterior and likelihood."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import constraints

from nelbo import distributions, likelihoods, nets, posteriors
from nelbo.config.registry import Component
from nelbo.distributions.base import ConditionalDistribution, apply_over_sample_dims
from nelbo.errors import UserError
from nelbo.likelihoods import Likelihood
from zoo import (
    CONTEXT,
    LATENT,
    LIKELIHOODS,
    POSTERIORS,
    PRIORS,
    LikelihoodRow,
    PosteriorRow,
    PriorRow,
    Shape,
    assert_mean,
    context,
    data,
    over,
    perturb_parameters,
)
from zoo.spaces import points, possible_mean

BATCH = 4


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


over_contexts = pytest.mark.parametrize("contexts", [0, CONTEXT])
SHAPES: list[Shape] = [(1, 4, 4), (7,)]
over_shapes = pytest.mark.parametrize("shape", SHAPES)
PICTURE_DECODERS = {"mlp": nets.MLP((12, 16)), "linear": nets.MLP(()), "conv": nets.Conv(4)}


def _context(contexts: int) -> Tensor | None:
    return context(BATCH) if contexts else None


def _likelihood(row: LikelihoodRow, shape: Shape, contexts: int = 0, decoder: str = "mlp") -> Likelihood:
    return perturb_parameters(row.build(shape, contexts, PICTURE_DECODERS[decoder]))


def _score(conditional: ConditionalDistribution, value: Tensor, *given: Tensor | None) -> Tensor:
    """The log-density of `value` under the distribution given the context."""
    return conditional(*given).log_prob(value)


def _check(conditional: ConditionalDistribution, value: Tensor, *given: Tensor | None) -> None:
    """Every parameter has a gradient; copies and reloaded states score alike; the context is used."""
    log_prob = _score(conditional, value, *given)
    assert log_prob.shape == (BATCH,) and log_prob.isfinite().all()
    if parameters := dict(conditional.named_parameters()):
        weighted = (log_prob * torch.linspace(0.5, 2, BATCH).double()).sum()
        for name, gradient in zip(parameters, torch.autograd.grad(weighted, [*parameters.values()]), strict=True):
            assert gradient.isfinite().all() and gradient.abs().sum() > 0, f"{name} has no gradient"
    conditional.eval()
    log_prob = _score(conditional, value, *given)
    twin = copy.deepcopy(conditional)
    assert torch.equal(_score(twin, value, *given), log_prob)
    with torch.no_grad():
        for entry in twin.state_dict().values():
            if entry.is_floating_point():
                entry += 0.5
    assert not twin.state_dict() or not torch.allclose(_score(twin, value, *given), log_prob)
    twin.load_state_dict(conditional.state_dict())
    assert torch.equal(_score(twin, value, *given), log_prob)
    one = [_score(conditional, value[i : i + 1], *(g if g is None else g[i : i + 1] for g in given)) for i in range(4)]
    torch.testing.assert_close(torch.cat(one), log_prob)  # no datum depends on its neighbours
    if parameters and given[-1] is not None and len(given) > 1:
        assert ((_score(conditional, value, *given[:-1], given[-1] + 1) - log_prob).abs() > 1e-6).all(), "c is not used"


@over(PRIORS.values())
@over_contexts
def test_prior(row: PriorRow, contexts: int) -> None:
    prior = perturb_parameters(row.build_bound(contexts))
    value = points(prior(_context(contexts)).support, data(constraints.real, BATCH, (LATENT,)))
    _check(prior, value, _context(contexts))


@over(row for row in POSTERIORS.values() if row.density)
@over_contexts
@over_shapes
def test_posterior(row: PosteriorRow, contexts: int, shape: Shape) -> None:
    posterior = perturb_parameters(row.build(shape, contexts))
    x, c = data(constraints.real, BATCH, shape), _context(contexts)
    value = points(posterior(x, c).support, data(constraints.real, BATCH, (LATENT,), 1))
    _check(posterior, value, x, c)


@over(LIKELIHOODS.values())
@over_contexts
@over_shapes
def test_likelihood(row: LikelihoodRow, contexts: int, shape: Shape) -> None:
    if row.pictures and len(shape) != 3:
        with pytest.raises(UserError, match="compares pictures"):
            row.build(shape, contexts)
        return
    likelihood = _likelihood(row, shape, contexts)
    x, h = data(likelihood.support, BATCH, shape), data(constraints.real, BATCH, (LATENT,), 1)
    _check(likelihood, x, h, _context(contexts))
    d = likelihood.eval()(h, _context(contexts))
    assert (d.batch_shape, d.event_shape) == ((BATCH,), shape)
    assert getattr(d, "normalized", True) == likelihood.normalized


@over(LIKELIHOODS.values())
@pytest.mark.parametrize("decoder", PICTURE_DECODERS)
@over_contexts
@pytest.mark.parametrize("lead", [(), (3,), (3, 2)])
def test_leading_dimensions_are_a_loop(row: LikelihoodRow, decoder: str, contexts: int, lead: tuple[int, ...]) -> None:
    """p(x | h) for h of shape (*sample, batch, features) is p(x | h_s) for each draw s."""
    shape = (1, 4, 4)
    likelihood = _likelihood(row, shape, contexts, decoder).eval()
    x, c = data(likelihood.support, BATCH, shape), _context(contexts)
    h = torch.randn(*lead, BATCH, LATENT, generator=torch.Generator().manual_seed(2)).double()
    together = likelihood(h, c).log_prob(x)
    loop = torch.stack([likelihood(part, c).log_prob(x) for part in h.reshape(-1, BATCH, LATENT)])
    torch.testing.assert_close(together, loop.view(*lead, BATCH))
    assert not lead or together.std(0).min() > 1e-4, "every draw scores the same"


@over_contexts
def test_through_a_posterior_is_a_loop(contexts: int) -> None:
    """An encoder, too, is applied to (*sample, batch, *event): imputations of one datum, say."""
    posterior, c = perturb_parameters(POSTERIORS["diagonal-normal"].build((1, 4, 4), contexts)), _context(contexts)
    x = torch.randn(3, 2, BATCH, 1, 4, 4, generator=torch.Generator().manual_seed(2)).double()
    loop = torch.stack([posterior(part, c).mean for part in x.flatten(0, 1)]).view(3, 2, BATCH, LATENT)
    torch.testing.assert_close(posterior(x, c).mean, loop)
    net = nn.Linear(2, 3)
    single = torch.randn(2)
    torch.testing.assert_close(apply_over_sample_dims(net, single), net(single))


def test_posterior_reads_the_mean_and_the_log_variance_from_its_net() -> None:
    net = perturb_parameters(nets.MLPEncoder((5,), 2 * LATENT, [4]))
    x = data(constraints.real, BATCH, (5,))
    q, (loc, logvar) = posteriors.DiagonalNormal(net, 1)(x), net(x).split(LATENT, 1)
    torch.testing.assert_close(q.mean, loc)
    torch.testing.assert_close(q.variance, logvar.exp())


@over(LIKELIHOODS.values())
@pytest.mark.parametrize("decoder", PICTURE_DECODERS)
def test_start_at_sets_the_mean(row: LikelihoodRow, decoder: str) -> None:
    """Before training, the likelihood's mean over z is near the data's, each channel's or each pixel's."""
    shape = (2, 6, 5)
    likelihood = row.build(shape, 0, PICTURE_DECODERS[decoder]).eval()
    mean = torch.rand(shape) ** 3  # dark, as digits are
    mean[0, 0] = 0.0
    mean = possible_mean(likelihood.support, mean)
    with torch.no_grad():  # at weights near zero the output is its bias, and nothing else is under test
        for parameter in likelihood.net.parameters():
            parameter *= 1e-3
    likelihood.init_output_bias(mean)
    now = likelihood(torch.randn(200, LATENT)).mean.mean(0)
    if decoder == "conv":
        now, mean = now.mean((1, 2)), mean.mean((1, 2))
    assert (now - mean).abs().max() < 0.05
    if likelihood.support is constraints.real:
        assert (now - mean).abs().max() < 5e-3


@over(LIKELIHOODS.values())
def test_start_at_helps_a_net_as_it_is_initialised(row: LikelihoodRow) -> None:
    """PyTorch's own start moves each output by about 0.15: the mean is near the data's, up to that."""
    likelihood = row.build((1, 8, 8)).eval()
    mean, z = torch.linspace(0.02, 0.98, 64).view(1, 8, 8), torch.randn(2000, LATENT)
    mean = possible_mean(likelihood.support, mean)

    def error() -> float:
        return (likelihood(z).mean.mean(0) - mean).square().mean().sqrt().item()

    before = error()
    likelihood.init_output_bias(mean)
    assert error() < 0.4 * before


@over(row for row in LIKELIHOODS.values() if not row.pictures)
def test_likelihood_draws_from_its_mean(row: LikelihoodRow) -> None:
    d = _likelihood(row, (1, 2, 2)).eval()(data(constraints.real, BATCH, (LATENT,)))
    with torch.no_grad():
        assert_mean(d.sample((20_000,)), d.mean)


def test_normal_learns_one_sigma_or_keeps_the_given_one() -> None:
    net = nets.MLPDecoder(LATENT, (7,), [])
    fixed, learned = likelihoods.Normal(net, 1, sigma=0.3), likelihoods.Normal(net, 1, sigma="learned")
    h = torch.zeros(2, LATENT)
    torch.testing.assert_close(fixed(h).stddev, torch.full((2, 7), 0.3))
    assert "log_scale" not in dict(fixed.named_parameters()) and "log_scale" in fixed.state_dict()
    assert "log_scale" in dict(learned.named_parameters())
    for sigma in (0.0, -1.0):
        with pytest.raises(UserError, match=f"sigma = {sigma}: give a number above 0"):
            Component("likelihood", "normal", sigma=sigma).build(decoder=net, event_dims=1)


def test_optimal_normal_gradient_is_that_of_the_profile_likelihood() -> None:
    """min over sigma of -log N(x; mu, sigma), averaged over the batch, is D/2 (log MSE + 1 + log 2 pi)."""
    likelihood = _likelihood(LIKELIHOODS["normal"], (1, 4, 4))
    x, h = data(constraints.real, BATCH, (1, 4, 4)), data(constraints.real, BATCH, (LATENT,), 1)
    profile = 8 * (torch.log((x - likelihood(h).mean).square().mean()) + 1 + math.log(2 * math.pi))
    ours = -likelihood(h).log_prob(x).mean()
    torch.testing.assert_close(ours, profile)
    parameters = [*likelihood.parameters()]
    for a, b in zip(torch.autograd.grad(ours, parameters), torch.autograd.grad(profile, parameters), strict=True):
        torch.testing.assert_close(a, b)


def test_optimal_normal_scores_under_the_batch_variance() -> None:
    told: list[Tensor] = []
    loc, x = torch.randn(2, 5, 1, 3, generator=torch.Generator().manual_seed(0)).double().unbind(0)
    d = distributions.OptimalNormal(loc, 2, lambda squares, n: told.append(squares.sum() / n) or squares.sum() / n)
    mse = (x - loc).square().mean()
    torch.testing.assert_close(d.log_prob(x), torch.distributions.Normal(loc, mse.sqrt()).log_prob(x).sum((1, 2)))
    torch.testing.assert_close(told[0], mse)


def test_optimal_normal_running_variance() -> None:
    """A plain mean over the first batches, then an exponential one that converges to the noise; 1 before any."""
    likelihood = likelihoods.Normal(nets.MLPDecoder(LATENT, (50,), []), 1)
    h = torch.zeros(20, LATENT)
    assert (likelihood.eval()(h).variance == 1).all()
    seen = []
    for scale in [3.0] * 5 + [0.4] * 1000:
        x = likelihood.train()(h).mean.detach() + scale * torch.randn(20, 50)
        likelihood(h).log_prob(x)
        seen.append((x - likelihood(h).mean).square().mean().item())
        if len(seen) == 5:
            assert likelihood.variance.item() == pytest.approx(sum(seen) / 5, rel=1e-5)
    assert likelihood.eval()(h).variance[0, 0].item() == pytest.approx(0.16, rel=0.03)
    assert likelihood.batches.item() == 1005
    before = likelihood.variance.clone()
    likelihood(h).log_prob(torch.randn(20, 50))
    assert torch.equal(likelihood.variance, before), "scoring in eval() must not learn"
