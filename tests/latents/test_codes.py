"""Discrete latents: relaxations, quantizers, codes, and the priors over them.

The laws are functions of the part under test, so that `test_mutants_codes` can hand them a broken one.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import torch
from sklearn.cluster import KMeans
from torch import Tensor, nn
from torch.distributions import Distribution

from fixtures.clocks import set_training_progress
from nelbo import distributions, latents, likelihoods, nets, posteriors, priors, schedules
from nelbo.config.registry import Component
from nelbo.distributions import (
    AutoregressiveCodes,
    Bernoulli,
    OneHot,
    PointMassCodes,
    RelaxedBernoulli,
    RelaxedOneHot,
    UniformCodes,
    kl_divergence,
    noise,
    sample_and_log_prob,
    temper,
)
from nelbo.distributions.base import ConditionalDistribution
from nelbo.errors import UserError
from nelbo.latents import FSQ, LFQ, Latent, Quantizer, ResidualVectorQuantizer, VectorQuantizer
from nelbo.model.post_hoc import fit_code_prior
from nelbo.objectives import elbo
from zoo import CONTEXT, DISCRETE, LatentRow, assert_mean, context, data, over, perturb_parameters
from zoo.latents import vae_with_latent

K, DIM = 6, 3


class CodebookUsage(NamedTuple):
    """The number of codes in use, and their perplexity: the number of equally frequent codes of the same entropy."""

    n_used: int
    perplexity: float


def usage(indices: Tensor, codebook_size: int) -> CodebookUsage:
    """Usage of codes, integers of any shape: perplexity = exp(-sum_k f_k log f_k), f the frequencies."""
    counts = indices.flatten().bincount(minlength=codebook_size).double()
    return CodebookUsage(int((counts > 0).sum()), torch.special.entr(counts / counts.sum()).sum().exp().item())


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


# ---------------------------------------------------------------- relaxations


def law_density_integrates(make: Callable[[Tensor, float], Distribution]) -> None:
    """Over the simplex of three corners, where the density is bounded; `make(logits, temperature)`."""
    nodes, weights = (torch.tensor(a) for a in np.polynomial.legendre.leggauss(300))
    nodes, weights = (nodes + 1) / 2, weights / 2
    x, y = nodes.unsqueeze(1), nodes * (1 - nodes.unsqueeze(1))
    corner = torch.stack([x.expand_as(y), y, 1 - x - y], -1)
    area = weights.unsqueeze(1) * (1 - x) * weights
    for logits, t in (([0.0, 0.0, 0.0], 1.0), ([0.4, -0.8, 0.1], 1.5), ([1.0, 0.0, -1.0], 1.2)):
        mass = (make(torch.tensor(logits).double(), t).log_prob(corner).exp() * area).sum().item()
        assert mass == pytest.approx(1, abs=1e-4), (logits, t)


def test_concrete_integrates_to_one_on_the_simplex() -> None:
    law_density_integrates(lambda logits, t: RelaxedOneHot(logits, 3, t))


@pytest.mark.parametrize("logit", [0.0, 2.0, -4.0])
@pytest.mark.parametrize("temperature", [0.3, 2 / 3, 1.0, 3.0])
def test_binary_concrete_integrates_to_one(logit: float, temperature: float) -> None:
    """Over x = logit(y), where the density has no singular ends: dy = y (1 - y) dx."""
    d = RelaxedBernoulli(torch.tensor([logit]).double(), temperature)

    def density(x: float) -> float:
        y = torch.tensor([x]).double()
        slope = torch.nn.functional.logsigmoid(y) + torch.nn.functional.logsigmoid(-y)
        return (d.sum_event(d.element_log_prob_logits(y)) + slope).exp()

    width = 60 / temperature
    assert scipy.integrate.quad(density, -width, width, points=[logit / temperature])[0] == pytest.approx(1, abs=1e-7)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_relaxations_agree_with_torch(temperature: float) -> None:
    logits = torch.randn(7, 3).double()
    bits = RelaxedBernoulli(logits, temperature)
    theirs = torch.distributions.RelaxedBernoulli(torch.tensor(temperature).double(), logits=logits)
    y, log_prob = sample_and_log_prob(bits, (5,))
    torch.testing.assert_close(log_prob, bits.log_prob(y))
    inner = ((y > 1e-9) & (y < 1 - 1e-9)).all(-1)
    torch.testing.assert_close(log_prob[inner], theirs.log_prob(y).sum(-1)[inner], rtol=1e-6, atol=1e-6)
    one = RelaxedOneHot(logits, 3, temperature)
    oracle = torch.distributions.RelaxedOneHotCategorical(torch.tensor(temperature).double(), logits=logits)
    y, log_prob = sample_and_log_prob(one, (5,))
    torch.testing.assert_close(log_prob, one.log_prob(y))
    torch.testing.assert_close(log_prob, oracle.log_prob(y))


@pytest.mark.parametrize("temperature", [0.1, 1.0, 10.0])
def test_rounding_a_relaxed_draw_is_the_discrete_draw(temperature: float) -> None:
    """P(argmax y = k) = softmax(l)_k at every temperature."""
    logits = torch.tensor([[1.5, 0.0, -1.0, 0.3, 0.3, -2.0]]).double()
    y = RelaxedOneHot(logits, 3, temperature).sample((40_000,)).unflatten(-1, (2, 3))
    hard = torch.nn.functional.one_hot(y.argmax(-1), 3).double()
    assert_mean(hard, logits.unflatten(-1, (2, 3)).softmax(-1))
    bits = RelaxedBernoulli(logits, temperature).sample((40_000,))
    assert_mean((bits > 0.5).double(), logits.sigmoid())


@pytest.mark.parametrize("temperature", [0.02, 0.3, 5.0])
def test_relaxed_densities_are_finite_where_the_draw_rounds_to_a_corner(temperature: float) -> None:
    logits = (30 * torch.randn(500, 6)).requires_grad_()
    for d in (RelaxedBernoulli(logits, temperature), RelaxedOneHot(logits, 3, temperature)):
        z, log_q = sample_and_log_prob(d)
        assert d.support.check(z).all()
        gradient = torch.autograd.grad(log_q.sum() + z.sum() + d.log_prob(z.detach()).sum(), logits)[0]
        assert log_q.isfinite().all() and gradient.isfinite().all()


def test_rates_of_uniform_priors_are_log_k_less_the_entropy() -> None:
    logits = torch.randn(5, 8).double()
    bits = kl_divergence(Bernoulli(logits), Bernoulli(torch.zeros(8).double()))
    torch.testing.assert_close(bits, 8 * math.log(2) - torch.distributions.Bernoulli(logits=logits).entropy().sum(-1))
    entropy = torch.distributions.Categorical(logits=logits.unflatten(-1, (2, 4))).entropy().sum(-1)
    one = kl_divergence(OneHot(logits, 4), OneHot(torch.zeros(8).double(), 4))
    torch.testing.assert_close(one, 2 * math.log(4) - entropy)
    torch.testing.assert_close(
        kl_divergence(RelaxedBernoulli(logits, 0.5), Bernoulli(torch.ones(8).double())),
        kl_divergence(Bernoulli(logits), Bernoulli(torch.ones(8).double())),
    )
    p = OneHot(torch.randn(8).double(), 4)
    torch.testing.assert_close(
        kl_divergence(RelaxedOneHot(logits, 4, 0.5), p), kl_divergence(OneHot(logits, 4), p), rtol=0, atol=0
    )
    sure = torch.full((1, 4), -1e4)
    sure[0, 1] = 1e4
    torch.testing.assert_close(kl_divergence(OneHot(sure, 4), OneHot(torch.zeros(4), 4)), torch.tensor([math.log(4)]))


def law_relaxed_is_not_weighed(make: Callable[[], ConditionalDistribution]) -> None:
    """In training mode no importance weight exists; in eval() mode the weight and the rate are exact."""
    prior = priors.ParameterFreePrior(4, Bernoulli).double()
    latent = latents.SingleLevelLatent(prior, perturb_parameters(make()))
    x = data(torch.distributions.constraints.real, 5, (7,))
    likelihood = likelihoods.Bernoulli(nets.MLPDecoder(4, (7,), []), 1)
    from nelbo.vae import VAE

    model = VAE(latent, likelihood).double()
    trace = model.train()((x > 0).double())
    with pytest.raises(ValueError, match="eval"):
        _ = trace.log_weight
    exact = model.eval()((x > 0).double())
    assert ((exact.levels[0].z == 0) | (exact.levels[0].z == 1)).all()
    torch.testing.assert_close(trace.rate, exact.rate)
    assert exact.log_weight.isfinite().all()


def test_relaxed_is_not_weighed() -> None:
    law_relaxed_is_not_weighed(lambda: posteriors.RelaxedBernoulli(nets.MLPEncoder((7,), 4, []), 1))


@pytest.mark.parametrize("name", ["binary", "categorical"])
def test_discrete_evidence_is_the_sum_over_all_latents(name: str) -> None:
    """log p(x) = log sum_z p(x | z) p(z) by enumeration; E_q[w] is it, and minus the ELBO is above."""
    latent: Component[Latent] = {
        "binary": Component("latent", "binary", dim=3),
        "categorical": Component("latent", "categorical", variables=2, classes=3),
    }[name]
    model = perturb_parameters(vae_with_latent(latent)).eval().requires_grad_(False)
    x = data(torch.distributions.constraints.boolean, 4, (1, 4, 4))
    if name == "binary":
        z = torch.tensor(list(itertools.product([0.0, 1.0], repeat=3))).double()
    else:
        index = torch.tensor(list(itertools.product(range(3), repeat=2)))
        z = torch.nn.functional.one_hot(index, 3).double().flatten(1)
    scores = model.decode(z.unsqueeze(1).expand(-1, 4, -1)).log_prob(x)
    truth = scores.logsumexp(0) - math.log(len(z))
    trace = model(x, shape=(40_000,))
    assert_mean(torch.exp(trace.log_weight - truth), 1.0)
    assert ((trace.distortion + trace.rate).mean(0) > -truth).all()


def test_temperature_follows_the_clock() -> None:
    posterior = posteriors.RelaxedOneHot(nets.MLPEncoder((7,), 6, []), 1, 3, schedules.Linear(1.0, 0.4))
    x = torch.randn(2, 7)
    for fraction, temperature in ((0.0, 1.0), (0.5, 0.7), (1.0, 0.4)):
        set_training_progress(posterior, fraction)
        q = posterior(x)
        assert isinstance(q, RelaxedOneHot) and q.temperature == pytest.approx(temperature)
    assert isinstance(posterior.eval()(x), OneHot)
    fixed = posteriors.RelaxedBernoulli(nets.MLPEncoder((7,), 6, []), 1, 0.3)(x)
    assert isinstance(fixed, RelaxedBernoulli) and fixed.temperature == 0.3


# ---------------------------------------------------------------- quantizers

QUANTIZERS: dict[str, Callable[[], Quantizer]] = {
    "vq": lambda: VectorQuantizer(K, DIM),
    "vq, gradient": lambda: VectorQuantizer(K, DIM, None),
    "residual vq": lambda: ResidualVectorQuantizer([VectorQuantizer(K, DIM) for _ in range(3)]),
    "residual vq, gradient": lambda: ResidualVectorQuantizer(
        [VectorQuantizer(K, DIM, None), VectorQuantizer(K, DIM, None)]
    ),
    "fsq": lambda: FSQ((5, 4, 7)),
    "lfq": lambda: LFQ(3),
}
over_quantizers = pytest.mark.parametrize("name", QUANTIZERS)


def law_straight_through(quantizer: Quantizer, inner: Callable[[Tensor], Tensor] = lambda e: e) -> None:
    """dvalue/de is the identity (of what is rounded: FSQ bounds e first); values are codes, and codes round-trip."""
    e = torch.randn(40, quantizer.dim).double().requires_grad_()
    choice = quantizer.double()(e)
    weight = torch.randn_like(e)
    (gradient,) = torch.autograd.grad((choice.values * weight).sum(), e, retain_graph=True)
    (expected,) = torch.autograd.grad((inner(e) * weight).sum(), e)
    torch.testing.assert_close(gradient, expected)
    assert choice.indices.shape == (40, quantizer.depth) and choice.penalty.shape == (40,)
    assert choice.indices.min() >= 0 and choice.indices.max() < quantizer.codebook_size
    torch.testing.assert_close(quantizer.eval()(e).values, quantizer.lookup(quantizer(e).indices).double())


@over_quantizers
def test_gradient_is_straight_through(name: str) -> None:
    quantizer = QUANTIZERS[name]()
    if isinstance(quantizer, FSQ):
        law_straight_through(quantizer, lambda e: quantizer.bound(e) / (quantizer.levels // 2))
    else:
        law_straight_through(quantizer)


@over_quantizers
def test_scoring_learns_nothing_and_a_copy_goes_on_alike(name: str) -> None:
    """eval() changes no state; a run that is saved, loaded and gone on with is, bit for bit, one that never stopped."""
    quantizer, batches = QUANTIZERS[name](), torch.randn(6, 30, DIM)
    for e in batches[:3]:
        quantizer(e)
    before = copy.deepcopy(quantizer.state_dict())
    quantizer.eval()(batches[0])
    assert all(torch.equal(before[n], v) for n, v in quantizer.state_dict().items())
    other = QUANTIZERS[name]()
    other.load_state_dict(before)
    ends = []
    for each in (quantizer, other):
        torch.manual_seed(5)
        ends.append(torch.cat([each.train()(e).values for e in batches[3:]]))
    assert torch.equal(*ends)


def law_nearest(quantizer: VectorQuantizer) -> None:
    """The code is the nearest by a loop over all, for codes far from the origin, too."""
    for scale, shift in ((1.0, 0.0), (0.1, 5.0)):
        with torch.no_grad():
            quantizer.table.copy_(scale * torch.randn(K, DIM) + shift)
        e = scale * torch.randn(200, DIM) + shift
        brute = [min(range(K), key=lambda k: (row - quantizer.table[k]).double().square().sum().item()) for row in e]
        assert quantizer.eval()(e).indices.flatten().tolist() == brute


def test_the_nearest_code_is_chosen() -> None:
    law_nearest(VectorQuantizer(K, DIM))


def law_moving_average(quantizer: VectorQuantizer, decay: float) -> None:
    """Counts, sums and codes are the recursion written out in NumPy."""
    start = torch.randn(50, DIM).double()
    quantizer.double().train()(start)
    counts, sums = quantizer.counts.numpy().copy(), quantizer.sums.numpy().copy()
    for _ in range(4):
        table, e = quantizer.table.numpy().copy(), torch.randn(50, DIM).double()
        quantizer(e)
        near = ((e.numpy()[:, None] - table[None]) ** 2).sum(-1).argmin(1)
        for k in range(K):
            counts[k] = decay * counts[k] + (1 - decay) * (near == k).sum()
            sums[k] = decay * sums[k] + (1 - decay) * e.numpy()[near == k].sum(0)
        np.testing.assert_allclose(quantizer.counts.numpy(), counts)
        np.testing.assert_allclose(quantizer.sums.numpy(), sums)
        smooth = (counts + 1e-5) / (counts.sum() + K * 1e-5) * counts.sum()
        np.testing.assert_allclose(quantizer.table.numpy(), sums / smooth[:, None])


@pytest.mark.parametrize("decay", [0.5, 0.9])
def test_a_codebook_is_the_moving_average(decay: float) -> None:
    law_moving_average(VectorQuantizer(K, DIM, decay, restart_threshold=0.0), decay)


@pytest.mark.parametrize("decay", [0.8, None])
def test_a_codebook_comes_to_the_means_of_what_it_is_given(decay: float | None) -> None:
    """Blobs whose centres move by much less than their distance are followed, by average and by gradient."""
    centres = 10 * torch.eye(K, DIM) + 10 * torch.arange(K).unsqueeze(1)
    quantizer = VectorQuantizer(K, DIM, decay)
    optimizer = torch.optim.SGD(quantizer.parameters(), 0.2) if decay is None else None
    for step in range(60):
        e = (centres + min(step, 20) / 10).repeat(20, 1) + 0.1 * torch.randn(20 * K, DIM)
        penalty = quantizer(e).penalty.mean()
        if optimizer:
            optimizer.zero_grad()
            penalty.backward()
            optimizer.step()
    gaps = torch.cdist(centres + 2, quantizer.table.detach()).min(1).values
    assert gaps.max() < 0.3 and usage(quantizer(e).indices, K).perplexity == pytest.approx(K, rel=1e-3)


def test_penalties() -> None:
    """commitment ||e - c||^2 to the encoder alone; with a trained codebook also ||e - c||^2 to the codes alone."""
    e = torch.randn(20, DIM).double().requires_grad_()
    for decay, codebook in ((0.9, 0.0), (None, 1.0)):
        quantizer = VectorQuantizer(K, DIM, decay, 0.3).double().eval()
        choice = quantizer(e)
        gap = e - quantizer.table[choice.indices[:, 0]].detach()
        torch.testing.assert_close(choice.penalty, (0.3 + codebook) * gap.square().sum(-1))
        torch.testing.assert_close(torch.autograd.grad(choice.penalty.sum(), e, retain_graph=True)[0], 0.6 * gap)
        if decay is None:
            (slope,) = torch.autograd.grad(choice.penalty.sum(), quantizer.table)
            index = choice.indices[:, 0]
            torch.testing.assert_close(slope, torch.zeros_like(slope).index_add(0, index, -2 * gap.detach()))
    residual = (
        ResidualVectorQuantizer([VectorQuantizer(K, DIM, 0.9, 0.5), VectorQuantizer(K, DIM, 0.9, 0.5)]).double().eval()
    )
    first = residual.stages[0](e)
    rest = e - first.values.detach()
    second = residual.stages[1](rest)
    choice = residual(e)
    torch.testing.assert_close(choice.penalty, first.penalty + second.penalty)
    torch.testing.assert_close(choice.values, (first.values + second.values).detach())
    expected = (rest + rest - second.values).detach()
    torch.testing.assert_close(torch.autograd.grad(choice.penalty.sum(), e)[0], expected)


def test_each_residual_stage_lowers_the_error() -> None:
    e, errors = torch.randn(500, DIM), []
    for depth in (1, 2, 4):
        torch.manual_seed(1)
        quantizer = ResidualVectorQuantizer([VectorQuantizer(16, DIM) for _ in range(depth)])
        quantizer(e)
        errors.append((quantizer.eval()(e).values - e).square().mean().item())
    assert errors[1] < 0.5 * errors[0] and errors[2] < 0.5 * errors[1]


def test_the_first_batch_starts_a_codebook_by_k_means() -> None:
    """As good as scikit-learn's on a cloud; exact on separated blobs."""
    cloud = torch.randn(600, 2)
    oracle = KMeans(8, n_init=10, random_state=0).fit(cloud.numpy()).inertia_
    quantizer = VectorQuantizer(8, 2, None)
    quantizer(cloud)
    assert torch.cdist(cloud, quantizer.table.detach()).min(1).values.square().sum() < 1.2 * oracle
    blobs = 100 * torch.randn(K, DIM)
    quantizer = VectorQuantizer(K, DIM, None)
    quantizer(blobs.repeat(10, 1) + 0.01 * torch.randn(10 * K, DIM))
    assert torch.cdist(blobs, quantizer.table.detach()).min(1).values.max() < 0.1
    assert quantizer.started == 1 and VectorQuantizer(K, DIM).started == 0
    few = VectorQuantizer(K, DIM)  # fewer vectors than codes
    few(torch.randn(2, DIM))
    assert few.table.isfinite().all()


@pytest.mark.parametrize("decay", [0.5, None])
def test_dead_codes_are_revived(decay: float | None) -> None:
    """All codes but one are far away: with revival they come back into use, without it they never do."""
    for revive in (0.03, 0.0):
        quantizer = VectorQuantizer(K, DIM, decay, restart_threshold=revive)
        quantizer(torch.randn(100, DIM))
        with torch.no_grad():
            quantizer.table[1:] += 1e3
            quantizer.counts[1:] = 0.01
            if decay is not None:
                quantizer.sums.copy_(quantizer.table * quantizer.counts.unsqueeze(1))
        e = torch.randn(100, DIM)
        quantizer(e)
        back = torch.cdist(quantizer.table.detach()[1:], e).min(1).values < 1e-4
        assert back.all() if revive else not back.any()
        assert (usage(quantizer(e).indices, K).n_used > 1) == bool(revive)


def test_usage_is_its_closed_form() -> None:
    assert usage(torch.arange(8).repeat(3), 8) == (8, pytest.approx(8))
    assert usage(torch.zeros(4, 2, dtype=torch.long), 8) == (1, pytest.approx(1))
    counts = [5, 0, 3, 2]
    entropy = -sum(c / 10 * math.log(c / 10) for c in counts if c)
    drawn = torch.repeat_interleave(torch.arange(4), torch.tensor(counts))
    assert usage(drawn, 4) == (3, pytest.approx(math.exp(entropy)))


def law_fsq(quantizer: FSQ) -> None:
    """Indices and codes are one to one, evenly spaced in [-1, 1]; e = 0 is the value 0; every code can be reached."""
    every = torch.arange(quantizer.codebook_size).unsqueeze(1)
    values = quantizer.lookup(every)
    assert len(values.unique(dim=0)) == quantizer.codebook_size and values.abs().max() <= 1
    zero = torch.zeros(1, quantizer.dim).double()
    torch.testing.assert_close(quantizer.bound(zero), zero)
    e = 3 * torch.randn(200 * quantizer.codebook_size, quantizer.dim).double()
    choice = quantizer(e)
    torch.testing.assert_close(quantizer.lookup(choice.indices).double(), choice.values)
    assert usage(choice.indices, quantizer.codebook_size).n_used == quantizer.codebook_size
    for i, levels in enumerate(quantizer.levels.tolist()):
        line = values[:, i].unique()
        assert len(line) == levels and 0 in line
        torch.testing.assert_close(line.diff(), torch.full((levels - 1,), 1 / (levels // 2)))


@pytest.mark.parametrize("levels", [(3,), (5, 4), (8, 6, 3)])
def test_fsq(levels: tuple[int, ...]) -> None:
    law_fsq(FSQ(levels))


def test_lfq_entropies_are_those_of_the_softmax_over_all_codes() -> None:
    quantizer = LFQ(3, 1.0, 0.0).double()
    e = 0.5 * torch.randn(7, 3).double()
    table = quantizer.lookup(torch.arange(8).unsqueeze(1)).double()
    assert len(table.unique(dim=0)) == 8
    soft = (-(torch.cdist(e, table) ** 2)).softmax(-1)
    sure = torch.special.entr(soft).sum(-1)
    bits = torch.stack([soft.mean(0)[table[:, i] > 0].sum() for i in range(3)])
    spread = (torch.special.entr(bits) + torch.special.entr(1 - bits)).sum()
    torch.testing.assert_close(quantizer(e).penalty, sure - spread)
    assert spread >= torch.special.entr(soft.mean(0)).sum() - 1e-12, "an upper bound on the joint entropy"


# ---------------------------------------------------------------- latents


def law_rate_is_log_k(latent: Component[Latent], positions: int, codes: int) -> None:
    """Under a uniform prior the rate is positions * log K whatever x, and the penalty is apart from it."""
    model = perturb_parameters(vae_with_latent(latent))
    x = data(torch.distributions.constraints.boolean, 6, (1, 4, 4))
    trace = model(x)
    torch.testing.assert_close(trace.rate, torch.full((6,), positions * math.log(codes)).double())
    torch.testing.assert_close(trace.log_weight, -trace.distortion - trace.rate)


@pytest.mark.parametrize(
    ("name", "positions", "codes"), [("vq", 3, 5), ("vq, residual", 4, 5), ("fsq", 2, 12), ("lfq", 2, 8)]
)
def test_rate_of_codes_is_log_k(name: str, positions: int, codes: int) -> None:
    law_rate_is_log_k(DISCRETE[name].component, positions, codes)


@over(row for row in DISCRETE.values() if row.kind in ("vq", "fsq", "lfq"))
def test_codes_decode_to_what_was_inferred(row: LatentRow) -> None:
    latent = perturb_parameters(row.build()).latent.eval()
    x = data(torch.distributions.constraints.boolean, 6, (1, 4, 4))
    h, (level,) = latent.infer(x, None, (2, 3))
    assert torch.equal(level.z, latent.code_indices(x).expand(2, 3, *latent.code_indices(x).shape))
    torch.testing.assert_close(latent.decode(level.z).double(), h)
    torch.testing.assert_close(latent.embed(x), h[0, 0])
    assert level.q.log_prob(level.z).eq(0).all() and (level.q.log_prob(level.z + 1) == -math.inf).all()


def test_latents_draw_from_their_own_prior() -> None:
    """A prior that knows one code only makes the model generate that one; the parts of a product keep their order."""
    latent = DISCRETE["vq, transformer prior"].build().latent
    with torch.no_grad():
        latent.prior.net.head[1].bias.copy_(torch.tensor([0.0, 0.0, 60.0, 0.0, 0.0]))
    assert torch.equal(latent.sample_prior(9), latent.decode(torch.full((9, 3), 2)))
    product = latents.ProductLatent(
        [latent, DISCRETE["binary"].build().latent, vae_with_latent(Component("latent", "flat", dim=2)).latent]
    )
    h = product.sample_prior(2_000)
    assert torch.equal(h[:, :6], latent.decode(torch.full((2_000, 3), 2))) and h.shape == (2_000, 13)
    assert_mean(h[:, 6:11].double(), 0.5)
    assert_mean(h[:, 11:].double() ** 2, 1.0)
    _, levels = product.infer(torch.rand(4, 1, 4, 4))
    assert len(levels) == 3


@over(DISCRETE.values())
def test_a_short_training_lowers_the_loss(row: LatentRow) -> None:
    """Ten pictures are told apart: distortion falls well below that of the mean picture."""
    model, x = row.build(), data(torch.distributions.constraints.boolean, 10, (1, 4, 4)).float()
    adam, objective, losses = torch.optim.Adam(model.parameters(), 1e-2), elbo(beta=0.1), []
    for _ in range(100):
        result = objective(model, x.repeat(4, 1, 1, 1))
        adam.zero_grad()
        result.losses["vae"].backward()
        adam.step()
        losses.append(result.terms["distortion"].item())
    assert np.mean(losses[-20:]) < 0.8 * np.mean(losses[:5])


# ---------------------------------------------------------------- priors over codes

CODES, POSITIONS = 3, 4
NETS: dict[str, Callable[[int], nn.Module]] = {
    "transformer": lambda contexts: nets.CausalTransformer(POSITIONS, CODES, 8, 2, 2, contexts),
    "pixelcnn": lambda contexts: nets.CausalConv((2, 2), CODES, 6, 2, contexts),
    "pixelcnn, one row": lambda contexts: nets.CausalConv((1, 4), CODES, 6, 1, contexts),
}
over_nets = pytest.mark.parametrize("name", NETS)
EVERY = torch.tensor(list(itertools.product(range(CODES), repeat=POSITIONS)))


def sequence_prior(name: str, contexts: int = 0) -> ConditionalDistribution:
    return perturb_parameters(priors.AutoregressivePrior(NETS[name](contexts), POSITIONS, CODES)).requires_grad_(False)


def law_causal(net: nn.Module) -> None:
    """Another code at j never changes the logits at i <= j, and does change some after it."""
    net = perturb_parameters(net).requires_grad_(False)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    before = net(EVERY)
    for j in range(POSITIONS):
        other = EVERY.clone()
        other[:, j] = (other[:, j] + 1) % CODES
        moved = (net(other) - before).abs().amax((0, 2))
        assert (moved[: j + 1] == 0).all(), f"position {j} is seen too early"
        assert (moved[j + 1 :] > 1e-6).any() == (j < POSITIONS - 1), f"position {j} is not seen"


@over_nets
def test_no_position_sees_the_future(name: str) -> None:
    law_causal(NETS[name](0))


def test_the_grid_is_read_by_rows_and_from_above() -> None:
    """In a 4 x 5 grid, the codes just above and to the left, and none after, are seen at (2, 2)."""
    net = perturb_parameters(nets.CausalConv((4, 5), CODES, 6, 2)).requires_grad_(False)
    codes = torch.randint(0, CODES, (8, 20))
    seen = []
    for j in range(20):
        other = codes.clone()
        other[:, j] = (other[:, j] + 1) % CODES
        if not torch.equal(net(other)[:, 12], net(codes)[:, 12]):
            seen.append(j)
    assert {6, 7, 8, 10, 11} <= set(seen) and max(seen) == 11


@over_nets
@pytest.mark.parametrize("contexts", [0, CONTEXT])
def test_sequence_masses_sum_to_one_and_are_drawn_as_often(name: str, contexts: int) -> None:
    prior = sequence_prior(name, contexts)
    c = context(2) if contexts else None
    for temperature in (1.0, 0.5):
        p = temper(prior(c), temperature)
        mass = p.log_prob(EVERY.unsqueeze(1)).exp() if contexts else p.log_prob(EVERY).exp().unsqueeze(1)
        torch.testing.assert_close(mass.sum(0), torch.ones(mass.shape[1]).double())
        draws = p.sample((3_000,)).reshape(3_000, -1, POSITIONS)
        assert p.support.check(draws).all() and (draws.shape[1] == 2) == bool(contexts)
        number = (draws * CODES ** torch.arange(POSITIONS - 1, -1, -1)).sum(-1)
        for drawn, expected in zip(number.T, mass.T, strict=True):
            counts, expected = drawn.bincount(minlength=len(EVERY)).numpy(), 3_000 * expected.numpy()
            often = expected >= 5  # the rest are taken together, so that Pearson's statistic is chi-squared
            pairs = ([*c[often], c[~often].sum() + 1e-9] for c in (counts, expected))
            assert scipy.stats.chisquare(*pairs, sum_check=False).pvalue > 1e-4
    if contexts:
        assert (mass[:, 0] - mass[:, 1]).abs().max() > 1e-3, "c is not used"


@over_nets
def test_shards_of_a_sequence_are_rows_of_the_whole(name: str) -> None:
    prior, c = sequence_prior(name, CONTEXT), context(5)
    whole = prior(c).sample((2,))
    torch.manual_seed(3)
    whole = prior(c).sample((2,))
    torch.manual_seed(3)
    with noise.shard(2, 5, 5):
        part = prior(c[2:]).sample((2,))
    assert torch.equal(part, whole[:, 2:])


def test_uniform_codes() -> None:
    p = priors.ParameterFreePrior(2, lambda zeros: UniformCodes(5, zeros))()
    every = torch.tensor(list(itertools.product(range(5), repeat=2)))
    assert p.log_prob(every).exp().sum().item() == pytest.approx(1)
    draws = p.sample((20_000,))
    assert_mean(torch.nn.functional.one_hot(draws, 5).double(), 0.2)
    assert p.support.check(draws).all() and temper(p, 0.3) is p
    d = PointMassCodes(torch.tensor([[1, 2]]), torch.zeros(()).double())
    assert d.sample((3,)).shape == (3, 1, 2) and d.log_prob(d.mean).dtype == torch.float64


@pytest.mark.parametrize("kind", ["transformer", "pixelcnn"])
def test_a_fitted_prior_finds_what_codes_have_in_common(kind: str) -> None:
    """Codes of which the second half repeats the first: held-out -log p is 2 log K rather than 4, and so are draws."""
    half = torch.randint(0, 4, (1200, 2))
    codes = torch.cat([half, half], 1)
    state = torch.get_rng_state()
    prior, found = fit_code_prior(codes[200:], 4, kind, epochs=8, learning_rate=5e-3)
    assert torch.equal(torch.get_rng_state(), state) and not prior.training
    loss = -prior().log_prob(codes[:200]).mean().item()
    assert 2 * math.log(4) - 0.1 < loss < 2 * math.log(4) + 0.25
    draws = prior().sample((300,))
    assert (draws[:, :2] == draws[:, 2:]).float().mean() > 0.9
    again = found.build(dim=4)
    again.load_state_dict(prior.state_dict())
    torch.testing.assert_close(again().log_prob(codes), prior().log_prob(codes))
    built = Component("latent", "vq", groups=4, codebook_size=4, dim=2, prior=found)
    vae_with_latent(built).latent.prior.load_state_dict(prior.state_dict())
    with pytest.raises(UserError, match=r"prior.codebook_size = 4: the codebook has 5 entries"):
        _ = Component("latent", "vq", codebook_size=5, prior=found).options


def test_fitting_refuses_what_it_cannot_fit() -> None:
    with pytest.raises(UserError, match=r"kind='transfomer': did you mean transformer"):
        fit_code_prior(torch.zeros(9, 2, dtype=torch.long), 4, "transfomer")
    with pytest.raises(UserError, match=r"\(9,\) codes"):
        fit_code_prior(torch.zeros(9, dtype=torch.long), 4)


# ---------------------------------------------------------------- settings and processes


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Component("latent", "binary", dim=0).options, "dim = 0: give "),
        (lambda: Component("latent", "binary", temperature=0.0).options, "temperature = 0.0: give "),
        (lambda: Component("latent", "binary", temperature=schedules.Linear(1.0, 0.0)).options, "stays above 0"),
        (lambda: Component("latent", "categorical", classes=1).options, "classes = 1: give 2"),
        (lambda: Component("latent", "product", parts={}).options, "parts = {}: give "),
        (lambda: Component("latent", "vq", groups=0).options, "groups = 0: give "),
        (lambda: Component("latent", "vq", decay=1.0).options, "decay = 1.0: give "),
        (lambda: Component("latent", "vq", restart_threshold=1.0).options, "restart_threshold = 1.0: give "),
        (lambda: Component("latent", "vq", prior=Component("prior", "standard-normal")).options, "give transformer"),
        (
            lambda: Component("latent", "flat", prior=Component("prior", "transformer", codebook_size=8)).build(
                net=nets.MLP(), shape=(4,)
            ),
            "sequences of 8 codes",
        ),
        (lambda: Component("latent", "fsq", levels=(8, 2)).options, r"levels\[1\] = 2: give 3 or more"),
        (lambda: Component("latent", "lfq", bits=0).options, "bits = 0: give "),
        (lambda: Component("latent", "lfq", entropy=-1.0).options, "entropy = -1.0: give "),
        (lambda: Component("prior", "transformer", width=10, heads=4).options, "width = 10: give "),
        (lambda: Component("prior", "pixelcnn", row=5).build(dim=12), "row=5"),
    ],
)
def test_a_wrong_setting_is_one_line(make: Callable[[], object], words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_the_squarest_grid_is_chosen() -> None:
    for positions, grid in ((1, (1, 1)), (4, (2, 2)), (12, (3, 4)), (49, (7, 7)), (7, (1, 7))):
        assert Component("prior", "pixelcnn", codebook_size=3).build(dim=positions).net.grid == grid  # type: ignore[union-attr]


def _process(rank: int, folder: str, batches: Tensor) -> None:
    """One of two processes: each learns from its half of every batch."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=2)
    torch.manual_seed(4)
    quantizer, lfq = VectorQuantizer(K, DIM, 0.9, restart_threshold=0.5), LFQ(DIM)
    for e in batches:
        quantizer(e.tensor_split(2)[rank])
    mine = batches[0].tensor_split(2)[rank].requires_grad_()
    (gradient,) = torch.autograd.grad(lfq(mine).penalty.mean(), mine)
    np.savez(f"{folder}/{rank}.npz", gradient=gradient.numpy(), **{k: v for k, v in quantizer.state_dict().items()})
    torch.distributed.destroy_process_group()


def test_two_processes_learn_the_codebook_of_one(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Start, average, revival and LFQ's entropy of the whole batch, each process having half of it."""
    folder, batches = (
        tmp_path_factory.mktemp("processes"),
        torch.randn(5, 31, DIM) * torch.linspace(0.2, 3, 5)[:, None, None],
    )
    batches = batches[:, :30]
    # Forked, since a spawned process would import everything anew.
    torch.multiprocessing.start_processes(_process, (str(folder), batches), nprocs=2, start_method="fork")
    torch.manual_seed(4)
    quantizer, lfq = VectorQuantizer(K, DIM, 0.9, restart_threshold=0.5), LFQ(DIM)
    for e in batches:
        quantizer(e)
    whole = batches[0].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(lfq(whole).penalty.mean(), whole)
    found = [np.load(folder / f"{rank}.npz") for rank in range(2)]
    for name, value in quantizer.state_dict().items():
        assert np.array_equal(found[0][name], found[1][name]), name
        np.testing.assert_allclose(found[0][name], value.numpy(), rtol=1e-5, atol=1e-6)
    # Gradients are averaged over processes, so each one's is of the whole batch's mean, times two.
    np.testing.assert_allclose(
        np.concatenate([f["gradient"] for f in found]) / 2, gradient.numpy(), rtol=1e-4, atol=1e-7
    )


def test_codes_of_a_sequence_have_the_shape_of_their_conditional() -> None:
    p = sequence_prior("transformer", CONTEXT)(context(5))
    assert isinstance(p, AutoregressiveCodes) and isinstance(p, distributions.Distribution)
    assert p.batch_shape == (5,) and p.event_shape == (POSITIONS,)
    assert p.log_prob(EVERY[0]).shape == (5,) and p.log_prob(EVERY[:1, None].expand(2, 5, -1)).shape == (2, 5)
