"""Recipes: every component survives its table and its TOML; every mistake is one line that says what to write."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path
from typing import Any

import pytest

from nelbo import nets, schedules, training
from nelbo.config import recipe as recipes
from nelbo.config.recipe import Recipe
from nelbo.config.registry import Component, dump, entries, families, kind_of
from nelbo.data import load as load_data
from nelbo.errors import UserError, nearest
from zoo import ROWS, Row

PLACES = {
    "net": "model.encoder",
    "likelihood": "model.likelihood",
    "prior": "model.latent.prior",
    "posterior": "model.latent.posterior",
    "latent": "model.latent",
    "objective": "objective",
    "schedule": "training.schedule",
    "optimizer": "training.optimizer",
    "transform": "model.latent.posterior.transform",
}
AROUND = {"transform": {"model.latent.posterior": "flow"}}  # what a component of the family must stand in
KINDS = [(family, kind) for family in families() for kind in entries(family)]


def at(recipe: Recipe, path: str) -> Any:
    """The field of a recipe at a dotted path."""
    value: Any = recipe
    for name in path.split("."):
        value = value.options[name] if isinstance(value, Component) else getattr(value, name)
    return value


def through_toml(recipe: Recipe, folder: Path) -> Recipe:
    path = folder / "a recipe.toml"
    path.write_text(recipes.dumps(recipe), "utf-8")
    return recipes.load(str(path))


def test_every_registered_part_has_a_row_in_the_zoo() -> None:
    assert {(row.family, row.kind) for row in ROWS} == {*KINDS}, "add a row to the module of the family in tests/zoo"
    assert set(PLACES) == set(families())


@pytest.mark.parametrize(("family", "kind"), KINDS)
def test_every_field_has_a_row_in_which_it_is_not_the_default(family: str, kind: str) -> None:
    options = [row.component.options for row in ROWS if (row.family, row.kind) == (family, kind)]
    fields = entries(family)[kind].fields
    assert [name for name, (_, default) in fields.items() if all(o[name] == default for o in options)] == []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.family}: {row.name}")
def test_a_component_survives_its_table_and_its_toml(row: Row, tmp_path: Path) -> None:
    """With the row's options, and with the defaults."""
    for table in ({"kind": row.kind, **row.options}, {"kind": row.kind}):
        recipe = recipes.load(None, {**AROUND.get(row.family, {}), PLACES[row.family]: table})
        component = at(recipe, PLACES[row.family])
        assert dump(component)["kind"] == row.kind == kind_of(component)
        assert through_toml(recipe, tmp_path) == recipe
        again = recipes.load(None, {**AROUND.get(row.family, {}), PLACES[row.family]: dump(component)})
        assert again == recipe


@pytest.mark.parametrize("name", recipes.names())
def test_a_shipped_recipe_survives_its_toml(name: str, tmp_path: Path) -> None:
    recipe = recipes.load(name)
    assert recipe.description
    assert through_toml(recipe, tmp_path) == recipe


def test_texts_and_keys_survive_toml(tmp_path: Path) -> None:
    awkward = 'a "quoted" C:\\path\n\ttab \x00 \x1f \x7f é 数据 🎉 # no comment'
    recipe = dataclasses.replace(Recipe(description=awkward), versions={"a.b c": awkward, "数": "1"})
    assert through_toml(recipe, tmp_path) == recipe


@pytest.mark.parametrize("sigma", ["learned", "optimal", 2, 1e-300])
def test_a_union_takes_each_of_its_types(sigma: Any, tmp_path: Path) -> None:
    recipe = recipes.load(None, {"model.likelihood": {"kind": "normal", "sigma": sigma}})
    assert at(recipe, "model.likelihood.sigma") == sigma
    assert through_toml(recipe, tmp_path) == recipe


def test_the_tutorials_recipe_has_the_tutorials_numbers() -> None:
    recipe = recipes.load("tutorial")
    assert recipe.data.source == "mnist"
    assert recipe.objective == Component("objective", "elbo", beta=1.0)
    spec, settings = recipe.model, recipe.training
    assert spec.latent.kind == "flat" and spec.latent.options["dim"] == 20
    assert spec.latent.options["posterior"] == Component("posterior", "diagonal-normal", initial_logvar=None)
    assert dump(spec.encoder) == {"kind": "mlp", "hidden": [400]} and spec.decoder in (None, spec.encoder)
    assert spec.likelihood == Component("likelihood", "bernoulli", allow_soft_targets=True)
    assert [(x - spec.input.center) * spec.input.scale for x in (0.0, 1.0)] == [-1.0, 1.0]  # type: ignore[operator]
    assert not spec.init_bias_to_mean
    assert (settings.epochs, settings.batch_size, settings.learning_rate, settings.seed) == (10, 128, 1e-3, 42)
    # Its loss is summed over a batch of 128 and ours is the mean: Adam's steps are the same with eps / 128.
    assert settings.optimizer == training.Adam(beta1=0.9, beta2=0.999, eps=1e-8 / 128, weight_decay=0.0)
    assert settings.schedule == schedules.Constant()
    assert (
        settings.max_grad_norm,
        settings.ema_decay,
        settings.early_stopping_patience,
        settings.gradient_accumulation_steps,
    ) == (0, 0, 0, 1)


def test_the_tutorials_network_is_784_400_20_400_784() -> None:
    import torch

    from nelbo.model import Model

    data = load_data(torch.randint(0, 256, (4, 28, 28), dtype=torch.uint8))
    vae = Model.from_recipe(recipes.load("tutorial"), data.schema).vae
    layers = [m for m in vae.modules() if isinstance(m, torch.nn.Linear)]
    assert [(m.in_features, m.out_features) for m in layers] == [(784, 400), (400, 40), (20, 400), (400, 784)]


def test_overrides_go_by_dotted_path_and_a_bare_name_is_of_training() -> None:
    recipe = recipes.load("mnist", {"epochs": 3, "training.seed": 7, "model.latent.dim": 8, "objective.beta": 4})
    assert (recipe.training.epochs, recipe.training.seed) == (3, 7)
    assert at(recipe, "model.latent.dim") == 8
    former = recipes.load("mnist")
    assert recipe.objective == former.objective.replace(beta=4.0)
    assert at(recipe, "model.latent.posterior") == at(former, "model.latent.posterior")
    assert recipe.model.encoder == former.model.encoder


def test_overrides_reach_into_a_component_named_by_its_kind() -> None:
    paths = {"model.likelihood": "bernoulli", "model.likelihood.allow_soft_targets": True, "model.encoder": "mlp"}
    recipe = recipes.load(None, {**paths, "model.encoder.hidden": [5]})
    assert dump(recipe.model.likelihood) == {"kind": "bernoulli", "allow_soft_targets": True}
    assert dump(recipe.model.encoder) == {"kind": "mlp", "hidden": [5]}


def test_another_kind_starts_from_its_own_defaults() -> None:
    recipe = recipes.load("mnist", {"model.likelihood.kind": "continuous-bernoulli", "model.encoder.kind": "conv"})
    assert dump(recipe.model.likelihood) == {"kind": "continuous-bernoulli"}
    assert recipe.model.encoder == nets.Conv()
    same = recipes.load("mnist", {"model.likelihood.kind": "bernoulli"})
    assert same == recipes.load("mnist")


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("training.epoch", 3, ["training.epoch", "did you mean epochs?"]),
        ("epoch", 3, ["unknown setting epoch:", "did you mean epochs?"]),
        ("modle.latent.dim", 3, ["modle", "did you mean model?"]),
        ("model.latent.dimm", 3, ["model.latent.dimm", "did you mean dim?"]),
        ("model.latent.zzz", 3, ["model.latent.zzz", "known: dim, posterior, prior"]),
        ("model.likelihood", "bernouli", ["model.likelihood.kind = 'bernouli'", "did you mean bernoulli?"]),
        ("training.schedule", "cosin", ["training.schedule.kind = 'cosin'", "did you mean cosine?"]),
        ("model.encoder", {"kind": ["mlp"]}, ["model.encoder = {'kind': ['mlp']}", "kind"]),
        ("model.encoder.hidden", [5], ["model.encoder = {'hidden': [5]}", "kind"]),
        ("epochs", "three", ["training.epochs = 'three'", "a whole number"]),
        ("epochs", 2.5, ["training.epochs = 2.5", "a whole number"]),
        ("epochs", True, ["training.epochs = True", "a whole number"]),
        ("learning_rate", "fast", ["training.learning_rate = 'fast'", "a number"]),
        ("learning_rate", float("nan"), ["training.learning_rate = nan", "finite"]),
        ("model.init_bias_to_mean", 1, ["model.init_bias_to_mean = 1", "true or false"]),
        ("data.source", 3, ["data.source = 3", "a text in quotes"]),
        ("model.encoder", {"kind": "mlp", "hidden": 400}, ["model.encoder.hidden = 400", "a list"]),
        ("model.encoder", {"kind": "mlp", "hidden": ["a"]}, ["model.encoder.hidden[0] = 'a'", "a whole number"]),
        (
            "model.likelihood",
            {"kind": "normal", "sigma": "best"},
            ["model.likelihood.sigma = 'best'", "a number, or 'learned', or 'optimal'"],
        ),
        ("model.input.center", "middle", ["model.input.center = 'middle'", "'mean'"]),
        ("objective.beta", "warm", ["objective.beta", "'warm'"]),
        ("training.epochs.x", 3, ["training.epochs.x = 3", "epochs", "not a table"]),
        ("epochs", 0, ["training.epochs = 0", "1 or more"]),
        ("seed", 2**70, [f"training.seed = {2**70}", "below"]),
        ("learning_rate", -1.0, ["training.learning_rate = -1.0", "above 0"]),
        ("ema_decay", 1.0, ["training.ema_decay = 1.0", "below 1"]),
        ("model.latent.dim", 0, ["model.latent.dim = 0", "give 1 or more"]),
        ("model.encoder", {"kind": "mlp", "hidden": [0]}, ["model.encoder.hidden[0] = 0", "1 or more"]),
        ("model.encoder", {"kind": "conv", "width": 0}, ["model.encoder.width = 0", "1 or more"]),
        (
            "model.likelihood",
            {"kind": "normal", "sigma": 0},
            ["model.likelihood.sigma = 0", "above 0", "'learned'", "'optimal'"],
        ),
        ("objective.beta", -1, ["objective.beta = -1", "0 or more", '{kind = "constant"}']),
        ("training.optimizer.beta1", 1, ["training.optimizer.beta1 = 1", "0 or more and below 1"]),
        ("training.schedule", {"kind": "linear", "start_at": 1}, ["training.schedule.start_at=1", "start_at < end_at"]),
        (
            "training.schedule",
            {"kind": "cosine", "warmup": 1},
            ["training.schedule.warmup = 1", "below 1"],
        ),
    ],
)
def test_a_mistake_is_one_line_of_path_value_and_remedy(path: str, value: Any, words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        recipes.load(None, {path: value})
    message = str(caught.value)
    assert "\n" not in message
    assert [word for word in words if word not in message] == [], message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[training]\nepohcs = 3\n", ["training.epohcs", "did you mean epochs?"]),
        ("[training]\nepochs = 'x'\n", ["training.epochs = 'x'", "a whole number"]),
        ("training = 3\n", ["training = 3", "a table"]),
        ("versions = 3\n", ["versions = 3", "a table"]),
        ("[training\n", ["mine.toml", "not TOML"]),
        ("\ud800", ["mine.toml"]),
    ],
)
def test_a_mistake_in_a_file_is_one_line(text: str, words: list[str], tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(UserError) as caught:
        recipes.load(str(path))
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in words), caught.value


def test_an_unknown_recipe_suggests_the_nearest() -> None:
    with pytest.raises(UserError, match=r"'tutoral': did you mean tutorial\?"):
        recipes.load("tutoral")
    with pytest.raises(UserError, match=r"nowhere\.toml"):
        recipes.load("nowhere.toml")


def test_nearest_lists_all_where_none_is_near() -> None:
    assert nearest("zzzzz", ["b", "a"]) == "known: a, b"


def test_a_file_holds_what_it_leaves_out_too() -> None:
    table = tomllib.loads(recipes.dumps(recipes.load("mnist")))
    assert table["training"].keys() == {field.name for field in dataclasses.fields(training.TrainingConfig)}
