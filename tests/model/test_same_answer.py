"""A row has the same answer alone and beside others, in any order, after saving, and at any precision."""

from __future__ import annotations

import copy
import threading
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import nelbo
from nelbo.apps.anomaly import Detector
from nelbo.distributions import noise
from nelbo.model import Model

GOLDEN = Path(__file__).parent / "golden" / "format1"
KINDS = ("picture-levels", "series", "table", "text", "vector")


@pytest.fixture(scope="module", params=KINDS)
def loaded(request: pytest.FixtureRequest) -> tuple[Model, Any]:
    """A small model of each kind of data, and data."""
    model = nelbo.load(GOLDEN / request.param)
    with np.load(GOLDEN / request.param / "expected.npz", allow_pickle=False) as file:
        value = file["input"]
    if value.dtype.kind != "U":
        return model, value
    return model, list(dict.fromkeys(value.tolist())) if value.ndim else pd.read_csv(StringIO(str(value)))


def take(data: Any, index: list[int]) -> Any:
    if isinstance(data, pd.DataFrame):
        return data.iloc[index].reset_index(drop=True)
    return [data[i] for i in index] if isinstance(data, list) else data[index]


def array(values: Any) -> np.ndarray:
    return values.to_numpy() if isinstance(values, pd.DataFrame) else np.asarray(values)


def same(a: Any, b: Any, model: Model) -> None:
    """Equal bit for bit; for text, whose steps depend on the longest line of a batch, to rounding."""
    a, b = array(a), array(b)
    if model.schema.kind == "text" and a.dtype.kind == "f":
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    else:
        pd.testing.assert_frame_equal(pd.DataFrame(a.reshape(len(a), -1)), pd.DataFrame(b.reshape(len(b), -1)), rtol=0)


def answers(model: Model) -> dict[str, Any]:
    found = {
        "embed": model.embed,
        "reconstruct": model.reconstruct,
        "elbo": model.elbo,
        "bound": lambda data: nelbo.model.scoring.importance_weighted_bound(model, data, 20),
        "posterior": model.sample_posterior,
    }
    if model.schema.data_kind.allows_missing:
        found["impute"] = model.impute
        found["draw"] = lambda data: model.impute(data, sample_posterior=True)
    return found


def test_a_row_has_one_answer(loaded: tuple[Model, Any]) -> None:
    model, data = loaded
    n = len(data)
    order = list(reversed(range(n)))
    before = torch.get_rng_state()
    for answer in answers(model).values():
        whole = array(answer(data))
        same(array(answer(take(data, order)))[::-1], whole, model)
        same(answer(take(data, [1])), whole[[1]], model)
        same(answer(take(data, [*range(n), 0, 1]))[:n], whole, model)
    assert torch.equal(torch.get_rng_state(), before)


def test_samples_depend_on_their_number_alone(loaded: tuple[Model, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = loaded
    for likelihood in (False, True):
        whole = model.sample(40, seed=3, sample_likelihood=likelihood)
        same(model.sample(7, seed=3, sample_likelihood=likelihood), take(whole, list(range(7))), model)
        with monkeypatch.context() as patch:
            patch.setattr(type(model.schema), "inference_batch_size", 16)
            same(model.sample(40, seed=3, sample_likelihood=likelihood), whole, model)


def test_noise_by_place_is_found(loaded: tuple[Model, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted bug: keys by the place in the batch."""
    model, data = loaded
    monkeypatch.setattr(noise, "keys_of_content", lambda seed, x, *_: noise.keys_of_numbers(torch.arange(len(x)), seed))
    a, b = model.elbo(data), model.elbo(take(data, list(reversed(range(len(data))))))[::-1]
    assert not np.allclose(a, b, rtol=1e-4)


def test_a_verdict_depends_on_its_row_alone(loaded: tuple[Model, Any]) -> None:
    model, data = loaded
    detector = Detector(model, calibration=take(data, list(range(len(data))) * 5), samples=5)
    whole = detector.detect(data, 0.3)
    order = list(reversed(range(len(data))))
    other, alone = detector.detect(take(data, order), 0.3), detector.detect(take(data, [2]), 0.3)
    assert (other.p_values[::-1] == whole.p_values).all() and alone.p_values[0] == whole.p_values[2]
    assert (other.is_anomaly[::-1] == whole.is_anomaly).all() and alone.is_anomaly[0] == whole.is_anomaly[2]


def test_saving_and_threads_change_nothing(loaded: tuple[Model, Any], tmp_path: Path) -> None:
    model, data = loaded
    doubled = Model(
        copy.deepcopy(model.vae).double(), model.schema, copy.deepcopy(model.recipe), model.kl_per_latent, model.context
    )
    object.__setattr__(doubled.recipe.training, "precision", "64")
    for i, saved in enumerate((model, doubled)):
        saved.save(tmp_path / str(i))
        again = nelbo.load(tmp_path / str(i))
        assert {p.dtype for p in again.vae.parameters()} == {p.dtype for p in saved.vae.parameters()}
        for name, answer in answers(again).items():
            same(answer(data), answers(saved)[name](data), model)
        same(again.sample(5), saved.sample(5), model)
    results: dict[int, Any] = {}

    def work(seed: int) -> None:
        torch.set_num_threads(1)
        results[seed] = model.elbo(data, seed=seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed, found in results.items():
        np.testing.assert_allclose(found, model.elbo(data, seed=seed), rtol=1e-6)


def test_equal_rows_have_equal_scores_and_other_draws(vector_model: Model, vectors: np.ndarray) -> None:
    data = np.repeat(vectors[:1], 300, 0)
    assert len(np.unique(vector_model.elbo(data))) == 1
    assert len(np.unique(vector_model.sample_posterior(data), axis=0)) == 300


def test_fits_in_threads_equal_fits_alone(vectors: np.ndarray) -> None:
    alone = nelbo.fit(vectors, epochs=1).vae.state_dict()
    before, found = torch.get_rng_state(), []
    threads = [
        threading.Thread(target=lambda: found.append(nelbo.fit(vectors, epochs=1).vae.state_dict())) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3 and torch.equal(torch.get_rng_state(), before)
    for other in found:
        assert all(torch.equal(other[name], value) for name, value in alone.items())
