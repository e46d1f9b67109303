"""Anomaly detection: p-values are valid, blame adds up, regret is a divergence, and what is planted is found."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import nelbo
import zoo
from conftest import FEATURES, SIDE, Run
from fixtures.tiny_model import SMALL, small
from nelbo import distributions, likelihoods, posteriors, priors
from nelbo.apps import anomaly
from nelbo.apps.anomaly import detector as conformal
from nelbo.apps.anomaly import scores
from nelbo.apps.anomaly.detector import top_features
from nelbo.apps.anomaly.regret import regret
from nelbo.config import recipe as recipes
from nelbo.data import load
from nelbo.data.tables import dataset as tables
from nelbo.distributions.noise import seeded
from nelbo.errors import UserError
from nelbo.latents import SingleLevelLatent
from nelbo.model import Model
from nelbo.model.scoring import importance_weighted_bound
from nelbo.vae import VAE

RATES = [0.01, 0.05, 0.07, 0.1, 0.29, 0.5, 0.999]


@pytest.mark.parametrize("n", [9, 19, 99])
@pytest.mark.parametrize("ties", [False, True])
def test_p_values_of_exchangeable_scores_are_super_uniform(n: int, ties: bool) -> None:
    """P(p <= a) <= a; without ties it is floor(a (n + 1)) / (n + 1) exactly."""
    rng, trials = np.random.default_rng(n), 40_000
    drawn = rng.integers(0, 5, (trials, n + 1)).astype(float) if ties else rng.normal(size=(trials, n + 1))
    p = np.array([conformal.p_values(row[:-1], row[-1:])[0] for row in drawn])
    for rate in RATES:
        exact = math.floor(round(rate * (n + 1), 9)) / (n + 1)
        error = 4 * math.sqrt(exact * (1 - exact) / trials) + 1e-12
        share = (p <= rate).mean()
        assert share <= exact + error <= rate + error
        assert ties or share >= exact - error


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("n", [10, 99, 100, 999])
def test_above_the_threshold_is_where_the_p_value_is_at_most_the_rate(rate: float, n: int) -> None:
    rng = np.random.default_rng(0)
    for calibration in (rng.normal(size=n), rng.integers(0, 9, n).astype(float), np.full(n, 2.0)):
        tried = np.concatenate([calibration, np.nextafter(calibration, np.inf), [-np.inf, np.inf]])
        if rate * (n + 1) < 1:
            with pytest.raises(UserError, match=f"give {math.ceil(1 / rate) - 1} or more"):
                conformal.threshold(calibration, rate)
            continue
        limit = conformal.threshold(calibration, rate)
        np.testing.assert_array_equal(tried > limit, conformal.p_values(calibration, tried) <= rate)
        place = n + 1 - math.floor(round(rate * (n + 1), 9))
        assert limit == sorted(calibration)[place - 1]


def test_the_rows_that_are_asked_for_suffice() -> None:
    for rate in (0.3, 0.05, 0.001):
        enough = math.ceil(1 / rate - 1e-9) - 1
        assert conformal.threshold(np.arange(float(enough)), rate) == enough - 1
        with pytest.raises(UserError, match=f"{enough - 1} calibration rows .* give {enough} or more"):
            conformal.threshold(np.arange(float(enough - 1)), rate)


@zoo.over(zoo.LIKELIHOODS.values())
def test_the_elements_of_every_likelihood_sum_to_its_log_prob(row: zoo.LikelihoodRow) -> None:
    """Of a loss that is no density over independent elements there are none, which is said."""
    shape = (1, 4, 4)
    likelihood = zoo.perturb_parameters(row.build(shape)).eval()
    d = likelihood(torch.randn(3, 5, zoo.LATENT, dtype=torch.float64))
    x = zoo.data(likelihood.support, 5, shape)
    assert isinstance(d, distributions.Distribution)
    if row.pictures:
        with pytest.raises(UserError, match="UnnormalizedEnergy has no log-probability for each element"):
            d.element_log_prob(x)
        return
    elements = d.element_log_prob(x)
    assert elements.shape == (3, 5, *shape)
    torch.testing.assert_close(elements.sum((-3, -2, -1)), d.log_prob(x))


def test_blame_sums_to_the_reconstruction_score(case: tuple[Model, np.ndarray]) -> None:
    model, data = case
    detector = anomaly.Detector(model, "reconstruction", data)
    blame, remade = anomaly.feature_scores(model, data), detector.anomaly_score(data)
    assert blame.shape == (40, *model.schema.shape)
    np.testing.assert_allclose(blame.reshape(40, -1).sum(1), remade, rtol=1e-4, atol=1e-3)
    above = detector.feature_scores(data)
    np.testing.assert_allclose(above.mean(0), 0, atol=1e-4)  # these are the calibration rows
    np.testing.assert_allclose(above - blame, (above - blame)[:1].repeat(40, 0), atol=1e-4)


def test_a_missing_element_is_not_to_blame() -> None:
    class Filled(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.nan_to_num().sum(-1, keepdim=True).expand(-1, 2)

    likelihood = likelihoods.Normal(_Linear(torch.ones(4, 1)), 1, sigma="learned")
    vae = VAE(SingleLevelLatent(priors.StandardNormal(1), posteriors.DiagonalNormal(Filled(), 1)), likelihood)
    x = torch.tensor([[1.0, torch.nan, 0.5, 2.0]])
    with torch.no_grad():
        blame = scores.of_elements(vae, x, None)
    assert blame.isfinite().all() and blame[0, 1] == 0 and (blame[0, [0, 2, 3]] != 0).all()


class _Linear(nn.Module):
    """h `(batch, latents)` -> `(batch, 1, features)`: a decoder's one output."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, h: Tensor) -> Tensor:
        return (h @ self.weight.T).unsqueeze(1)


class _Inference(nn.Module):
    """The exact posterior of z ~ N(0, I), x ~ N(W z, s^2 I) for orthogonal columns of W; moved by `shift`."""

    def __init__(self, weight: Tensor, sigma: float, shift: float, widen: float) -> None:
        super().__init__()
        precision = 1 + weight.square().sum(0) / sigma**2
        self.to_mean, self.logvar = weight / sigma**2 / precision, -precision.log() + 2 * math.log(widen)
        self.shift = shift

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x @ self.to_mean + self.shift, self.logvar.expand(len(x), -1)], -1)


def linear_gaussian(shift: float, widen: float) -> tuple[VAE, Tensor]:
    """A model whose posterior is exact up to `shift` and `widen`, and data, float64."""
    torch.manual_seed(0)
    sigma, weight = 0.5, torch.linalg.qr(torch.randn(6, 3, dtype=torch.float64))[0] * torch.tensor([1.0, 2.0, 0.3])
    posterior = posteriors.DiagonalNormal(_Inference(weight, sigma, shift, widen), 1)
    prior = priors.StandardNormal(3)
    vae = VAE(SingleLevelLatent(prior, posterior), likelihoods.Normal(_Linear(weight), 1, sigma=sigma)).double()
    z = torch.randn(30, 3, dtype=torch.float64)
    return vae, z @ weight.T + sigma * torch.randn(30, 6, dtype=torch.float64)


def test_regret_is_zero_at_the_exact_posterior() -> None:
    """With any number of draws: the search does not move, and both bounds have the same ones."""
    vae, x = linear_gaussian(0.0, 1.0)
    with seeded(0), torch.no_grad():
        torch.testing.assert_close(regret(vae, x, None, 1), torch.zeros(30, dtype=torch.float64), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("shift", "widen"), [(0.7, 1.0), (0.0, 2.0), (-0.5, 0.4), (3.0, 1.0)])
def test_regret_is_the_divergence_from_the_exact_posterior(shift: float, widen: float) -> None:
    """log p(x) = ELBO + KL(q || p(z | x)), and the best q is exact here: the gain is the KL."""
    vae, x = linear_gaussian(shift, widen)
    with seeded(0), torch.no_grad():
        found = regret(vae, x, None, 2000)
        q = vae.latent.posterior(x)  # type: ignore[operator]
    kl = 3 * ((widen**2 - 1) / 2 - math.log(widen)) + 0.5 * shift**2 * torch.exp(-2 * q.log_scale[0]).sum() * widen**2
    torch.testing.assert_close(found, kl.expand(30), atol=0.05, rtol=0.15)
    torch.testing.assert_close(found.mean(), kl, atol=0.01, rtol=0.02)


def test_regret_is_no_less_than_noise_on_a_trained_model(density_model: Model, pictures: np.ndarray) -> None:
    found = anomaly.Detector(density_model, "regret", pictures[:20]).anomaly_score(pictures[:20])
    assert (found > -0.1).all() and found.mean() > 0.01


def test_regret_refuses_another_posterior() -> None:
    vae = zoo.single_level_vae(posterior="full-normal")
    with pytest.raises(
        UserError, match="needs a diagonal Normal posterior of one level, and the model's is a FullNormal"
    ):
        regret(vae, torch.zeros(2, 1, 4, 4), None, 1)
    with pytest.raises(UserError, match="the model's is a TopDown: use score='auto'"):
        regret(zoo.VAES["latent: ladder"].build(0), torch.zeros(2, 1, 4, 4), None, 1)


def test_scores_are_what_the_model_says(density_model: Model, model: Model, pictures: np.ndarray) -> None:
    x = pictures[:30]
    expected = -density_model.log_likelihood(x, 7, 3)
    for score in ("nll", "bound"):
        np.testing.assert_array_equal(anomaly.Detector(density_model, score, x, 7, 3).anomaly_score(x), expected)
    bound = importance_weighted_bound(model, x, 7, 3)
    np.testing.assert_array_equal(anomaly.Detector(model, "bound", x, 7, 3).anomaly_score(x), -bound)
    codes = model.vae.latent.posterior(model.as_dataset(x).batch(torch.arange(30)))  # type: ignore[operator]
    kl = 0.5 * (codes.loc**2 + codes.variance - 1 - codes.variance.log()).sum(-1).detach()
    np.testing.assert_allclose(anomaly.Detector(model, "latent", x).anomaly_score(x), kl, rtol=1e-4)


def test_the_ratio_is_that_of_two_densities_of_the_best_variance(model: Model, pictures: np.ndarray) -> None:
    """Of errors about the reconstruction, and about the pixel beside: no other variance is likelier for a picture."""
    x = model.as_dataset(pictures[:30]).batch(torch.arange(30))
    remade = model._reconstruct_batch(x).detach()
    scale = torch.logspace(-3, 1, 4001)[:, None, None]
    beside = torch.cat([(x[..., 1:, :] - x[..., :-1, :]).flatten(1), (x[..., 1:] - x[..., :-1]).flatten(1)], 1)
    means = [
        torch.cat([torch.distributions.Normal(0.0, s).log_prob(error).mean(-1) for s in scale.split(100)]).amax(0)
        for error in ((x - remade).flatten(1), beside)
    ]
    expected = x[0].numel() * (means[1] - means[0])
    found = torch.from_numpy(anomaly.Detector(model, "ratio", pictures[:30]).anomaly_score(pictures[:30]))
    torch.testing.assert_close(found, expected, atol=0.05, rtol=0.0)


def test_the_ratio_of_flat_pictures_is_a_number(model: Model, pictures: np.ndarray) -> None:
    flat = np.stack([np.full_like(pictures[0], level) for level in (0, 128, 255)])
    detector = anomaly.Detector(model, "ratio", pictures)
    assert (detector.anomaly_score(flat) > detector.calibration_scores.max()).all()


def test_the_ratio_is_of_pictures(vector_model: Model, vectors: np.ndarray) -> None:
    with pytest.raises(UserError, match="score='ratio' compares adjacent pixels, and the data are not pictures"):
        anomaly.Detector(vector_model, "ratio", vectors[:20]).anomaly_score(vectors[:20])


def test_the_default_suits_the_model(vector_model: Model, model: Model, pictures: np.ndarray) -> None:
    x = pictures[:30]
    assert anomaly.Detector(model, calibration=x).score_name == "ratio"
    with pytest.raises(UserError, match="not normalized"):
        anomaly.Detector(model, "nll", x).anomaly_score(x)
    data = load(x.reshape(30, -1))
    for normalized, posterior, name in (
        (True, "diagonal-normal", "nll"),
        (False, "diagonal-normal", "bound"),
        (True, "point-mass", "reconstruction"),
    ):
        overrides = {**SMALL, "model.likelihood": "normal", "model.latent.posterior": posterior}
        made = Model.from_recipe(recipes.load(None, overrides), data.schema)
        made.vae.likelihood.normalized = normalized
        detector = anomaly.Detector(made, calibration=data.test)
        assert detector.score_name == name and np.isfinite(detector.anomaly_score(data.train)).all()
    assert not anomaly.Detector(made, "latent", data.test).anomaly_score(data.train).any()


@pytest.mark.parametrize("score", sorted({*scores.SCORES} - {"ratio"}))
def test_the_same_seed_gives_the_same_scores(vector_model: Model, vectors: np.ndarray, score: str) -> None:
    a, b, other = (anomaly.Detector(vector_model, score, vectors[:20], 5, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(a.anomaly_score(vectors[:20]), b.anomaly_score(vectors[:20]))
    np.testing.assert_array_equal(a.calibration_scores, b.calibration_scores)
    np.testing.assert_array_equal(a.anomaly_score(vectors[:20]), a.calibration_scores)  # one function of a row
    assert a.calibration_scores.shape == (20,)
    if score in ("nll", "bound", "regret"):  # those that draw
        assert (a.anomaly_score(vectors[:20]) != other.anomaly_score(vectors[:20])).all()


@pytest.mark.parametrize("name", ["latent: ladder", "latent: vq", "posterior: flow, iaf"])
def test_every_latent_has_a_rate(name: str) -> None:
    """Of a hierarchy it is the mean over draws: the mean of many single draws."""
    vae = zoo.perturb_parameters(zoo.VAES[name].build(0)).eval().float()
    x = torch.rand(3, 1, 4, 4)
    with seeded(0), torch.no_grad():
        found = scores._latent(vae, x, None, 4000)
        single = torch.stack([vae(x).rate for _ in range(400)])
    error = single.std(0) / 20
    assert ((found - single.mean(0)).abs() < 5 * error + 1e-4).all()


@pytest.fixture(scope="module")
def digits() -> tuple[Model, np.ndarray]:
    """A small model of pictures of two bars, and 300 of them that it was not trained on."""
    rng = np.random.default_rng(3)
    x = np.zeros((1300, 8, 8), np.float32)
    for picture, (row, column) in zip(x, rng.integers(0, 8, (1300, 2)), strict=True):
        picture[row], picture[:, column] = 1, 1
    model = nelbo.fit(
        x[:1000], epochs=40, learning_rate=5e-3, training__batch_size=50, model__encoder="mlp", model__latent__dim=6
    )
    return model, x[1000:]


@pytest.mark.parametrize("score", ["auto", "reconstruction", "regret"])
def test_planted_anomalies_are_found_and_blamed(digits: tuple[Model, np.ndarray], score: str) -> None:
    model, usual = digits
    odd = usual[200:210].copy()
    odd[:, 2:4, 2:4] = 1 - odd[:, 2:4, 2:4]
    detector = anomaly.Detector(model, score, usual[:200], 20)
    result = detector.detect(np.concatenate([usual[200:], odd]), 0.05)
    assert result.is_anomaly[100:].mean() >= 0.9 and result.is_anomaly[:100].mean() <= 0.12
    np.testing.assert_array_equal(result.is_anomaly, result.p_values <= 0.05)
    np.testing.assert_array_equal(
        detector.p_values(odd), conformal.p_values(detector.calibration_scores, detector.anomaly_score(odd))
    )
    inside = detector.feature_scores(odd)[:, 0, 2:4, 2:4].sum((1, 2))
    assert (inside > 0.5 * detector.feature_scores(odd).sum((1, 2, 3))).mean() >= 0.9


@pytest.fixture
def in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def table(path: str) -> list[dict[str, str]]:
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_command_on_vectors(run: Run, in_tmp_path: Path, vector_model: Model, vectors: np.ndarray) -> None:
    vector_model.save("m")
    odd = vectors[:12].copy()
    odd[4, 2] += 0.2  # of a column with a standard deviation of about 0.01
    np.save("new.npy", odd)
    np.save("normal.npy", vectors[100:])
    arguments = ["m", "new.npy", "--calibration", "normal.npy", "--samples", 9, "--seed", 2]
    code, out, err = run("detect", *arguments, "--json")
    assert (code, err) == (0, "")
    said = json.loads(out)
    detector = anomaly.Detector(vector_model, "nll", vectors[100:], 9, 2)
    expected = detector.detect(odd, 0.01)
    assert (
        said["top_anomalies"][0]["row"] == 4
        and said["out"] == ["anomalies.csv"]
        and said["calibrated_on"] == "normal.npy"
    )
    assert (said["n"], said["n_anomalies"], said["calibration"], said["score"]) == (
        12,
        expected.is_anomaly.sum(),
        200,
        "nll",
    )
    assert said["threshold"] == expected.threshold
    rows = table("anomalies.csv")
    assert list(rows[0]) == [
        "row",
        "item",
        "anomaly_score",
        "p_value",
        "is_anomaly",
        "top_feature_1",
        "top_feature_2",
        "top_feature_3",
    ]
    np.testing.assert_allclose([float(row["anomaly_score"]) for row in rows], expected.scores, rtol=1e-6)
    np.testing.assert_allclose([float(row["p_value"]) for row in rows], expected.p_values, rtol=1e-5)
    assert [row["is_anomaly"] for row in rows] == [str(int(flag)) for flag in expected.is_anomaly]
    blame = detector.feature_scores(odd)[4]
    assert rows[4]["top_feature_1"] == f"x2={odd[4, 2]:.6g} ({blame[2]:+.1f})" and blame.argmax() == 2
    lines = run("detect", *arguments, "--out", "again.csv").out.splitlines()
    assert (
        lines[0].startswith(f"{said['n_anomalies']} of 12 rows are anomalies: nll above")
        and lines[-1] == "Wrote again.csv"
    )
    assert Path("again.csv").read_bytes() == Path("anomalies.csv").read_bytes()
    assert "row 4 " in lines[2] and len(lines) == 11
    assert FEATURES == 4


def test_the_command_on_pictures(run: Run, in_tmp_path: Path, picture_run: Path, model: Model) -> None:
    """Without data, half of the test data is examined by the other half."""
    code, out, err = run("detect", picture_run, "--alpha", 0.1, "--json")
    said = json.loads(out)
    assert (code, err, said["out"]) == (0, "", ["anomalies.csv", "anomalies.png"])
    assert said["calibrated_on"] == "the other half of the test data"
    assert (said["n"], said["calibration"]) == (15, 15)
    numbers = [int(row["row"]) for row in table("anomalies.csv")]
    assert numbers == sorted(set(numbers)) and set(numbers) < set(range(30))
    assert list(table("anomalies.csv")[0]) == ["row", "item", "anomaly_score", "p_value", "is_anomaly"]
    assert Image.open("anomalies.png").size[0] > 800
    assert run("detect", picture_run, "--alpha", 0.1, "--seed", 1).code == 0
    assert [int(row["row"]) for row in table("anomalies.csv")] != numbers
    Path("anomalies.csv").unlink()
    values = np.full((1, SIDE, SIDE), 255, np.uint8)
    values[0, 0, 0] = 0
    np.save("new.npy", values)
    said = json.loads(run("detect", picture_run, "new.npy", "--alpha", 0.1, "--out", "anomalies.png", "--json").out)
    assert said["out"] == ["anomalies.png"] and said["n_anomalies"] == 1 and said["calibrated_on"] == "the test data"
    assert not Path("anomalies.csv").exists()


def test_colour_pictures_are_drawn() -> None:
    from nelbo.plotting import figures, images

    data = load(np.random.default_rng(0).integers(0, 256, (20, 3, 6, 5), np.uint8))
    x = np.random.default_rng(1).random((2, 3, 6, 5)).astype(np.float32) * 255
    figure = images.anomaly_figure(x, x, np.zeros_like(x), ["a", "b"], data.schema)
    assert figures.figure_image(figure).size[0] > 200


def test_pictures_without_terms_for_pixels_have_a_table_alone(run: Run, in_tmp_path: Path) -> None:
    model, _ = small(**{"model.likelihood": {"kind": "ssim", "scales": 1}})
    model.save("m")
    np.save("x.npy", np.random.default_rng(0).random((30, 6, 5), np.float32))
    arguments = ["detect", "m", "x.npy", "--calibration", "x.npy", "--alpha", 0.1]
    code, out, err = run(*arguments)
    assert code == 0 and "Wrote anomalies.csv" in out and "No anomalies.png: UnnormalizedEnergy has no" in err
    assert not Path("anomalies.png").exists()
    code, out, err = run(*arguments, "--out", "anomalies.png")
    assert code == 2 and err.startswith("Error: UnnormalizedEnergy has no log-probability")


def test_columns_are_named_in_their_own_units() -> None:
    source = {"age": [25, 38, None, 52] * 5, "job": ["clerk", "nurse", "clerk", None] * 5}
    pytest.importorskip("pyarrow")
    pandas = pytest.importorskip("pandas")
    rows = tables.read(pandas.DataFrame(source))
    assert top_features(np.array([[3.0, 0.5], [-2.0, 1.25], [0, 0], [0, 7]] * 5), rows, 2)[:4] == [
        ["age=25.0 (+3.0)", "job=clerk (+0.5)"],
        ["job=nurse (+1.2)", "age=38.0 (-2.0)"],
        ["age=missing (+0.0)", "job=clerk (+0.0)"],
        ["job=missing (+7.0)", "age=52.0 (+0.0)"],
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--score", "recontruction"], ["score='recontruction'", "did you mean reconstruction?"]),
        (["--score", "nll", "--alpha", 0.1], ["not normalized", "elbo()"]),
        (["--alpha", 0], ["alpha=0.0", "above 0 and below 1"]),
        (["--alpha", 1], ["alpha=1.0", "above 0 and below 1"]),
        (["--alpha", "nan"], ["alpha=nan", "above 0 and below 1"]),
        (["--alpha", 0.001], ["15 calibration rows", "999 or more", "0.0625"]),
        (["--samples", 0], ["samples=0", "1 or more"]),
        (["--calibration", "missing.npy"], ["missing.npy"]),
        (["vectors.npy"], ["vectors.npy", "(4,)", "(1, 8, 8)"]),
        (["--out", "anomalies.npy"], ["anomalies.npy", ".csv or .png"]),
        (["--condition", "2"], ["condition '2'", "trained without --condition"]),
    ],
)
def test_bad_input_is_one_line(
    run: Run, in_tmp_path: Path, picture_run: Path, vectors: np.ndarray, arguments: list[Any], words: list[str]
) -> None:
    np.save("vectors.npy", vectors)
    code, out, err = run("detect", picture_run, *arguments)
    assert (code, out) == (2, "") and err.startswith("Error: ") and err.count("\n") == 1
    assert all(word in err for word in words), err
    assert sorted(path.name for path in in_tmp_path.iterdir()) == ["vectors.npy"]


def test_a_model_that_knows_nothing_says_so() -> None:
    model, _ = small()
    with torch.no_grad():
        next(model.vae.likelihood.parameters()).fill_(torch.nan)
    rows = np.random.default_rng(0).random((30, 6, 5), np.float32)
    with pytest.raises(UserError, match="calibration: the scores of 30 of 30 rows are NaN, the first in row 0"):
        anomaly.Detector(model, calibration=rows).detect(rows, 0.1)
