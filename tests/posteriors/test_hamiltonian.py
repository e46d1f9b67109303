"""Laws of the Hamiltonian posterior, and of flows: planted wrong densities are rejected."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nelbo.config.registry import Component
from nelbo.distributions import Hamiltonian, StandardNormal, sample_and_log_prob
from nelbo.objectives import elbo
from zoo import SHAPE, VAES, assert_mean, data, linear_vae, perturb_parameters

DIM = 3


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def test_hamiltonian_weights_are_unbiased() -> None:
    """E[w] = p(x) for any number of steps and any tempering; without it, more steps tighten the bound."""
    bounds = []
    for steps, heat in ((1, 0.99), (4, 0.99), (3, 0.7)):
        torch.manual_seed(1)
        vae, x, truth = linear_vae(steps, 0.25, heat)
        with torch.no_grad():
            trace = vae(x, shape=(40_000,))
        ratio = torch.exp(trace.log_weight - truth)
        assert (ratio.std(0) / len(ratio) ** 0.5).max() < 0.05
        assert_mean(ratio, 1.0)
        torch.testing.assert_close(trace.rate + trace.distortion, -trace.log_weight)
        bounds.append(trace.log_weight.mean(0))
    assert (bounds[1] > bounds[0]).all() and all((bound < truth).all() for bound in bounds)


def test_leapfrog_keeps_volume_and_goes_back() -> None:
    """|det d(z_K, r_K) / d(z_0, r_0)| = (heat_K / heat_0)^dim by autograd; without tempering it is reversible."""
    vae, x, _ = linear_vae(3, 0.3)
    q = vae.latent.posterior(x[:1])  # type: ignore[operator]
    assert isinstance(q, Hamiltonian) and q.tempering[-1] == 1 and (q.tempering.diff() < 0).all()
    start = torch.randn(4).double()
    jacobian = torch.autograd.functional.jacobian(lambda v: torch.cat(q.path(v[None, :2], v[None, 2:]), 1)[0], start)
    torch.testing.assert_close(torch.linalg.det(jacobian), (q.tempering[-1] / q.tempering[0]) ** 2)
    plain = Hamiltonian(q.base, q.log_joint, q.step, torch.ones(4).double())
    z, r = plain.path(start[None, :2], start[None, 2:])
    back, momentum = plain.path(z, -r)
    torch.testing.assert_close(torch.cat([back, -momentum], 1)[0], start)


def test_hamiltonian_gradients_are_those_of_the_difference_quotient() -> None:
    """Through the force too (a second derivative of the likelihood): in the steps, the tempering and the decoder."""
    vae = VAES["posterior: hamiltonian"].build(0).double()
    x = data(torch.distributions.constraints.boolean, 3, SHAPE)
    posterior = vae.latent.posterior
    leaves = [posterior.raw_step, posterior.raw_temper, vae.likelihood.net.layers[0].bias]  # type: ignore[index, union-attr]

    def loss(*_: Tensor) -> Tensor:
        torch.manual_seed(3)
        return elbo()(vae, x).losses["vae"]

    assert torch.autograd.gradcheck(loss, tuple(leaves), fast_mode=True)  # type: ignore[arg-type]


def test_hamiltonian_owns_neither_prior_nor_likelihood_and_has_no_density() -> None:
    vae, x, _ = linear_vae(1, 0.1)
    assert not [name for name in vae.latent.state_dict() if "likelihood" in name or "_model" in name]
    q = vae.latent.posterior(x)  # type: ignore[operator]
    assert not q.normalized
    with pytest.raises(NotImplementedError, match="path only"):
        q.log_prob(x[:, :2])
    torch.testing.assert_close(vae.latent.embed(x), q.base.mean)  # type: ignore[operator]


@pytest.mark.parametrize("mutant", ["no log-determinant", "its sign", "a step forgotten", "no momentum"])
def test_wrong_densities_are_rejected(mutant: str) -> None:
    """Planted: the laws above fail on a flow, or a Hamiltonian posterior, whose log q is wrong."""
    f = perturb_parameters(Component("transform", "iaf", steps=2, hidden=(16,)).build(dim=DIM), 0.3)
    base = StandardNormal(DIM, torch.zeros(()).double())
    z, log_q = sample_and_log_prob(base, (100_000,))
    y, log_det = f(z)
    right = log_q - log_det
    wrong = {
        "no log-determinant": lambda: log_q,
        "its sign": lambda: log_q + log_det,
        "a step forgotten": lambda: log_q - f.transforms[1](f.transforms[0](z)[0])[1],  # type: ignore[index, operator]
        "no momentum": lambda: _without_momentum(),
    }[mutant]()
    if mutant == "no momentum":
        with pytest.raises(AssertionError, match="standard errors"):
            assert_mean(wrong, 1.0)
        return
    r = torch.distributions.Normal(y.mean(0), 0.6 * y.std(0))
    assert_mean(torch.exp(r.log_prob(y).sum(-1) - right), 1.0)
    with pytest.raises(AssertionError, match="standard errors"):
        assert_mean(torch.exp(r.log_prob(y).sum(-1) - wrong), 1.0)


def _without_momentum() -> Tensor:
    """w / p(x) where log q leaves out log N(g) - log N(r_K)."""
    torch.manual_seed(1)
    vae, x, truth = linear_vae(4, 0.25)
    q = vae.latent.posterior(x)  # type: ignore[operator]
    with torch.no_grad():
        z, log_q = sample_and_log_prob(q.base, (40_000,))
        moved, _ = q.path(z, torch.randn_like(z) * q.tempering[0])
        return torch.exp(q.log_joint(moved) - log_q - truth)
