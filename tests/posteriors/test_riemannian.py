"""Laws of the learned metric: its dynamics, the weights that they give, and the draws from its volume."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import nelbo
from fixtures.tiny_model import small
from nelbo import nets, posteriors, priors
from nelbo.config import presets
from nelbo.config.build import ModelSpec, build, resolve
from nelbo.config.recipe import Recipe
from nelbo.config.registry import Component
from nelbo.data import Schema
from nelbo.distributions import DiagonalNormal, Hamiltonian, Metric, MetricVolumePrior, Riemannian, sample_and_log_prob
from nelbo.distributions.noise import seeded
from nelbo.errors import UserError
from nelbo.latents import SingleLevelLatent
from nelbo.objectives import elbo
from nelbo.vae import VAE
from zoo import POSTERIORS, SHAPE, VAES, assert_mean, data, linear_vae
from zoo.distributions import metric


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def moved(m: Metric, step: float, rounds: int, heats: Tensor | None = None) -> Riemannian:
    """Dynamics in a metric, on a potential that is not quadratic."""
    start = DiagonalNormal(torch.zeros(1, 2).double(), torch.full((2,), 0.3).double())
    steps = torch.tensor([step, 0.7 * step]).double()
    heats = torch.ones(4).double() if heats is None else heats
    return Riemannian(Hamiltonian(start, lambda z: -z.square().sum(-1) - (z**4).sum(-1) / 4, steps, heats), m, rounds)


def flow(q: Riemannian, state: Tensor) -> Tensor:
    """(z_K, v_K) from (z_0, v_0), side by side."""
    return torch.cat(q.path(state[None, :2], state[None, 2:]), 1)[0]


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_metric_is_its_formula_and_positive_definite(dim: int) -> None:
    """And `volume_gradient` and `quadratic_gradient` are the gradients that autograd finds."""
    m = metric(dim)
    z, v = torch.randn(2, 3, 4, dim).double().unbind(0)
    z.requires_grad_()
    w = torch.exp(-(z.unsqueeze(-2) - m.centroids).square().sum(-1) / 1.2**2)
    formula = torch.einsum("abn,nij->abij", w, m.squares.view(-1, dim, dim)) + 0.05 * torch.eye(dim).double()
    torch.testing.assert_close(m.inverse(z), formula)
    assert torch.equal(m.inverse(z), m.inverse(z).mT) and torch.linalg.eigvalsh(m.inverse(z)).min() >= 0.05 - 1e-12
    torch.testing.assert_close(m.log_density(z), torch.linalg.slogdet(formula)[1] / 2)
    torch.testing.assert_close(m.volume_gradient(z), torch.autograd.grad(m.log_density(z).sum(), z)[0])
    energy = torch.einsum("abi,abij,abj->ab", v, m.inverse(z), v) / 2
    held = v.unsqueeze(-1) * v.unsqueeze(-2)
    torch.testing.assert_close(m.quadratic_gradient(z, held), torch.autograd.grad(energy.sum(), z)[0])
    oracle = torch.distributions.MultivariateNormal(torch.zeros(dim).double(), precision_matrix=m.inverse(z))
    difference = oracle.log_prob(v) - m.log_momentum(z, v)
    torch.testing.assert_close(difference, difference.mean().expand(3, 4))


def test_without_roots_it_is_the_hamiltonian_posterior_of_mass_one_over_lambda() -> None:
    """L = 0: z moves by e lambda v, v ~ N(0, I / lambda), which is the plain dynamics with steps e sqrt(lambda)."""
    m = Metric(torch.randn(4, 2).double(), torch.zeros(4, 2, 2).double(), 1.0, 0.3)
    q = moved(m, 0.4, 1, torch.tensor([1.7, 1.4, 1.0]).double())
    plain = Hamiltonian(q.flat.base, q.flat.log_joint, q.flat.step * 0.3**0.5, q.flat.tempering)
    for shape in ((), (50,)):
        with seeded(3):
            ours = sample_and_log_prob(q, shape)
        with seeded(3):
            torch.testing.assert_close(ours, sample_and_log_prob(plain, shape))


def test_volume_and_reversal_hold_up_to_the_fixed_points() -> None:
    """At steps of 0.05: within 1e-2 after 3 rounds, 1e-8 after 12; the error falls with each; and heats scale it."""
    m, states = metric(), torch.randn(8, 4).double()

    def errors(rounds: int, step: float = 0.05) -> tuple[float, float]:
        q, volume, back = moved(m, step, rounds), [], []
        for s in states:
            volume.append(torch.autograd.functional.jacobian(lambda u: flow(q, u), s).det().log().abs())
            turn = torch.tensor([1.0, 1, -1, -1]).double()
            back.append((turn * flow(q, turn * flow(q, s)) - s).abs().max())
        return torch.stack(volume).max().item(), torch.stack(back).max().item()

    found = [errors(rounds) for rounds in (1, 3, 6, 12)]
    for worse, better in itertools.pairwise(found):
        assert better[0] < worse[0] / 10 and better[1] < worse[1] / 10
    assert max(found[1]) < 1e-2 and max(found[3]) < 1e-8
    assert max(errors(3, 0.01)) < 1e-5, "at the default step"
    heats = torch.tensor([1.7, 1.4, 1.0]).double()
    jacobian = torch.autograd.functional.jacobian(lambda u: flow(moved(m, 0.05, 12, heats), u), states[0])
    torch.testing.assert_close(jacobian.det(), (heats[-1] / heats[0]) ** 2)


def test_energy_is_kept() -> None:
    """H along the path changes by O(e^2): a wrong sign in any of its forces would make that O(1)."""
    m, state = metric(), torch.randn(50, 4).double()

    def change(step: float, steps: int) -> Tensor:
        q = moved(m, step, 12, torch.ones(steps + 1).double())
        z, v = state.split(2, 1)
        ends = q.path(z, v)
        energy = [-q.flat.log_joint(a) - m.log_momentum(a, b) for a, b in ((z, v), ends)]
        return (energy[1] - energy[0]).abs().mean()

    coarse, fine = change(0.04, 10), change(0.02, 20)
    assert 3.0 < coarse / fine < 5.0 and fine < 0.01


def linear(rounds: int = 6) -> tuple[VAE, Tensor, Tensor]:
    """pPCA with a wrong start, moved in a metric that differs much from place to place; data, and log p(x)."""
    vae, x, truth = linear_vae(3, 0.08, 0.8)
    posterior = posteriors.RiemannianPosterior(
        vae.latent.posterior.start.net,  # type: ignore[union-attr, arg-type]
        *(1, 2, (4,)),
        steps=3,
        step=0.08,
        temper=0.8,
        metric=nets.MLP((8,)),
        rows=6,
        temperature=1.0,
        floor=0.3,
        rounds=rounds,
    )
    posterior.init_from_data(2 * torch.randn(6, 4))
    return VAE(SingleLevelLatent(priors.StandardNormal(2), posterior), vae.likelihood).double(), x, truth


@pytest.mark.parametrize("mutant", ["", "no log det G", "its sign", "no momentum"])
def test_weights_are_unbiased_and_wrong_ones_are_rejected(mutant: str) -> None:
    """E[w] = p(x); planted, each part of log q left out makes it something else."""
    vae, x, truth = linear()
    q = vae.latent.posterior(x)  # type: ignore[operator]
    with torch.no_grad():
        z, log_q = sample_and_log_prob(q.flat.base, (40_000,))
        m = q.metric
        v = m.momentum(z, torch.randn_like(z))
        end, momentum = q.path(z, v * q.flat.tempering[0])
        volume = m.log_density(z) - m.log_density(end)
        path = m.log_momentum(z, v) - m.log_momentum(end, momentum)
        torch.manual_seed(1)
        ours = vae(x, shape=(40_000,)).log_weight
    log_q = log_q + {"": path, "no log det G": path - volume, "its sign": path - 2 * volume, "no momentum": 0}[mutant]
    ratio = torch.exp(q.flat.log_joint(end) - log_q - truth)
    assert volume.std() > 0.1, "the metric hardly varies: the law has no grip"
    if mutant:
        with pytest.raises(AssertionError, match="standard errors"):
            assert_mean(ratio, 1.0)
        return
    assert (ratio.std(0) / len(ratio) ** 0.5).max() < 0.02
    assert_mean(ratio, 1.0)
    assert_mean(torch.exp(ours - truth), 1.0)


def test_gradients_are_those_of_the_difference_quotient() -> None:
    """In the steps, the centroids' encoder, the roots' net and the decoder."""
    vae = VAES["posterior: riemannian"].build(0).double()
    x = data(torch.distributions.constraints.boolean, 3, SHAPE)
    p = vae.latent.posterior
    leaves = [p.flat.raw_step, p.flat.start.net.layers[-1].bias, p.net.layers[-1].bias]  # type: ignore[index, union-attr]
    leaves.append(vae.likelihood.net.layers[-1].bias)  # type: ignore[index, union-attr]

    def loss(*_: Tensor) -> Tensor:
        torch.manual_seed(3)
        return elbo()(vae, x).losses["vae"]

    assert torch.autograd.gradcheck(loss, tuple(leaves), fast_mode=True)


def cells(m: Metric, count: int = 9, fine: int = 40) -> tuple[Tensor, Tensor]:
    """Edges of `count` cells an axis that hold the reach of a metric, and each cell's mass by quadrature."""
    dim, edge = m.centroids.shape[1], (m.centroids.abs().max() + 2.05 * m.temperature).item()
    axis = (torch.arange(count * fine).double() + 0.5) / (count * fine) * 2 * edge - edge
    grid = torch.stack(torch.meshgrid(*[axis] * dim, indexing="ij"), -1)
    near = (grid.unsqueeze(-2) - m.centroids).norm(dim=-1).amin(-1) <= 2 * m.temperature
    mass = torch.where(near, torch.linalg.slogdet(m.inverse(grid))[1].div(2).exp(), 0.0)
    for i in range(dim):
        mass = mass.unflatten(i, (count, fine)).sum(i + 1)
    return torch.linspace(-edge, edge, count + 1).double(), mass / mass.sum()


def shares(z: Tensor, edges: Tensor) -> Tensor:
    """Whether each draw lies in each cell, `(n, cells)`."""
    index = torch.bucketize(z, edges[1:-1])
    flat = sum(index[:, i] * (len(edges) - 1) ** (z.shape[1] - 1 - i) for i in range(z.shape[1]))
    return torch.nn.functional.one_hot(flat, (len(edges) - 1) ** z.shape[1]).double()  # type: ignore[arg-type]


class Unweighted(Metric):
    """A mutant: the metric's density without its determinant, uniform in reach."""

    def log_density(self, z: Tensor) -> Tensor:
        return super().log_density(z) * 0


class Squared(Metric):
    """A mutant: det M in place of its root."""

    def log_density(self, z: Tensor) -> Tensor:
        return super().log_density(z) * 2


@pytest.mark.parametrize("dim", [1, 2])
def test_draws_have_the_density_of_the_volume(dim: int) -> None:
    """In each cell, the share of draws is the mass by quadrature; of the wrong densities planted, it is not."""
    m = metric(dim, centroids=4)
    edges, mass = cells(m)
    tried = (mass.flatten() > 2e-3).nonzero()[:, 0]
    assert len(tried) >= 7
    assert_mean(shares(MetricVolumePrior(m, 40).sample((6_000,)), edges)[:, tried], mass.flatten()[tried])
    for mutant in (Unweighted, Squared):
        wrong = mutant(m.centroids, torch.zeros(1, dim, dim).double(), m.temperature, m.floor)
        wrong.squares = m.squares
        with pytest.raises(AssertionError, match="standard errors"):
            assert_mean(shares(MetricVolumePrior(wrong, 40).sample((6_000,)), edges)[:, tried], mass.flatten()[tried])


def test_draws_are_accepted_and_repeat_by_seed() -> None:
    """Chains leave their centroids, in ten dimensions too; the same seed gives the same draws."""
    for dim in (2, 10):
        m = metric(dim, centroids=20)
        p = MetricVolumePrior(m, 20)
        with seeded(4):
            first = p.sample((500,))
        with seeded(4):
            assert torch.equal(first, p.sample((500,)))
        assert (m.distances(first).amin(-1) > 1e-4).double().mean() > 0.95 and p.log_density(first).isfinite().all()
    assert p.sample().shape == (10,) and p.sample((3, 2)).shape == (3, 2, 10)


def test_metric_prior_only_draws() -> None:
    """No log p(z), so no training and no score; and the posterior moves as it did under N(0, I)."""
    vae, x = VAES["posterior: riemannian"].build(0).double(), torch.ones(3, *SHAPE).double()
    with seeded(1):
        before = vae.latent.infer(x)[0]
    other = VAE(SingleLevelLatent(priors.MetricVolumePrior(moves=5), vae.latent.posterior), vae.likelihood)  # type: ignore[arg-type]
    with seeded(1):
        assert torch.equal(other.latent.infer(x)[0], before)
    assert other.generate(4).mean.shape == (4, *SHAPE) and not other.latent.prior(None).normalized  # type: ignore[operator]
    with pytest.raises(UserError, match=r"no log p\(z\).*standard-normal"):
        elbo()(other, x)
    with pytest.raises(UserError, match=r"no log p\(z\)"):
        _ = other(x).log_weight
    with pytest.raises(UserError, match=r"needs a posterior that learns a metric, and DiagonalNormal does not.*rhvae"):
        SingleLevelLatent(priors.MetricVolumePrior(moves=5), POSTERIORS["diagonal-normal"].build()).sample_prior(2)


def test_trained_refitted_saved_and_loaded(tmp_path: Path) -> None:
    """Training stores rows and lowers the loss; `metric` replaces the prior; a reloaded model draws the same."""
    moved = {"kind": "riemannian", "rows": 20, "metric": {"kind": "mlp", "hidden": [16]}}
    model, given = small(**{"model.latent.posterior": moved, "epochs": 4})
    assert isinstance(posterior := model.vae.latent.posterior, posteriors.RiemannianPosterior)
    state = model.fit(given)
    train = given.train.batch(torch.arange(len(given.train)))
    assert torch.cdist(posterior.rows.flatten(1), train.flatten(1)).amin(1).max() < 1e-2  # of 2 between rows
    losses = [row["loss"] for row in state.rows if row["split"] == "train"]
    assert losses[-1] < losses[0]
    fitted = nelbo.fit_prior(model, given.test, "metric")
    assert fitted.recipe.model.latent.options["prior"] == Component("prior", "metric")
    fitted.save(tmp_path)
    loaded = nelbo.load(tmp_path)
    for action in (
        lambda m: m.sample(5, seed=2),
        lambda m: m.embed(given.test),
        lambda m: m.sample_posterior(given.test, 1),
    ):
        assert (action(fitted) == action(loaded)).all()
    assert (model.sample_posterior(given.test, 1) == fitted.sample_posterior(given.test, 1)).all()
    plain, _ = small()
    with pytest.raises(UserError, match="needs a posterior that learns a metric"):
        nelbo.fit_prior(plain, given.test, "metric")


def test_preset_and_fields() -> None:
    made = presets.rhvae(7).apply_to(Recipe(), "rhvae").model.latent
    assert made.options["posterior"] == Component("posterior", "riemannian") and made.options["dim"] == 7
    vae = build(
        resolve(ModelSpec(made, encoder=nets.MLP((5,))), Schema("vector", (6,), (0.0,), (1.0,), "real")),
        (6,),
        2,
    )
    assert vae(torch.zeros(3, 6), torch.ones(3, 2)).rate.isfinite().all()
    for wrong in ({"rows": 0}, {"rounds": 0}, {"temperature": 0.0}, {"floor": -1.0}, {"step": 0.0}):
        name, value = next(iter(wrong.items()))
        with pytest.raises(UserError, match=f"{name} = {value}: give "):
            _ = Component("posterior", "riemannian", **wrong).options
    with pytest.raises(UserError, match="moves = 0: give 1 or more"):
        _ = Component("prior", "metric", moves=0).options


def test_a_path_that_diverges_is_not_a_number_and_no_crash() -> None:
    """So that training stops with the part, the step and a remedy, as for any loss that is not finite."""
    vae = VAES["posterior: riemannian"].build(0)
    vae.latent.posterior.flat.longest = 1e20  # type: ignore[union-attr]
    loss = elbo()(vae, torch.ones(3, *SHAPE)).losses["vae"]
    assert not loss.isfinite()
    loss.backward()


def test_a_refitted_hamiltonian_posterior_heads_for_the_new_prior_as_it_does_when_loaded(tmp_path: Path) -> None:
    model, given = small(**{"model.latent.posterior": {"kind": "hamiltonian", "step": 0.2}, "epochs": 1})
    model.fit(given)
    fitted = nelbo.fit_prior(model, given.test, "normal")
    fitted.save(tmp_path)
    assert np.array_equal(fitted.sample_posterior(given.test, 1), nelbo.load(tmp_path).sample_posterior(given.test, 1))
    assert not np.allclose(fitted.sample_posterior(given.test, 1), model.sample_posterior(given.test, 1))
