"""The space of codes: ways through it, planes of it, and what each latent carries."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from conftest import SIDE
from nelbo.errors import UserError
from nelbo.model import Model
from nelbo.model.latent_space import principal_plane, slerp


def test_interpolation_ends_at_the_reconstructions(case: tuple[Model, np.ndarray]) -> None:
    model, x = case
    way = model.interpolate(x[0], x[1], x[2], steps=5)
    assert way.shape == (9, *model.schema.shape)
    ends = model.reconstruct(x[:3])
    np.testing.assert_allclose(way[[0, 4, 8]], ends, rtol=1e-4, atol=1e-2)
    with pytest.raises(UserError, match="2 items"):
        model.interpolate(x[0])


def test_slerp_goes_along_the_sphere() -> None:
    rng = np.random.default_rng(0)
    a, b = ends = rng.normal(size=(2, 6))
    t = np.linspace(0, 1, 11)
    points = slerp(a, b, t)
    np.testing.assert_allclose(points[[0, -1]], ends)
    lengths = np.linalg.norm(points, axis=1)
    np.testing.assert_allclose(lengths, np.linalg.norm(a) + t * (np.linalg.norm(b) - np.linalg.norm(a)))
    angles = np.arccos(np.clip(points @ a / lengths / np.linalg.norm(a), -1, 1))
    np.testing.assert_allclose(np.diff(angles), angles[-1] / 10, atol=1e-6)


@pytest.mark.parametrize("b", [[2.0, 0.0], [0.0, 0.0], [-1.0, 0.0], [1.0, 1e-9]])
def test_slerp_is_finite_where_there_is_no_great_circle(b: list[float]) -> None:
    a = np.array([1.0, 0.0])
    points = slerp(a, np.array(b), np.array([0.0, 0.5, 1.0]))
    np.testing.assert_allclose(points, np.stack([a, (a + np.array(b)) / 2, np.array(b)]), atol=1e-6)


def test_traversal_moves_one_latent_at_a_time_the_richest_first(case: tuple[Model, np.ndarray]) -> None:
    model, x = case
    values, order = model.traverse(steps=3, span=2.0)
    rates = np.array(model.kl_per_latent)
    assert (np.diff(rates[order]) <= 0).all() and sorted(order) == list(range(len(rates)))
    for row, latent in zip(values, order, strict=True):
        points = np.zeros((3, len(rates)), np.float32)
        points[:, latent] = [-2, 0, 2]
        np.testing.assert_allclose(row, model.decode(points), rtol=1e-4, atol=1e-3)
    around, _ = model.traverse(x[0], steps=3)
    assert around.shape == (len(rates), 3, *model.schema.shape)
    with pytest.raises(UserError, match="steps=1"):
        model.traverse(steps=1)


def test_the_latents_rates_sum_to_the_traces_rate(case: tuple[Model, np.ndarray]) -> None:
    model, x = case
    rates = model.compute_kl_per_latent(x)
    assert rates.shape == (len(model.kl_per_latent),)
    assert rates.sum() == pytest.approx(model.evaluate(x)["rate"], rel=1e-5)


def test_project_is_principal_component_analysis(case: tuple[Model, np.ndarray]) -> None:
    decomposition = pytest.importorskip("sklearn.decomposition")
    model, x = case
    pca = decomposition.PCA(2)
    expected = pca.fit_transform(model.embed(x))
    points, share = model.pca_projection(x)
    signs = np.sign((points * expected).sum(0))
    np.testing.assert_allclose(points * signs, expected, rtol=1e-3, atol=1e-3)
    assert share == pytest.approx(pca.explained_variance_ratio_.sum(), rel=1e-4)


def test_project_takes_one_latent_and_constant_codes() -> None:
    points, share = principal_plane(np.arange(4, dtype=np.float32)[:, None])
    assert points.shape == (4, 2) and share == pytest.approx(1) and not points[:, 1].any()
    assert np.isfinite(principal_plane(np.ones((3, 2), np.float32))[0]).all()


def test_the_grid_is_of_the_priors_quantiles(density_model: Model, model: Model) -> None:
    side = 5
    grid = density_model.decode_manifold(side)
    assert grid.shape == (side**2, 1, SIDE, SIDE)
    line = torch.distributions.Normal(0, 1).icdf((torch.arange(side) + 0.5) / side).numpy()
    corners = np.array([[line[0], line[-1]], [line[-1], line[-1]], [0, 0], [line[0], line[0]], [line[-1], line[0]]])
    expected = density_model.decode(corners.astype(np.float32))
    np.testing.assert_allclose(grid[[0, side - 1, 12, -side, -1]], expected, rtol=1e-4, atol=1e-3)
    for wrong, number in ((density_model, 0), (model, side)):
        with pytest.raises(UserError, match="decode_manifold needs n_per_axis"):
            wrong.decode_manifold(number)
