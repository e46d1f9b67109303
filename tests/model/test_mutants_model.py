"""Bugs that released libraries had in what a user holds, planted here: each is rejected by the law ours passes."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import nelbo
from nelbo.distributions import DiagonalNormal
from nelbo.model import io
from nelbo.training import checkpoint

RNG = np.random.default_rng(0)
ROWS = (RNG.normal(size=(200, 2)) @ RNG.normal(size=(2, 5)) * 3 + 7).astype(np.float32)


@pytest.fixture(scope="module")
def model() -> nelbo.Model:
    return nelbo.fit(ROWS, epochs=60, learning_rate=1e-2, model__encoder="mlp", model__latent__dim=2)


def assert_law_fails(law: Callable[..., None], *arguments: Any) -> None:
    with pytest.raises(AssertionError):
        law(*arguments)


def embeds_the_same_twice(embed: Callable[[np.ndarray], np.ndarray]) -> None:
    np.testing.assert_array_equal(embed(ROWS), embed(ROWS))


def test_an_embedding_is_no_draw(model: nelbo.Model) -> None:
    embeds_the_same_twice(model.embed)
    x = model.schema.encode(torch.from_numpy(ROWS))
    assert_law_fails(embeds_the_same_twice, lambda rows: model.vae.latent.infer(x)[0].detach().numpy())


def uses_its_samples(log_likelihood: Callable[[int], np.ndarray]) -> None:
    few, many = log_likelihood(1).mean(), log_likelihood(200).mean()
    assert many > few + 0.02


def test_a_likelihood_uses_all_its_samples(model: nelbo.Model) -> None:
    uses_its_samples(lambda samples: model.log_likelihood(ROWS, samples))
    assert_law_fails(uses_its_samples, lambda samples: model.log_likelihood(ROWS, 1, seed=samples))


def scores_the_same_twice(score: Callable[[], np.ndarray]) -> None:
    np.testing.assert_array_equal(score(), score())


def test_a_score_does_not_change_between_calls(model: nelbo.Model) -> None:
    scores_the_same_twice(lambda: model.log_likelihood(ROWS, 5))
    seeds = iter(range(100))
    assert_law_fails(scores_the_same_twice, lambda: model.log_likelihood(ROWS, 5, seed=next(seeds)))


def reaches_all_values(decode: Callable[[Tensor], Tensor]) -> None:
    """Under a squared error the mean must be able to be any real number: pushed up, it passes 1; down, 0."""
    means = decode(torch.linspace(-50, 50, 11)[:, None])
    assert means.max() > 1 and means.min() < 0


def test_a_normal_likelihood_has_no_sigmoid(model: nelbo.Model) -> None:
    def ours(h: Tensor) -> Tensor:
        with torch.no_grad():
            return model.vae.decode(h.expand(-1, 2)).mean

    reaches_all_values(ours)
    assert_law_fails(reaches_all_values, lambda h: nn.Sigmoid()(ours(h)))


def keeps_its_prior(save: Callable[[nelbo.Model, Path], None], model: nelbo.Model, folder: Path) -> None:
    save(model, folder)
    np.testing.assert_array_equal(nelbo.load(folder).sample(50), model.sample(50))


def test_a_fitted_prior_is_saved_with_its_weights(model: nelbo.Model, tmp_path: Path) -> None:
    fitted = nelbo.fit_prior(model, ROWS, "gmm")

    def forgetful(given: nelbo.Model, folder: Path) -> None:
        given.save(folder)
        tensors, values = checkpoint.read(folder / "weights.safetensors")
        values.pop("format")
        zero = {k: torch.zeros_like(v) if k.startswith("latent.prior") else v for k, v in tensors.items()}
        io.write_folder(folder, zero, values)

    keeps_its_prior(nelbo.Model.save, fitted, tmp_path / "ours")
    assert_law_fails(keeps_its_prior, forgetful, fitted, tmp_path / "theirs")


def draws_from_its_prior(sample: Callable[[], np.ndarray], log_p: Callable[[Tensor], Tensor], entropy: float) -> None:
    """Draws z of a prior have mean -log p(z) equal to its entropy, within 4 standard errors."""
    surprise = -log_p(torch.from_numpy(sample()).float()).double()
    error = surprise.std().item() / math.sqrt(len(surprise))
    assert abs(surprise.mean().item() - entropy) < 4 * error


def test_samples_come_from_the_models_own_prior(model: nelbo.Model) -> None:
    """Not from N(0, I), where the prior is another."""
    fitted = nelbo.fit_prior(model, ROWS, "normal")
    p = fitted.vae.latent.prior(None)
    with torch.no_grad():
        covariance = p.sample((200_000,)).double().T.cov()
        entropy = 0.5 * torch.logdet(covariance).item() + 1 + math.log(2 * math.pi)
        torch.manual_seed(0)
        draws_from_its_prior(lambda: fitted.vae.latent.sample_prior(5000).numpy(), p.log_prob, entropy)
        other = DiagonalNormal(torch.full((2,), 0.5), torch.full((2,), math.log(1.5)))
        assert_law_fails(draws_from_its_prior, lambda: other.sample((5000,)).numpy(), p.log_prob, entropy)
