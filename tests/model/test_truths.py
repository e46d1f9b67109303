"""Closed forms: what a VAE must compute, checked where the truth is known.

Probabilistic PCA, x = W z + mu + sigma * noise, is a VAE whose likelihood of the data has a closed form,

    log p(x) = log N(x; mu, C),  C = W W' + sigma^2 I;
    p(z | x) = N(M^-1 W' (x - mu), sigma^2 M^-1),  M = W' W + sigma^2 I (diagonal where W's columns are orthogonal),

and so has its maximum over W, mu, sigma. Source: Tipping, Bishop (1999), Probabilistic Principal Component Analysis.
"""

from __future__ import annotations

import copy
import itertools
import math

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from fixtures.clocks import set_training_progress
from nelbo import likelihoods, nets, posteriors, priors
from nelbo.config.registry import Learned
from nelbo.distributions import Bernoulli, DiagonalNormal, Laplace, StandardNormal, UnnormalizedEnergy
from nelbo.latents import LatentLevel, SingleLevelLatent, TopDown
from nelbo.objectives import WeightedTerms, distortion, elbo, rate, stl_kl
from nelbo.schedules import Linear
from nelbo.vae import VAE, Trace
from zoo import (
    CONTEXT,
    OBJECTIVES,
    SCHEDULES,
    SHAPE,
    VAES,
    ObjectiveRow,
    ScheduleRow,
    VaeRow,
    assert_mean,
    context,
    data,
    over,
    perturb_parameters,
    single_level_vae,
)
from zoo.spaces import CENTERED, CURVED, chart

D, Z, SIGMA = 6, 2, 0.7
NORMAL = DiagonalNormal(torch.zeros(3, 2), torch.zeros(3, 2))


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def linear_vae(dim: int, latent: int, sigma: float | Learned) -> VAE:
    """A VAE whose encoder and decoder are one linear layer each."""
    posterior = posteriors.DiagonalNormal(nets.MLPEncoder((dim,), 2 * latent, []), 1)
    likelihood = likelihoods.Normal(nets.MLPDecoder(latent, (dim,), []), 1, sigma=sigma)
    return VAE(SingleLevelLatent(priors.StandardNormal(latent), posterior), likelihood)


def marginal(vae: VAE) -> MultivariateNormal:
    """p(x) of a linear VAE, from its decoder's weights: N(mu, W W' + sigma^2 I)."""
    layer, scale = vae.likelihood.net.layers[0], vae.likelihood.log_scale.exp()  # type: ignore[index, operator, union-attr]
    cov = layer.weight @ layer.weight.T + scale**2 * torch.eye(len(layer.bias), dtype=scale.dtype)
    return MultivariateNormal(layer.bias, cov)


@pytest.fixture
def exact() -> tuple[VAE, Tensor]:
    """A pPCA model in float64 with its own posterior as the encoder, and data drawn from it."""
    vae = linear_vae(D, Z, SIGMA).double().requires_grad_(False)
    weight = torch.linalg.qr(torch.randn(D, Z).double())[0] * torch.tensor([2.0, 1.1]).double()
    decoder, encoder = vae.likelihood.net.layers[0], vae.latent.posterior.net.layers[0]  # type: ignore[index, union-attr]
    decoder.weight.copy_(weight)
    vae.likelihood.log_scale.fill_(math.log(SIGMA))  # type: ignore[operator, union-attr]  # made in float32
    m = (weight.T @ weight).diagonal() + SIGMA**2
    encoder.weight[:Z] = weight.T / m.unsqueeze(1)
    encoder.bias[:Z] = -encoder.weight[:Z] @ decoder.bias
    encoder.weight[Z:] = 0
    encoder.bias[Z:] = torch.log(SIGMA**2 / m)
    return vae, vae.generate(5).sample()


@pytest.fixture
def wrong(exact: tuple[VAE, Tensor]) -> tuple[VAE, Tensor]:
    """The same model with a posterior that is shifted and too wide: importance weights are bounded."""
    vae, x = copy.deepcopy(exact)
    vae.latent.posterior.net.layers[0].bias += torch.tensor([0.2, -0.3, 0.5, 0.9]).double()  # type: ignore[index, union-attr]
    return vae, x


def iwae(log_weight: Tensor, k: int) -> Tensor:
    """log (1/k) sum_k w for each group of k draws: `(draws, batch)` -> `(draws / k, batch)`."""
    return log_weight.view(-1, k, log_weight.shape[-1]).logsumexp(1) - math.log(k)


def test_exact_posterior_makes_the_bound_tight(exact: tuple[VAE, Tensor]) -> None:
    """log w = log p(x) for every draw; -distortion - rate is log p(x) in the mean."""
    vae, x = exact
    trace, truth = vae(x, shape=(50, 100)), marginal(vae).log_prob(x)
    assert trace.log_weight.shape == trace.distortion.shape == trace.rate.shape == (50, 100, 5)
    torch.testing.assert_close(trace.log_weight, truth.expand(50, 100, 5))
    assert_mean(-(trace.distortion + trace.rate).flatten(0, 1), truth)


def test_weights_are_unbiased(wrong: tuple[VAE, Tensor]) -> None:
    """E_q[p(x, z) / q(z | x)] = p(x), whatever the posterior."""
    vae, x = wrong
    ratio = torch.exp(vae(x, shape=(100_000,)).log_weight - marginal(vae).log_prob(x))
    assert (ratio.std(0) / len(ratio) ** 0.5).max() < 0.02
    assert_mean(ratio, 1.0)


def test_bounds_rise_to_the_likelihood(wrong: tuple[VAE, Tensor]) -> None:
    """ELBO = IWAE_1 < IWAE_4 < IWAE_32 < log p(x), each on draws of its own."""
    vae, x = wrong
    truth, trace = marginal(vae).log_prob(x), vae(x, shape=(4000,))
    bounds = [-(trace.distortion + trace.rate)]
    bounds += [iwae(vae(x, shape=(4000 * k,)).log_weight, k) for k in (1, 4, 32)]
    means, errors = [b.mean(0) for b in bounds], [b.std(0) / 4000**0.5 for b in bounds]
    z_scores = [(means[i] - means[i - 1]) / (errors[i] ** 2 + errors[i - 1] ** 2).sqrt() for i in range(1, len(bounds))]
    assert (z_scores[0].abs() < 4).all(), "the ELBO is IWAE_1"
    assert all((z > 4).all() for z in z_scores[1:]), "more samples, a tighter bound"
    assert (means[-1] <= truth + 4 * errors[-1]).all() and (truth - means[-1] < 0.05).all()
    assert (truth - means[1] > 0.2).all(), "the posterior is not wrong enough for the law to fail"


def test_gap_is_the_divergence_of_the_posteriors(exact: tuple[VAE, Tensor], wrong: tuple[VAE, Tensor]) -> None:
    """log p(x) - ELBO = KL(q(z | x) || p(z | x))."""
    vae, x = wrong
    q, p = vae.latent.posterior(x), exact[0].latent.posterior(x)  # type: ignore[operator]
    gap = torch.distributions.kl_divergence(*(torch.distributions.Normal(d.mean, d.stddev) for d in (q, p))).sum(-1)
    trace = vae(x, shape=(50_000,))
    assert_mean(marginal(vae).log_prob(x) + trace.distortion + trace.rate, gap)


def test_generate_draws_from_the_marginal(exact: tuple[VAE, Tensor]) -> None:
    vae, _ = exact
    x, p = vae.generate(100_000).sample(), marginal(vae)
    assert_mean(centred := x - p.mean, 0.0)
    assert_mean((centred.unsqueeze(2) * centred.unsqueeze(1)).flatten(1), p.covariance_matrix.flatten())
    cold = vae.latent.sample_prior(100_000, temperature=0.5)  # type: ignore[operator]
    assert_mean(cold**2, 0.25)


over_vaes = over(VAES.values())
over_contexts = pytest.mark.parametrize("contexts", [0, CONTEXT])


def _vae(row: VaeRow, contexts: int) -> tuple[VAE, Tensor, Tensor | None]:
    vae = perturb_parameters(row.build(contexts)).eval()
    return vae, data(vae.likelihood.support, 4, SHAPE), context(4) if contexts else None


@over_vaes
@over_contexts
def test_distortion_and_rate_are_minus_the_log_weight(row: VaeRow, contexts: int) -> None:
    """In expectation; and the rate's closed form, if it has one, is its Monte Carlo estimate."""
    vae, x, c = _vae(row, contexts)
    with torch.no_grad():
        trace = vae(x, c, (5_000,))
    assert_mean(trace.distortion + trace.rate + trace.log_weight, 0.0)
    monte_carlo = torch.stack([level.log_q - level.log_p for level in trace.levels]).sum(0)
    assert monte_carlo.shape == trace.rate.shape == (5_000, 4)
    assert_mean(monte_carlo - trace.rate, 0.0)
    assert row.penalty != torch.equal(trace.penalty, torch.zeros(5_000, 4))


@over_vaes
@over_contexts
def test_every_parameter_learns_from_the_bound(row: VaeRow, contexts: int) -> None:
    """Each parameter of a VAE has a gradient; a copy and a reloaded state give the same trace."""
    vae, x, c = _vae(row, contexts)
    twin = copy.deepcopy(vae)
    elbo()(vae.train(), x, c).losses["vae"].backward()
    for parameter_name, parameter in vae.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, parameter_name
    other = perturb_parameters(row.build(contexts)).eval()
    other.load_state_dict(twin.state_dict())
    traces = []
    for model in (twin, other):
        torch.manual_seed(7)
        traces.append(model(x, c, (3,)).log_weight)
    assert torch.equal(*traces)


@over_vaes
@over_contexts
def test_embed_and_generate(row: VaeRow, contexts: int) -> None:
    """`embed` is the posterior's mean, without noise; `generate` gives data that the likelihood admits."""
    vae, x, c = _vae(row, contexts)
    embedded = vae.latent.embed(x, c)  # type: ignore[operator]
    assert torch.equal(embedded, vae.latent.embed(x, c))  # type: ignore[operator]
    with torch.no_grad():
        h, (level, *_) = vae.latent.infer(x, c, (2_000,))  # type: ignore[operator]
        if isinstance(level.q, CENTERED):  # of these the expectation has no closed form
            torch.testing.assert_close(embedded, level.q.mean)
        elif isinstance(level.q, CURVED):
            assert_mean(chart(level.q, level.z), 0.0)
            assert torch.equal(embedded, level.q.mean)
        elif isinstance(vae.latent, TopDown):  # of all levels; only the top one's is a mean over draws
            assert_mean(level.z.flatten(2), embedded[:, : level.z[0, 0].numel()])
        else:
            assert_mean(h, embedded)
        generated = vae.generate(4, c)
        draws = generated.mean if isinstance(generated, UnnormalizedEnergy) else generated.sample()
    assert draws.shape == x.shape and vae.likelihood.support.check(draws).all()


@pytest.mark.parametrize("discrete_q", [True, False])
def test_log_weight_refuses_mixed_measures(discrete_q: bool) -> None:
    """A density over a mass is no weight, silently wrong; both discrete or both continuous are."""
    z, coin = torch.ones(3, 2), Bernoulli(torch.zeros(3, 2))
    q, p = (coin, NORMAL) if discrete_q else (NORMAL, coin)
    with pytest.raises(ValueError, match=r"Bernoulli.*discrete"):
        _ = Trace(z, NORMAL, (LatentLevel(z, q, p),)).log_weight
    same = Trace(z, NORMAL, (LatentLevel(z, coin, coin), LatentLevel(z, NORMAL, StandardNormal(2, z)))).log_weight
    torch.testing.assert_close(same, NORMAL.log_prob(z))


def test_levels_add_up() -> None:
    """A trace sums its levels: a given log q is used, penalties are kept apart from divergences."""
    z, x = torch.randn(4, 3, 2), torch.zeros(3, 2)
    first = LatentLevel(z, NORMAL, StandardNormal(2, z), log_q=torch.full((4, 3), 0.5))
    laplace = Laplace(torch.zeros(3, 2), torch.ones(()))  # no row of the table is from a Normal to it
    second = LatentLevel(z, NORMAL, laplace, penalty=torch.full((4, 3), 2.0))
    trace = Trace(x, NORMAL, (first, second))
    torch.testing.assert_close(second.kl, second.q.log_prob(z) - second.p.log_prob(z))
    torch.testing.assert_close(trace.rate, second.kl)  # the first is standard, and so has none
    torch.testing.assert_close(trace.penalty, torch.full((4, 3), 2.0))
    torch.testing.assert_close(trace.log_weight, first.p.log_prob(z) - 0.5 - second.kl + NORMAL.log_prob(x))


@over(OBJECTIVES.values())
def test_loss_is_the_weighted_sum_of_its_parts(row: ObjectiveRow) -> None:
    """Parts are unweighted means over the batch, always distortion and rate; every player has a loss."""
    objective, vae = row.build().double(), single_level_vae().double()
    x = data(vae.likelihood.support, 8, (1, 4, 4))
    objective.setup(vae, x, len(x))
    torch.manual_seed(8)
    losses = objective(vae, x)
    torch.manual_seed(8)
    trace = vae(x, shape=objective.sample_shape)
    torch.testing.assert_close(losses.terms["distortion"], trace.distortion.mean())
    torch.testing.assert_close(losses.terms["rate"], trace.rate.mean())
    assert losses.losses.keys() == objective.param_groups(vae).keys()
    moved = [id(p) for parameters in objective.param_groups(vae).values() for p in parameters]
    assert len(moved) == len({*moved}) and {*moved} >= {id(p) for p in vae.parameters()}
    assert not any(part.requires_grad for part in losses.terms.values())
    if isinstance(objective, WeightedTerms):
        summed = sum(objective.weight(term) * term(trace).mean() for term in objective.terms)
        torch.testing.assert_close(losses.losses["vae"], summed)


def test_sticking_the_landing(exact: tuple[VAE, Tensor], wrong: tuple[VAE, Tensor]) -> None:
    """The bound's value and its gradient in the mean; at the exact posterior, no draw has any gradient."""
    for (vae, x), tight in ((exact, True), (wrong, False)):
        bias = vae.latent.posterior.net.layers[0].bias.requires_grad_()  # type: ignore[index, union-attr]
        path, plain = (
            torch.stack([torch.autograd.grad(f(vae, x).losses["vae"], bias)[0] for _ in range(1000)])
            for f in (elbo(stl=True), elbo())
        )
        assert_mean(path - plain, 0.0)
        assert plain.std(0).min() > 0.01 and (not tight or path.abs().max() < 1e-10)
        trace = vae(x, shape=(3,))
        torch.testing.assert_close(stl_kl(trace), trace.rate)


def test_elbo_weighs_the_rate_by_beta() -> None:
    """beta = 4 is distortion + 4 rate; a scheduled beta follows the clock, which stands at the end by default."""
    vae, x = single_level_vae().double(), data(torch.distributions.constraints.boolean, 8, (1, 4, 4))

    def loss(objective: WeightedTerms) -> tuple[float, float, float]:
        torch.manual_seed(9)
        losses = objective(vae, x)
        return losses.losses["vae"].item(), losses.terms["distortion"].item(), losses.terms["rate"].item()

    scheduled = elbo(beta=Linear(0.0, 2.0, 0.0, 0.5))
    rows = [
        (elbo(), 1, 1),
        (elbo(beta=4.0), 1, 4),
        (WeightedTerms({distortion: 3.0, rate: 0.5}), 3, 0.5),
        (scheduled, 1, 2),
    ]
    for objective, alpha, beta in rows:
        total, d, r = loss(objective)
        assert total == pytest.approx(alpha * d + beta * r, rel=1e-12) and r > 0
    set_training_progress(nn.ModuleList([scheduled]), 0.25)
    total, d, r = loss(scheduled)
    assert total == pytest.approx(d + r, rel=1e-12)


@over(SCHEDULES.values())
def test_schedule(row: ScheduleRow) -> None:
    """Finite and without a jump on [0, 1], through its known points, and standing still after the end."""
    schedule = row.build()
    values = [schedule(i / 10_000) for i in range(10_001)]
    assert all(math.isfinite(v) and v >= 0 for v in values)
    assert max(abs(a - b) for a, b in itertools.pairwise(values)) < 2e-3 * max(values)
    assert schedule(1.5) == schedule(1.0)
    for fraction, value in row.corners.items():
        assert schedule(fraction) == pytest.approx(value, abs=1e-12)


def test_a_trained_linear_vae_is_probabilistic_pca() -> None:
    """Adam on the ELBO reaches the maximum likelihood of Tipping and Bishop, in the bound and in log p(x)."""
    loading = torch.linalg.qr(torch.randn(8, 2))[0] * torch.tensor([3.0, 1.5])
    x = torch.randn(1000, 2) @ loading.T + 0.5 * torch.randn(1000, 8) + torch.randn(8)
    values = torch.linalg.eigvalsh(torch.cov(x.T.double(), correction=0)).flip(0)
    noise = values[2:].mean()
    optimum = -0.5 * (8 * math.log(2 * math.pi) + values[:2].log().sum() + 6 * noise.log() + 8).item()

    vae, objective, steps = linear_vae(8, 2, "learned"), elbo(), 1500
    vae.likelihood.init_output_bias(x.mean(0))
    adam = torch.optim.Adam(vae.parameters(), lr=0.03)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    for _ in range(steps):
        adam.zero_grad()
        objective(vae, x).losses["vae"].backward()
        adam.step()
        decay.step()

    with torch.no_grad():
        likelihood = marginal(vae.double()).log_prob(x.double()).mean().item()
        trace = vae(x.double(), shape=(200,))
        bound = -(trace.distortion + trace.rate).mean().item()
    assert optimum - 0.05 < likelihood <= optimum + 1e-6
    assert optimum - 0.05 < bound < likelihood + 0.01
    assert vae.likelihood.log_scale.exp().item() == pytest.approx(math.sqrt(noise), rel=0.02)  # type: ignore[operator, union-attr]
