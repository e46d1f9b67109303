"""Outliers by exemplars: scikit-learn's own checks, the laws of the stacked VAEs, and what the detector promises."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from sklearn.metrics import roc_auc_score
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch.distributions import MultivariateNormal

from nelbo.apps.outliers.ensemble import BINS, HBOS, WIDE, EnsembleTrainingConfig, VAEEnsemble, pca
from nelbo.apps.outliers.exemplars import EnsembleConfig, ExemplarEnsemble, OutlierScorer
from nelbo.errors import UserError
from nelbo.estimators import VAEDetector

PAGE = Path(__file__).parents[2] / "docs" / "howto-outliers.md"
QUICK = {"steps": 20, "n_estimators": 2, "random_state": 0}


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ring(n: int, seed: int = 0) -> np.ndarray:
    """Points near a circle in a plane of five columns."""
    r = np.random.default_rng(seed)
    angle = r.uniform(0, 2 * np.pi, n)
    plane = np.array([[1, 0, 1, 1, 0.5], [0, 1, 1, -1, -1]])
    return np.stack([np.cos(angle), np.sin(angle)], 1) @ plane + 0.05 * r.normal(size=(n, 5))


@parametrize_with_checks([VAEDetector(steps=5, n_estimators=2)])
def test_scikit_learn_takes_it_for_its_own(estimator: Any, check: Any) -> None:
    check(estimator)


def test_the_start_is_the_closed_form_of_probabilistic_pca() -> None:
    """Where the posterior is exact, the ELBO is log p(y) = log N(0, W'W + s2 I), at every draw's mean."""
    x = torch.randn(2, 500, 6, generator=seeded()) @ torch.diag(torch.tensor([3.0, 2, 1, 0.8, 0.8, 0.8]))
    stack = VAEEnsemble(x, n_components=2, generator=seeded())
    y = stack.rows(x)
    p = {name: value.detach() for name, value in stack.parameters.items()}
    draws = torch.stack([stack.elbo(y, seeded(i)).detach() for i in range(100)])
    for m in range(2):
        s2 = p["log_s2"][m].exp()
        model = MultivariateNormal(torch.zeros(6), p["W"][m].T @ p["W"][m] + s2 * torch.eye(6))
        truth = model.log_prob(y[m])
        error = draws[:, m].std(0) / 100**0.5
        assert ((draws[:, m].mean(0) - truth).abs() < 5 * error + 1e-3).all()
        # No other variance along the axes is more likely: the maximum of the likelihood.
        values = torch.linalg.eigvalsh(y[m].T @ y[m] / 500).flip(0)
        torch.testing.assert_close(s2.squeeze(), values[2:].mean(), rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(p["W"][m].square().sum(1), values[:2] - s2.squeeze(), rtol=1e-3, atol=1e-4)


def test_the_leading_space_of_many_columns_is_that_of_all_eigenvectors() -> None:
    width = WIDE + 20
    y = torch.randn(1, 200, 5, generator=seeded()) @ torch.randn(1, 5, width, generator=seeded(1))
    y = y - y.mean(1, keepdim=True)
    values, vectors, _ = pca(y, 5, seeded(2))
    torch.testing.assert_close(values[0], torch.linalg.eigvalsh(y[0] @ y[0].T / 200).flip(0)[:5], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(y @ vectors @ vectors.mT, y, rtol=1e-3, atol=1e-3)


def test_each_member_learns_as_if_it_were_alone() -> None:
    """The gradient of the stack is that of each member by itself, and Adam works number by number."""
    x = torch.randn(3, 40, 4, generator=seeded()) * torch.tensor([1.0, 2, 5])[:, None, None]
    stack = VAEEnsemble(x, 2, 8, seeded(1))
    y = stack.rows(x)
    together = stack.elbo(y, seeded(2)).mean(1).sum()
    gradients = torch.autograd.grad(together, list(stack.parameters.values()))
    noise = torch.randn(3, 40, 2, generator=seeded(2))
    for m in range(3):
        alone = VAEEnsemble(x[m : m + 1], 2, 8, seeded(1))
        alone.parameters = {n: v[m : m + 1].detach().clone().requires_grad_() for n, v in stack.parameters.items()}
        q = alone.posterior(y[m : m + 1])
        z = q.loc + q.log_scale.exp() * noise[m : m + 1]
        errors = (y[m : m + 1] - alone.decode(z)).square().sum(2)
        log_s2 = alone.parameters["log_s2"][..., 0]
        rate = 0.5 * (q.loc.square() + (2 * q.log_scale).exp() - 1 - 2 * q.log_scale).sum(2)
        bound = -0.5 * (errors * (-log_s2).exp() + 4 * (log_s2 + np.log(2 * np.pi))) - rate
        own = torch.autograd.grad(bound.mean(), list(alone.parameters.values()))
        for joint, single in zip(gradients, own, strict=True):
            torch.testing.assert_close(joint[m : m + 1], single, rtol=1e-4, atol=1e-5)


def test_training_raises_the_elbo() -> None:
    x = torch.from_numpy(ring(600)).float()[None].expand(2, -1, -1)
    stack = VAEEnsemble(x, 2, 32, seeded())
    before = stack.elbo(stack.rows(x), seeded(1)).mean().item()
    stack.fit(x, EnsembleTrainingConfig(200), seeded(2))
    assert stack.elbo(stack.rows(x), seeded(1)).mean().item() > before + 0.1


def test_a_missing_cell_neither_counts_nor_tells() -> None:
    x = torch.randn(1, 50, 3, generator=seeded())
    gaps = x.clone()
    gaps[0, 0, 1] = torch.nan
    stack = VAEEnsemble(gaps, 2, 8, seeded())
    u = stack.coordinates(gaps)
    assert u.isfinite().all() and u[0, 0, 2 + 1] == 0
    filled = torch.where(gaps.isnan(), stack.mean, gaps)
    torch.testing.assert_close(u[0, :, :2], stack.coordinates(filled)[0, :, :2])


def test_rows_off_the_manifold_score_higher() -> None:
    """Within the ring's range of every column, and at its mean: only the shape tells them."""
    train, inside = ring(1000), 0.5 * ring(100, 1)
    detector = VAEDetector(novelty=True, steps=50, random_state=0).fit(train)
    scores = -detector.score_samples(np.r_[ring(100, 2), inside])
    assert roc_auc_score(np.repeat([0, 1], 100), scores) > 0.99


def test_trimming_frees_the_exemplars_of_a_cluster_of_outliers() -> None:
    r = np.random.default_rng(0)
    x = np.r_[r.normal(size=(180, 4)), 6 + 0.3 * r.normal(size=(20, 4))]
    plan = EnsembleConfig(n_estimators=2, training=EnsembleTrainingConfig(20))
    once, twice = ExemplarEnsemble(x, plan, 0), OutlierScorer(x, plan, 0).exemplars
    gaps = [scores[180:].mean() - scores[:180].mean() for scores in (once.anomaly_score(x), twice.anomaly_score(x))]
    assert gaps[1] > gaps[0] > 0


def test_margins_are_the_masses_of_bins_and_sum_to_one() -> None:
    r = np.random.default_rng(0)
    x = np.stack([r.normal(size=500), np.exp(3 * r.normal(size=500)), np.full(500, 7.0)], 1)
    margins = HBOS(x)
    for j in (0, 1):  # a value from each bin, the other cells missing
        v = np.linspace(margins.low[j], margins.high[j], 2 * BINS + 1)[1::2]
        row = np.full((BINS, 3), np.nan)
        row[:, j] = margins.middle[j] + margins.spread[j] * np.sign(v) * np.expm1(np.abs(v))
        assert np.exp(-margins.anomaly_score(row)).sum() == pytest.approx(1)
    whole, beyond = margins.anomaly_score(x), np.array([[99.0, np.nan, 7.0], [np.nan, np.nan, np.nan]])
    assert margins.anomaly_score(beyond).tolist() == [pytest.approx(np.log(510 / 0.5)), 0.0]
    parts = [margins.anomaly_score(np.where(np.arange(3) == j, x, np.nan)) for j in range(3)]
    np.testing.assert_allclose(sum(parts), whole)


def test_clean_rows_are_scored_beside_all_others() -> None:
    """With novelty, the share of fresh inliers below the offset is about the contamination, not 0 and not all."""
    detector = VAEDetector(0.1, novelty=True, **QUICK).fit(ring(2000))
    assert 0.05 < (detector.predict(ring(2000, 1)) == -1).mean() < 0.17
    assert (detector.predict(ring(2000)) == -1).mean() < 0.05  # each has itself for an exemplar


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_the_share_of_outliers_is_the_contamination(share: float) -> None:
    detector = VAEDetector(share, **QUICK)
    assert (detector.fit_predict(ring(300)) == -1).sum() == round(300 * share)
    assert detector.labels_.sum() == round(300 * share)
    assert detector.threshold_ == -detector.offset_
    np.testing.assert_allclose(detector.decision_scores_, -detector.score_samples(ring(300)), rtol=1e-6)


def test_the_seed_fixes_the_scores_and_torch_is_left_alone() -> None:
    state = torch.get_rng_state()
    a, b, c = (VAEDetector(**{**QUICK, "random_state": s}).fit(ring(200)).decision_scores_ for s in (0, 0, 1))
    assert (a == b).all() and (a != c).any()
    assert torch.equal(torch.get_rng_state(), state)


def test_gaps_are_taken_and_the_infinite_refused() -> None:
    x = ring(300)
    x[np.random.default_rng(0).random(x.shape) < 0.1] = np.nan
    x[:3] = 8
    x[:3, 0] = np.nan
    detector = VAEDetector(0.02, **QUICK).fit(x)
    assert np.isfinite(detector.decision_scores_).all() and (detector.predict(x)[:3] == -1).all()
    empty = np.full((20, 3), np.nan)
    empty[:, 0] = np.arange(20)
    assert np.isfinite(VAEDetector(**QUICK).fit(empty).decision_scores_).all()
    with pytest.raises(ValueError, match="infinity"):
        detector.predict(np.full((1, 5), np.inf))


def test_texts_of_a_frame_count() -> None:
    r = np.random.default_rng(0)
    frame = pandas.DataFrame({"size": r.normal(size=200), "colour": r.choice(["red", "blue", "green"], 200)})
    frame.loc[0, "colour"] = frame.loc[1, "colour"] = "violet"
    detector = VAEDetector(0.05, **QUICK).fit(frame)
    assert (detector.predict(frame)[:2] == -1).all()
    assert list(detector.feature_names_in_) == ["size", "colour"]
    with pytest.raises(ValueError):
        detector.predict(frame[["size"]])
    numbers = VAEDetector(**QUICK).fit(frame[["size"]])
    with pytest.raises(UserError, match="numbers"):
        numbers.predict(frame[["colour"]].set_axis(["size"], axis=1))


@pytest.mark.parametrize(
    "name, value", [("contamination", 0.7), ("n_estimators", 0), ("steps", 1.5), ("n_components", -1)]
)
def test_parameters_out_of_range_are_named(name: str, value: float) -> None:
    with pytest.raises(UserError, match=name):
        VAEDetector(**{name: value}).fit(ring(20))


def test_it_is_a_detector_of_pyod() -> None:
    """As PyOD's own tests of a detector go."""
    pytest.importorskip("pyod")
    from sklearn.base import clone

    from nelbo.estimators.pyod import PyODDetector

    x = np.r_[ring(190), 2 + ring(10, 1)]
    y = np.repeat([0, 1], [190, 10])
    detector = PyODDetector(contamination=0.05, **QUICK).fit(x)
    assert detector.decision_scores_.shape == (200,) and detector.labels_.sum() == 10
    scores = detector.decision_function(x)
    assert roc_auc_score(y, scores) > 0.95
    assert set(detector.predict(x)) == {0, 1}
    for method in ("linear", "unify"):
        probabilities = detector.predict_proba(x, method=method)
        assert probabilities.min() >= 0 and probabilities.max() <= 1
    labels, confidence = detector.predict(x, return_confidence=True)
    assert labels.shape == confidence.shape and (confidence <= 1).all()
    assert detector._predict_rank(x, normalized=True).max() <= 1
    assert clone(detector).get_params() == detector.get_params()


def test_the_how_to_runs() -> None:
    names: dict[str, Any] = {"__name__": "howto"}
    for block in re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL):
        exec(compile(block, PAGE, "exec", dont_inherit=True), names)


def test_too_few_rows_are_refused() -> None:
    x = np.random.default_rng(0).normal(size=(4, 3))
    for n in (2, 3):
        with pytest.raises(UserError, match=f"X has {n} rows: give at least 4, or set novelty=True"):
            VAEDetector(steps=5).fit(x[:n])
        assert len(VAEDetector(steps=5, n_estimators=1, novelty=True).fit_predict(x[:n])) == n
    assert len(VAEDetector(steps=5, n_estimators=1).fit_predict(x)) == 4
