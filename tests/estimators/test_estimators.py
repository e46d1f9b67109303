"""The estimators keep scikit-learn's conventions, and do what they say on small data.

imbalanced-learn's own checks of the sampler run where it is installed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas
import pytest
import torch

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import estimator_checks_generator

from nelbo.estimators import VAEImputer, VAESampler, VAETransformer
from nelbo.estimators.sampler import check_sampling_strategy

TINY: dict[str, Any] = {"n_components": 2, "width": 16, "max_iter": 1, "random_state": 0}
SHORT: dict[str, Any] = {"n_components": 2, "width": 32, "max_iter": 30, "learning_rate": 5e-3, "random_state": 0}
ESTIMATORS = [VAETransformer(**TINY), VAEImputer(**TINY), VAEImputer(**TINY, sample_posterior=True), VAESampler(**TINY)]
REASONS = {
    # a draw for each cell, in the order of the rows
    True: {
        "check_methods_subset_invariance": "other rows, other draws",
        "check_methods_sample_order_invariance": "another order, other draws",
    }
}


def sklearn_checks() -> Iterator[Any]:
    for estimator in ESTIMATORS:
        drawn = isinstance(estimator, VAEImputer) and estimator.sample_posterior
        for one, check in estimator_checks_generator(estimator, expected_failed_checks=REASONS.get(drawn, {})):
            name: Any = check.func.__name__  # type: ignore[attr-defined]
            if name not in REASONS.get(drawn, {}):
                yield pytest.param(one, check, id=f"{type(one).__name__}-{name}-{drawn}")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("estimator", "check"), sklearn_checks())
def test_scikit_learns_checks(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator)


def imbalanced_checks() -> list[Any]:
    try:
        from imblearn.utils import estimator_checks
    except ImportError:
        return []
    found = list(estimator_checks.estimator_checks_generator(VAESampler(**TINY)))
    return [pytest.param(*pair, id=pair[1].func.__name__) for pair in found]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("estimator", "check"), imbalanced_checks())
def test_imbalanced_learns_checks(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator)


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    return load_iris().data


@pytest.fixture(scope="module")
def embed(x: np.ndarray) -> VAETransformer:
    return VAETransformer(**SHORT).fit(x)


@pytest.fixture(scope="module")
def mixed() -> pandas.DataFrame:
    """Numbers, texts, categories, a constant, booleans, with gaps and an index of its own."""
    rng = np.random.default_rng(0)
    n = 120
    kind = rng.integers(0, 3, n)
    frame = pandas.DataFrame(
        {
            "size": np.round(kind * 10 + rng.normal(size=n), 2),
            "name": np.array(["small", "middle", "large"], object)[kind],
            "grade": pandas.Categorical(np.array(["c", "b", "a"])[kind], ["c", "b", "a"], ordered=True),
            "count": kind + rng.integers(0, 30, n),
            "same": 7,
            "flag": kind == 2,
        },
        index=np.arange(n) + 1000,
    )
    frame.loc[1003:1020, "size"] = np.nan
    frame.loc[1015:1040, "name"] = None
    frame.loc[1030:1050, "grade"] = None
    return frame


def test_codes_go_back_to_rows(embed: VAETransformer, x: np.ndarray) -> None:
    codes = embed.transform(x)
    back = embed.inverse_transform(codes)
    assert codes.shape == (150, 2) and codes.dtype == np.float32 and back.shape == x.shape
    assert ((back - x) ** 2).mean() < 0.4 * x.var(0).mean()
    assert list(embed.get_feature_names_out()) == ["vaetransformer0", "vaetransformer1"]
    with pytest.raises(ValueError, match="codes have 3 numbers: give 2"):
        embed.inverse_transform(np.zeros((1, 3)))


def test_scores_are_lower_for_unlikely_rows(embed: VAETransformer, x: np.ndarray) -> None:
    scores = embed.score_samples(x)
    assert embed.score(x) == pytest.approx(scores.mean(dtype=np.float64))
    assert embed.score(np.random.default_rng(0).permuted(x, axis=0)) < embed.score(x) - 0.5
    np.testing.assert_allclose(embed.score_samples(x[[7]]), scores[[7]], rtol=1e-4)
    assert embed.score(x) == pytest.approx(
        embed.model_.log_likelihood(pandas.DataFrame(x, columns=embed._names())).mean(), abs=1.0
    )


def test_samples_are_like_the_data(embed: VAETransformer, x: np.ndarray) -> None:
    drawn = embed.sample(500, random_state=0)
    assert drawn.shape == (500, 4) and (drawn.mean(0) - x.mean(0) < 0.3 * x.std(0)).all()
    np.testing.assert_array_equal(drawn, embed.sample(500, random_state=0))
    assert (drawn != embed.sample(500, random_state=1)).any()


def test_the_same_seed_gives_the_same_model_and_torch_is_left_alone(x: np.ndarray) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    a, b = (clone(ESTIMATORS[0]).fit(x).transform(x) for _ in range(2))
    assert torch.equal(torch.rand(3), expected)
    np.testing.assert_array_equal(a, b)
    assert (VAETransformer(**{**TINY, "random_state": 1}).fit(x).transform(x) != a).any()


def test_pipelines_and_searches(x: np.ndarray) -> None:
    y = load_iris().target
    pipeline = make_pipeline(VAEImputer(**TINY), VAETransformer(**TINY), LogisticRegression(max_iter=1000))
    gaps = np.where(np.random.default_rng(0).random(x.shape) < 0.1, np.nan, x)
    assert pipeline.fit(gaps, y).predict(gaps).shape == (150,)
    search = GridSearchCV(VAETransformer(**TINY), {"n_components": [1, 3]}, cv=2).fit(x)
    assert search.best_params_["n_components"] in (1, 3) and np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.transform(x).shape[1] == search.best_params_["n_components"]


def test_lines_are_printed(x: np.ndarray, capsys: pytest.CaptureFixture[str]) -> None:
    VAETransformer(**{**TINY, "verbose": 1}).fit(x)
    assert capsys.readouterr().out.startswith("====> Epoch: 1 Average training loss: ")


def test_numbers_in_sequence_are_no_identifiers_in_an_array() -> None:
    x = np.stack([np.arange(40.0)[::-1], np.ones(40)], 1)
    found = VAETransformer(**TINY).fit(x)
    assert [c.kind for c in found.model_.schema.columns] == ["continuous", "constant"]
    assert (found.inverse_transform(found.transform(x))[:, 1] == 1).all()


@pytest.mark.filterwarnings("ignore:table. column 'same'")
def test_tables_of_texts_and_categories(mixed: pandas.DataFrame) -> None:
    embed = VAETransformer(**SHORT).fit(mixed)
    back = embed.inverse_transform(embed.transform(mixed))
    assert list(back) == list(mixed) and (back["same"] == 7).all()
    there = mixed["name"].notna().to_numpy()
    assert (back["name"].to_numpy() == mixed["name"].to_numpy())[there].mean() > 0.8
    assert np.isfinite(embed.score_samples(mixed)).all()
    with pytest.raises(ValueError, match="feature names should match"):
        embed.transform(mixed.rename(columns={"size": "length"}))


def test_imputing_arrays(x: np.ndarray) -> None:
    rng = np.random.default_rng(1)
    gap = rng.random(x.shape) < 0.15
    holes = np.where(gap, np.nan, x)
    imputer = VAEImputer(**SHORT).fit(holes)
    filled = imputer.transform(holes)
    np.testing.assert_array_equal(filled[~gap], x[~gap])
    error, mean_error = (((f - x) / x.std(0))[gap] for f in (filled, SimpleImputer().fit_transform(holes)))
    assert (error**2).mean() < 0.5 * (mean_error**2).mean()
    np.testing.assert_allclose(imputer.transform(holes[::-1])[::-1], filled, rtol=1e-4)
    assert holes.dtype == filled.dtype and imputer.transform(holes.astype(np.float32)).dtype == np.float32


def test_imputing_draws(x: np.ndarray) -> None:
    holes = x.copy()
    holes[:60, 2] = np.nan
    imputer = VAEImputer(**SHORT, sample_posterior=True).fit(holes)
    again = copy.deepcopy(imputer)
    first, second = imputer.transform(holes), imputer.transform(holes)
    np.testing.assert_array_equal(again.transform(holes), first)
    assert (first[:60, 2] != second[:60, 2]).mean() > 0.5 and (first[60:] == x[60:]).all()


@pytest.mark.filterwarnings("ignore:table. column 'same'")
def test_imputing_tables(mixed: pandas.DataFrame) -> None:
    filled = VAEImputer(**SHORT).fit_transform(mixed)
    assert list(filled.dtypes) == list(mixed.dtypes) and filled.index.equals(mixed.index)
    assert filled.notna().all(None)
    for name in mixed:
        there = mixed[name].notna()
        pandas.testing.assert_series_equal(filled[name][there], mixed[name][there])
    assert (
        filled["name"][1020:1040] == filled["grade"][1020:1040].map({"c": "small", "b": "middle", "a": "large"})
    ).all()
    named = VAEImputer(**TINY).set_output(transform="pandas").fit(mixed)
    assert list(named.transform(mixed)) == list(named.get_feature_names_out()) == list(mixed)


@pytest.mark.filterwarnings("ignore:.*keep_empty_features:FutureWarning")
@pytest.mark.parametrize("keep", [False, True])
def test_a_column_without_a_value_is_dropped_or_kept_as_in_scikit_learn(x: np.ndarray, keep: bool) -> None:
    empty = np.column_stack([x, np.full(150, np.nan)])
    with pytest.warns(UserWarning, match="column 'x4' is left out"):
        imputer = VAEImputer(**TINY, keep_empty_features=keep).fit(empty)
    expected = SimpleImputer(keep_empty_features=keep).fit(x if not keep else empty)
    filled = imputer.transform(empty)
    np.testing.assert_array_equal(filled, np.column_stack([x, np.zeros(150)]) if keep else x)
    assert list(imputer.get_feature_names_out()) == list(expected.get_feature_names_out())
    frame = pandas.DataFrame(empty, columns=list("abcde"))
    with pytest.warns(UserWarning, match="column 'e' is left out"):
        named = VAEImputer(**TINY, keep_empty_features=keep).set_output(transform="pandas").fit(frame)
    assert list(named.transform(frame)) == list(named.get_feature_names_out()) == list("abcde" if keep else "abcd")


Y = np.repeat(["a", "b", "c"], [40, 20, 10])


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("auto", {"b": 20, "c": 30}),
        ("not majority", {"b": 20, "c": 30}),
        ("minority", {"c": 30}),
        ("not minority", {"a": 0, "b": 20}),
        ("all", {"a": 0, "b": 20, "c": 30}),
        ({"b": 25}, {"b": 5}),
        (lambda y: {"c": 12}, {"c": 2}),
    ],
)
def test_how_many_are_wanted(strategy: Any, expected: dict[str, int]) -> None:
    assert check_sampling_strategy(strategy, Y) == expected


def test_a_ratio_is_of_two_classes() -> None:
    assert check_sampling_strategy(0.5, np.repeat([0, 1], [40, 10])) == {1: 10}


@pytest.mark.filterwarnings("ignore:table. column 'same'")
def test_resampling_a_table(mixed: pandas.DataFrame) -> None:
    y = pandas.Series(np.where(mixed["flag"], "rare", "common"), mixed.index, name="kind")
    chosen = mixed.drop(columns="flag").assign(**{"class": mixed["size"]})  # a column that has the name of the target
    keep = (y == "common") | (np.arange(len(y)) % 3 == 0)
    more, labels = VAESampler(**SHORT).fit_resample(chosen[keep], y[keep])
    n = int(keep.sum())
    assert labels.value_counts().nunique() == 1 and labels.name == "kind" and len(labels) == len(more)
    pandas.testing.assert_frame_equal(more[:n], chosen[keep].reset_index(drop=True))
    assert list(more.dtypes) == list(chosen.dtypes) and set(labels[n:]) == {"rare"}
    drawn = more[n:]  # of which some cells are missing, as in training
    assert (drawn["name"].dropna() == "large").mean() > 0.8 and (drawn["size"].dropna() > 15).mean() > 0.8


def test_resampling_keeps_the_types_given(x: np.ndarray) -> None:
    y = load_iris().target[:110]
    sampler = VAESampler(**TINY, sampling_strategy={2: 30})
    more, labels = sampler.fit_resample(x[:110].astype(np.float32), y)
    assert more.dtype == np.float32 and labels.dtype == y.dtype and np.bincount(labels).tolist() == [50, 50, 30]
    rows, classes = sampler.fit_resample(x[:110].tolist(), y.tolist())
    assert isinstance(rows, list) and classes == labels.tolist()
    hot = np.eye(3, dtype=int)[y]
    np.testing.assert_array_equal(sampler.fit_resample(x[:110], hot)[1], np.eye(3, dtype=int)[labels])
    assert sampler.fit(x[:110], y).sampling_strategy_ == {2: 20}
