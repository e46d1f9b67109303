"""Missing cells given the others: draws and expectations against sums over a grid of z, and the model's own samples."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from fixtures.cells import BINS, FEATURES, WIDTH, decoder
from nelbo import likelihoods, nets, posteriors, priors
from nelbo.config import recipe as recipes
from nelbo.data import load, tables
from nelbo.errors import UserError
from nelbo.latents import SingleLevelLatent
from nelbo.model import Model, imputation
from nelbo.vae import VAE
from zoo import assert_mean

COLOURS = ("blue", "green", "red")
NAN = math.nan


def frame(n: int = 300, gaps: bool = True) -> pd.DataFrame:
    """A category, a skew number, a date and a whole number of few values; some of the first two lack cells."""
    rng = np.random.default_rng(0)
    pay = rng.gamma(2, 100, n).round(2)
    day = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, n), "D")
    made = pd.DataFrame({"colour": rng.choice(COLOURS, n), "pay": pay, "day": day, "rooms": rng.integers(1, 5, n)})
    if gaps:
        made.loc[::7, "colour"], made.loc[::9, "pay"] = None, None
    return made


@pytest.fixture(scope="module", params=[False, True], ids=["whole", "gaps"])
def model(request: pytest.FixtureRequest) -> Model:
    """A model that depends on its z and on its cells at random, as far as a model can."""
    torch.manual_seed(0)
    table = frame(gaps=request.param)
    schema = load(table).schema
    x = torch.from_numpy(tables.encode(table, schema))
    sizes = [column.size for column in schema.feature_columns]
    net = decoder(sizes, (0, 1) if request.param else ()).float()
    net.init_from_data(x)
    net.stem.weight.data.mul_(3)
    encoder = nets.TableEncoder(nets.CellBinning(sizes, BINS), 2 * FEATURES, WIDTH, 1, 0.0)
    encoder.init_from_data(x)
    latent = SingleLevelLatent(priors.StandardNormal(FEATURES), posteriors.DiagonalNormal(encoder, 1))
    return Model(VAE(latent, likelihoods.TableLikelihood(net, 1)), schema, recipes.load("table"))


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many draws of z for each row that the posterior is hit."""
    monkeypatch.setattr(imputation, "DRAWS", 1000)


def over_z(model: Model, x: Tensor) -> tuple[Tensor, Tensor]:
    """z on a grid, and p(z | x_o) of each, for one row."""
    line = torch.linspace(-4.5, 4.5, 19)
    z = torch.cartesian_prod(*[line] * FEATURES)
    d = model.vae.likelihood(z).without_gaps()
    with torch.no_grad():
        return z, (d.log_prob(x) - 0.5 * z.square().sum(-1)).softmax(0)


def row(model: Model, **cells: object) -> Tensor:
    return torch.from_numpy(tables.encode_evidence(cells, model.schema))


def test_z_makes_a_difference(model: Model) -> None:
    _, before = over_z(model, row(model))
    _, after = over_z(model, row(model, rooms=2, day="2021-01-01"))
    assert (before - after).abs().sum() > 0.1


@pytest.mark.parametrize("cells", [{}, {"rooms": 3}, {"pay": 90.5, "rooms": 1}])
def test_draws_follow_the_conditional_worked_out_over_z(model: Model, cells: dict[str, object], many: None) -> None:
    x = row(model, **cells)
    z, weight = over_z(model, x)
    with torch.no_grad():
        first = model.vae.likelihood(z).without_gaps().marginals(x.expand(len(z), -1))
        expected = (weight.unsqueeze(1) * first[0]).sum(0)
        torch.manual_seed(1)
        drawn = imputation.sample_missing(model.vae, x.expand(1500, -1))
    assert not drawn.isnan().any() and torch.equal(drawn[:, ~x[0].isnan()], x[:, ~x[0].isnan()].expand(1500, -1))
    colours = torch.nn.functional.one_hot(drawn[:, 0].long(), 3).double()
    assert_mean(colours, expected[:3].double(), 4.5)


@pytest.mark.parametrize("cells", [{}, {"rooms": 3}, {"colour": "red", "rooms": 1}])
def test_expectations_are_those_worked_out_over_z(
    model: Model, cells: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Means and deviations in the data's units, each bin by a thousand points; categories by their masses."""
    monkeypatch.setattr(imputation, "DRAWS", 10_000)
    x = row(model, **cells)
    z, weight = over_z(model, x)
    net = model.vae.likelihood.net
    with torch.no_grad():
        each = model.vae.likelihood(z).without_gaps().marginals(x.expand(len(z), -1))
        torch.manual_seed(1)
        filled, unsure = imputation.expected_values(model.vae, x, model.schema)[0].double()
    for j, column in enumerate(model.schema.feature_columns):
        mass = (weight.unsqueeze(1) * each[j]).sum(0).double().numpy()
        if column.name in cells:
            assert filled[j] == x[0, j] and unsure[j] == 0
        elif column.is_categorical:
            assert mass[int(filled[j])] > mass.max() - 0.02 and unsure[j].item() == pytest.approx(
                1 - mass.max(), abs=0.02
            )
        else:
            seen = net.cells.low[j, : len(mass)].isfinite().numpy()
            low, high = (ends[j, : len(mass)].numpy()[seen] for ends in (net.cells.low, net.cells.high))
            points = tables.inverse_transform(column, np.linspace(low, high, 1001))  # (points, bins)
            mean = mass[seen] @ points.mean(0)
            spread = math.sqrt(mass[seen] @ (points**2).mean(0) - mean**2)
            if column.unit:
                spread *= tables.UNITS[column.unit] / tables.UNITS["D"]
                assert 200 < spread < 400  # of 900 days
            told = tables.inverse_transform(column, np.array([filled[j]]))[0]
            scale = tables.UNITS["D"] / tables.UNITS[column.unit] if column.unit else 1.0
            assert abs(told - mean) < 0.05 * spread * scale
            assert unsure[j].item() == pytest.approx(spread, rel=0.03)


def test_a_bins_own_spread_is_part_of_the_deviation(many: None) -> None:
    """One wide bin: the deviation is that of a uniform, (b - a) / sqrt(12)."""
    schema = load(pd.DataFrame({"v": np.random.default_rng(0).normal(size=500), "w": ["a", "b"] * 250})).schema
    column = schema.feature_columns[0]
    net = decoder((0, 2)).float()
    net.cells.low[0], net.cells.high[0] = torch.inf, torch.inf
    net.cells.low[0, 0], net.cells.high[0, 0] = -1.0, 2.0
    encoder = nets.TableEncoder(net.cells, 2 * FEATURES, WIDTH, 0, 0.0)
    vae = VAE(
        SingleLevelLatent(priors.StandardNormal(FEATURES), posteriors.DiagonalNormal(encoder, 1)),
        likelihoods.TableLikelihood(net, 1),
    ).eval()
    assert column.transform == "standard"
    with torch.no_grad():
        filled, unsure = imputation.expected_values(vae, torch.tensor([[NAN, 0.0]]), schema)[0]
    assert filled[0].item() == pytest.approx(0.5, abs=1e-5)
    assert unsure[0].item() == pytest.approx(3 / math.sqrt(12) * column.transform_params[1], rel=1e-3)


def test_samples_given_a_cell_are_those_that_have_it(model: Model, many: None) -> None:
    """The first column's cell: what is drawn given it is what unsought samples that happen to have it are like."""
    asked = model.condition_on({"colour": "green"}).sample(2000, seed=1)
    free = model.sample(15_000, seed=2)
    free = free[free["colour"] == "green"]
    assert (asked["colour"] == "green").all() and len(free) > 1000
    for name, test in (("rooms", 1), ("rooms", 4), ("pay", 150.0), ("day", pd.Timestamp("2021-03-01"))):
        a, b = ((v[name] <= test).to_numpy().astype(float) for v in (asked, free))
        error = math.sqrt(a.var() / len(a) + b.var() / len(b)) + 1e-9
        assert abs(a.mean() - b.mean()) < 4.5 * error, name
    assert asked["pay"].isna().mean() == pytest.approx(free["pay"].isna().mean(), abs=0.04)
    assert list(asked) == list(free) and (asked.dtypes == free.dtypes).all()


def test_conditions_are_exact_and_their_order_is_free(model: Model) -> None:
    cells = {"rooms": 2, "day": "2020-05-31", "colour": "blue"}
    made = model.condition_on(cells).sample(50)
    assert (made["rooms"] == 2).all() and (made["day"] == pd.Timestamp("2020-05-31")).all()
    assert (made["colour"] == "blue").all() and made["pay"].nunique() > 10
    pd.testing.assert_frame_equal(made, model.condition_on(dict(reversed(cells.items()))).sample(50))
    low, high = model.schema.feature_columns[1].low, model.schema.feature_columns[1].high
    for end in (low, high):
        assert (model.condition_on({"pay": end}).sample(3)["pay"] == end).all()


def test_a_seed_fixes_what_is_drawn(model: Model) -> None:
    gappy = frame(40)
    draw = partial(model.impute, sample_posterior=True)
    for function in (draw, lambda data, seed=0: model.condition_on({"rooms": 3}).sample(9, seed=seed)):
        pd.testing.assert_frame_equal(function(gappy), function(gappy))
        assert not function(gappy).equals(function(gappy, seed=1))
    for a, b in zip(model.impute(gappy, return_std=True), model.impute(gappy, return_std=True), strict=True):
        pd.testing.assert_frame_equal(a, b)
    pd.testing.assert_frame_equal(model.impute(gappy), model.impute(gappy, return_std=True)[0])
    with pytest.raises(UserError, match="return_std or sample_posterior, not both"):
        model.impute(gappy, return_std=True, sample_posterior=True)


def test_impute_keeps_what_is_known_and_is_sure_of_it(model: Model) -> None:
    gappy = frame(60)
    gappy.loc[3, :] = None  # nothing is known
    gappy["rooms"] = gappy["rooms"].astype("Int64")
    filled, std = model.impute(gappy, return_std=True)
    drawn = model.impute(gappy, sample_posterior=True)
    assert list(filled) == list(gappy) == list(std) and len(filled) == len(std) == 60
    there = gappy.notna()
    for made in (filled, drawn):
        assert made.notna().all().all()
        assert (made["colour"][there["colour"]] == gappy["colour"][there["colour"]]).all()
        assert np.allclose(made["pay"][there["pay"]], gappy["pay"][there["pay"]], atol=0.006)
        assert (made["day"][there["day"]] == gappy["day"][there["day"]]).all()
        assert (made["rooms"][there["rooms"]] == gappy["rooms"][there["rooms"]]).all()
    assert (std.to_numpy()[there.to_numpy()] == 0).all() and (std.to_numpy()[~there.to_numpy()] > 0).all()
    assert (std[["colour", "rooms"]] < 1).all().all() and 100 < std["day"][3] < 400


def test_rows_without_gaps_come_back(model: Model) -> None:
    whole = frame(20, gaps=False)
    filled, std = model.impute(whole, return_std=True)
    assert (std == 0).all().all()
    pd.testing.assert_frame_equal(filled, model.impute(whole, sample_posterior=True))
    assert (filled["colour"] == whole["colour"]).all() and np.allclose(filled["pay"], whole["pay"], atol=0.006)


def test_what_a_model_never_saw_is_missing_to_it_and_stays(model: Model) -> None:
    """A new category, or a word, is a missing cell to the model: warned of, and not filled."""
    odd = frame(4, gaps=False).astype({"colour": object})
    odd.loc[1, "colour"] = "mauve"
    with pytest.warns(UserWarning, match="1 cells hold values that the schema does not know.*colour 'mauve'"):
        filled, std = model.impute(odd, return_std=True)
    assert filled["colour"][1] == "mauve" and std["colour"][1] == 0
    with pytest.warns(UserWarning, match="taken as missing"):
        scores = model.elbo(odd)
    plain = odd.assign(colour=odd["colour"].where(odd["colour"] != "mauve", None))
    np.testing.assert_array_equal(scores, model.elbo(plain))


def test_mistakes_are_named(model: Model) -> None:
    for cells, said in (
        ({"color": "red"}, "condition on 'color': the model has no such column: did you mean colour?"),
        ({"colour": "grene"}, "condition colour=grene: did you mean green?"),
        ({"pay": "much"}, "condition pay=much: give a number"),
        ({"pay": 1e9}, r"condition pay=1000000000.0: training saw \d+.\d\d to \d+.\d\d: give a value in between"),
        ({"day": "1999-01-01"}, "condition day=1999-01-01: training saw 2020-01-03 to 2022-06-18: give a value in"),
        ({"day": "soon"}, "condition day=soon: give a date, such as 20"),
        ({"rooms": 9}, "condition rooms=9: known: 1, 2, 3, 4"),
        ({"pay": None}, "condition pay=None: give a number"),
        ("red", "condition 'red': give cells by the names of their columns"),
        (3, "condition 3: give cells by the names of their columns"),
    ):
        with pytest.raises(UserError, match=said) as caught:
            model.condition_on(cells)
        assert "\n" not in str(caught.value)
    given = model.condition_on({"rooms": 1})
    with pytest.raises(UserError, match=r"temperature=0.5: sampling given cells does not support it"):
        given.sample(3, temperature=0.5)
    for use in (given.embed, given.elbo, given.log_likelihood, given.reconstruct, given.impute, given.evaluate):
        with pytest.raises(UserError, match="a condition on cells works for samples only"):
            use(frame(9))


def test_a_model_of_other_data_imputes_nothing(density_model: Model, pictures: np.ndarray) -> None:
    for options in ({}, {"return_std": True}, {"sample_posterior": True}):
        with pytest.raises(UserError, match="impute does not support pictures: use a model trained on a table"):
            density_model.impute(pictures[:3], **options)


def test_a_conditional_model_completes_under_its_context() -> None:
    import nelbo

    table = frame(120)
    numbers = np.arange(120) / 10
    net = {"kind": "table", "width": 8, "blocks": 1, "bins": 4}
    small = {"model__encoder": net, "model__decoder": net, "samples_per_epoch": 64, "batch_size": 32, "epochs": 1}
    model = nelbo.fit(table, condition=numbers, **small)
    under = model.condition_on([3.0])
    assert not under.impute(table).isna().any().any()
    both = under.condition_on({"colour": "red"}).sample(5)
    assert (both["colour"] == "red").all() and len(model.condition_on([1.0]).sample(4)) == 4
