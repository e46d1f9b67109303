"""Data near given ones: what differences of codes of the class change, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import nelbo
from conftest import NET
from nelbo.apps.synthesis.neighbours import NEAREST, SHOWN, NeighborAugmenter, nearest_neighbors
from nelbo.config import presets
from nelbo.config import recipe as recipes
from nelbo.data import load
from nelbo.errors import UserError
from nelbo.model import Model

LABELS = np.arange(200) % 3
LABELS[0] = 3  # the only one of its class


@pytest.fixture(scope="module", params=[None, "label"])
def nearby(request: pytest.FixtureRequest) -> NeighborAugmenter:
    """Of a model of pictures of four classes, which is told them or not."""
    x = np.sin(np.random.default_rng(0).normal(size=(200, 3)) @ np.arange(75).reshape(3, 25) / 20) ** 2
    pictures = (x.reshape(200, 5, 5).astype(np.float32), LABELS)
    model = nelbo.fit(pictures, epochs=30, seed=0, condition=request.param, objective__beta=0.01, **NET)
    return NeighborAugmenter(model, model.as_dataset(pictures))


def mean_of(nearby: NeighborAugmenter, code: torch.Tensor, row: int) -> torch.Tensor:
    model = nearby.model
    c = None if model.context is None else model.context.encode(nearby.rows.labels[row : row + 1])  # type: ignore[index]
    with torch.no_grad():
        return model.vae.decode_mean(code[None], c)[0]


def test_neighbours_are_the_nearest() -> None:
    codes = np.random.default_rng(0).normal(size=(500, 2)).astype(np.float32)
    expected = np.argsort(((codes[:7, None] - codes) ** 2).sum(2), axis=1)[:, :5]
    np.testing.assert_array_equal(nearest_neighbors(torch.from_numpy(codes), torch.from_numpy(codes[:7]), 5), expected)


@pytest.mark.parametrize("along", [0.7, 30.0])
def test_a_draw_is_the_datum_changed_as_two_codes_of_its_class_differ(nearby: NeighborAugmenter, along: float) -> None:
    """By search over all pairs of the nearest codes of the class; what leaves the range of data is cut off."""
    z, x = nearby.codes, nearby.rows.batch(torch.arange(200))
    seen = set()
    for row in (5, 6):
        own = np.flatnonzero(LABELS[row] == LABELS)
        near = own[np.argsort(((z[own] - z[row]) ** 2).sum(1).numpy())[:NEAREST]]
        steps = {(a, b): z[a] - z[b] for a in near for b in near}
        could = [
            x[row] + mean_of(nearby, z[row] + along * s, row) - mean_of(nearby, z[row], row) for s in steps.values()
        ]
        options = torch.stack(could).clamp(0, 1)
        for seed in range(20):
            made = torch.from_numpy(nearby.augment(torch.tensor([row]), seed, along))
            gap = (options - made).abs().flatten(1).amax(1)
            assert gap.min() < 1e-5
            seen.add((row, int(gap.argmin())))
    assert len(seen) > 20 and torch.stack(could).max() > 1  # many pairs are drawn; there is something to cut off


def test_draws_of_many_are_those_of_each_row(nearby: NeighborAugmenter) -> None:
    """However many are drawn at once, each is near its own row: at along 0, the row itself."""
    rows = torch.arange(200).repeat(12)
    assert len(rows) > nearby.model.schema.inference_batch_size
    x = nearby.rows.batch(rows).numpy()
    np.testing.assert_allclose(nearby.augment(rows, strength=0.0), x, atol=1e-6)
    made = nearby.augment(rows, seed=4)
    np.testing.assert_array_equal(made, nearby.augment(rows, seed=4))
    assert (made != nearby.augment(rows, seed=5)).any()
    alone = rows == 0  # no other is of its class
    np.testing.assert_allclose(made[alone], x[alone], atol=1e-6)
    assert (np.abs(made - x).reshape(len(rows), -1).max(1)[~alone] > 1e-4).mean() > 0.8


def test_arrays_without_labels_are_not_cut_off() -> None:
    x = 5 * torch.randn(80, 4, generator=torch.Generator().manual_seed(0))
    nearby = NeighborAugmenter(nelbo.fit(x, epochs=4, seed=0), x)
    made = nearby.augment(torch.arange(80))
    assert made.shape == (80, 4) and made.max() > 5 and made.min() < -5
    assert np.abs(made - x.numpy()).mean() < np.abs(made - x.roll(1, 0).numpy()).mean()


def test_what_is_missing_is_as_the_model_has_it() -> None:
    x = torch.randn(60, 8, 1, generator=torch.Generator().manual_seed(0)).cumsum(1)
    x[::2, 5:] = torch.nan
    model = nelbo.fit([row.numpy() for row in x], epochs=1, seed=0, data__kind="series")
    made = NeighborAugmenter(model, x.numpy()).augment(torch.arange(60), strength=0.0)
    there = ~x.isnan().numpy()
    np.testing.assert_allclose(made[there], x.numpy()[there], atol=1e-5)
    rebuilt = model.reconstruct(x.numpy())
    np.testing.assert_allclose(made[~there], rebuilt[~there], atol=1e-5)


def test_some_are_near_those_that_have_others_of_their_class(nearby: NeighborAugmenter) -> None:
    made, again = nearby.sample(300, seed=2), nearby.sample(300, seed=2)
    np.testing.assert_array_equal(made, again)
    chosen = 1 + torch.from_numpy(np.random.default_rng(2).integers(199, size=300))  # 0 is the only one of its class
    np.testing.assert_array_equal(made, nearby.augment(chosen, 2, SHOWN))
    small = nearby.sample(300, seed=2, temperature=0.5) - nearby.sample(300, seed=2, temperature=1e-6)
    assert 0 < np.abs(small).sum() < np.abs(made - nearby.sample(300, seed=2, temperature=1e-6)).sum()


def test_what_has_nothing_near_is_refused(people_model: Model, pictures: np.ndarray) -> None:
    with pytest.raises(UserError, match="with a table: use augment"):
        NeighborAugmenter(people_model, None)
    recipe = presets.find("vq-vae").apply_to(recipes.load(None, {}), "vq-vae")
    codebook = Model.from_recipe(recipe, load(pictures).schema)
    with pytest.raises(UserError, match="latent codes are discrete"):
        NeighborAugmenter(codebook, pictures)
    with pytest.raises(UserError, match="variations need at least 2 items per class"):
        NeighborAugmenter(nelbo.fit(pictures, epochs=1), (pictures[:3], np.arange(3))).sample(2)
