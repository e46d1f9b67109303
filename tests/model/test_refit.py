"""A prior fitted after training replaces the model's own, is saved with it, and makes its codes likelier."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import nelbo
from nelbo.config.registry import kind_of
from nelbo.errors import UserError

RNG = np.random.default_rng(0)
# Two far clusters: the aggregate posterior is far from N(0, I), and a mixture is near it.
ROWS = np.concatenate([RNG.normal(-6, 0.2, (150, 4)), RNG.normal(6, 0.2, (150, 4))]).astype(np.float32)
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def model() -> nelbo.Model:
    parts = {"model__latent__dim": 2, "model__encoder": "mlp", "objective__beta": 0.05}
    return nelbo.fit(ROWS, epochs=60, learning_rate=1e-2, batch_size=32, **parts)


def codes_log_p(model: nelbo.Model) -> float:
    """The mean of log p(z) over draws of the posterior, nats."""
    with torch.no_grad():
        return (
            model.vae.latent.prior(None).log_prob(torch.from_numpy(model.sample_posterior(ROWS, seed=7))).mean().item()
        )


@pytest.mark.parametrize(
    "kind", ["normal", "gmm", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("flow-maf", "auto"))]
)
def test_codes_are_likelier_under_the_fitted_prior(kind: str, model: nelbo.Model, tmp_path: Path) -> None:
    before, fitted = codes_log_p(model), nelbo.fit_prior(model, ROWS, kind)
    assert codes_log_p(fitted) > before + 0.5
    assert codes_log_p(model) == before  # the model that was given is left alone
    fitted.save(tmp_path)
    again = nelbo.load(tmp_path)
    assert again.recipe.model.latent.options["prior"] == fitted.recipe.model.latent.options["prior"]
    np.testing.assert_array_equal(again.sample(20, seed=3), fitted.sample(20, seed=3))


def test_a_second_stage_saved_before_it_was_a_vae_is_loaded(model: nelbo.Model, tmp_path: Path) -> None:
    fitted = nelbo.fit_prior(model, ROWS[:50], "two-stage")
    fitted.save(tmp_path)
    weights = load_file(tmp_path / "weights.safetensors")
    with safe_open(tmp_path / "weights.safetensors", "pt") as file:
        metadata = file.metadata()
    now = {"latent.prior.vae.latent.posterior.": "posterior.", "latent.prior.vae.likelihood.": "likelihood."}
    for new, old in now.items():
        assert any(name.startswith(new) for name in weights)
        weights = {name.replace(new, f"latent.prior.{old}"): value for name, value in weights.items()}
    save_file(weights, tmp_path / "weights.safetensors", metadata)
    np.testing.assert_array_equal(nelbo.load(tmp_path).sample(20, seed=3), fitted.sample(20, seed=3))


def test_samples_of_a_fitted_mixture_lie_where_the_data_do(model: nelbo.Model) -> None:
    def far(x: np.ndarray) -> float:
        return float(np.minimum(np.abs(x - 6).mean(1), np.abs(x + 6).mean(1)).mean())

    assert far(nelbo.fit_prior(model, ROWS, "gmm").sample(300)) < 0.5 * far(model.sample(300))


def test_codes_of_a_codebook_take_a_prior_over_codes(tmp_path: Path, run: Run) -> None:
    np.save(tmp_path / "x.npy", ROWS)
    vq = '{kind="vq", groups=3, codes=8, dim=2}'
    out = tmp_path / "out"
    assert run("train", tmp_path / "x.npy", "--out", out, "--epochs", "3", "--set", f"model.latent={vq}", "-q")[0] == 0
    code, _, err = run("prior", "fit", out, "--kind", "transformer")
    assert code == 2 and "--force" in err and "--out" in err  # what replaces a model is asked for
    code, text, _ = run("prior", "fit", out, "--kind", "transformer", "--json", "--force")
    assert code == 0 and json.loads(text)["prior"] == "transformer"
    assert np.isfinite(nelbo.load(out).sample(4)).all()


def test_kinds_that_do_not_suit_are_refused(model: nelbo.Model) -> None:
    with pytest.raises(UserError, match="did you mean gmm"):
        nelbo.fit_prior(model, ROWS, "gm")
    ladder = nelbo.fit(
        ROWS, epochs=1, model__latent={"kind": "ladder", "dims": [2, 2], "width": 8}, model__encoder="mlp"
    )
    with pytest.raises(UserError, match="only to single-level latents, and this model has TopDown latents"):
        nelbo.fit_prior(ladder, ROWS)


def test_presets_are_listed_and_trained_by_name(tmp_path: Path, run: Run) -> None:
    code, text, _ = run("presets", "--json")
    rows = {row["name"]: row for row in json.loads(text)}
    assert code == 0 and rows["beta-tc"] == {
        "name": "beta-tc",
        "summary": "The total correlation part of the rate weighted by beta.",
        "paper": "chen2018isolating",
        "fills": ["latent", "objective"],
    }
    assert "beta-tc" in run("presets")[1]
    np.save(tmp_path / "x.npy", ROWS)
    out = tmp_path / "out"
    assert run("train", tmp_path / "x.npy", "--preset", "beta-tc", "--out", out, "--epochs", "1", "-q")[0] == 0
    trained = nelbo.load(out).recipe
    assert trained.preset == "beta-tc" and kind_of(trained.objective) == "beta-tc"
    assert "chen2018isolating" in run("cite", out)[1]
    code, _, error = run("train", tmp_path / "x.npy", "--preset", "beta-t", "--out", tmp_path / "no")
    assert code == 2 and "did you mean beta-tc" in error
