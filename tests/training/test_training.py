"""Training: what a run must be equal to, however it is cut, stopped and resumed."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch

from fixtures.tiny_model import assert_equal, small, weights
from nelbo.config.recipe import load as load_recipe
from nelbo.distributions import noise
from nelbo.errors import UserError
from nelbo.schedules import Constant, Cosine, Linear, OneCycle
from nelbo.training import Adam, fit
from nelbo.training.optim import EMA
from nelbo.training.players import epoch_order, micro_batches


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    runs = []
    for seed in (1, 1, 2):
        model, data = small(seed=seed)
        torch.manual_seed(random.randrange(100))  # what the caller's generator was must not matter
        model.fit(data)
        runs.append(weights(model))
    assert_equal(runs[0], runs[1])
    assert any(not torch.equal(runs[0][k], runs[2][k]) for k in runs[0])


def test_the_callers_generator_is_left_alone() -> None:
    model, data = small()
    before = torch.get_rng_state()
    model.fit(data)
    assert torch.equal(before, torch.get_rng_state())


def test_accumulated_pieces_have_the_gradient_of_the_whole_batch() -> None:
    """Weights after one step, without noise: a Normal posterior that is a point (log variance -60)."""
    after = []
    for accumulate in (1, 3):
        model, data = small(
            gradient_accumulation_steps=accumulate, epochs=1, batch_size=135, **{"training.optimizer.eps": 1e-3}
        )
        with torch.no_grad():
            model.vae.latent.posterior.net.layers[-1].weight[3:] = 0
            model.vae.latent.posterior.net.layers[-1].bias[3:] = -60
        model.fit(data)
        after.append(weights(model))
    for name in after[0]:
        torch.testing.assert_close(after[0][name], after[1][name], rtol=1e-4, atol=1e-6)


def test_pieces_cut_every_batch_into_disjoint_rows_with_weights_that_sum_to_one() -> None:
    order = epoch_order(103, seed=1, epoch=2)
    assert sorted(order.tolist()) == list(range(103))
    assert not torch.equal(order, epoch_order(103, seed=1, epoch=3))
    for world, accumulate, batch_size in [(1, 1, 10), (2, 1, 10), (3, 2, 7), (4, 3, 5)]:
        ranks = [list(micro_batches(order, batch_size, 0, rank, world, accumulate)) for rank in range(world)]
        assert len({len(rank) for rank in ranks}) == 1  # all processes take as many steps
        seen = [i for rank in ranks for p in rank if p.weight for i in p.index.tolist()]
        assert sorted(seen) == list(range(103))
        steps = len(ranks[0]) // accumulate
        total = sum(p.weight for rank in ranks for p in rank)
        assert total == pytest.approx(steps)


def test_shards_of_noise_are_rows_of_the_whole() -> None:
    draws = []
    for start, stop in ((0, 3), (3, 8)):
        torch.manual_seed(0)
        with noise.shard(start, stop, 8):
            draws.append(noise.normal(torch.Size((2,)), torch.Size((stop - start,)), torch.Size((4,)), torch.zeros(())))
    torch.manual_seed(0)
    whole = noise.normal(torch.Size((2,)), torch.Size((8,)), torch.Size((4,)), torch.zeros(()))
    assert torch.equal(torch.cat(draws, 1), whole)


def test_adam_is_torchs() -> None:
    generator = torch.Generator().manual_seed(0)
    start = [torch.randn(3, 4, generator=generator), torch.randn(5, generator=generator)]
    ours, theirs = ([torch.nn.Parameter(t.clone()) for t in start] for _ in range(2))
    stepper = Adam(beta1=0.8, beta2=0.95, eps=1e-4, weight_decay=0.1).init(ours)
    oracle = torch.optim.AdamW(theirs, lr=1.0, betas=(0.8, 0.95), eps=1e-4, weight_decay=0.1)
    for step in range(10):
        gradients = [torch.randn(t.shape, generator=generator) for t in start]
        stepper.step(gradients, lr=0.1 / (1 + step))
        for group in oracle.param_groups:
            group["lr"] = 0.1 / (1 + step)
        for parameter, gradient in zip(theirs, gradients, strict=True):
            parameter.grad = gradient
        oracle.step()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


def test_the_average_is_the_recursion_and_swaps_back() -> None:
    module = torch.nn.Linear(2, 1, bias=False)
    average = EMA(module, decay=0.5)
    expected = module.weight.detach().clone()
    for step in range(1, 6):
        with torch.no_grad():
            module.weight.add_(step)
        average.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * module.weight.detach()
    last = module.weight.detach().clone()
    with average.applied():
        torch.testing.assert_close(module.weight.detach(), expected)
    assert torch.equal(module.weight.detach(), last)


def test_early_stopping_keeps_the_best(tmp_path: Path) -> None:
    """Without a folder too: a learning rate that soon does harm, so that the best epoch is not the last."""
    for folder in (tmp_path, None):
        model, data = small(epochs=40, learning_rate=0.3, early_stopping_patience=3)
        state = model.fit(data, folder)
        losses = [row["loss"] for row in state.rows if row["split"] == "test"]
        assert state.reason == "no better test loss"
        assert len(losses) == state.best_epoch + 3
        assert min(losses) == state.best == losses[state.best_epoch - 1]
        assert model.evaluate(data.test, seed=42)["loss"] == pytest.approx(state.best, rel=1e-5)


def test_schedules_start_peak_and_end_where_they_say() -> None:
    assert OneCycle(warmup=0.25, start_value=0.1, end_value=0.02)(0.0) == pytest.approx(0.1)
    assert OneCycle(warmup=0.25)(0.25) == pytest.approx(1.0)
    assert OneCycle(warmup=0.25, end_value=0.02)(1.0) == pytest.approx(0.02)
    assert Cosine(warmup=0.1, end_value=0.2)(1.0) == pytest.approx(0.2)
    assert Cosine(warmup=0.1)(0.05) == pytest.approx(0.5)
    assert Linear(0.2, 0.8, 0.5, 1.0)(0.75) == pytest.approx(0.5)
    assert Constant()(0.7) == 1.0


def test_the_rate_and_beta_follow_their_schedules() -> None:
    model, data = small(
        **{
            "objective.beta": {"kind": "linear", "end_at": 0.5},
            "training.schedule": {"kind": "linear", "start_value": 1.0, "end_value": 0.0},
        }
    )
    rows = model.fit(data).rows
    steps = 15  # 135 rows in batches of 32, three times
    assert [row["lr"] for row in rows[::2]] == pytest.approx([1e-3 * (1 - (5 * e - 1) / steps) for e in (1, 2, 3)])
    first, test = rows[0], rows[1]
    assert first["loss"] < first["distortion"] + first["rate"]  # beta is below 1 in the first epoch
    assert test["loss"] == pytest.approx(test["distortion"] + test["rate"], rel=1e-6)  # and 1 in every evaluation


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("batch_size", 0),
        ("learning_rate", -1.0),
        ("ema_decay", 1.0),
        ("max_grad_norm", -1.0),
        ("precision", "8"),
        ("early_stopping_patience", -1),
    ],
)
def test_impossible_settings_are_named(name: str, value: Any) -> None:
    with pytest.raises(UserError, match=f"training.{name} ?="):
        load_recipe(None, {name: value})


def test_half_width_precision_trains_to_about_the_same_loss() -> None:
    losses = []
    for precision in ("32", "bf16"):
        model, data = small(precision=precision, epochs=2)
        losses.append(model.fit(data).rows[-1]["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


def test_a_device_that_is_not_here_is_named() -> None:
    model, data = small(device="cuda:99")
    with pytest.raises(UserError, match="cuda:99"):
        model.fit(data)


def test_fit_is_the_function_that_model_calls() -> None:
    """`fit` on parts, without a Model: the public face of the loop."""
    model, data = small()
    state = fit(model.vae, model.recipe.objective.build(), data.train, data.test, model.recipe.training)
    assert state.reason == "done" and len(state.rows) == 6
