"""Laws of mixtures, of priors made of the posterior."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, MultivariateNormal, Normal

from nelbo import likelihoods, nets, posteriors, priors
from nelbo.config.build import ModelSpec, build, init_from_data
from nelbo.config.registry import Component, dump, parse
from nelbo.distributions import DiagonalNormal, Marginal, Mixture, noise, temper
from nelbo.distributions.base import ConditionalDistribution
from nelbo.errors import UserError
from nelbo.latents import SingleLevelLatent
from nelbo.latents.single_level import TwoStagePrior
from nelbo.model.post_hoc import PriorFitConfig
from zoo import assert_mean, perturb_parameters
from zoo.distributions import mixture

QUICK = PriorFitConfig(steps=150)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def plane_integral(log_density: Callable[[Tensor], Tensor], reach: float = 9.0, points: int = 361) -> float:
    """The integral over a plane, by the trapezoidal rule: for smooth densities exact to many digits."""
    line = torch.linspace(-reach, reach, points, dtype=torch.float64)
    grid = torch.cartesian_prod(line, line)
    return (log_density(grid).exp().sum() * (line[1] - line[0]) ** 2).item()


def vamp(components: int = 5) -> tuple[priors.VampPrior, ConditionalDistribution]:
    """A VampPrior over a plane with the posterior it is made of."""
    posterior = posteriors.DiagonalNormal(nets.MLPEncoder((6,), 4, [16]), 1).double()
    with torch.no_grad():
        posterior.net.output_bias[2:] = -0.5  # type: ignore[index, operator]
    prior = priors.VampPrior((6,), components=components).double()
    with torch.no_grad():
        prior.pseudo_inputs.mul_(8)
    prior.bind(posterior)
    return prior, posterior


def test_mixture_agrees_with_torch() -> None:
    """Value and gradient of log p, mean and variance; of diagonal and of full covariance."""
    for full in (False, True):
        covariance: Any = "full" if full else "diagonal"
        made = perturb_parameters(priors.MixturePrior(3, components=4, covariance=covariance))
        d, z = made(None), torch.randn(7, 3).double().requires_grad_()
        parts = d.components if full else Independent(Normal(made.loc, made.log_scale.exp()), 1)
        theirs = MixtureSameFamily(Categorical(logits=made.logits), parts)
        torch.testing.assert_close(d.log_prob(z), theirs.log_prob(z))
        torch.testing.assert_close(d.mean, theirs.mean)
        torch.testing.assert_close(d.variance, theirs.variance)
        leaves = [z, *made.parameters()]
        values = [m.log_prob(z).sum() for m in (d, theirs)]
        ours, oracle = (torch.autograd.grad(v, leaves, retain_graph=True) for v in values)
        for a, b in zip(ours, oracle, strict=True):
            torch.testing.assert_close(a, b)
        assert plane_integral(
            perturb_parameters(priors.MixturePrior(2, components=4, covariance=covariance))(None).log_prob
        ) == pytest.approx(1, abs=1e-6)


def test_mixture_draws_components_by_their_weights() -> None:
    """Narrow components far apart: how often each is drawn; the two ways of drawing agree in law."""
    loc, weights = torch.tensor([[0.0], [10.0], [20.0]]), torch.tensor([0.2, 0.5, 0.3])
    diagonal = Mixture(DiagonalNormal(loc, torch.tensor(-3.0)), weights.log() + 4)
    full = Mixture(MultivariateNormal(loc, 0.0025 * torch.eye(1)), weights.log() - 2)
    for d in (diagonal, full):
        z = d.sample((20_000,))
        assert_mean(torch.stack([(z[:, 0] - m).abs().lt(1).float() for m in loc[:, 0]], 1), weights)
        assert d.sample((3, 2)).shape == (3, 2, 1) and d.sample().shape == (1,)


def test_mixture_in_a_shard_draws_what_it_draws_alone() -> None:
    d = mixture()
    torch.manual_seed(1)
    alone = d.sample((5,))
    torch.manual_seed(1)
    with noise.shard(2, 4, 8):
        assert torch.equal(d.sample((5,)), alone)
        assert noise.normal(torch.Size(), torch.Size((2,)), torch.Size(), alone).shape == (2,)  # the shard is back


def test_vamp_density_is_the_mean_of_the_posteriors_and_integrates_to_one() -> None:
    prior, posterior = vamp()
    z = torch.randn(20, 2).double()
    each = torch.stack([posterior(u[None]).log_prob(z) for u in prior.pseudo_inputs])
    torch.testing.assert_close(prior(None).log_prob(z), each.exp().mean(0).log())
    assert plane_integral(prior(None).log_prob) == pytest.approx(1, abs=1e-6)


def test_vamp_draws_from_its_own_density() -> None:
    """The share of draws in each of 16 cells of the plane is the density's integral over the cell; not N(0, I)'s."""
    prior, _ = vamp()
    d = prior(None)
    with torch.no_grad():
        z = d.sample((40_000,))
        edges = torch.tensor([[-12.0, m - s, m, m + s, 12.0] for m, s in zip(d.mean, d.stddev, strict=True)]).double()
        inside, expected = [], []
        for i, j in itertools.product(range(4), range(4)):
            a = torch.linspace(edges[0, i], edges[0, i + 1], 301, dtype=torch.float64)
            b = torch.linspace(edges[1, j], edges[1, j + 1], 301, dtype=torch.float64)
            density = d.log_prob(torch.cartesian_prod(a, b)).exp().view(301, 301)
            expected.append(torch.trapezoid(torch.trapezoid(density, b, dim=1), a))
            cell = (z[:, 0] > a[0]) & (z[:, 0] <= a[-1]) & (z[:, 1] > b[0]) & (z[:, 1] <= b[-1])
            inside.append(cell.double())
        assert_mean(torch.stack(inside, 1), torch.stack(expected))
        with pytest.raises(AssertionError, match="standard errors"):  # planted: samples of N(0, I)
            assert_mean(torch.randn(40_000, 2).double() - d.mean, 0.0)


def test_mutant_vamp_densities_are_rejected() -> None:
    """Planted: a parenthesis that takes log sigma^2 into the division by sigma^2, and log K in the wrong place.

    -(log sigma^2 + (z - mu)^2) / (2 sigma^2) integrates to exp(log sigma^2 (1 - 1 / sigma^2) / 2) in each dimension, at
    least 1 and 1 only at sigma = 1: with this seed's posteriors far enough from it for the law to see.
    """
    prior, posterior = vamp(4)
    q = posterior(prior.pseudo_inputs)
    logvar, log_k = q.variance.log(), math.log(4)

    def misplaced(z: Tensor) -> Tensor:
        squares = (z.unsqueeze(1) - q.mean).square()
        each = -0.5 * (logvar + squares) / logvar.exp() - 0.5 * math.log(2 * math.pi)
        return (each.sum(-1) - log_k).logsumexp(1)

    def parts(z: Tensor) -> Tensor:
        return Normal(q.mean, q.stddev).log_prob(z.unsqueeze(1))

    mutants = {
        "misplaced parenthesis": misplaced,
        "log K in every dimension": lambda z: (parts(z) - log_k).sum(-1).logsumexp(1),
        "no log K": lambda z: parts(z).sum(-1).logsumexp(1),
        "mean of logs": lambda z: parts(z).sum(-1).mean(1),
    }
    assert plane_integral(lambda z: (parts(z).sum(-1) - log_k).logsumexp(1)) == pytest.approx(1, abs=1e-6)
    closed = torch.exp(0.5 * (logvar * (1 - torch.exp(-logvar))).sum(-1)).mean().item()
    assert plane_integral(misplaced, 20.0, 801) == pytest.approx(closed, rel=1e-4)
    for name, mutant in mutants.items():
        assert plane_integral(mutant) != pytest.approx(1, abs=0.05), name


@pytest.mark.parametrize("make", [priors.VampPrior, priors.ExemplarPrior])
def test_aggregate_prior_borrows_the_posterior(make: Callable[..., priors.PosteriorMixturePrior]) -> None:
    """Its weights are in the model once; both parts of the bound move it; a copy uses the copy's posterior."""
    latent = SingleLevelLatent(make((6,), components=5), posteriors.DiagonalNormal(nets.MLPEncoder((6,), 4, [8]), 1))
    assert not [name for name in latent.prior.state_dict() if "net" in name or "posterior" in name]
    z = torch.randn(3, 2)
    twin = copy.deepcopy(latent)
    before = latent.prior(None).log_prob(z)
    with torch.no_grad():
        twin.posterior.net.output_bias.add_(1.0)  # type: ignore[operator, union-attr]
    assert torch.equal(latent.prior(None).log_prob(z), before)
    assert not torch.allclose(twin.prior(None).log_prob(z), before)
    gradient = torch.autograd.grad(latent.prior(None).log_prob(z).sum(), next(latent.posterior.parameters()))[0]
    assert gradient.abs().sum() > 0


def test_start_from_takes_rows_and_repeats_too_few() -> None:
    rows = torch.rand(3, 6)
    for prior in (priors.VampPrior((6,), components=5), priors.ExemplarPrior((6,), components=5)):
        prior.init_from_data(rows)
        held = prior.pseudo_inputs if isinstance(prior, priors.VampPrior) else prior.exemplars
        assert torch.equal(held.detach(), rows[[0, 1, 2, 0, 1]])
        prior.init_from_data(torch.rand(9, 6))
        assert len(held) == 5


def test_vamp_of_all_data_is_the_aggregate_posterior() -> None:
    """With the data as pseudo-inputs, KL(aggregate || prior) = 0: the prior is (1/N) sum_n q(z | x_n)."""
    prior, posterior = vamp(6)
    x = torch.randn(6, 6).double()
    prior.init_from_data(x)
    z = torch.randn(10, 2).double()
    aggregate = posterior(x).log_prob(z.unsqueeze(1)).logsumexp(1) - math.log(6)
    torch.testing.assert_close(prior(None).log_prob(z), aggregate)


def test_exemplar_kernels_share_one_width() -> None:
    latent = SingleLevelLatent(
        priors.ExemplarPrior((6,), components=3), posteriors.DiagonalNormal(nets.MLPEncoder((6,), 4, [8]), 1)
    )
    latent.double()
    prior = latent.prior
    assert isinstance(prior, priors.ExemplarPrior)
    with torch.no_grad():
        prior.log_scale.fill_(-0.5)
    loc, z = latent.posterior(prior.exemplars).mean, torch.randn(4, 2).double()
    kernels = Normal(loc, math.exp(-0.5)).log_prob(z.unsqueeze(1)).sum(-1)
    torch.testing.assert_close(prior(None).log_prob(z), kernels.exp().mean(1).log())


def test_data_prior_outside_a_flat_latent_is_refused() -> None:
    with pytest.raises(UserError, match=r"prior = 'vamp'.*: give transformer"):
        _ = Component("latent", "vq", prior=Component("prior", "vamp")).options


def marginal(samples: int) -> tuple[TwoStagePrior, MultivariateNormal]:
    """A linear two-stage prior with a wrong q(u | z), and its exact density."""
    prior = TwoStagePrior(2, hidden=(), samples=samples)
    posterior = posteriors.DiagonalNormal(nets.MLPEncoder((2,), 4, []), 1)
    likelihood = likelihoods.Normal(nets.MLPDecoder(2, (2,), []), 1, sigma=0.7)
    latent = SingleLevelLatent(priors.StandardNormal(2), posterior, 2)
    prior.vae = torch.nn.ModuleDict({"latent": latent, "likelihood": likelihood})
    prior.double().requires_grad_(False)
    layer, scale = likelihood.net.layers[0], likelihood.log_scale.exp()  # type: ignore[index, union-attr]
    return prior, MultivariateNormal(layer.bias, layer.weight @ layer.weight.T + scale**2 * torch.eye(2).double())


def test_two_stage_density_is_unbiased_and_its_logarithm_a_lower_bound() -> None:
    prior, truth = marginal(1)
    z = torch.randn(5, 2).double()
    log_p = prior(None).log_prob(z.expand(40_000, 5, 2))
    assert isinstance(prior(None), Marginal) and not prior(None).normalized
    assert_mean(torch.exp(log_p - truth.log_prob(z)), 1.0)
    tight = marginal_like(prior, 20)(None).log_prob(z.expand(4_000, 5, 2)).mean(0)
    assert (log_p.mean(0) < tight).all() and (tight < truth.log_prob(z)).all()
    draws = prior(None).sample((40_000,))
    assert_mean(draws, truth.mean)
    centred = draws - truth.mean
    assert_mean((centred.unsqueeze(2) * centred.unsqueeze(1)).flatten(1), truth.covariance_matrix.flatten())
    assert prior(None).sample().shape == (2,) and prior(None).sample((3, 4)).shape == (3, 4, 2)
    torch.testing.assert_close(prior(None).mean, truth.mean)


def marginal_like(prior: TwoStagePrior, samples: int) -> TwoStagePrior:
    other = copy.deepcopy(prior)
    other.samples = samples
    return other


SPECS: list[Component[priors.Prior]] = [
    Component("prior", "flow", transform=Component("transform", "realnvp", steps=2, hidden=(8,))),
    Component("prior", "mixture", components=3),
    Component("prior", "mixture", components=3, covariance="full"),
    Component("prior", "vamp", components=4),
    Component("prior", "exemplar", components=4),
    Component("prior", "two-stage", hidden=(8,)),
]


@pytest.mark.parametrize("component", SPECS, ids=str)
@pytest.mark.parametrize("contexts", [0, 2])
def test_component_round_trip_and_build(component: Component[priors.Prior], contexts: int) -> None:
    assert parse(Component[priors.Prior], dump(component), "prior") == component
    model = ModelSpec(
        Component("latent", "flat", dim=2, prior=component),
        Component("likelihood", "normal", sigma=1.0),
        nets.MLP((8,)),
        nets.MLP((8,)),
    )
    vae, c = build(model, (6,), contexts), torch.randn(3, contexts) if contexts else None
    init_from_data(vae, model, torch.zeros(6), torch.randn(9, 6))
    entries = [entry.data_ptr() for entry in vae.state_dict().values() if entry.numel()]
    assert len(set(entries)) == len(entries), "a weight is in the state twice: safetensors would refuse it"
    assert vae(torch.randn(3, 6), c).log_weight.isfinite().all()
    assert vae.generate(3, c).mean.shape == (3, 6)


@pytest.mark.parametrize("kind", ["mixture", "vamp", "exemplar"])
def test_impossible_settings_are_named(kind: str) -> None:
    with pytest.raises(UserError, match="components = 0: give 1 or more"):
        _ = Component("prior", kind, components=0).options
    with pytest.raises(UserError, match="samples = 0: give 1 or more"):
        _ = Component("prior", "two-stage", samples=0).options


@pytest.mark.parametrize("full", [False, True])
def test_a_tempered_mixture_narrows_its_components_where_they_are(full: bool) -> None:
    """Weights and means stay, standard deviations are halved; the density is that of torch's own mixture of these."""
    torch.manual_seed(0)
    d = perturb_parameters(priors.MixturePrior(3, components=4, covariance="full" if full else "diagonal"))(None)
    cool, z = temper(d, 0.5), torch.randn(7, 3).double()
    roots = 0.5 * (d.components.scale_tril if full else torch.diag_embed(d.components.variance.sqrt()))
    oracle = MixtureSameFamily(Categorical(logits=d.logits), MultivariateNormal(d.components.mean, scale_tril=roots))
    torch.testing.assert_close(cool.log_prob(z), oracle.log_prob(z))
