"""Laws of every hierarchy: what the one walk must do for each way of choosing a level's z."""

from __future__ import annotations

import copy
import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from fixtures.clocks import set_training_progress
from nelbo import likelihoods, nets
from nelbo.config.registry import Component
from nelbo.distributions import noise
from nelbo.errors import UserError
from nelbo.latents import Latent, TopDown, TopDownBlock
from nelbo.latents.hierarchy import bounded
from nelbo.nets.topdown import LadderBottomUp
from nelbo.objectives import elbo
from nelbo.schedules import Linear
from nelbo.vae import VAE
from zoo import CONTEXT, HIERARCHIES, assert_mean, context, data, perturb_parameters, top_down

BOOLEAN = torch.distributions.constraints.boolean
SHAPES = [(3, 5, 9), (1, 13, 8), (4, 17, 3), (1, 1, 1), (7,)]
FITTING = [(n, s) for n, s in itertools.product(HIERARCHIES, SHAPES) if len(s) == 3 or n.startswith("ladder")]

over_hierarchies = pytest.mark.parametrize("name", HIERARCHIES)
over_contexts = pytest.mark.parametrize("contexts", [0, CONTEXT])


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def sleepless(name: str, shape: tuple[int, ...] = (1, 4, 4), contexts: int = 0) -> tuple[VAE, Tensor, Tensor | None]:
    vae = perturb_parameters(HIERARCHIES[name].build(shape, contexts))
    return vae, data(BOOLEAN, 4, shape), context(4) if contexts else None


@over_hierarchies
@over_contexts
def test_generate_is_ancestral_sampling(name: str, contexts: int) -> None:
    """Moments of h agree with a walk written out by hand from the nets of the rungs."""
    vae, _, c = sleepless(name, contexts=contexts)
    latent, n = top_down(vae), 5_000
    with torch.no_grad():
        c = None if c is None else c[:1].expand(n, -1)
        state = latent.start.expand(n, *latent.start.shape)
        for rung in latent.rungs:
            assert isinstance(rung, TopDownBlock)
            mean, log_scale = rung.prior(state, *([] if c is None else [c])).chunk(2, 1)
            z = mean + (5 * torch.tanh(log_scale / 5)).exp() * torch.randn_like(mean)
            state = rung.block(rung.lift(z) + (0 if rung.markov else state))
        drawn = latent.sample_prior(n, c)
    assert drawn.std(0).max() > 0.05
    assert_mean(drawn - state.flatten(1), 0.0)
    assert_mean(drawn**2 - state.flatten(1) ** 2, 0.0)


@over_hierarchies
def test_temperature_scales_the_spread_of_every_level(name: str) -> None:
    """(z - mean) / stddev of the level's own prior or posterior has variance t^2, each level with its own t."""
    vae, x, _ = sleepless(name)
    latent = top_down(vae)
    ts = torch.linspace(0.3, 1.3, len(latent.rungs)).tolist()
    with torch.no_grad():
        for _, levels in (
            latent.run(latent._selector({}, (), ts), 2_000),
            latent.resample({}, x, temperature=ts, shape=(500,)),
        ):
            for level, t in zip(levels, ts, strict=True):
                assert_mean((((level.z - level.q.mean) / level.q.stddev) ** 2).flatten(1), t**2)


@over_hierarchies
@over_contexts
@pytest.mark.parametrize("shape", [(), (3,), (3, 2)])
def test_replay_is_bit_for_bit(name: str, contexts: int, shape: tuple[int, ...]) -> None:
    vae, x, c = sleepless(name, contexts=contexts)
    latent = top_down(vae)
    h, levels = latent.infer(x, c, shape)
    assert all(level.z.shape == (*shape, 4, *own) for level, own in zip(levels, latent.shapes, strict=True))
    assert torch.equal(latent.decode_levels([level.z for level in levels], c), h)
    wrong = [levels[0].z + 1, *(level.z for level in levels[1:])]
    skips = isinstance(latent.rungs[0], TopDownBlock) and not latent.rungs[0].markov
    assert torch.equal(latent.decode_levels(wrong, c), h) != skips, "only where z_1 is all the likelihood sees"


@over_hierarchies
@over_contexts
def test_edit_keeps_what_is_given(name: str, contexts: int) -> None:
    """The given level stays; those above are as without it, given the seed; those below are drawn given it."""
    vae, x, c = sleepless(name, contexts=contexts)
    latent = top_down(vae)
    rungs = range(len(latent.rungs))
    for kept, source in itertools.product(rungs, (x, None)):
        z = torch.randn(4, *latent.shapes[kept]).double()
        h, levels = latent.resample({kept: z}, source, c, shape=(200,))
        _, again = latent.resample({kept: z}, source, c, shape=(200,))
        for i, level in enumerate(levels):
            if i == kept:
                assert torch.equal(level.z, z.expand(level.z.shape))
            else:
                assert not torch.equal(level.z, again[i].z) and level.z.shape[:2] == (200, 4)
                assert_mean(((level.z - level.q.mean) / level.q.stddev).flatten(1), 0.0)
            assert (level.q is level.p) == (source is None)
        assert torch.equal(latent.decode_levels([level.z for level in levels], c).expand(h.shape), h)


@pytest.mark.parametrize(("name", "shape"), FITTING)
@over_contexts
def test_any_shape_of_data(name: str, shape: tuple[int, ...], contexts: int) -> None:
    """Shapes, gradients of every parameter, independence of neighbours, copies: at odd sizes, too."""
    vae, x, c = sleepless(name, shape, contexts)
    trace = vae(x, c, (2, 3))
    assert trace.log_weight.shape == trace.rate.shape == trace.distortion.shape == (2, 3, 4)
    assert vae.generate(5, None if c is None else c[:1].expand(5, -1)).mean.shape == (5, *shape)
    elbo()(vae, x, c).losses["vae"].backward()
    for parameter_name, parameter in vae.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, parameter_name
        assert parameter.grad.isfinite().all()
    latent, twin = top_down(vae), copy.deepcopy(vae.latent)
    code = latent.embed(x, c)
    assert torch.equal(code, latent.embed(x, c)) and code.shape[1] == sum(math.prod(s) for s in latent.shapes)
    alone = torch.cat([latent.embed(x[i : i + 1], None if c is None else c[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(alone, code)
    with torch.no_grad():
        for value in twin.state_dict().values():
            value += 0.3
    assert not torch.allclose(twin.embed(x, c), code)  # type: ignore[operator]
    twin.load_state_dict(latent.state_dict())
    assert torch.equal(twin.embed(x, c), code)  # type: ignore[operator]


@over_hierarchies
def test_shards_are_rows_of_the_whole(name: str) -> None:
    """Two processes that each hold a part of the batch draw, at every level, what one would."""
    vae, x, _ = sleepless(name)

    def draw(start: int, stop: int) -> Tensor:
        torch.manual_seed(8)
        with noise.shard(start, stop, 4):
            return vae.latent.infer(x[start:stop])[0]  # type: ignore[operator]

    torch.testing.assert_close(torch.cat([draw(0, 3), draw(3, 4)]), draw(0, 4))


@over_hierarchies
@pytest.mark.parametrize("size", [1e3, 1e8])
def test_no_scale_overflows(name: str, size: float) -> None:
    """With raw log-scales of any size, either sign, in float32, rate and gradients are finite."""
    vae = HIERARCHIES[name].build()
    for rung in top_down(vae).rungs:
        for net in (rung.prior, rung.posterior):
            bias = net.layers[-1].bias  # type: ignore[index, union-attr]
            with torch.no_grad():
                bias[len(bias) // 2 :] = size * torch.linspace(-1, 1, len(bias) - len(bias) // 2)
    trace = vae(data(BOOLEAN, 4, (1, 4, 4)).float())
    (trace.rate + trace.distortion).mean().backward()
    assert trace.rate.isfinite().all() and trace.distortion.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in vae.parameters())
    values = torch.tensor([-math.inf, -1e-3, 0.0, 1e-3, math.inf])
    torch.testing.assert_close(bounded(values), torch.tensor([-5.0, -1e-3, 0.0, 1e-3, 5.0]))


def test_the_caller_keeps_its_lists() -> None:
    """A list of rungs is neither reversed nor kept; the lowest rung is given the encoder's own features."""
    whole = top_down(HIERARCHIES["ladder"].build())
    rungs = list(whole.rungs)
    before = list(rungs)
    latent = TopDown(whole.bottom_up, rungs, (8,))  # type: ignore[arg-type]
    assert rungs == before and list(latent.rungs) == before
    encoder = nn.Linear(3, 4)
    x = torch.randn(2, 3)
    features = LadderBottomUp(encoder, 4, 3)(x)
    assert len(features) == 3 and torch.equal(features[-1], encoder(x))
    assert top_down(HIERARCHIES["ladder"].build()).shapes == [(2,), (3,), (4,)]
    conv = Component("latent", "topdown-conv", depth=(2, 1), channels=3, width=4).build(shape=(1, 13, 8))
    assert isinstance(conv, TopDown) and conv.shapes == [(3, 7, 4), (3, 7, 4), (3, 13, 8)]


def stripes(n: int) -> Tensor:
    """Pictures of 8 x 8 with a bright row and a bright column, each at random."""
    x = torch.zeros(n, 1, 8, 8)
    x[torch.arange(n), 0, torch.randint(8, (n,))] = 1
    x[torch.arange(n), 0, :, torch.randint(8, (n,))] = 1
    return x


# Name -> latent, decoder, learning rate, and how many levels a run as short as this comes to use.
LEARNERS: dict[str, tuple[Component[Latent], nets.Net, float, int]] = {
    "ladder": (Component("latent", "ladder", dims=(4, 8), width=64), nets.MLP((64,)), 3e-3, 1),
    "two-level": (
        Component("latent", "ladder", dims=(4, 8), width=64, posterior="direct", skip=True),
        nets.MLP((64,)),
        3e-3,
        2,
    ),
    "vdvae": (
        Component("latent", "topdown-conv", depth=(1, 1), channels=2, width=8, blocks=0, posterior="direct"),
        nets.Head(),
        1e-3,
        2,
    ),
    "nvae": (
        Component("latent", "topdown-conv", depth=(1, 1), channels=2, width=8, blocks=0, posterior="residual"),
        nets.Head(),
        1e-3,
        2,
    ),
}


@pytest.mark.parametrize("name", LEARNERS)
def test_a_short_training_uses_more_than_one_level(name: str) -> None:
    """With a warm-up of the rate (Sønderby et al., 2016): the bound rises, and levels carry something of x."""
    made, net, learning_rate, levels = LEARNERS[name]
    latent = made.build(net=nets.MLP((64,)), shape=(1, 8, 8))
    vae = VAE(latent, likelihoods.Bernoulli(net.decoder(latent.features, (1, 8, 8), 1), 3))
    x, objective, steps = stripes(1_000), elbo(beta=Linear(0.0, 1.0, 0.0, 0.5)), 150 if levels == 2 else 200

    def bound() -> tuple[float, list[float]]:
        with torch.no_grad():
            trace = vae(x[:400])
        return (trace.distortion + trace.rate).mean().item(), [level.kl.mean().item() for level in trace.levels]

    vae.likelihood.init_output_bias(x.mean(0))
    adam, before = torch.optim.Adam(vae.parameters(), learning_rate), bound()[0]
    for step in range(steps):
        set_training_progress(objective, step / steps)
        loss = objective(vae, x[torch.randint(len(x), (32,))]).losses["vae"]
        adam.zero_grad()
        loss.backward()
        adam.step()
        assert loss.isfinite()
    after, rates = bound()
    assert after < before - 1 and sum(rate > 0.05 for rate in rates) >= levels, (before, after, rates)


def test_impossible_settings_are_refused() -> None:
    latent, x = top_down(HIERARCHIES["ladder, two-level"].build()), torch.zeros(2, 1, 4, 4)
    for make, says in (
        (lambda: Component("latent", "ladder", dims=[]).options, r"dims = \[\]: give one number or more"),
        (lambda: Component("latent", "ladder", dims=(3, 0)).options, r"dims\[1\] = 0: give 1 or more"),
        (lambda: Component("latent", "ladder", width=0).options, "width = 0: give 1 or more"),
        (lambda: Component("latent", "topdown-conv", depth=(0, 1)).options, r"depth\[0\] = 0: give 1 or more"),
        (lambda: Component("latent", "topdown-conv", channels=0).options, "channels = 0: give 1 or more"),
        (lambda: Component("latent", "topdown-conv", blocks=-1).options, "blocks = -1: give 0 or more"),
        (lambda: Component("latent", "topdown-conv").build(shape=(7,)), "ladder"),
        (lambda: nets.Head().decoder(3, (7,), 1), "mlp"),
        (lambda: nets.Head().encoder((1, 4, 4), 3), "only a decoder"),
    ):
        with pytest.raises(UserError, match=says) as caught:
            make()
        assert "\n" not in str(caught.value)
    for act, says in (
        (lambda: latent.resample({}), "give some of 0 to 1"),
        (lambda: latent.resample({2: torch.zeros(2, 2)}, x), "give some of 0 to 1"),
        (lambda: latent.decode_levels([torch.zeros(2, 2)]), "give all 2"),
        (lambda: latent.sample_prior(3, temperature=(1.0, 0.5, 0.5)), "3 temperatures for 2 levels"),
    ):
        with pytest.raises(ValueError, match=says):
            act()
