"""Objectives: closed forms, exact aggregates, oracles, and that every player learns what it should."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from test_bounds import two_levels
from torch import Tensor, nn

from conftest import Run
from fixtures.clocks import set_training_progress
from fixtures.tiny_model import small
from nelbo import objectives
from nelbo.config.registry import Component
from nelbo.distributions import DiagonalNormal, StandardNormal
from nelbo.errors import UserError
from nelbo.latents import LatentLevel
from nelbo.nets import MLP
from nelbo.objectives import WeightedTerms, distortion, rate, split_level
from nelbo.objectives.adversarial import discriminator_loss, permute_dims
from nelbo.objectives.terms import (
    Weights,
    aggregate_posterior_log_prob,
    dhsic,
    imq,
    minibatch_stratified_sampling,
    minibatch_weighted_sampling,
    mmd_squared,
    rbf,
)
from nelbo.schedules import Cyclical, Linear
from nelbo.training import Callback, fit
from nelbo.vae import VAE, Trace
from zoo import OBJECTIVES, ObjectiveRow, assert_mean, data, over, perturb_parameters, single_level_vae

B, Z = 12, 3


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def posterior(rows: int = B, dim: int = Z) -> DiagonalNormal:
    return DiagonalNormal(torch.randn(rows, dim).double(), 0.3 * torch.randn(rows, dim).double() - 0.5)


def trace_of(q: DiagonalNormal, *shape: int, penalty: Tensor | None = None) -> Trace:
    z = q.rsample(shape)
    level = LatentLevel(z, q, StandardNormal(q.event_shape[0], z), penalty=penalty)
    return Trace(torch.zeros_like(q.loc), DiagonalNormal(z, torch.zeros(()).double()), (level,))


def part_of(q: DiagonalNormal, rows: Tensor) -> DiagonalNormal:
    return DiagonalNormal(q.loc[rows], q.log_scale[rows])


# --- the rate, held or taken apart ---


def test_each_latents_rate_sums_to_the_rate() -> None:
    trace = trace_of(posterior(), 4)
    rates = split_level(trace.levels[0]).kl
    assert rates.shape == (4, B, Z)
    torch.testing.assert_close(rates.sum(-1), trace.rate)


def test_capacity_is_the_distance_of_the_mean_rate_from_a_scheduled_number() -> None:
    trace, term = trace_of(posterior()), objectives.Capacity(Linear(0.0, 8.0))
    set_training_progress(nn.ModuleList([WeightedTerms({term: 1.0})]), 0.25)
    torch.testing.assert_close(term(trace), (trace.rate.mean() - 2.0).abs())
    assert trace.rate.mean() > 2
    torch.testing.assert_close(objectives.Capacity(100.0)(trace), 100 - trace.rate.mean())


def test_free_bits_are_free_latent_by_latent_and_level_by_level() -> None:
    """Below the floor there is no gradient; above it the whole rate counts; a floor of 0 is the rate."""
    q = DiagonalNormal(torch.tensor([[2.0, 0.1], [1.0, 0.2]]).double().requires_grad_(), torch.zeros(2, 2).double())
    trace = trace_of(q)
    value = objectives.free_bits(0.5)(trace)
    assert value.item() == pytest.approx(0.5 * (4 + 1) / 2 + 0.5)
    assert (torch.autograd.grad(value, q.loc)[0] == torch.tensor([[1.0, 0.0], [0.5, 0.0]])).all()
    torch.testing.assert_close(objectives.free_bits(0.0)(trace), trace.rate.mean())
    deep = two_levels(2000)
    means = [level.kl.mean().item() for level in deep.levels]
    floor = sum(means) / 2
    expected = max(means[0], floor) + max(means[1], floor)
    assert objectives.free_bits(floor, per_level=True)(deep).item() == pytest.approx(expected) and expected > sum(means)


def is_unbiased(weights: Weights) -> None:
    """Over all batches of 2, 3 and 4 of 5 data, the mean of the estimated q(z) at a draw of datum 0 is q(z).

    In one dimension of the latents each estimate is the same sum, so that the product is checked too.
    """
    q, n = posterior(5, 1), 5
    z = torch.linspace(-2, 2, 7).double().view(7, 1, 1)
    exact = q.log_prob(z.view(7, 1, 1)).exp().mean(-1)
    for size in (2, 3, 4, 5):
        batches = [torch.tensor([0, *rest]) for rest in torch.combinations(torch.arange(1, 5), size - 1).tolist()]
        estimates = []
        for rows in batches:
            level = LatentLevel(z.expand(7, size, 1), part_of(q, rows), StandardNormal(1, z))
            joint, product = aggregate_posterior_log_prob(level, n, weights)
            torch.testing.assert_close(joint, product)
            estimates.append(joint[:, 0].exp())
        torch.testing.assert_close(torch.stack(estimates).mean(0), exact)


def equals_the_aggregate(weights: Weights) -> None:
    """Where the batch is the data, log q(z) is that of the mixture of all posteriors, and so is each latent's."""
    q = posterior()
    trace = trace_of(q, 4)
    z = trace.levels[0].z
    mixture = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(torch.ones(B).double()),
        torch.distributions.Independent(torch.distributions.Normal(q.loc, q.stddev), 1),
    )
    joint, product = aggregate_posterior_log_prob(trace.levels[0], B, weights)
    torch.testing.assert_close(joint, mixture.log_prob(z))
    single = [
        torch.distributions.MixtureSameFamily(
            torch.distributions.Categorical(torch.ones(B).double()),
            torch.distributions.Normal(q.loc[:, j], q.stddev[:, j]),
        ).log_prob(z[..., j])
        for j in range(Z)
    ]
    torch.testing.assert_close(product, torch.stack(single).sum(0))


def test_stratified_weights() -> None:
    is_unbiased(minibatch_stratified_sampling)
    equals_the_aggregate(minibatch_stratified_sampling)
    assert (
        minibatch_stratified_sampling(1, 9, torch.zeros(())).item() == 0
    )  # a batch of one has no other data: no information, no TC


def test_weighted_weights_are_of_the_paper() -> None:
    """log q(z) is near log (1 / (n m)) sum_j q(z | x_j), below the aggregate's by log m in the least informed case."""
    level = trace_of(posterior(), 2).levels[0]
    joint, _ = aggregate_posterior_log_prob(level, 100, minibatch_weighted_sampling)
    expected = level.q.log_prob(level.z.unsqueeze(-2)).logsumexp(-1) - math.log(100 * B)
    torch.testing.assert_close(joint, expected)
    with pytest.raises(AssertionError):
        is_unbiased(minibatch_weighted_sampling)


def test_three_divergences_sum_to_the_rate() -> None:
    """Mutual information + total correlation + each latent's own divergence = log q(z | x) - log p(z), draw by draw."""
    trace, correlation, information = (
        trace_of(posterior()),
        objectives.TotalCorrelation(),
        objectives.MutualInformation(),
    )
    WeightedTerms({correlation: 1.0, information: 1.0}).setup(single_level_vae(), torch.zeros(2, 1, 4, 4), 50)
    level = trace.levels[0]
    own = aggregate_posterior_log_prob(level, 50)[1] - level.log_p
    torch.testing.assert_close(information(trace) + correlation(trace) + own, level.log_q - level.log_p)


def test_total_correlation_of_a_known_mixture() -> None:
    """Two points on the diagonal: z1 determines z2, TC = log 2, and 0 where the means form a grid."""
    for rows, expected in (
        ([[-9.0, -9.0], [9.0, 9.0]], math.log(2)),
        ([[a, b] for a in (-9.0, 9.0) for b in (-9, 9)], 0),
    ):
        q = DiagonalNormal(torch.tensor(rows).double(), torch.zeros(len(rows), 2).double())
        term = objectives.TotalCorrelation()
        term.n = len(rows)
        torch.testing.assert_close(term(trace_of(q)).mean(), torch.tensor(expected).double(), atol=1e-6, rtol=0)


def test_the_aggregate_asks_for_the_number_of_data_and_independent_latents() -> None:
    with pytest.raises(ValueError, match="start"):
        objectives.TotalCorrelation()(trace_of(posterior()))
    with pytest.raises(UserError, match=r"MultivariateNormal does not factorise"):
        objectives.per_dimension(torch.distributions.MultivariateNormal(torch.zeros(2), torch.eye(2)))


LEVEL_TERMS: dict[str, Callable[[], objectives.Term]] = {
    "total_correlation": objectives.TotalCorrelation,
    "mutual_information": objectives.MutualInformation,
    "dip-vae": lambda: objectives.dip(1.0, 1.0),
    "mmd": lambda: objectives.mmd(rbf()),
    "sliced_wasserstein": objectives.sliced_wasserstein,
    "hsic": objectives.hsic,
}


@pytest.mark.parametrize("name", LEVEL_TERMS)
def test_a_hierarchy_is_refused_by_name(name: str) -> None:
    with pytest.raises(UserError, match=rf"^{name}: takes one level of latents, and the model has 2"):
        LEVEL_TERMS[name]()(two_levels(4))


# --- moments and discrepancies ---


def test_dip_is_the_distance_of_the_covariance_from_the_identity() -> None:
    """I: numpy's covariance of the means; II: of a great many draws."""
    q = posterior()
    c = torch.cov(q.loc.T, correction=0)
    off = c.square().sum() - c.diagonal().square().sum()
    torch.testing.assert_close(objectives.dip(2.0, 3.0)(trace_of(q)), 2 * off + 3 * (c.diagonal() - 1).square().sum())
    draws = q.rsample((200_000,)).flatten(0, 1)
    torch.testing.assert_close(objectives.covariance(trace_of(q).levels[0]), torch.cov(draws.T), atol=0.01, rtol=0)


def test_unbiased_mmd_has_its_closed_form_in_the_mean() -> None:
    """RBF of N(m, I) and N(0, I) in d dimensions: E k(x, y) = (h / (h + 4))^(d/2) exp(-m^2 / (h + 4)), h = 2 d."""
    d, n, m = 2, 6, 5
    shift, h = torch.tensor([0.8, 0.0]).double(), 2.0 * 2
    draws = [mmd_squared(torch.randn(n, d).double() + shift, torch.randn(m, d).double(), rbf()) for _ in range(8000)]
    factor = (h / (h + 4)) ** (d / 2)
    truth = 2 * factor * (1 - math.exp(-0.64 / (h + 4)))
    assert_mean(torch.stack(draws), truth)
    x, y = torch.randn(n, d).double(), torch.randn(m, d).double()
    for kernel in (rbf(), imq()):
        assert mmd_squared(x, x, kernel, biased=True).abs() < 1e-12 < mmd_squared(x, y, kernel, biased=True)
    gap = mmd_squared(x, y, rbf(), biased=True) - mmd_squared(x, y, rbf())
    assert gap > 0, "the pairs of a sample with itself"


def test_mmd_against_sums_in_plain_python() -> None:
    x, y = torch.randn(4, 3).double(), torch.randn(5, 3).double()

    def k(a: Tensor, b: Tensor) -> float:
        return sum(6 * s / (6 * s + float((a - b).square().sum())) for s in (0.5, 2.0)) / 2

    within = [
        sum(k(a, b) for i, a in enumerate(s) for j, b in enumerate(s) if i != j) / (len(s) * (len(s) - 1))
        for s in (x, y)
    ]
    across = sum(k(a, b) for a in x for b in y) / 20
    assert mmd_squared(x, y, imq((0.5, 2.0))).item() == pytest.approx(sum(within) - 2 * across)


def test_sliced_wasserstein() -> None:
    """scipy's distance in one dimension; of a shift s in many dimensions, |s|^2 / d in the mean."""
    scipy_stats = pytest.importorskip("scipy.stats")
    q = posterior(B, 1)
    trace = trace_of(q)
    torch.manual_seed(3)
    value = objectives.sliced_wasserstein(4)(trace)
    torch.manual_seed(3)
    y = torch.randn(B, 1, dtype=torch.float64)
    z = trace.levels[0].z
    assert value.item() == pytest.approx((z.sort(0).values - y.sort(0).values).square().mean().item())
    absolute = (z.sort(0).values - y.sort(0).values).abs().mean().item()
    assert absolute == pytest.approx(scipy_stats.wasserstein_distance(z[:, 0], y[:, 0]))
    far = DiagonalNormal(torch.full((4000, 3), 3.0).double(), torch.zeros(4000, 3).double())
    assert objectives.sliced_wasserstein(400)(trace_of(far)).item() == pytest.approx(9.0, rel=0.1)


def test_hsic_is_its_trace_and_vanishes_with_dependence() -> None:
    x, y = torch.randn(30, 2).double(), torch.randn(30, 1).double()
    kernel = rbf((0.5,))
    k, ell = (kernel((a.unsqueeze(1) - a).square().sum(-1), a.shape[1]) for a in (x, y))
    h = torch.eye(30).double() - 1 / 30
    torch.testing.assert_close(dhsic([x, y], kernel), torch.trace(k @ h @ ell @ h) / 900)
    n = torch.randn(400, 3).double()
    alone, copied = (dhsic(z.split(1, 1), rbf()) for z in (n, n[:, [0, 0, 1]]))
    assert 0 <= alone < 0.1 * copied
    with pytest.raises(UserError, match=r"hsic sizes=\[1, 1\].*3 latents"):
        objectives.hsic((1, 1))(trace_of(posterior()))


# --- objectives with a state or players ---


def test_a_penalty_is_always_due_and_named_only_when_charged() -> None:
    q, due = posterior(), torch.full((B,), 2.5).double()

    class Fixed(nn.Module):
        penalty: Tensor | None = None

        def forward(self, x: Tensor, c: Tensor | None = None, shape: tuple[int, ...] = ()) -> Trace:
            torch.manual_seed(1)
            return trace_of(q, *shape, penalty=self.penalty)

    for objective in (objectives.elbo(), objectives.importance_weighted(k=2), objectives.GECO(target=1.0)):
        vae = Fixed()
        free = objective.eval()(vae, q.loc)  # type: ignore[arg-type]
        vae.penalty = due
        charged = objective(vae, q.loc)  # type: ignore[arg-type]
        assert set(charged.terms) - set(free.terms) == {"penalty"} and charged.terms["penalty"] == 2.5
        torch.testing.assert_close(charged.losses["vae"] - free.losses["vae"], torch.tensor(2.5).double())


def test_the_constraint_is_met_with_the_least_rate() -> None:
    """A linear model trained under a distortion target ends there; the multiplier rises above it, falls below."""
    vae, x = single_level_vae((4,), likelihood="normal, fixed sigma").double(), 2 * torch.randn(64, 4).double()
    objective = objectives.GECO(target=8.0, step=0.05).double()
    adam = torch.optim.Adam(vae.parameters(), 5e-3)
    before = objective.log_multiplier.item()
    for step in range(700):
        losses = objective(vae, x)
        adam.zero_grad()
        losses.losses["vae"].backward()
        adam.step()
        if step == 5:
            assert losses.terms["distortion"] > 8 and objective.log_multiplier > before
    last = torch.stack([objective(vae, x).terms["distortion"] for _ in range(50)]).mean()
    assert last.item() == pytest.approx(8.0, abs=0.8)
    state = objective.log_multiplier.clone()
    objective.eval()(vae, x)
    assert torch.equal(state, objective.log_multiplier) and "log_multiplier" in objective.state_dict()


def test_decoder_gradient_is_the_jacobians_norm() -> None:
    vae = perturb_parameters(single_level_vae((1, 4, 4)))
    z = torch.randn(2, 3).double()
    jacobian = torch.autograd.functional.jacobian(lambda h: vae.likelihood(h.unsqueeze(0)).mean, z[0])
    with torch.no_grad():  # as in an evaluation
        draws = torch.stack([objectives.decoder_gradient(vae, z)[0] for _ in range(3000)])
    assert_mean(draws.detach(), jacobian.square().sum())
    expected = sum(torch.linalg.svdvals(p)[0] ** 2 for p in vae.likelihood.parameters() if p.dim() == 2)
    torch.testing.assert_close(objectives.decoder_spectrum(vae, z), expected)


def test_a_critic_at_its_optimum_knows_the_log_ratio() -> None:
    """Cross-entropy 0.5 KL-like optimum: logits log(p/q) minimise it, and its value is then that of the truth."""
    x, y = torch.randn(100_000).double() + 1, torch.randn(100_000).double()

    def loss(scale: float) -> float:
        return discriminator_loss(scale * (x - 0.5), scale * (y - 0.5)).item()  # log N(1, 1) / N(0, 1) = x - 1/2

    assert loss(1.0) < min(loss(0.8), loss(1.2), loss(-1.0)) < math.log(2) < loss(-1.0)
    assert discriminator_loss(torch.zeros(3), torch.zeros(3)).item() == pytest.approx(math.log(2))


def test_permuted_latents_keep_their_marginals_and_lose_their_dependence() -> None:
    z = torch.randn(4000, 1).double().expand(-1, 2)
    mixed = permute_dims(z)
    assert torch.equal(mixed.sort(0).values, z.sort(0).values)
    assert torch.corrcoef(mixed.T)[0, 1].abs() < 0.08


def players_learn(row: ObjectiveRow) -> tuple[VAE, objectives.Objective, Tensor]:
    vae, objective = perturb_parameters(single_level_vae()), row.build().double()
    x = data(vae.likelihood.support, 8, (1, 4, 4))
    objective.setup(vae, x, len(x))
    return vae, objective, x


@over(OBJECTIVES.values())
def test_every_player_moves_every_parameter_and_evaluation_has_the_training_loss(row: ObjectiveRow) -> None:
    vae, objective, x = players_learn(row)
    torch.manual_seed(5)
    losses = objective(vae, x)
    for player, parameters in objective.param_groups(vae).items():
        gradients = torch.autograd.grad(losses.losses[player], parameters, retain_graph=True, allow_unused=True)
        dead = [i for i, g in enumerate(gradients) if g is None or not g.isfinite().all() or not g.abs().sum() > 0]
        assert not dead, (player, dead)
    assert {"distortion", "rate"} <= set(losses.terms)
    with torch.no_grad():
        torch.manual_seed(5)
        scored = objective.eval()(vae, x)
    for player, loss in scored.losses.items():
        torch.testing.assert_close(loss, losses.losses[player].detach(), rtol=2e-3, atol=2e-3)


def test_the_generator_and_its_critic_pull_apart() -> None:
    """A step of each player alone lowers its own loss, and the critic's step raises the deceit's price."""
    for name in ("factorvae", "aae", "vae-gan"):
        vae, objective, x = players_learn(OBJECTIVES[name])
        for player, parameters in objective.param_groups(vae).items():
            torch.manual_seed(6)
            before = objective(vae, x).losses[player]
            gradients = torch.autograd.grad(before, parameters)
            with torch.no_grad():
                for p, g in zip(parameters, gradients, strict=True):
                    p.sub_(1e-3 * g)
            torch.manual_seed(6)
            assert objective(vae, x).losses[player] < before, (name, player)


def test_critics_see_nothing_they_could_move() -> None:
    """The critic's loss has no gradient in the VAE."""
    for name in ("factorvae", "aae", "vae-gan"):
        vae, objective, x = players_learn(OBJECTIVES[name])
        loss = objective(vae, x).losses["critic"]
        assert all(g is None for g in torch.autograd.grad(loss, [*vae.parameters()], allow_unused=True)), name


def test_labels_partly_missing() -> None:
    """Known: the ELBO under that class + cross-entropy + log K; unknown: minus the log of a sum that bounds it."""
    vae = perturb_parameters(single_level_vae((1, 4, 4), context=2))
    objective = objectives.SemiSupervised(classes=2, weight=3.0, classifier=MLP((4,))).double()
    x = data(vae.likelihood.support, 6, (1, 4, 4))
    c = torch.eye(2).double()[[0, 1, 1, 0, 0, 1]]
    objective.setup(vae, x, 6, c)
    log_q = objective.classifier(x).log_softmax(1)
    torch.manual_seed(2)
    per_class = torch.stack([(t := vae(x, y.expand(6, -1))).distortion + t.rate for y in torch.eye(2).double()], 1)
    known = (c * (per_class - 3.0 * log_q)).sum(1) + math.log(2)
    unknown = (log_q.exp() * (per_class + log_q)).sum(1) + math.log(2)
    for missing in ([], [0, 1, 2, 3, 4, 5], [1, 4]):
        labels = c.clone()
        labels[missing] = math.nan
        rows = torch.tensor([i in missing for i in range(6)])
        torch.manual_seed(2)
        losses = objective(vae, x, labels)
        torch.testing.assert_close(losses.losses["vae"], torch.where(rows, unknown, known).mean())
        moved = objective.param_groups(vae)["classifier"]
        assert all(g.isfinite().all() for g in torch.autograd.grad(losses.losses["classifier"], moved))
    assert set(objective.param_groups(vae)) == {"vae", "classifier"}


# --- the loop with several players ---


@pytest.mark.parametrize(("kind", "settings"), [
    ("factorvae", {}), ("aae", {"objective.hidden": [8], "max_grad_norm": 1.0}),
    ("vae-gan", {"objective.critic_lr_scale": 0.5}),
    ("piwae", {"gradient_accumulation_steps": 2}), ("chivi", {"ema_decay": 0.9}), ("beta-tc", {}), ("geco", {}),
    ("free-bits", {"objective.beta": {"kind": "cyclical"}}), ("rae", {"objective.regularizer": "gradient"}),
])  # fmt: skip
def test_training_is_repeatable_and_survives_an_end(kind: str, settings: dict[str, Any], tmp_path: Path) -> None:
    """A run of 3 epochs, and one that was stopped and gone on with, are equal bit for bit, critics included."""
    model, rows = small(**{"objective.kind": kind, **settings})
    whole = model.fit(rows, tmp_path / "whole")
    assert whole.reason == "done" and all(math.isfinite(row["loss"]) for row in whole.rows)
    assert {"epoch", "split", "loss", "distortion", "rate"} <= set(whole.rows[0])
    shorter, _ = small(**{"objective.kind": kind, **settings})
    Stop.after = 7
    part = shorter.fit(rows, tmp_path / "cut", [Stop()])
    assert part.reason == "interrupted", "the test stops nothing"
    resumed, _ = small(**{"objective.kind": kind, **settings})
    assert resumed.fit(rows, tmp_path / "cut", resume=True).reason == "done"
    first, second = (load_file(tmp_path / run / "last.safetensors") for run in ("whole", "cut"))
    assert first.keys() == second.keys()
    different = [n for n in first if not n.startswith("ledger") and not torch.equal(first[n], second[n])]
    assert different == []
    players = {name.split(".")[1] for name in first if name.startswith("optimizer.")}
    assert len(players) == {"vae-gan": 3, "factorvae": 2, "aae": 2, "piwae": 2, "chivi": 2}.get(kind, 1)


class Stop(Callback):
    """Interrupts a run after so many looks."""

    after = 0

    def on_progress(self, progress: Any) -> None:
        Stop.after -= 1
        if Stop.after == 0:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture(autouse=True)
def _look_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nelbo.training.loop.LOOK_SECONDS", 0.0)


def test_several_players_and_one_take_the_same_steps() -> None:
    """The ELBO split between an encoder and a decoder trains as the one player does."""

    class Split(objectives.WeightedTerms):
        def forward(self, vae: VAE, x: Tensor, c: Tensor | None = None) -> objectives.Losses:
            losses = super().forward(vae, x, c)
            return objectives.Losses(dict.fromkeys(("encoder", "decoder"), losses.losses["vae"]), losses.terms)

        def param_groups(self, vae: VAE) -> dict[str, list[nn.Parameter]]:
            return objectives.piwae(k=1, m=1).param_groups(vae)

    after = []
    for make in (WeightedTerms, Split):
        model, rows = small(gradient_accumulation_steps=2, **{"training.optimizer.eps": 1e-4})
        fit(model.vae, make({distortion: 1.0, rate: 1.0}), rows.train, rows.test, model.recipe.training)
        after.append(model.vae.state_dict())
    for name in after[0]:
        torch.testing.assert_close(after[0][name], after[1][name], rtol=1e-4, atol=1e-5)


def test_cyclical() -> None:
    schedule = Cyclical(cycles=4, rising=0.5, end_value=2.0)
    values = [schedule(f) for f in (0.0, 0.0625, 0.125, 0.2, 0.25, 0.3125, 1.0, 1.5)]
    assert values == pytest.approx([0, 1, 2, 2, 0, 1, 2, 2])
    with pytest.raises(UserError, match=r"beta\.cycles = 0: give 1 or more"):
        _ = Component("objective", "elbo", beta=Cyclical(0)).options


def test_two_processes_are_one_with_two_players(run: Run, tmp_path: Path) -> None:
    """PIWAE under torchrun with gloo: gradients summed over processes are those of the whole batch."""
    x = np.random.default_rng(0).integers(0, 256, (90, 6, 6), np.uint8)
    np.save(tmp_path / "x.npy", x)
    command = ["train", str(tmp_path / "x.npy"), "--epochs", "2", "--batch-size", "33", "--quiet"]
    for item in ("model.encoder=mlp", "training.optimizer.eps=1e-4", "objective=piwae"):
        command += ["--set", item]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    two = subprocess.Popen([*torchrun, "-m", "nelbo", *command, "--out", str(tmp_path / "two")], env=environment)
    assert (run(*command, "--out", tmp_path / "one").code, two.wait(120)) == (0, 0)
    one, two = (load_file(tmp_path / name / "model/weights.safetensors") for name in ("one", "two"))
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=2e-4, atol=2e-5)
