"""A small model and its data, for the tests of training."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from nelbo.config.recipe import load as load_recipe
from nelbo.data import load
from nelbo.model import Model

SMALL: dict[str, Any] = {
    "epochs": 3,
    "batch_size": 32,
    "model.latent.dim": 3,
    "model.encoder": {"kind": "mlp", "hidden": [16]},
    "model.likelihood": {"kind": "bernoulli", "grey": True},
}


def small(**overrides: Any) -> tuple[Model, Any]:
    """An untrained small model and its data, 150 grey pictures."""
    x = np.random.default_rng(0).random((150, 6, 5), np.float32)
    data = load(x)
    recipe = load_recipe(None, {**SMALL, **overrides})
    return Model.create(recipe, data.schema), data


def weights(model: Model) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.vae.state_dict().items()}


def assert_equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []
