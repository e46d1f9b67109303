"""Closed forms and oracles of the continuous posteriors and priors beside the diagonal Normal, and their specs."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
import torch
from torch import Tensor
from torch.distributions import constraints

import zoo
from nelbo import likelihoods, nets, posteriors, priors
from nelbo.config.registry import Component, dump, parse
from nelbo.distributions import (
    FullNormal,
    Gamma,
    LogisticNormal,
    LowRankNormal,
    PointMass,
    PowerSpherical,
    StandardNormal,
    UniformSphere,
    VonMisesFisher,
    WrappedNormal,
    has_kl,
    kl_divergence,
    sample_and_log_prob,
)
from nelbo.distributions.curved import add, exponential, log_area, logarithm
from nelbo.distributions.gamma import standard_gamma
from nelbo.errors import UserError
from nelbo.latents import Latent, SingleLevelLatent
from nelbo.objectives import WeightedTerms, distortion, elbo
from nelbo.posteriors import Posterior
from nelbo.priors import Prior
from nelbo.vae import VAE
from zoo import assert_mean, data, divergences, perturb_parameters

DIMS = [2, 3, 4, 10, 50, 200]
CONCENTRATIONS = [1e-6, 1e-3, 0.1, 1.0, 3.0, 10.0, 100.0, 1e3, 1e4]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def pole(dim: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.eye(dim, dtype=dtype)[0]


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-5), (torch.float64, 1e-11)])
def test_von_mises_fisher_agrees_with_the_bessel_function(dim: int, dtype: torch.dtype, tolerance: float) -> None:
    """Normaliser, its derivative 1 - A(k), the mean A(k) = I_(d/2)(k) / I_(d/2 - 1)(k), and A'(k)."""
    for k in CONCENTRATIONS:
        nu = dim / 2 - 1
        if scipy.special.ive(nu, k) < 1e-280:
            continue  # scipy underflows, we do not
        leaf = torch.tensor([k], dtype=dtype, requires_grad=True)
        q = VonMisesFisher(pole(dim, dtype), leaf)
        k = leaf.item()
        resultant = scipy.special.ive(nu + 1, k) / scipy.special.ive(nu, k)
        peak = q.log_prob(pole(dim, dtype))
        true = divergences.log_norm_vmf(dim, k) + k
        assert peak.item() == pytest.approx(true, rel=tolerance, abs=tolerance)
        assert torch.autograd.grad(peak, leaf)[0].item() == pytest.approx(1 - resultant, abs=tolerance)
        mean = q.mean[0]
        assert mean.item() == pytest.approx(resultant, rel=tolerance, abs=tolerance)
        if k <= 1e3:  # where 1 - A^2 - (d - 1) A / k does not cancel
            slope = 1 - resultant**2 - (dim - 1) * resultant / k
            assert torch.autograd.grad(mean, leaf)[0].item() == pytest.approx(slope, rel=1e3 * tolerance, abs=1e-9)


@pytest.mark.parametrize("family", [VonMisesFisher, PowerSpherical])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sphere_is_finite_everywhere(family: Any, dtype: torch.dtype) -> None:
    """Draws, densities, divergences and gradients, in 2 to 500 dimensions, k from 0 to 10^5; KL falls to 0 with k."""
    for dim in (2, 3, 20, 500):
        k = torch.tensor([[0.0], [1e-20], [1e-4], [1.0], [50.0], [1e3], [1e5]], dtype=dtype, requires_grad=True)
        loc = torch.randn(7, dim, dtype=dtype).requires_grad_()
        q, p = family(loc, k), UniformSphere(dim, loc.detach())
        z, log_q = sample_and_log_prob(q, (20,))
        kl = kl_divergence(q, p)
        assert q.support.check(z).all()
        for value in (z.square() @ torch.linspace(0, 1, dim, dtype=dtype), log_q, kl, q.mean, q.variance):
            assert value.isfinite().all()
            for gradient in torch.autograd.grad(value.sum(), (loc, k), retain_graph=True, materialize_grads=True):
                assert gradient.isfinite().all(), (dim, value)
        assert kl[:2].abs().max() < 1e-5 * (1 + abs(log_area(dim))) and (kl.diff() > -1e-4).all() and kl[-1] > 4


@pytest.mark.parametrize("dim", [3, 10, 200])
def test_power_spherical_agrees_with_its_closed_forms(dim: int) -> None:
    """De Cao and Aziz: the normaliser and the entropy; E[t] = k / (d - 1 + k), and the mean of 1 at k = inf."""
    for k in CONCENTRATIONS:
        q = PowerSpherical(pole(dim), torch.tensor([k]).double())
        top = divergences.log_norm_power(dim, k) + k * math.log(2)
        assert q.log_prob(pole(dim)).item() == pytest.approx(top, rel=1e-7, abs=1e-7)
        assert q.entropy().item() == pytest.approx(-divergences.negative_entropy(q, k), rel=1e-7, abs=1e-7)
        assert q.mean[0].item() == pytest.approx(k / (dim - 1 + k), rel=1e-6, abs=1e-9)


def test_circle_agrees_with_scipys_von_mises() -> None:
    angle = torch.linspace(-3.1, 3.1, 30).double()
    z = torch.stack([angle.cos(), angle.sin()], 1)
    for k in (0.3, 4.0, 500.0):
        ours = VonMisesFisher(pole(2), torch.tensor([k]).double()).log_prob(z)
        torch.testing.assert_close(ours, torch.as_tensor(scipy.stats.vonmises(k).logpdf(angle.numpy())))


@pytest.mark.parametrize("dim", [2, 3, 8])
@pytest.mark.parametrize("k", [0.3, 4.0, 300.0])
@pytest.mark.parametrize("family", [VonMisesFisher, PowerSpherical])
def test_sphere_draws_have_the_right_angles(family: Any, dim: int, k: float) -> None:
    """Kolmogorov-Smirnov against a distribution function by quadrature; around mu, directions are uniform."""
    loc = torch.randn(dim).double()
    q = family(loc, torch.tensor([k]).double())
    z = q.sample((20_000,))
    theta = 2 * torch.asin((z - q.direction).norm(dim=-1) / 2)
    grid = torch.linspace(0, math.pi, 20_001).double()[1:-1]
    height = grid.cos() - 1 if family is VonMisesFisher else torch.log((1 + grid.cos()) / 2)
    density = torch.exp(k * height + (dim - 2) * grid.sin().log()).numpy()
    below = scipy.integrate.cumulative_trapezoid(density, grid.numpy(), initial=0)
    assert scipy.stats.kstest(theta.numpy(), lambda t: np.interp(t, grid.numpy(), below / below[-1])).pvalue > 1e-3
    across = z - (z @ q.direction)[:, None] * q.direction
    assert_mean(across, 0.0)
    projector = torch.eye(dim).double() - q.direction[:, None] * q.direction
    squares = (across[:, :, None] * across[:, None]).flatten(1)
    assert_mean(squares, (projector * across.square().sum(-1).mean() / (dim - 1)).flatten(), 5.0)


@pytest.mark.parametrize("family", [VonMisesFisher, PowerSpherical])
@pytest.mark.parametrize(("dim", "k"), [(2, 0.01), (2, 30.0), (3, 1e4), (20, 5.0), (20, 1e4), (200, 300.0)])
def test_implicit_gradient_moves_the_distribution_function(family: Any, dim: int, k: float) -> None:
    """d E[cos theta] / dk over draws is the closed mean's slope, also where draws crowd at mu or spread evenly."""
    leaf = torch.full((2_000, 1), k, dtype=torch.float64, requires_grad=True)
    q = family(pole(dim).expand(2_000, dim), leaf)
    slope = torch.autograd.grad(q.rsample()[:, 0].sum(), leaf)[0]
    closed = torch.autograd.grad(q.mean[:, 0].sum(), leaf)[0][0, 0].item()
    assert_mean(slope, closed, 5.0)
    assert closed > 0 and slope.std() < 30 * closed


def test_a_mean_direction_opposite_to_the_pole_is_no_special_case() -> None:
    for mu in (-pole(3), pole(3), pole(3) + 1e-9, -pole(3) - 1e-9):
        z = VonMisesFisher(mu.float(), torch.tensor([1e4])).sample((500,))
        assert (z @ mu.float() > 0.99).all()


def test_uniform_sphere_integrates_to_one_over_the_known_areas() -> None:
    for dim, area in ((2, 2 * math.pi), (3, 4 * math.pi), (4, 2 * math.pi**2)):
        d = UniformSphere(dim, torch.zeros(1))
        assert d.log_prob(d.sample()).exp().item() == pytest.approx(1 / area, rel=1e-5)


@pytest.mark.parametrize("name", ["full normal", "low-rank normal"])
def test_correlated_normal_agrees_with_torch(name: str) -> None:
    q: Any = zoo.DISTRIBUTIONS[name].make((5,))
    theirs = divergences.gaussian(q)
    z = torch.randn(7, 5, 3).double()
    torch.testing.assert_close(q.log_prob(z), theirs.log_prob(z))
    torch.testing.assert_close(q.variance, theirs.variance)
    draws = q.sample((50_000,)) - q.mean
    assert_mean((draws.unsqueeze(-1) * draws.unsqueeze(-2)).flatten(1), theirs.covariance_matrix.flatten())


def test_low_rank_equals_full_and_without_factor_is_diagonal() -> None:
    q: Any = zoo.DISTRIBUTIONS["low-rank normal"].make((5,))
    full = FullNormal(q.loc, torch.linalg.cholesky(divergences.gaussian(q).covariance_matrix))
    p = StandardNormal(3, torch.zeros((), dtype=torch.float64))
    torch.testing.assert_close(kl_divergence(q, p), kl_divergence(full, p))
    assert kl_divergence(LowRankNormal(p.mean, p.mean, torch.zeros(3, 2).double()), p).item() == pytest.approx(0)


def test_gamma_draws_at_every_concentration() -> None:
    """Marsaglia and Tsang's draw with the boost, against scipy's distribution function; no draw is 0."""
    for a in (0.05, 0.7, 1.0, 3.0, 400.0):
        draws = standard_gamma(torch.tensor(a).double(), torch.Size((20_000,)), torch.Size(), torch.Size())
        assert scipy.stats.kstest(draws.numpy(), scipy.stats.gamma(a).cdf).pvalue > 1e-3
    assert (Gamma(torch.full((1000,), 1e-3), torch.ones(1000)).sample() > 0).all()


def test_gamma_implicit_gradient_is_torchs() -> None:
    a = torch.tensor([0.3, 1.0, 8.0]).double().requires_grad_()
    draw = standard_gamma(a, torch.Size((4,)), torch.Size(), torch.Size((3,)))
    ours = torch.autograd.grad(draw.sum(), a)[0]
    torch.testing.assert_close(ours, torch._standard_gamma_grad(a.detach().expand(4, 3), draw.detach()).sum(0))


def test_moebius_addition_is_a_translation() -> None:
    """-x + (x + y) = y; distances from 0 add along a line; exp and log at 0 are inverse to each other."""
    c = 1.7
    x, y = (exponential(torch.randn(50, 4).double(), c) for _ in range(2))
    torch.testing.assert_close(add(-x, add(x, y, c), c), y)
    e = torch.randn(50, 4).double()
    torch.testing.assert_close(logarithm(exponential(e, c), c), e)
    torch.testing.assert_close(add(exponential(e, c), exponential(2 * e, c), c), exponential(3 * e, c))
    torch.testing.assert_close(exponential(e, 1e-12), e / 2)  # flat space, whose metric at 0 is 4 dx^2


def test_wrapped_normal_volume_is_the_jacobian() -> None:
    """log q = log N(e) - log |det dz/de| - d log(2 / (1 - c|z|^2)): by autograd, in the ball's own coordinates."""
    c = 0.8
    d = WrappedNormal(exponential(torch.randn(3).double(), c), 0.3 * torch.randn(3).double(), c)
    for e in torch.randn(10, 3).double():
        wrap = lambda v: add(d.loc, exponential(v, c), c)  # noqa: E731
        z = wrap(e)
        jacobian = torch.autograd.functional.jacobian(wrap, e)
        normal = torch.distributions.Normal(0, d.log_scale.exp()).log_prob(e).sum()
        conformal = torch.log(2 / (1 - c * z.square().sum()))
        torch.testing.assert_close(d.log_prob(z), normal - torch.linalg.slogdet(jacobian)[1] - 3 * conformal)


def test_wrapped_normal_integrates_to_one_over_the_disk() -> None:
    d = WrappedNormal(torch.tensor([0.5, -0.2]).double(), torch.tensor([-0.7, -0.2]).double(), 1.0)

    nodes, weights = (torch.as_tensor(v) for v in scipy.special.roots_legendre(120))
    radius, angle = (0.5 * (1 + nodes)).unsqueeze(1), torch.arange(80).double() * (2 * math.pi / 80)
    z = torch.stack([radius * angle.cos(), radius * angle.sin()], -1)
    total = (d.log_prob(z).exp() * (2 / (1 - radius**2)) ** 2 * radius * weights.unsqueeze(1) / 2).sum().item()
    total *= 2 * math.pi / 80
    assert total == pytest.approx(1, abs=1e-5)


def test_wrapped_normal_flattens_as_curvature_vanishes() -> None:
    """KL -> that of Normals; distances at the rim stay finite in float32."""
    loc, log_scale = torch.randn(2, 3).double(), torch.full((3,), -0.5).double()
    flat = WrappedNormal(loc / 2, log_scale, 1e-10)
    z = flat.sample((5,))
    torch.testing.assert_close(
        flat.log_prob(z), torch.distributions.Normal(loc, log_scale.exp()).log_prob(2 * z).sum(-1)
    )
    far = WrappedNormal(exponential(torch.full((4, 2), 30.0), 1.0), torch.full((2,), 1.5))
    z, log_q = sample_and_log_prob(far, (200,))
    origin = WrappedNormal(torch.zeros(2), torch.zeros(2))
    assert far.support.check(z).all() and log_q.isfinite().all() and origin.log_prob(z).isfinite().all()


def test_logistic_normal_is_the_normal_of_log_ratios() -> None:
    """torch's Normal of log z_i - log z_K, with the Jacobian of the additive log-ratio, prod 1 / z_i."""
    d = LogisticNormal(torch.randn(5, 4).double(), 0.5 * torch.randn(5, 4).double())
    z = torch.rand(5, 4).double().softmax(-1)
    ratios = z[:, :3].log() - z[:, 3:].log()
    torch.testing.assert_close(d.log_prob(z), divergences.gaussian(d).log_prob(ratios) - z.log().sum(-1))
    shifted = LogisticNormal(d.loc + 7, d.log_scale)
    assert kl_divergence(d, shifted).abs().max() < 1e-12  # softmax forgets the shift


def test_dirichlet_prior_is_laplaces_approximation() -> None:
    """In the softmax basis: the mode of log Dirichlet is flat, and its curvature there is that of the Normal."""
    parts, a = 5, 1.7
    p: Any = Component("prior", "dirichlet", concentration=a).build(dim=parts)()

    def log_dirichlet(y: Tensor) -> Tensor:
        return (a * y.log_softmax(-1)).sum()

    centre = torch.eye(parts) - 1 / parts
    hessian = torch.autograd.functional.hessian(log_dirichlet, torch.zeros(parts))
    covariance = torch.linalg.pinv(-hessian)
    torch.testing.assert_close(torch.exp(2 * p.log_scale), covariance.diagonal())
    torch.testing.assert_close(covariance, centre / a)


def autoencoder() -> VAE:
    encoder = nets.MLPEncoder((1, 4, 4), 3, [16])
    return VAE(
        SingleLevelLatent(priors.StandardNormal(3), posteriors.PointMass(encoder, 3, 3)),
        likelihoods.Bernoulli(nets.MLPDecoder(3, (1, 4, 4), [16]), 3),
    )


def test_deterministic_autoencoder() -> None:
    """Its bound is the distortion, it embeds what it draws, every parameter learns, and no weight exists."""
    vae, x = perturb_parameters(autoencoder()), data(constraints.boolean, 6, (1, 4, 4))
    for objective in (elbo(), elbo(beta=4.0), WeightedTerms({distortion: 1.0})):
        losses = objective(vae, x)
        torch.testing.assert_close(losses.losses["vae"], -vae.decode(vae.latent.embed(x)).log_prob(x).mean())  # type: ignore[operator]
        assert losses.terms["rate"] == 0
    losses.losses["vae"].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in vae.parameters())
    trace = vae(x, shape=(4,))
    assert torch.equal(trace.levels[0].z, vae.latent.embed(x).expand(4, 6, 3))  # type: ignore[operator]
    assert trace.rate.shape == trace.distortion.shape == (4, 6) and has_kl(PointMass(x), trace.levels[0].p)
    with pytest.raises(UserError, match=r"point mass.*diagonal-normal"):
        _ = trace.log_weight
    assert vae.generate(5).sample().shape == (5, 1, 4, 4)
    twin = copy.deepcopy(vae)
    twin.load_state_dict(vae.state_dict())
    assert torch.equal(twin(x).distortion, vae(x).distortion)


SPACES: list[tuple[Component[Posterior], Component[Prior]]] = [
    (Component("posterior", "full-normal", initial_logvar=-2.0), Component("prior", "standard-normal")),
    (Component("posterior", "low-rank-normal", rank=1), Component("prior", "standard-normal")),
    (Component("posterior", "laplace", initial_logvar=-1.0), Component("prior", "laplace", scale=0.7)),
    (Component("posterior", "laplace"), Component("prior", "standard-normal")),
    (Component("posterior", "von-mises-fisher", initial_concentration=30.0), Component("prior", "uniform-sphere")),
    (Component("posterior", "power-spherical", initial_concentration=30.0), Component("prior", "uniform-sphere")),
    (
        Component("posterior", "wrapped-normal", curvature=0.5, initial_logvar=-2.0),
        Component("prior", "wrapped-normal", curvature=0.5, sigma=1.3),
    ),
    (
        Component("posterior", "logistic-normal", initial_logvar=-1.0),
        Component("prior", "dirichlet", concentration=0.8),
    ),
    (Component("posterior", "gamma"), Component("prior", "gamma", concentration=3.0, rate=1.5)),
    (Component("posterior", "point-mass"), Component("prior", "standard-normal")),
]


@pytest.mark.parametrize(("posterior", "prior"), SPACES, ids=lambda component: component.kind)
@pytest.mark.parametrize("context", [0, zoo.CONTEXT])
@pytest.mark.parametrize("dim", [2, 5])
def test_component_builds_and_returns(
    posterior: Component[Posterior], prior: Component[Prior], context: int, dim: int
) -> None:
    """component -> table -> component is the identity; what it builds infers, generates and trains in float32."""
    latent: Component[Latent] = Component("latent", "flat", dim=dim, prior=prior, posterior=posterior)
    assert parse(Component[Latent], dump(latent), "latent") == latent
    built = latent.build(net=nets.MLP((8,)), shape=(1, 4, 4), context=context)
    x, c = torch.rand(3, 1, 4, 4), torch.randn(3, context) if context else None
    z, (level,) = built.infer(x, c, (2,))
    assert z.shape == (2, 3, dim) and level.kl.shape == (2, 3) and level.kl.isfinite().all()
    (z.square().sum() + level.kl.sum()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in built.parameters())
    drawn = built.sample_prior(3, c)
    assert drawn.shape == (3, dim) and level.p.support.check(drawn).all() and level.q.support.check(z.detach()).all()
    cold = prior.kind not in ("uniform-sphere", "gamma")
    assert not cold or built.sample_prior(4, temperature=0.5).shape == (4, dim)


def test_starting_values() -> None:
    """With weights near 0, the spread or the concentration before training is what was asked for."""
    x = torch.zeros(1, 1, 4, 4)

    def start(kind: str, **options: float) -> Any:
        posterior: Component[Posterior] = Component("posterior", kind, **options)
        features = posterior.entry.make.n_params(3, **posterior.options)  # type: ignore[attr-defined]
        net = nets.MLP(()).encoder((1, 4, 4), features)
        built = posterior.build(encoder=net, event_dims=3, dim=3)
        with torch.no_grad():
            built.net.layers[-1].weight.zero_()  # type: ignore[union-attr, index, operator]
        return built(x)

    sure = start("von-mises-fisher", initial_concentration=30.0)
    assert sure.concentration.item() == pytest.approx(30, rel=1e-5)
    unsure = start("power-spherical", initial_concentration=0.01)
    assert unsure.concentration.item() == pytest.approx(0.01, rel=1e-3)
    for kind in ("diagonal-normal", "full-normal", "low-rank-normal", "laplace", "logistic-normal"):
        q = start(kind, initial_logvar=-2.0)
        scale = q.scale_tril.diagonal(dim1=-2, dim2=-1) if isinstance(q, FullNormal) else q.log_scale.exp()
        torch.testing.assert_close(scale, torch.full((1, 3), math.exp(-1)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Component("latent", "flat", dim=5, posterior=Component("posterior", "von-mises-fisher")).build(
                net=nets.MLP(), shape=(7,)
            ),
            "von-mises-fisher .*sphere.*standard-normal",
        ),
        (
            lambda: Component("latent", "flat", dim=5, prior=Component("prior", "uniform-sphere")).build(
                net=nets.MLP(), shape=(7,)
            ),
            "diagonal-normal .*real.*uniform-sphere",
        ),
        (
            lambda: Component(
                "latent",
                "flat",
                dim=5,
                prior=Component("prior", "wrapped-normal", curvature=1.0),
                posterior=Component("posterior", "wrapped-normal", curvature=2.0),
            ).build(net=nets.MLP(), shape=(7,)),
            "curvature -2.*-1",
        ),
        (lambda: Component("prior", "uniform-sphere").build(dim=1), "dim=1"),
        (lambda: Component("prior", "dirichlet").build(dim=1), "dim=1"),
        (lambda: Component("prior", "dirichlet", concentration=0.0).options, "concentration = 0.0: give "),
        (lambda: Component("prior", "gamma", rate=-1.0).options, "rate = -1.0: give "),
        (lambda: Component("posterior", "wrapped-normal", curvature=0.0).options, "curvature = 0.0: give "),
        (lambda: Component("prior", "wrapped-normal", sigma=math.nan).options, "sigma = nan: give "),
        (lambda: Component("prior", "laplace", scale=0.0).options, "scale = 0.0: give "),
        (lambda: Component("posterior", "low-rank-normal", rank=0).options, "rank = 0: give "),
        (
            lambda: Component("posterior", "von-mises-fisher", initial_concentration=-1.0).options,
            "initial_concentration = -1.0: give ",
        ),
        (
            lambda: Component("posterior", "power-spherical", initial_concentration=math.inf).options,
            "initial_concentration = inf: give ",
        ),
    ],
)
def test_mistakes_are_named(make: Any, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)
