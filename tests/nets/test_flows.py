"""Laws of invertible maps and of flows."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from nelbo import nets, priors
from nelbo.config.build import ModelSpec, build
from nelbo.config.registry import Component, dump, parse
from nelbo.distributions import DiagonalNormal, Flow, StandardNormal, noise, sample_and_log_prob, temper
from nelbo.errors import UserError
from nelbo.nets import flows
from nelbo.nets.flows import MADE
from nelbo.posteriors import Posterior
from nelbo.priors import Prior
from zoo import POSTERIORS, TRANSFORMS, context, data, perturb_parameters

DIM, CONTEXT = 3, 2
SINGLE: dict[str, Callable[[int], flows.Transform]] = {
    "affine": lambda c: flows.ElementwiseAffine(DIM),
    "autoregressive": lambda c: flows.Autoregressive(DIM, (16,), DIM, False, c),
    "autoregressive, flipped, deep": lambda c: flows.Autoregressive(DIM, (16, 9), DIM, True, c),
    "coupling": lambda c: flows.Autoregressive(DIM, (16,), 2, False, c),
    "inverse": lambda c: flows.Inverse(flows.Autoregressive(DIM, (16,), DIM, False, c)),
    **{row.name: lambda c, row=row: row.build(DIM, c) for row in TRANSFORMS.values()},  # type: ignore[misc]
}
over_maps = pytest.mark.parametrize("name", SINGLE)
over_contexts = pytest.mark.parametrize("contexts", [0, CONTEXT])


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def inputs(contexts: int, *lead: int) -> tuple[Tensor, Tensor | None]:
    return torch.randn(*lead, 4, DIM).double(), context(4) if contexts else None


@over_maps
@over_contexts
def test_log_determinant_is_that_of_the_jacobian(name: str, contexts: int) -> None:
    """Both ways; and the inverse undoes the map."""
    f = perturb_parameters(SINGLE[name](contexts), 0.3)
    z, c = inputs(contexts)
    y, log_det = f(z, c)
    back, back_det = f.inverse(y, c)
    torch.testing.assert_close(back, z, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(back_det, -log_det, rtol=1e-6, atol=1e-7)
    for i in range(4):
        given = None if c is None else c[i]
        jacobian = torch.autograd.functional.jacobian(lambda v, given=given: f(v, given)[0], z[i])
        torch.testing.assert_close(log_det[i], torch.linalg.slogdet(jacobian)[1])
        jacobian = torch.autograd.functional.jacobian(lambda v, given=given: f.inverse(v, given)[0], y[i])
        torch.testing.assert_close(back_det[i], torch.linalg.slogdet(jacobian)[1], rtol=1e-6, atol=1e-7)
    assert log_det.std() > 1e-3 or name == "affine", "the map does not bend: the law could not fail"


@over_maps
def test_leading_dimensions_are_a_loop(name: str) -> None:
    f = perturb_parameters(SINGLE[name](CONTEXT), 0.3)
    z, c = inputs(CONTEXT, 2, 5)
    for apply in (f, f.inverse):
        (y, log_det), loop = apply(z, c), [apply(part, c) for part in z.flatten(0, 1)]
        torch.testing.assert_close(y.flatten(0, 1), torch.stack([part[0] for part in loop]))
        torch.testing.assert_close(log_det.flatten(0, 1), torch.stack([part[1] for part in loop]))


@pytest.mark.parametrize("name", ["planar", "sylvester"])
def test_searched_inverse_has_the_gradients_of_an_implicit_function(name: str) -> None:
    """Of log p(y), in the parameters and in y: the difference quotient."""
    f = perturb_parameters(TRANSFORMS[name].build(2), 0.3)
    y = torch.randn(2, 2).double().requires_grad_()
    parameters = [*f.parameters()]

    def density(value: Tensor, *_: Tensor) -> Tensor:
        return Flow(StandardNormal(2, value.detach()), f).log_prob(value)

    assert torch.autograd.gradcheck(density, (y, *parameters))


def test_planar_and_sylvester_stay_invertible_at_wild_parameters() -> None:
    """Where w.u < -1 and R_ii S_ii < -1 would fold the space, the constraint holds: rising, invertible, finite."""
    for make in (lambda: flows.PlanarStep(DIM), lambda: flows.SylvesterStep(DIM, 2)):
        for seed in range(10):
            torch.manual_seed(seed)
            f = perturb_parameters(make(), 3.0, seed)
            z = 3 * torch.randn(200, DIM).double()
            y, log_det = f(z)
            assert log_det.isfinite().all()
            torch.testing.assert_close(f.inverse(y)[0], z, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("passes", [1, 2, DIM])
@pytest.mark.parametrize("flip", [False, True])
@over_contexts
def test_made_sees_exactly_the_inputs_of_lower_degree(passes: int, flip: bool, contexts: int) -> None:
    order = [i * passes // DIM for i in range(DIM)]
    order = order[::-1] if flip else order
    net = perturb_parameters(MADE(order, (16, 12), 2, contexts))
    z, c = inputs(contexts)
    jacobian = torch.autograd.functional.jacobian(lambda v: net(v[None], None if c is None else c[:1])[0], z[0])
    lower = torch.tensor([[a > b for b in order] for a in order])
    assert torch.equal(jacobian.abs().sum(0) > 0, lower)
    if c is not None:
        seen = torch.autograd.functional.jacobian(lambda v: net(z[:1], v[None])[0], c[0])
        assert (seen.abs().sum(-1) > 0).all(), "an output does not see the context"


def test_a_flow_starts_as_its_base() -> None:
    """Autoregressive steps are the identity before training."""
    for name in ("iaf", "maf", "realnvp"):
        z, c = inputs(CONTEXT)
        y, log_det = TRANSFORMS[name].build(DIM, CONTEXT).double()(z, c)
        assert torch.equal(y, z) and torch.equal(log_det, torch.zeros(4, dtype=torch.float64))


def test_flow_agrees_with_zuko() -> None:
    """The density of zuko's own distribution, for a prior in its fast direction; validation stays as it was."""
    before = torch.distributions.Distribution._validate_args  # type: ignore[attr-defined]
    prior = Component(
        "prior", "flow", transform=Component("transform", "zuko", flow="MAF", steps=2, hidden=(16,), inverse=True)
    ).build(dim=DIM)
    assert torch.distributions.Distribution._validate_args == before  # type: ignore[attr-defined]
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        for parameter in prior.transform.transforms[-1].parameters():  # type: ignore[index, union-attr]
            parameter.zero_()
    zuko = importlib.import_module("zuko")
    inner = prior.transform.transforms[0].transform.transform  # type: ignore[index, union-attr]
    normal = zuko.distributions.DiagNormal(torch.zeros(3), torch.ones(3))
    theirs = zuko.distributions.NormalizingFlow(inner(None), normal)
    z = torch.randn(50, DIM)
    torch.testing.assert_close(prior(None).log_prob(z), theirs.log_prob(z))


def test_without_zuko_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(flows.importlib, "import_module", absent)
    with pytest.raises(UserError, match=r"pip install 'nelbo\[flows\]'"):
        Component("transform", "zuko").build(dim=2)


def test_sample_and_log_prob_is_the_density_of_the_draw() -> None:
    """Going forward once, or drawing and then inverting; mean and temperature are the base's, pushed through."""
    base = DiagonalNormal(torch.randn(4, DIM).double(), torch.randn(4, DIM).double() / 3)
    for row in TRANSFORMS.values():
        q = Flow(base, perturb_parameters(row.build(DIM, CONTEXT), 0.3), context(4))
        z, log_q = sample_and_log_prob(q, (5,))
        assert (z.shape, log_q.shape) == ((5, 4, DIM), (5, 4))
        torch.testing.assert_close(q.log_prob(z), log_q, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(q.mean, q.transform(base.mean, q.context)[0])
        cold = temper(q, 1e-9)
        torch.testing.assert_close(cold.sample((3,)), q.mean.expand(3, 4, DIM), rtol=1e-6, atol=1e-6)


def test_shards_of_a_flow_are_rows_of_the_whole() -> None:
    posterior = perturb_parameters(POSTERIORS["flow, iaf"].build())
    x = data(torch.distributions.constraints.real, 7, (1, 4, 4))
    torch.manual_seed(8)
    whole, parts = posterior(x).sample((3,)), []
    for start, stop in ((0, 4), (4, 7)):
        torch.manual_seed(8)
        with noise.shard(start, stop, 7):
            parts.append(posterior(x[start:stop]).sample((3,)))
    torch.testing.assert_close(torch.cat(parts, 1), whole)


def test_a_conditional_flow_prior_depends_on_its_context() -> None:
    transform = Component("transform", "maf", steps=2, hidden=(16,))
    prior, c = perturb_parameters(priors.FlowPrior(DIM, CONTEXT, transform=transform)), context(4)
    z = torch.randn(4, DIM).double()
    assert prior(c).batch_shape == (4,) and prior(c).sample().shape == (4, DIM)
    assert ((prior(c).log_prob(z) - prior(c + 1).log_prob(z)).abs() > 1e-6).all()
    assert len(prior(c[:1].expand(4, -1)).sample().unique(dim=0)) == 4, "each datum has noise of its own"


SPECS: list[Component[Prior] | Component[Posterior]] = [
    *(Component("posterior", "flow", transform=row.plain, features=4) for row in TRANSFORMS.values()),
    *(Component("prior", "flow", transform=row.plain) for row in TRANSFORMS.values()),
    Component("posterior", "hamiltonian", steps=2, step=0.1, temper=0.5),
]


@pytest.mark.parametrize("component", SPECS, ids=str)
def test_component_round_trip_and_build(component: Component[Prior] | Component[Posterior]) -> None:
    base = Component[Prior] if component.family == "prior" else Component[Posterior]
    assert parse(base, dump(component), "part") == component
    for dim in (1, 2, 5):
        model = ModelSpec(
            Component("latent", "flat", dim=dim, **{component.family: component}),
            Component("likelihood", "normal", sigma=1.0),
            nets.MLP((8,)),
            nets.MLP((8,)),
        )  # type: ignore[arg-type]
        trace = build(model, (6,))(torch.randn(4, 6), shape=(2,))
        assert trace.log_weight.shape == (2, 4) and trace.log_weight.isfinite().all()


@pytest.mark.parametrize(
    ("component", "message"),
    [
        (Component("transform", "iaf", steps=0), "steps = 0: give "),
        (Component("transform", "maf", hidden=[]), r"hidden = \[\]: give "),
        (Component("transform", "realnvp", hidden=(4, 0)), r"hidden\[1\] = 0: give "),
        (Component("transform", "planar", steps=0), "steps = 0: give "),
        (Component("transform", "sylvester", steps=1, reflections=0), "reflections = 0: give "),
        (Component("transform", "zuko", steps=0), "steps = 0: give "),
        (Component("posterior", "flow", features=0), "features = 0: give "),
        (Component("posterior", "hamiltonian", step=0.0), "step = 0.0: give "),
        (Component("posterior", "hamiltonian", temper=1.0), "temper = 1.0: give "),
    ],
)
def test_impossible_settings_are_named(component: Component[object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        _ = component.options


def test_parameters_are_a_module_tree() -> None:
    """A transform's parameters are those of a plain module: nothing is hidden from an optimizer."""
    f = Component("transform", "sylvester", steps=2, reflections=2).build(dim=DIM, context=CONTEXT)
    assert isinstance(f, nn.Module) and sum(p.numel() for p in f.parameters()) == 2 * (9 + 9 + 6) * (1 + CONTEXT)
    assert math.isfinite(f(torch.zeros(1, DIM), torch.zeros(1, CONTEXT))[1].item())
