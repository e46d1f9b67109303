"""Minutes become epochs, and a prior that a recipe wants is fitted after training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import nelbo
from fixtures.tiny_model import assert_equal, weights
from nelbo.config import recipe as recipes
from nelbo.data import load
from nelbo.errors import UserError
from nelbo.experiment import run
from nelbo.experiment import run as time_budget

RUNS = ("plain", "fitted")
ROWS = torch.rand(120, 6, generator=torch.Generator().manual_seed(0))


def model(minutes: float, prior: str = "", **training: int) -> tuple[nelbo.Model, nelbo.data.DataSplits]:  # type: ignore[name-defined]
    data = load(ROWS)
    recipe = recipes.load(None, {"minutes": minutes, "post_hoc_prior": prior, "batch_size": 10, **training})
    return nelbo.Model.from_recipe(recipe, data.schema), data


@pytest.mark.parametrize(
    ("minutes", "speed", "prior", "expected"),
    [
        (1.0, 180.0, "", (85, 0, 60.0)),  # 180 * 60 * 0.85 rows are 85 times the 108 to train on
        (1.0, 180.0, "gmm", (68, 0, 48.0)),  # a share is left for the prior
        (0.1, 50.0, "", (8, 31, 6.0)),  # 255 rows, in 8 parts
        (0.01, 1.0, "", (1, 10, 0.6)),  # less than a batch: one batch
    ],
)
def test_minutes_become_epochs(
    minutes: float, speed: float, prior: str, expected: tuple[int, int, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time_budget, "_rows_a_second", lambda model, data: speed)
    found = time_budget.epochs_for_budget(*model(minutes, prior))
    assert (found.epochs, found.samples_per_epoch, found.max_seconds) == pytest.approx(expected)


def test_timing_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_budget, "TIMED_SECONDS", 0.2)
    m, data = model(1.0)
    before, generator = weights(m), torch.get_rng_state()
    assert time_budget.epochs_for_budget(m, data).epochs > 1
    assert_equal(weights(m), before)
    assert torch.equal(torch.get_rng_state(), generator)


def test_a_run_of_minutes_can_be_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The recipe, as it is written, names epochs and no minutes: it gives the same weights, and can be resumed."""
    monkeypatch.setattr(time_budget, "_rows_a_second", lambda model, data: 5.0)
    first = nelbo.fit(ROWS, out=tmp_path / "run", minutes=1)
    written = recipes.load(str(tmp_path / "run" / "recipe.toml"))
    assert (written.minutes, written.training.epochs) == (0.0, 2)
    assert_equal(weights(nelbo.fit(ROWS, recipe=written)), weights(first))
    assert_equal(weights(nelbo.fit(ROWS, out=tmp_path / "run", resume=True, minutes=1)), weights(first))


def test_time_is_kept_where_epochs_are_shorter_than_a_look() -> None:
    m, data = model(0.0, max_seconds=1, epochs=10**7)
    assert m.fit(data).reason == "out of time"


def test_epochs_that_are_given_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_budget, "epochs_for_budget", lambda *_: pytest.fail("timed"))
    assert run.choose("digits", "", {"epochs": 3}).minutes == 0.0
    assert run.choose("digits", "", {}).minutes == 10.0
    nelbo.fit(ROWS, epochs=1)


def test_the_recipes_prior_is_fitted_saved_and_sampled(tmp_path: Path) -> None:
    """As by `fit_prior` after training; the last picture of samples is drawn from it."""
    plain = nelbo.fit(ROWS, epochs=2, out=tmp_path / "plain")
    fitted = nelbo.fit(ROWS, epochs=2, post_hoc_prior="normal", out=tmp_path / "fitted")
    expected = nelbo.fit_prior(plain, load(ROWS).train, "normal", 42)
    assert_equal(weights(fitted), weights(expected))
    assert_equal(weights(nelbo.load(tmp_path / "fitted")), weights(expected))
    pictures = {
        name: [(tmp_path / name / f"sample_{e}.png").read_bytes() for e in (1, 2)] for name in ("plain", "fitted")
    }
    assert pictures["plain"][0] == pictures["fitted"][0] and pictures["plain"][1] != pictures["fitted"][1]


def test_bad_minutes_and_priors_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="minutes = -1: give 0 or more"):
        recipes.load(None, {"minutes": -1})
    with pytest.raises(UserError, match="did you mean gmm"):
        recipes.load(None, {"post_hoc_prior": "gm"})
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="use --epochs"):
        time_budget.epochs_for_budget(*model(1.0))
