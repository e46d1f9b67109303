"""Arrays: what holds one is taken, or refused with a remedy; values come back in their type and range."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse

import nelbo
from fixtures.arrays import assert_user_error, rows_in_source_order
from nelbo.config.registry import parse
from nelbo.data import Schema, load

RNG = np.random.default_rng(0)
X = RNG.normal(3, 2, (40, 5))
COUNTS = RNG.poisson([0.3, 4.0, 60.0], (400, 3))
TINY: dict[str, Any] = {"epochs": 2, "model__encoder": {"kind": "mlp", "hidden": [16]}, "latent_dim": 2}


class Held:
    """An object that NumPy can read."""

    shape = X.shape

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return X.astype(dtype or X.dtype)


@pytest.mark.parametrize(
    "source",
    [
        np.asmatrix(X),
        X.tolist(),
        [*X],
        [*torch.from_numpy(X)],
        X.astype(object),
        X.astype(np.longdouble),
        X.astype(">f8"),
        np.asfortranarray(X),
        X[::-1][::-1],
        Held(),
        (X, np.arange(40) % 2),
        (np.asmatrix(X), [0, 1] * 20),
    ],
    ids=lambda source: type(source).__name__,
)
def test_what_holds_an_array_is_taken_as_it(source: Any) -> None:
    expected, found = load(X), load(source)
    assert found.schema.shape == (5,) and (found.schema.shift, found.schema.dtype) == (expected.schema.shift, "float64")
    assert torch.equal(rows_in_source_order(found), rows_in_source_order(expected))


REFUSED: dict[str, tuple[Any, str]] = {
    "sparse": (sparse.csr_matrix(X), "give x.toarray()"),
    "a sparse array": (sparse.coo_array(X), "give x.toarray()"),
    "a sparse tensor": (torch.from_numpy(X).to_sparse(), "give x.to_dense()"),
    "complex": (X + 1j, "numpy.concatenate([x.real, x.imag], -1)"),
    "dates": (X.astype("datetime64[s]"), "give numbers, such as x.astype('int64')"),
    "durations": (X.astype("timedelta64[s]"), "x / numpy.timedelta64(1, 's')"),
    "strings": (X.astype(str), "x.astype(float)"),
    "one dimension": (X[:, 0], "one recording as --kind series with a --window"),
    "a dict": ({"left": X, "right": X}, "give rows and labels as x and y"),
    "a generator": ((row for row in X), "give list(x)"),
    "a ragged list": ([X[0], X[1, :3]], "items of the shapes (3,) and (5,)"),
    "a list of objects": ([object(), object()], "a list of items of type object"),
    "an empty list": ([], "a list of no item"),
    "None": (None, "a NoneType is not a data source"),
    "a number": (5, "a int is not a data source"),
    "NaN": (np.where(X > 4, np.nan, X), "are NaN or infinite"),
    "too large": (X * 1e300, "rescale the data"),
    "no row": (X[:0], "is empty"),
    "one row": (X[:1], "has 1 row: give at least 2"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_array_is_refused_with_a_remedy(name: str) -> None:
    source, words = REFUSED[name]
    assert_user_error(lambda: load(source), words)


def test_series_in_any_container() -> None:
    ragged = [X[0], X[1, :3], X[2]]
    hold = np.empty(3, object)
    hold[:] = ragged
    expected = load(ragged, kind="series").schema
    for source in (hold, tuple(ragged), [of.tolist() for of in ragged], [np.asmatrix(of).T for of in ragged]):
        assert load(source, kind="series").schema == expected
    labelled = load((tuple(ragged), ["a", "b", "a"]), kind="series")
    assert labelled.schema.classes == ("a", "b")
    with pytest.warns(UserWarning, match=r"x.swapaxes\(1, 2\)"):
        load(RNG.normal(size=(9, 3, 50)), kind="series")


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int64", "uint8", "int16", "uint32"])
def test_values_come_back_in_their_type_and_range(dtype: str) -> None:
    x = (COUNTS * [1, 3, 1] + [0, 0, 20]).astype(dtype)
    model = nelbo.fit(x, **TINY)
    assert parse(Schema, model.schema.to_json(), "") == model.schema
    for values in (model.sample(200), model.reconstruct(x[:50]), model.sample(99, sample_likelihood=True)):
        assert values.dtype == x.dtype
        assert np.array_equal(values, np.rint(values)) and not np.signbit(values[values == 0].astype(float)).any()
        assert (values.min(0) >= x.min(0)).all() and (values.max(0) <= x.max(0)).all()


def test_far_values_keep_their_digits() -> None:
    x = 1e9 + RNG.normal(size=(200, 2)).cumsum(1)
    model = nelbo.fit(x, **TINY)
    assert model.reconstruct(x).dtype == np.float64 and np.abs(model.reconstruct(x) - x).max() < 20
    assert len(np.unique(model.sample(50))) == 100


def test_only_features_of_whole_numbers_are_rounded() -> None:
    x = np.concatenate([COUNTS, RNG.normal(size=(400, 1))], 1)
    values = nelbo.fit(x, **TINY).sample(100)
    assert np.array_equal(values[:, :3], np.rint(values[:, :3])) and not np.array_equal(values, np.rint(values))
    series = nelbo.fit(np.stack([x[:, :2], x[:, 2:]], 1)[:, :, ::-1], kind="series", **TINY)
    sampled = series.sample(30)
    assert sampled.shape == (30, 2, 2)
    assert [bool((channel == np.rint(channel)).all()) for channel in sampled.reshape(-1, 2).T] == [False, True]


@pytest.mark.parametrize("kind", ["poisson", "negative-binomial"])
@pytest.mark.parametrize(
    "make", [np.asarray, np.float32, lambda x: x.reshape(40, 10, 3)], ids=["int", "float", "series"]
)
def test_counts_reach_likelihoods_of_counts(kind: str, make: Callable[[Any], Any]) -> None:
    x = make(COUNTS)
    options: dict[str, Any] = {"kind": "series"} if x.ndim == 3 else {}
    model = nelbo.fit(x, model__likelihood=kind, **TINY, **options)
    assert (model.schema.shift, model.schema.scale) == ((0.0,), (1.0,))
    draws = model.sample(50, sample_likelihood=True)
    assert np.array_equal(draws, np.rint(draws)) and draws.min() >= 0
    assert np.isfinite(model.log_likelihood(x[:20], 5)).all()


def test_other_values_are_not_counts() -> None:
    assert_user_error(lambda: nelbo.fit(COUNTS - 1, model__likelihood="poisson"), "the lowest is -1", "normal")
    assert_user_error(lambda: nelbo.fit(COUNTS + 0.5, model__likelihood="poisson"), "some are not whole numbers")


def test_rows_are_counted_before_training() -> None:
    assert_user_error(lambda: nelbo.fit(RNG.random((2, 8, 8)), epochs=1), "2 rows are too few", "give 3 or more")
    assert_user_error(lambda: nelbo.fit(RNG.random((1, 8, 8)), epochs=1), "give at least 2")
    assert nelbo.fit(X[:2], **TINY).sample(2).shape == (2, 5)


def test_few_far_values_are_said() -> None:
    with pytest.warns(UserWarning, match="feature 2 is scaled by few values: nearly all are from"):
        load(np.where((np.arange(40)[:, None] // 2 == 4) & (np.arange(5) == 2), 1e30, X))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(RNG.standard_cauchy(size=(40, 2)).clip(-50, 50))
        load(np.concatenate([X, np.ones((40, 1)), RNG.random((40, 1)) > 0.9], 1))


def test_constant_columns_come_back() -> None:
    x = np.concatenate([X, np.full((40, 1), 7.25)], 1)
    np.testing.assert_allclose(nelbo.fit(x, **TINY).sample(9)[:, 5], 7.25)
