"""What a user holds: every method says the truth, twice the same, in the data's own units."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import nelbo
from conftest import GREY, NET
from nelbo.config import recipe as recipes
from nelbo.data import load as load_data
from nelbo.errors import UserError
from nelbo.experiment.run import load_test_data
from nelbo.model import Model
from nelbo.model.scoring import importance_weighted_bound
from nelbo.plotting import figures, images

METHODS: dict[str, Callable[[Model, Any], Any]] = {
    "embed": lambda m, x: m.embed(x),
    "reconstruct": lambda m, x: m.reconstruct(x),
    "sample": lambda m, x: m.sample(5, seed=3, temperature=0.7),
    "sample-noise": lambda m, x: m.sample(5, seed=3, sample_likelihood=True),
    "decode": lambda m, x: m.decode(np.ones((2, len(m.kl_per_latent)), np.float32)),
    "interpolate": lambda m, x: m.interpolate(x[0], x[1], x[2], steps=4),
    "traverse": lambda m, x: m.traverse(x[0], steps=3)[0],
    "project": lambda m, x: m.pca_projection(x)[0],
    "measure_rates": lambda m, x: m.compute_kl_per_latent(x),
    "elbo": lambda m, x: m.elbo(x, seed=5),
    "bound": lambda m, x: importance_weighted_bound(m, x, 3, seed=5),
    "evaluate": lambda m, x: np.array(list(m.evaluate(x, seed=5).values())),
}


@pytest.mark.parametrize("name", METHODS)
def test_saved_and_loaded_every_method_is_the_same_bit_for_bit(
    name: str, case: tuple[Model, np.ndarray], tmp_path: Path
) -> None:
    model, x = case
    model.save(tmp_path / "m")
    loaded = nelbo.load(tmp_path / "m")
    np.testing.assert_array_equal(METHODS[name](loaded, x), METHODS[name](model, x))
    assert (loaded.schema, loaded.recipe, loaded.kl_per_latent) == (model.schema, model.recipe, model.kl_per_latent)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_repeats_itself_and_leaves_the_callers_generator_alone(
    name: str, case: tuple[Model, np.ndarray]
) -> None:
    model, x = case
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = METHODS[name](model, x)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    np.testing.assert_array_equal(METHODS[name](model, x), first)
    assert np.isfinite(first).all()


def test_saving_twice_writes_the_same_files(model: Model, tmp_path: Path) -> None:
    for name in ("a", "b"):
        model.save(tmp_path / name)
    for file in ("weights.safetensors", "model.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["model.json", "weights.safetensors"]


def test_another_seed_gives_another_draw(case: tuple[Model, np.ndarray]) -> None:
    model, x = case
    assert not np.array_equal(model.sample(4, seed=0), model.sample(4, seed=1))
    assert not np.array_equal(model.elbo(x, seed=0), model.elbo(x, seed=1))


def test_data_is_taken_in_every_form(model: Model, pictures: np.ndarray, tmp_path: Path) -> None:
    x = pictures[:6]
    np.save(tmp_path / "x.npy", x)
    (tmp_path / "folder").mkdir()
    from PIL import Image

    for i, value in enumerate(x):
        Image.fromarray(value).save(tmp_path / "folder" / f"{i}.png")
    forms = [x, x[:, None], x[..., None], torch.from_numpy(x), x.astype(float), model.as_dataset(x)]
    for form in [*forms, str(tmp_path / "x.npy"), tmp_path / "folder"]:
        np.testing.assert_array_equal(model.embed(form), model.embed(x))


def test_a_row_does_not_depend_on_its_batch(case: tuple[Model, np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = case
    whole = model.embed(x), model.reconstruct(x)
    monkeypatch.setattr("nelbo.data.Schema.inference_batch_size", 7)
    np.testing.assert_allclose(model.embed(x), whole[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model.reconstruct(x), whole[1], rtol=1e-3, atol=1e-2)


def test_the_log_likelihood_rises_with_more_samples_and_converges(density_model: Model, pictures: np.ndarray) -> None:
    x = pictures[:40]
    means = {k: np.mean([density_model.log_likelihood(x, k, seed).mean() for seed in range(3)]) for k in (1, 5, 50)}
    assert means[1] < means[5] - 0.05 and means[5] < means[50] - 0.01
    far = [density_model.log_likelihood(x, 200, seed).mean() for seed in (0, 1)]
    assert means[50] < max(far) + 0.02
    assert abs(far[0] - far[1]) < 0.1


def test_the_log_likelihood_does_not_depend_on_how_its_samples_are_cut(
    density_model: Model, pictures: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = pictures[:20]
    whole = density_model.log_likelihood(x, 12)
    monkeypatch.setattr("nelbo.model.scoring.DRAWS", 3)  # at once
    cut = density_model.log_likelihood(x, 12)
    np.testing.assert_allclose(cut.mean(), whole.mean(), atol=1.0)
    assert cut.shape == whole.shape


def test_the_elbo_is_minus_the_loss_on_average(density_model: Model, pictures: np.ndarray) -> None:
    elbos = [density_model.elbo(pictures, seed).mean() for seed in range(10)]
    losses = [density_model.evaluate(pictures, seed=seed)["loss"] for seed in range(10)]
    error = np.hypot(np.std(elbos), np.std(losses)) / 3
    assert abs(np.mean(elbos) + np.mean(losses)) < 4 * error + 1e-3


def test_a_likelier_datum_has_a_higher_log_likelihood(density_model: Model, pictures: np.ndarray) -> None:
    noise = np.random.default_rng(0).permuted(pictures[:40].reshape(40, -1), axis=1).reshape(pictures[:40].shape)
    for of in (lambda x: density_model.log_likelihood(x, 5), density_model.elbo):
        assert of(pictures[:40]).mean() > of(noise).mean() + 1


def test_log_likelihood_refuses_what_is_not_normalized_by_name(
    model: Model, density_model: Model, pictures: np.ndarray
) -> None:
    x = pictures[:5]
    with pytest.raises(UserError, match=r"the Bernoulli likelihood .* not normalized.*elbo\(\).*continuous-bernoulli"):
        model.log_likelihood(x)
    with pytest.raises(UserError, match="not normalized"):
        model.evaluate(x, n_importance_samples=3)
    assert np.isfinite(model.elbo(x)).all(), "the remedy works"
    np.testing.assert_array_equal(density_model.elbo(x, 3), density_model.log_likelihood(x, 1, 3))
    expected = density_model.log_likelihood(x, 20)
    np.testing.assert_array_equal(expected, importance_weighted_bound(density_model, x, 20))
    found = density_model.evaluate(x, n_importance_samples=20)
    assert found["log_likelihood"] == pytest.approx(expected.mean(), rel=1e-6)
    assert found["standard_error"] == pytest.approx(expected.std(ddof=1) / 5**0.5, rel=1e-5)
    with pytest.raises(UserError, match="n_importance_samples=0: give 1 or more"):
        density_model.log_likelihood(x, 0)


def test_evaluate_equals_the_test_row_of_the_metrics(model: Model, picture_run: Path, picture_file: Path) -> None:
    rows = [json.loads(line) for line in (picture_run / "metrics.jsonl").read_text().splitlines()]
    row = [row for row in rows if row["split"] == "test"][-1]
    result = model.evaluate(picture_file, seed=model.recipe.training.seed)
    assert result["n"] == 30
    for part in ("loss", "distortion", "rate"):
        assert result[part] == pytest.approx(row[part], rel=1e-6), part


def test_data_held_out_of_an_unsplit_source_is_found_again(pictures: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", pictures)
    overrides = {**NET, "epochs": 1, "model.likelihood": GREY, "data.val_fraction": 0.25, "seed": 9}
    recipe = recipes.load(None, overrides)
    m = nelbo.fit(tmp_path / "x.npy", recipe)
    assert m.recipe.data.source == str(tmp_path / "x.npy")
    rows = load_test_data(m)
    train = load_data(str(tmp_path / "x.npy"), val_fraction=0.25, seed=9).train
    everything = torch.cat([d.batch(torch.arange(len(d))) for d in (train, rows)])
    assert len(rows) == 50 and len(everything.unique(dim=0)) == len(pictures)
    np.save(tmp_path / "x.npy", pictures.astype(float) * 1000)
    with pytest.raises(UserError, match="changed"):
        load_test_data(m)


def test_an_array_is_never_taken_for_the_recipes_own_source(pictures: np.ndarray) -> None:
    m = nelbo.fit(pictures[:20], "tutorial", epochs=1, model__encoder__hidden=[4])
    assert m.recipe.data.source == ""
    with pytest.raises(UserError, match="pass DATA"):
        load_test_data(m)


def test_temperature_scales_the_spread_of_the_codes(vector_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[torch.Tensor] = []
    decode = vector_model.vae.likelihood.forward

    def keep(h: torch.Tensor, c: torch.Tensor | None) -> Any:
        kept.append(h)
        return decode(h, c)

    monkeypatch.setattr(vector_model.vae.likelihood, "forward", keep)
    for temperature in (1.0, 0.5):
        vector_model.sample(500, temperature=temperature)
    assert kept[0].std().item() == pytest.approx(1, abs=0.1)
    torch.testing.assert_close(kept[1], kept[0] * 0.5)
    spreads = [vector_model.sample(500, temperature=t).std(0) for t in (0.1, 1.0, 2.0)]
    assert (spreads[0] < spreads[1]).all() and (spreads[1] < spreads[2]).all()
    for temperature in (0.0, -1.0):
        with pytest.raises(UserError, match="temperature"):
            vector_model.sample(3, temperature=temperature)
    with pytest.raises(UserError, match="n=0"):
        vector_model.sample(0)


def test_noise_draws_from_the_likelihood(vector_model: Model) -> None:
    clean, noisy = vector_model.sample(2000), vector_model.sample(2000, sample_likelihood=True)
    sigma = vector_model.vae.decode(torch.zeros(1, 3)).stddev[0].numpy() * np.array(vector_model.schema.scale)
    np.testing.assert_allclose((noisy - clean).std(0), sigma, rtol=0.1)


def test_vectors_come_back_in_their_own_units(vector_model: Model, vectors: np.ndarray) -> None:
    remade = vector_model.reconstruct(vectors)
    assert remade.dtype == np.float32 and remade.shape == vectors.shape
    scale = vectors.std(0)
    assert (abs(remade.mean(0) - vectors.mean(0)) < 0.1 * scale).all()
    assert (remade.std(0) > 0.7 * scale).all() and (remade.std(0) < 1.1 * scale).all()
    assert ((remade - vectors).std(0) < 0.5 * scale).all()
    drawn = vector_model.sample(2000, sample_likelihood=True)
    assert (abs(drawn.mean(0) - vectors.mean(0)) < 0.25 * scale).all()
    assert (drawn.std(0) > 0.7 * scale).all() and (drawn.std(0) < 1.4 * scale).all()


def test_pixels_of_data_are_the_data_exactly(model: Model, pictures: np.ndarray) -> None:
    rows = model.as_dataset(pictures)
    values = model.schema.decode(rows.batch(torch.arange(len(rows)))).numpy()
    assert values.min() == 0 and values.max() == 255
    np.testing.assert_array_equal(images.pixels(values, model.schema)[..., 0], pictures)


@pytest.mark.filterwarnings("ignore:array. of shape")  # the order of the axes of so small ones is ambiguous
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (1, 6), (7, 1), (9, 5)])
def test_every_size_and_type_of_picture_keeps_its_contrast(size: tuple[int, int], channels: int, dtype: Any) -> None:
    raw = np.random.default_rng(0).integers(0, 256, (20, *size, channels), dtype=np.uint8)
    raw.flat[:2] = 0, 255
    data = load_data(raw if dtype == np.uint8 else (raw / 255).astype(dtype))
    shown = images.pixels(data.schema.decode(data.train.batch(torch.arange(len(data.train)))).numpy(), data.schema)
    assert sorted(map(bytes, shown)) != [] and {bytes(s) for s in shown} <= {bytes(r) for r in raw}
    rows = np.stack([shown[:2], shown[2:4]]).transpose(0, 1, 4, 2, 3)
    values = data.schema.decode(torch.from_numpy(rows.copy()).float() / 255).numpy()
    assert figures.figure_image(figures.traversal(values, [1, 0], [0.1, 0.2], 3, data.schema)).size[0] > 100


def test_a_model_of_other_weights_is_refused(model: Model, tmp_path: Path) -> None:
    model.save(tmp_path)
    values = json.loads((tmp_path / "model.json").read_text())
    values["recipe"]["model"]["encoder"]["hidden"] = [7]
    (tmp_path / "model.json").write_text(json.dumps(values))
    with pytest.raises(UserError, match="weights are not of the model"):
        nelbo.load(tmp_path)


def test_training_warns_of_nothing(pictures: np.ndarray) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nelbo.fit(pictures[:30], epochs=1, model__encoder={"kind": "mlp", "hidden": [4]})
