"""Every preset through the one training loop, on real digits: it learns, is saved whole, and samples from its prior."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import nelbo
from nelbo.config import presets
from nelbo.config import recipe as recipes
from nelbo.config.build import init_from_data
from nelbo.config.presets import PRESETS
from nelbo.config.recipe import Recipe
from nelbo.config.registry import dump, parse
from nelbo.data import DataSplits, condition, load, subset
from nelbo.errors import UserError
from nelbo.model import Model
from nelbo.model.io import load as load_model

DIGITS = load("mnist")
SMALL = DataSplits("digits", subset(DIGITS.train, range(384)), subset(DIGITS.test, range(96)))
# What keeps a run short: one small network for all, and fewer parts of each kind.
FEWER: dict[str, dict[str, Any]] = {
    "vdvae": {"model.latent.depth": [1, 1], "model.latent.width": 4, "model.latent.channels": 2},
    "nvae": {"model.latent.depth": [1, 1], "model.latent.width": 4, "model.latent.channels": 2},
    "exemplar": {"model.latent.prior.components": 50},
    "vamp": {"model.latent.prior.components": 20},
    "vae-gan": {"objective.features": 16},
}


def recipe_of(name: str) -> Recipe:
    base = recipes.load("mnist", {"epochs": 3, "batch_size": 32, "model.encoder": {"kind": "mlp", "hidden": [48]}})
    recipe = presets.find(name).apply_to(dataclasses.replace(base, preset=name), name)
    return recipes.override(recipe, FEWER.get(name, {}))


def trained(name: str, epochs: int = 3) -> tuple[Model, list[dict[str, Any]]]:
    recipe = recipes.override(recipe_of(name), {"epochs": epochs})
    data = dataclasses.replace(SMALL, train=subset(SMALL.train, range(384)), test=subset(SMALL.test, range(96)))
    context = condition(data, recipe.data.condition) if recipe.data.condition else None
    model = Model.from_recipe(recipe, data.schema, context)
    return model, model.fit(data).rows


@pytest.mark.parametrize("name", PRESETS)
def test_it_learns_is_saved_whole_and_samples_from_its_own_prior(name: str, tmp_path: Path) -> None:
    model, rows = trained(name)
    assert all(np.isfinite(row[part]) for row in rows for part in ("loss", "distortion", "rate"))
    first, last = (next(r for r in rows if r["split"] == "test" and r["epoch"] == e) for e in (1, 3))
    key = "distortion" if name in DISTORTION else "loss"
    assert last[key] < first[key]
    model.save(tmp_path)
    again = load_model(tmp_path)
    x = SMALL.test.batch(torch.arange(6))
    x = model.schema.decode(x).numpy()
    given = model.condition_on(3) if model.context else model
    given_again = again.condition_on(3) if again.context else again
    np.testing.assert_array_equal(given.embed(x), given_again.embed(x))
    np.testing.assert_array_equal(given.reconstruct(x), given_again.reconstruct(x))
    np.testing.assert_array_equal(given.sample(5, seed=1), given_again.sample(5, seed=1))
    assert np.isfinite(given.sample(5)).all()


# Their loss is a game, or has a weight that moves: what must fall is the distortion.
DISTORTION = ("factor-vae", "aae", "vae-gan", "geco", "disentangled-beta-vae", "piwae", "m2", "lfq")


@pytest.mark.parametrize("name", PRESETS)
def test_every_parameter_of_every_player_gets_a_gradient(name: str) -> None:
    recipe = recipe_of(name)
    data = dataclasses.replace(SMALL, train=subset(SMALL.train, range(24)))
    context = condition(data, recipe.data.condition) if recipe.data.condition else None
    model, objective = Model.from_recipe(recipe, data.schema, context), recipe.objective.build()
    x, c = data.train.batch(torch.arange(24)), data.train.context
    init_from_data(model.vae, model.recipe.model, x.mean(0), x)
    objective.setup(model.vae, x, 24, c)
    losses = objective.train()(model.vae.train(), x, c).losses
    players = objective.param_groups(model.vae)
    assert losses.keys() == players.keys()
    for player, parameters in players.items():
        for gradient in torch.autograd.grad(losses[player], parameters, retain_graph=True):  # raises if one is unused
            assert gradient.isfinite().all()


@pytest.mark.parametrize("name", PRESETS)
def test_its_table_is_itself(name: str) -> None:
    recipe = recipe_of(name)
    assert parse(Recipe, dump(recipe), "") == recipe


NOT_OF_TABLES = {  # what each says
    **dict.fromkeys(
        ("sigma-vae", "ms-ssim", "dfc", "log-cosh", "student-t", "discretized-logistic"), "not support a table"
    ),
    **dict.fromkeys(("vdvae", "nvae"), "takes pictures"),
    **dict.fromkeys(("cvae", "m2"), "no labels to condition on"),
    "rhvae": "posterior does not support a table",
    "rae-gp": "not a smooth function",
    "vae-gan": "use another objective",
}
POINTS = ("wae-mmd", "swae", "ae", "rae-l2", "aae")  # their codes have no importance weights


@pytest.mark.parametrize("name", PRESETS)
def test_it_learns_of_a_table_or_says_why_not(name: str) -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {"age": rng.integers(18, 80, 90), "job": rng.choice([*"abc", None], 90), "pay": rng.random(90)}
    )
    table.loc[::7, "pay"] = np.nan
    net = {"kind": "table", "width": 8, "blocks": 1, "bins": 4}
    small = {"model__encoder": net, "model__decoder": net, "samples_per_epoch": 64, "batch_size": 32, "epochs": 1}
    if name in NOT_OF_TABLES:
        with pytest.raises(UserError, match=NOT_OF_TABLES[name]):
            nelbo.fit(table, preset=name, **small)
        return
    model = nelbo.fit(table, preset=name, **small)
    made = model.sample(9)
    assert list(made) == list(table) and made["age"].between(table["age"].min(), table["age"].max()).all()
    assert np.isfinite(model.evaluate(table)["loss"]) and len(model.reconstruct(table)) == 90
    if name in POINTS:
        with pytest.raises(UserError, match="no importance weights"):
            model.impute(table)
    else:
        assert not model.impute(table).isna().any().any()


def test_names_of_functions_are_names_of_presets() -> None:
    for name, entry in PRESETS.items():
        assert getattr(presets, name.replace("-", "_")) is entry.make
        assert entry.summary.endswith(".") and entry.make().fills


def test_an_unknown_preset_suggests_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean beta-tc"):
        presets.find("beta-tcc")


@pytest.mark.parametrize("name", ["beta-vae", "vamp", "ladder", "m2"])
def test_its_prior_is_kept_where_the_recipe_would_fit_another(name: str) -> None:
    assert (
        recipes.load("pictures").post_hoc_prior
        and presets.find(name).apply_to(recipes.load("pictures"), name).post_hoc_prior == ""
    )
