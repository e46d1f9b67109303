"""Closed forms of a linear hierarchy of two levels, and the mutants that they reject.

The linear-Gaussian model of two levels, z_2 ~ N(0, I), z_1 | z_2 ~ N(A z_2, s^2 I), x | z_1 ~ N(B z_1 + b, sigma^2 I),
with orthogonal columns in A and B'B = beta^2 I, has the diagonal posterior

    q(z_2 | x) = N(P^-1 A'B'(x - b) / (beta^2 s^2 + sigma^2), P^-1),   P = I + A'A beta^2 / (beta^2 s^2 + sigma^2),
    q(z_1 | z_2, x) = N(V (B'(x - b) / sigma^2 + A z_2 / s^2), V),     1 / V = beta^2 / sigma^2 + 1 / s^2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from nelbo import likelihoods, nets
from nelbo.distributions import KL_TABLE, DiagonalNormal
from nelbo.latents import TopDown, TopDownBlock
from nelbo.latents.hierarchy import DIRECT, LIMIT, PRECISION, RESIDUAL, PosteriorParametrization
from nelbo.vae import VAE
from zoo import assert_mean, top_down

D, Z, S, SIGMA, BETA = 5, 2, 0.6, 0.8, 1.3
SPREAD = torch.tensor([1.5, 0.7]).double()
MERGES = {"direct": DIRECT, "residual": RESIDUAL, "precision": PRECISION}
over_merges = pytest.mark.parametrize("merge", MERGES.values(), ids=MERGES)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


class Twice(nn.Module):
    """x itself as the features of both rungs."""

    def forward(self, x: Tensor) -> list[Tensor]:
        return [x, x]


def planted(weight: Tensor, bias: Tensor, log_scale: Tensor) -> nn.Linear:
    """mean = weight x + bias, and a constant log-scale, through the bound that nets have."""
    layer = nn.Linear(weight.shape[1], 2 * len(weight)).double().requires_grad_(False)
    layer.weight.copy_(torch.cat([weight, torch.zeros_like(weight)]))
    layer.bias.copy_(torch.cat([bias, LIMIT * torch.atanh(log_scale / LIMIT)]))
    return layer


def orthogonal(rows: int) -> Tensor:
    return torch.linalg.qr(torch.randn(rows, Z, generator=torch.Generator().manual_seed(1)).double())[0]


A, B, OFFSET = orthogonal(Z) * SPREAD, BETA * orthogonal(D), torch.linspace(-1, 1, D).double()
MARGINAL = MultivariateNormal(
    OFFSET, B @ (A @ A.T + S**2 * torch.eye(Z).double()) @ B.T + SIGMA**2 * torch.eye(D).double()
)


def posteriors(merge: PosteriorParametrization) -> tuple[nn.Linear, nn.Linear]:
    """The nets (of [state, x], or of x alone) with which the merge gives the exact posterior, top first."""
    share = 1 / (BETA**2 * S**2 + SIGMA**2)
    evidence = SPREAD**2 * BETA**2 * share  # the precision that x adds to the prior's at the top
    precision = evidence if not merge.reads_state else 1 + evidence
    top = share * (A.T @ B.T) / precision.unsqueeze(1)
    v = S**2 if merge is RESIDUAL else 1.0
    full = 1 / (BETA**2 / SIGMA**2 + 1 / S**2)
    below = B.T / BETA**2 if not merge.reads_state else full * B.T / SIGMA**2
    spread = SIGMA**2 / BETA**2 if not merge.reads_state else full / v
    nets_of_x = [(top, -0.5 * precision.log()), (below, torch.full((Z,), 0.5 * math.log(spread)).double())]
    given = [torch.zeros(Z, Z).double(), full / S**2 * A - (A if merge is RESIDUAL else 0)]
    first, second = (
        planted(torch.cat([g, w], 1) if merge.reads_state else w, -w @ OFFSET, log_scale)
        for g, (w, log_scale) in zip(given, nets_of_x, strict=True)
    )
    return first, second


def linear(merge: PosteriorParametrization = DIRECT, shift: float = 0.0) -> VAE:
    """The linear model with its own posterior; `shift` moves the posterior's nets away from it."""
    zero, one = torch.zeros(Z).double(), nn.Identity()
    top, below = posteriors(merge)
    for layer in (top, below):
        layer.bias += shift
    priors = planted(torch.zeros(Z, Z).double(), zero, zero), planted(A, zero, zero + math.log(S))
    rungs = [TopDownBlock((Z,), p, q, one, one, merge, markov=True) for p, q in zip(priors, (top, below), strict=True)]
    likelihood = likelihoods.Normal(nets.MLPDecoder(Z, (D,), []), 1, sigma=SIGMA).double().requires_grad_(False)
    likelihood.log_scale.fill_(math.log(SIGMA))
    decoder = likelihood.net.layers[0]  # type: ignore[index, union-attr]
    decoder.weight.copy_(B)
    decoder.bias.copy_(OFFSET)
    return VAE(TopDown(Twice(), rungs, (Z,)).double(), likelihood)


def assert_tight(vae: VAE, x: Tensor) -> None:
    """log w = log p(x) for every draw, the ELBO is it in the mean; each level's rate is its Monte Carlo estimate."""
    with torch.no_grad():
        trace, truth = vae(x, shape=(50, 200)), MARGINAL.log_prob(x)
    torch.testing.assert_close(trace.log_weight, truth.expand(50, 200, len(x)))
    assert_mean(-(trace.distortion + trace.rate).flatten(0, 1), truth)
    for level in trace.levels:
        assert level.kl.shape == (50, 200, len(x))
        assert_mean((level.log_q - level.log_p - level.kl).flatten(0, 1), 0.0)


@over_merges
def test_exact_posterior_makes_the_bound_tight(merge: PosteriorParametrization) -> None:
    assert_tight(linear(merge), MARGINAL.sample((6,)))


def test_a_lost_half_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ladder KL of PyTorch-VAE, which lacks the factor 1/2 of the quadratic terms, breaks the law above."""

    def lost(q: DiagonalNormal, p: DiagonalNormal) -> Tensor:
        ratio = torch.exp(2 * (q.log_scale - p.log_scale))
        return ((q.loc - p.loc) ** 2 * torch.exp(-2 * p.log_scale) + ratio - 1 - q.log_scale + p.log_scale).sum(-1)

    x = MARGINAL.sample((6,))
    monkeypatch.setitem(KL_TABLE, (DiagonalNormal, DiagonalNormal), lost)
    with pytest.raises(AssertionError, match="standard errors"):
        assert_tight(linear(), x)


@over_merges
def test_weights_are_unbiased_and_the_bound_is_one(merge: PosteriorParametrization) -> None:
    """With a wrong posterior E_q[w] = p(x) still, and the ELBO is below log p(x)."""
    x = MARGINAL.sample((3,))
    with torch.no_grad():
        trace, truth = linear(merge, 0.2)(x, shape=(100_000,)), MARGINAL.log_prob(x)
    assert_mean(torch.exp(trace.log_weight - truth), 1.0)
    gap = truth + trace.distortion + trace.rate
    assert (gap.mean(0) > 10 * gap.std(0) / len(gap) ** 0.5).all()


def test_embed_is_the_exact_posterior_mean() -> None:
    """E[z_1 | x] and E[z_2 | x] by conditioning the joint Normal; replayed, they give the mean h."""
    latent, x = top_down(linear()), MARGINAL.sample((6,))
    cov = torch.cat([A.T @ B.T, (A @ A.T + S**2 * torch.eye(Z).double()) @ B.T])  # of (z_2, z_1) with x
    expected = (x - OFFSET) @ torch.linalg.solve(MARGINAL.covariance_matrix, cov.T)
    code = latent.embed(x)
    torch.testing.assert_close(code, expected)
    torch.testing.assert_close(latent.decode_levels(latent.split(code)), expected[:, Z:])


def assert_generates(h: Tensor, temperatures: Sequence[float] = (1.0, 1.0)) -> None:
    """h = z_1 has the moments of N(0, t_2^2 A A' + t_1^2 s^2 I)."""
    cov = temperatures[0] ** 2 * A @ A.T + temperatures[1] ** 2 * S**2 * torch.eye(Z).double()
    assert_mean(h, 0.0)
    assert_mean((h.unsqueeze(2) * h.unsqueeze(1)).flatten(1), cov.flatten())


def test_generate_draws_from_the_marginal() -> None:
    latent = top_down(linear())
    assert_generates(latent.sample_prior(100_000))
    assert_generates(latent.sample_prior(100_000, temperature=0.5), (0.5, 0.5))
    assert_generates(latent.sample_prior(100_000, temperature=(0.3, 1.4)), (0.3, 1.4))
    with pytest.raises(AssertionError):  # the mutant that draws every level from N(0, I), as PyTorch-VAE does
        assert_generates(latent.run(lambda i, p, q: torch.randn_like(p.mean), 100_000)[0])


def test_edit_conditions_on_what_is_given() -> None:
    """Given z_2 and x, the level below is drawn from the exact q(z_1 | z_2, x); given z_2 alone, from p(z_1 | z_2)."""
    latent, x = top_down(linear(RESIDUAL)), MARGINAL.sample((3,))
    z = torch.randn(3, Z).double()
    full = 1 / (BETA**2 / SIGMA**2 + 1 / S**2)
    given_x = full * ((x - OFFSET) @ B / SIGMA**2 + z @ A.T / S**2)
    for source, mean, variance in ((x, given_x, full), (None, z @ A.T, S**2)):
        h, _ = latent.resample({0: z}, source, shape=(50_000,))
        assert_mean(h, mean)
        assert_mean((h - mean) ** 2, variance)


@over_merges
def test_merges(merge: PosteriorParametrization) -> None:
    """PRECISION is the normalised product of two densities, RESIDUAL has NVAE's divergence, DIRECT ignores p."""
    p = DiagonalNormal(torch.randn(7, 1).double(), torch.randn(7, 1).double())
    m, v = torch.randn(7, 1).double(), torch.randn(7, 1).double()
    q = merge.combine(p, m, v)
    if merge is PRECISION:
        x = torch.linspace(-60, 60, 400_001, dtype=torch.float64).view(-1, 1, 1)
        log_product = p.log_prob(x) + DiagonalNormal(m, v).log_prob(x)
        density = log_product.exp() / torch.trapezoid(log_product.exp(), x.flatten(), dim=0)
        torch.testing.assert_close(q.log_prob(x).exp(), density, rtol=1e-6, atol=1e-9)
    elif merge is RESIDUAL:
        kl = 0.5 * (m**2 / p.variance + torch.exp(2 * v) - 2 * v - 1).sum(-1)
        torch.testing.assert_close(KL_TABLE[DiagonalNormal, DiagonalNormal](q, p), kl)
    else:
        assert torch.equal(q.loc, m) and torch.equal(q.log_scale, v)
