"""Models of every format that was ever written load, and do what they did when they were written.

Each folder `golden/format<N>/<name>` is a model as `Model.save` wrote it, and `expected.npz`: an input and what the
model made of it. They are never made again: a change that fails here breaks the models that users have. The noise of
that time was one stream for all rows of a batch.
"""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import nelbo
from nelbo.distributions import noise
from nelbo.model import imputation

GOLDEN = Path(__file__).parent / "golden"
MODELS = sorted(path.parent for path in GOLDEN.glob("format*/*/model.json"))


def stored(value: np.ndarray) -> Any:
    """What `expected.npz` holds: an array, lines of text, or the CSV of a table."""
    if value.dtype.kind != "U":
        return value
    return value.tolist() if value.ndim else pd.read_csv(StringIO(str(value)))


def assert_as_stored(actual: Any, expected: np.ndarray) -> None:
    if expected.dtype.kind != "U":
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)
    elif expected.ndim:
        assert list(actual) == expected.tolist()
    else:
        actual = pd.read_csv(StringIO(actual.to_csv(index=False)))
        pd.testing.assert_frame_equal(actual, stored(expected), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def sample(model: nelbo.Model, n: int) -> Any:
    with noise.seeded(int(torch.randint(2**62, (), generator=torch.Generator().manual_seed(0)))):
        return model._to_user(model._sample_batch(n, model._default_context(n), 1.0, False).numpy())


@torch.no_grad()
def score(model: nelbo.Model, data: Any, k: int) -> np.ndarray:
    rows = model.as_dataset(data)
    x, c = rows.batch(torch.arange(len(rows))), model.get_context(rows)
    with noise.seeded(0):
        order = torch.randperm(len(x), generator=noise.generator())
        bounds = model.vae(x[order], None if c is None else c[order], (k,)).log_weight.logsumexp(0) - np.log(k)
    return -bounds[order.argsort()].numpy()


def test_there_is_a_model_of_each_kind_of_data() -> None:
    assert {path.name for path in MODELS} >= {"picture", "vector", "table", "series", "text"}


@pytest.mark.parametrize("folder", MODELS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_a_saved_model_does_what_it_did(folder: Path) -> None:
    model = nelbo.load(folder)
    with np.load(folder / "expected.npz", allow_pickle=False) as file:
        expected = dict(file)
    data = stored(expected.pop("input"))
    if "labels" in expected:
        data = (data, expected.pop("labels"))
    actual = {
        "embed": model.embed(data),
        "reconstruct": model.reconstruct(data),
        "sample": sample(model, len(expected["sample"]) if expected["sample"].ndim else 6),
        "score": score(model, data, 3),
    }
    if "imputed" in expected:
        rows = model.as_dataset(data)
        with torch.no_grad(), noise.seeded(0):
            moments = imputation.expected_values(model.vae, rows.batch(torch.arange(len(rows))), model.schema).numpy()
        actual["imputed"] = model._to_user(moments[:, 0])
        actual["unsure"] = model.schema.data_kind.to_user_uncertainty(moments[:, 1], rows)
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        assert_as_stored(actual[name], value)


@pytest.mark.parametrize("folder", MODELS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_a_saved_model_is_saved_again_whole(folder: Path, tmp_path: Path) -> None:
    model = nelbo.load(folder)
    model.save(tmp_path)
    again = nelbo.load(tmp_path)
    weights = again.vae.state_dict()
    for name, tensor in model.vae.state_dict().items():
        assert weights[name].equal(tensor), name
    assert repr(again.sample(3, seed=1)) == repr(model.sample(3, seed=1))
