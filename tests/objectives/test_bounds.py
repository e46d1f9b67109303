"""Bounds from importance weights, on a linear-Gaussian model whose log p(x) is known: their values and gradients.

Every row is a replica of one datum with parameters of its own, so that one backward pass gives as many independent
draws of the gradient as there are rows.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from nelbo import objectives
from nelbo.distributions import DiagonalNormal, StandardNormal
from nelbo.errors import UserError
from nelbo.latents import LatentLevel
from nelbo.objectives.bounds import Bound, ciwae, cubo, dreg, iwae, iwae_of_all, renyi, stl, wake
from nelbo.vae import Trace
from zoo import OBJECTIVES, assert_mean, data, single_level_vae

D, Z, SIGMA = 4, 2, 0.8
DRAW = torch.Generator().manual_seed(1)
W = torch.linalg.qr(torch.randn(D, Z, dtype=torch.float64, generator=DRAW))[0] * torch.tensor([1.5, 0.9]).double()
X = torch.randn(D, dtype=torch.float64, generator=DRAW)
TRUTH = torch.distributions.MultivariateNormal(torch.zeros(D).double(), W @ W.T + SIGMA**2 * torch.eye(D).double())
SPREAD = SIGMA**2 / ((W.T @ W).diagonal() + SIGMA**2)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def trace_of(rows: int, *shape: int, shift: float = 0.6, widen: float = 0.2) -> tuple[Trace, list[Tensor]]:
    """A trace of X in each row, and its parameters `(rows, ...)`: q's mean and log scale, the decoder's bias.

    With `shift` and `widen` 0, q is the exact posterior.
    """
    loc = (W.T @ X / ((W.T @ W).diagonal() + SIGMA**2) + shift).expand(rows, Z).clone().requires_grad_()
    log_scale = (0.5 * SPREAD.log() + widen).expand(rows, Z).clone().requires_grad_()
    bias = torch.zeros(rows, D, dtype=torch.float64, requires_grad=True)
    q = DiagonalNormal(loc, log_scale)
    z = q.rsample(shape)
    likelihood = DiagonalNormal(z @ W.T + bias, torch.tensor(SIGMA, dtype=torch.float64).log())
    return Trace(X.expand(rows, D), likelihood, (LatentLevel(z, q, StandardNormal(Z, loc)),)), [loc, log_scale, bias]


def obeys_the_order(bound: Bound, rows: int = 20_000) -> None:
    """ELBO <= bound_2 < bound_8 <= log p(x) in the mean, and all log p(x) for every draw at the exact posterior."""
    with torch.no_grad():
        truth = TRUTH.log_prob(X)
        elbo = -(t := trace_of(rows, 1)[0]).distortion - t.rate
        steps = [elbo[0]] + [bound(trace_of(rows, k)[0]) for k in (2, 8)]
        error = max(s.std().item() for s in steps) / rows**0.5
        means = [s.mean().item() for s in steps] + [truth.item()]
        assert all(b - a > -4 * error for a, b in itertools.pairwise(means)), means
        assert means[3] - means[0] > 20 * error, "the posterior is too good for the law to fail"
        assert means[2] - means[1] > 4 * error, means
        torch.testing.assert_close(bound(trace_of(3, 5, shift=0.0, widen=0.0)[0]), truth.expand(3))


def has_the_gradient_of_iwae(bound: Bound, k: int = 5, rows: int = 200_000) -> None:
    """The mean gradient in the encoder's and the decoder's parameters is that of IWAE."""
    gradients = []
    for function in (iwae, bound):
        trace, parameters = trace_of(rows, k)
        gradients.append(torch.cat(torch.autograd.grad(function(trace).sum(), parameters), 1))
    assert_mean(gradients[0] - gradients[1], 0.0)
    assert (gradients[0].mean(0).abs() > 20 * gradients[0].std(0) / rows**0.5).any(), "nothing to tell apart"


@pytest.mark.parametrize("bound", [iwae, stl, dreg, ciwae(0.0), ciwae(0.3), renyi(0.0), iwae_of_all])
def test_order(bound: Bound) -> None:
    obeys_the_order(bound)


@pytest.mark.parametrize("bound", [dreg, ciwae(0.0), renyi(0.0)])
def test_gradient(bound: Bound) -> None:
    has_the_gradient_of_iwae(bound)


def test_sticking_the_landing_has_a_bias_with_many_draws_and_none_with_one() -> None:
    has_the_gradient_of_iwae(stl, k=1)
    with pytest.raises(AssertionError, match="standard errors off"):
        has_the_gradient_of_iwae(stl)


def test_path_gradients_vanish_at_the_exact_posterior() -> None:
    """stl and dreg in the encoder, for every draw; the plain gradient does not."""
    for bound, quiet in ((stl, True), (dreg, True), (iwae, False)):
        trace, parameters = trace_of(50, 5, shift=0.0, widen=0.0)
        gradient = torch.autograd.grad(bound(trace).sum(), parameters[:2])
        assert (max(g.abs().max().item() for g in gradient) < 1e-10) == quiet


def test_the_noise_of_dreg_is_less() -> None:
    noise = []
    for bound in (iwae, dreg):
        trace, parameters = trace_of(20_000, 32)
        noise.append(torch.autograd.grad(bound(trace).sum(), parameters[0])[0].std(0))
    assert (noise[1] < 0.6 * noise[0]).all()


def test_combinations() -> None:
    """CIWAE is between ELBO and IWAE, Renyi falls with alpha, MIWAE is a mean of IWAE, chi bounds from above."""
    trace, _ = trace_of(7, 3, 64)
    elbo = trace.log_weight.mean(-2)
    torch.testing.assert_close(ciwae(0.25)(trace), 0.25 * elbo + 0.75 * iwae(trace))
    torch.testing.assert_close(ciwae(1.0)(trace), elbo)
    torch.testing.assert_close(renyi(1 - 1e-7)(trace), trace.log_weight.mean(-2), atol=1e-5, rtol=0)
    values = [renyi(a)(trace) for a in (-1.0, 0.0, 0.5, 0.9, 2.0)]
    assert all((a > b).all() for a, b in itertools.pairwise(values))
    torch.testing.assert_close(iwae_of_all(trace), iwae(trace).logsumexp(0) - torch.tensor(3.0).log())
    torch.testing.assert_close(cubo(1.0)(trace), iwae(trace))
    with pytest.raises(ValueError, match="alpha=1"):
        renyi(1.0)
    with pytest.raises(ValueError, match="order"):
        cubo(0.5)


def test_the_chi_bound_is_above_and_its_descent_tightens_it() -> None:
    """CUBO_2 = log E[w^2] / 2 > log p(x); the encoder's gradient moves q towards p(z | x)."""
    trace, parameters = trace_of(1, 200_000)
    upper = cubo(2.0)(trace)
    assert TRUTH.log_prob(X) + 0.05 < upper < TRUTH.log_prob(X) + 5
    loss = objectives.chivi(k=5).bounds["encoder"](trace)
    torch.testing.assert_close(loss, -upper)
    gradient = torch.autograd.grad(-loss.sum(), parameters[0])[0]
    assert (gradient > 0.1).all(), "descending it lowers the mean, which is too high"


def test_wake_raises_q_where_the_posterior_is() -> None:
    """Its gradient is E_p(z | x)[d log q(z)]: for the mean, (true mean - mean) / variance."""
    trace, parameters = trace_of(2000, 500)
    gradient = torch.autograd.grad(wake(trace).sum(), parameters[0])[0]
    expected = -0.6 * (-2 * parameters[1][0]).exp()
    torch.testing.assert_close(gradient.mean(0), expected.detach(), rtol=0.02, atol=0)
    trace, parameters = trace_of(3, 4)
    assert torch.autograd.grad(wake(trace).sum(), parameters[2], allow_unused=True) == (None,)


def two_levels(rows: int, *shape: int) -> Trace:
    """z1 ~ q1, z2 ~ N(z1 / 2 + 0.3, e^-0.4), under p(z1) = N(0, 1), p(z2 | z1) = N(z1 / 3, e^0.4)."""
    zero = torch.zeros(rows, Z, dtype=torch.float64)
    q1 = DiagonalNormal(zero + 0.5, zero - 0.7)
    z1 = q1.rsample(shape)
    q2, p2 = DiagonalNormal(0.5 * z1 + 0.3, zero - 0.4), DiagonalNormal(z1 / 3, zero + 0.4)
    z2 = q2.rsample()
    levels = (LatentLevel(z1, q1, StandardNormal(Z, zero)), LatentLevel(z2, q2, p2))
    return Trace(zero, DiagonalNormal(z2, zero), levels)


def is_the_expected_log_ratio(rate: Callable[[Trace], Tensor]) -> None:
    """rate = E_q[sum over levels of log q - log p], of one level and of two."""
    for trace in (two_levels(50_000, 1), trace_of(50_000, 1)[0]):
        ratio = torch.stack([level.log_q - level.log_p for level in trace.levels]).sum(0)
        assert ratio.std() > 0.1
        assert_mean((rate(trace) - ratio).detach().flatten(), 0.0)


def test_rate_of_two_levels() -> None:
    is_the_expected_log_ratio(objectives.rate)


def test_one_level_is_asked_for_by_name() -> None:
    for bound, name in ((dreg, "dreg"), (wake, "wake")):
        with pytest.raises(UserError, match=rf"{name}: takes one level.*has 2"):
            bound(two_levels(3, 4))


@pytest.mark.parametrize("name", ["iwae", "iwae, multiple", "piwae", "chivi", "ciwae"])
def test_losses_are_minus_the_bounds(name: str) -> None:
    """Each player's loss on a whole VAE; the loss reported is the decoder's, and players divide the parameters."""
    objective, vae = OBJECTIVES[name].build(), single_level_vae().double()
    assert isinstance(objective, objectives.ImportanceWeightedObjective)
    x = data(vae.likelihood.support, 5, (1, 4, 4))
    torch.manual_seed(0)
    losses = objective(vae, x)
    assert set(losses.losses) == set(objective.param_groups(vae))
    torch.manual_seed(0)
    trace = vae(x, None, objective.sample_shape)
    for player, bound in objective.bounds.items():
        torch.testing.assert_close(losses.losses[player], -bound(trace).mean())
    if len(losses.losses) == 2:
        assert losses.terms["loss"] == losses.losses["decoder"]
        posterior = {id(p) for p in vae.latent.posterior.parameters()}  # type: ignore[union-attr]
        assert {id(p) for p in objective.param_groups(vae)["encoder"]} == posterior
