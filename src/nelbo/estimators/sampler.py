"""`VAESampler` adds rows of the rarer classes until the classes are balanced, with imbalanced-learn's API.

For pictures it trains one model that does not use the classes: rare classes share the features of all pictures, and
new ones are variations of their own few in latent space. With few pictures per class this is better than a conditional
model; see `nelbo.apps.synthesis.neighbours`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from itertools import count, islice
from math import prod
from numbers import Integral, Real
from typing import Any

import numpy as np
import pandas
from sklearn.base import OneToOneFeatureMixin
from sklearn.preprocessing import label_binarize
from sklearn.utils import InputTags, Tags, check_random_state, column_or_1d
from sklearn.utils.multiclass import check_classification_targets, type_of_target

from nelbo.apps.synthesis.rows import augment
from nelbo.config import recipe as recipes
from nelbo.data import load
from nelbo.data.arrays.layout import CHANNELS
from nelbo.errors import UserError
from nelbo.estimators.base import TableEstimator, densify, recipe_overrides
from nelbo.experiment.console import Lines
from nelbo.model import Model
from nelbo.training import Callback, signals

Counts = dict[Any, int]


@dataclass(slots=True)
class SamplerInputTags(InputTags):
    """The tags of a sampler's input that imbalanced-learn reads."""

    dataframe: bool = True


@dataclass(slots=True)
class SamplerTags:
    """The tags of a sampler that imbalanced-learn reads."""

    sample_indices: bool = False


@dataclass(slots=True)
class ResamplerTags(Tags):
    """scikit-learn's tags, with those of imbalanced-learn."""

    sampler_tags: SamplerTags | None = None


class VAESampler(OneToOneFeatureMixin, TableEstimator):  # type: ignore[misc]
    """Over-samples: a model is trained on all rows with their class, and rows are drawn given a class.

    The original rows come first, unchanged; new rows have identifiers of their own. X may be an array or a DataFrame,
    with missing cells, texts and categories.
    Pictures are supported too: X of shape `(n, h, w)`, `(n, channels, h, w)` or `(n, h, w, channels)`, or vectors that
    the argument `shape` of `fit_resample` makes pictures. The result has the shape of X.

    Args:
        sampling_strategy: as imbalanced-learn's: "auto" or "not majority", "minority", "not minority", "all"; a number
            (two classes: the rarer one's rows over the other's, afterwards); a dictionary {class: rows afterwards}; or
            a function of y that returns such a dictionary.
        n_components: the number of latents.
        width: units of the networks' layers; None: 64, and up to 256 for many rows; 400 for pictures.
        max_iter: the largest number of epochs; for pictures the number of epochs.
        batch_size: rows per step; None: an eighth of them, between 32 and 512.
        learning_rate: the highest learning rate, after the warm-up.
        random_state: fixes the weights, the order of the rows and all draws.
        verbose: 1 prints two lines per epoch; 0 prints nothing.

    >>> x, y = np.random.default_rng(0).normal(size=(60, 3)), np.arange(60) < 10
    >>> more, classes = VAESampler(max_iter=1, random_state=0).fit_resample(x, y)
    >>> more.shape, int(classes.sum())
    ((100, 3), 50)
    """

    _sampling_type = "over-sampling"
    _estimator_type = "sampler"

    def __init__(
        self,
        sampling_strategy: Any = "auto",
        n_components: int = 8,
        width: int | None = None,
        max_iter: int = 100,
        batch_size: int | None = None,
        learning_rate: float = 2e-3,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        super().__init__(n_components, width, max_iter, batch_size, learning_rate, random_state, verbose)
        self.sampling_strategy = sampling_strategy

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.estimator_type, tags.target_tags.required = "sampler", True
        inputs = SamplerInputTags(**_held(tags.input_tags))
        return ResamplerTags(**{**_held(tags), "input_tags": inputs, "sampler_tags": SamplerTags()})

    def fit(self, X: Any, y: Any, shape: tuple[int, ...] | None = None) -> VAESampler:
        """Check X and y and compute the number of rows to add per class, `sampling_strategy_`, without training.

        Args:
            X: the rows, `(n, features)`, or pictures.
            y: the class of each row, `(n,)`.
            shape: the shape of a picture, if X holds vectors; None otherwise.
        """
        if is_pictures(X, shape):
            self._labels(y, len(pictures(X, shape)))
        else:
            self._look(X, y)
        return self

    def fit_resample(self, X: Any, y: Any, shape: tuple[int, ...] | None = None) -> tuple[Any, Any]:
        """Return (X, y) with the new rows after the original ones, in the types of X and y.

        Args:
            X: the rows, `(n, features)`, or pictures.
            y: the class of each row, `(n,)`.
            shape: the shape of a picture, `(h, w)` or `(channels, h, w)`, if X holds vectors; None otherwise.

        Raises `UserError` if y has one class, or `sampling_strategy` asks for fewer rows than y has.
        """
        if is_pictures(X, shape):
            return self._more_pictures(X, y, pictures(X, shape))
        table, labels = self._look(X, y)
        classes, codes = np.unique(labels, return_inverse=True)
        target = next(name for name in ("class", *(f"class_{i}" for i in range(table.shape[1]))) if name not in table)
        self._train(table.assign(**{target: codes.astype(str)}), {target: "categorical"})
        seeds = np.random.RandomState(self.seed_).randint(2**31 - 1, size=len(classes))
        parts, drawn = [], []
        for code, seed in enumerate(seeds.tolist()):
            n = self.sampling_strategy_.get(classes[code], 0)
            if n:
                parts.append(self.model_.condition_on({target: str(code)}).sample(n, seed).drop(columns=target))
                drawn.append(np.full(n, code))
        new = [self._like(part) for part in parts]
        return self._joined(X, new), _labels_like(classes, np.concatenate([codes, *drawn]), y)

    def _more_pictures(self, X: Any, y: Any, x: np.ndarray) -> tuple[Any, Any]:
        labels = self._labels(y, len(x))
        self.seed_ = int(check_random_state(self.random_state).randint(2**31 - 1))
        classes, codes = np.unique(labels, return_inverse=True)
        counts = {k: self.sampling_strategy_.get(name, 0) for k, name in enumerate(classes.tolist())}
        counts = {k: n for k, n in counts.items() if n}
        self.model_, self.n_iter_ = train(x, self._picture_settings(len(x)), [Lines()] if self.verbose else [])
        parts = [part.reshape(len(part), *np.shape(X)[1:]) for part in draw(self.model_, x, codes, counts, self.seed_)]
        drawn = [np.full(n, k) for k, n in counts.items()]
        return self._joined(X, parts), _labels_like(classes, np.concatenate([codes, *drawn]), y)

    def _picture_settings(self, n: int) -> dict[str, Any]:
        """The settings of a recipe for n pictures that the parameters change."""
        kept = ("epochs", "batch_size", "samples_per_epoch", "learning_rate", "seed", "model.latent.dim")
        net = {"kind": "mlp", "hidden": [self.width]}
        return {name: recipe_overrides(self, n, 1)[name] for name in kept} | (
            {"model.encoder": net} if self.width else {}
        )

    def _labels(self, y: Any, n: int) -> np.ndarray:
        """The class of each of n rows; stores the number of rows to add per class."""
        if y is None:
            raise UserError("requires y to be passed, but the target y is None: give the class of each row")
        check_classification_targets(y)
        labels = one_column(y)
        if len(labels) != n:
            raise UserError(f"X has {n} rows and y {len(labels)}: give y a class for each row of X")
        self.sampling_strategy_ = check_sampling_strategy(self.sampling_strategy, labels)
        return labels

    def _look(self, X: Any, y: Any) -> tuple[pandas.DataFrame, np.ndarray]:
        table = self._begin(X)
        return table, self._labels(y, len(table))

    def _joined(self, X: Any, parts: list[Any]) -> Any:
        """The original rows, and the new rows after them, in the type of X."""
        if isinstance(X, pandas.DataFrame):
            joined = pandas.concat([densify(X), *parts], ignore_index=True)
            for j in range(X.shape[1]):
                if joined.iloc[len(X) :, j].isna().all():  # the model leaves the column out
                    joined.isetitem(j, [*X.iloc[:, j], *new_identifiers(X.iloc[:, j], len(joined) - len(X))])
            return joined.astype(X.dtypes)
        whole = np.concatenate([np.asarray(X), *parts])
        if isinstance(X, list):
            return whole.tolist()
        return whole.astype(np.asarray(X).dtype)


def new_identifiers(column: pandas.Series, n: int) -> list[Any]:
    """Values for n new rows of a column that names rows: the next whole numbers, or "new-1", "new-2" ...; else missing.

    >>> new_identifiers(pandas.Series([3, 7]), 2), new_identifiers(pandas.Series(["a", "new-1"]), 1)
    ([8, 9], ['new-2'])
    """
    known = column.dropna()
    if pandas.api.types.is_integer_dtype(known):
        return [int(known.max()) + 1 + i for i in range(n)]
    if not known.is_unique or not known.map(lambda cell: isinstance(cell, str)).all():
        return [None] * n
    taken, names = set(known), (f"new-{i}" for i in count(1))
    return list(islice((name for name in names if name not in taken), n))


def _held(tags: Any) -> dict[str, Any]:
    return {field.name: getattr(tags, field.name) for field in fields(tags)}


def one_column(y: Any) -> np.ndarray:
    """The class of each row, `(n,)`; one-hot rows become the index of their 1."""
    if type_of_target(y) != "multilabel-indicator":
        return column_or_1d(y)
    rows = np.asarray(y)
    if (rows.sum(1) > 1).any():
        raise UserError("Multilabel and multioutput targets are not supported: give each row one class")
    return rows.argmax(1)


def _labels_like(classes: np.ndarray, codes: np.ndarray, y: Any) -> Any:
    """The classes of all rows, in the type of y."""
    labels = classes[codes]
    if type_of_target(y) == "multilabel-indicator":
        labels = label_binarize(labels, classes=classes)
    if isinstance(y, pandas.Series):
        return pandas.Series(labels, dtype=y.dtype, name=y.name)
    if isinstance(y, pandas.DataFrame):
        return pandas.DataFrame(labels, columns=y.columns).astype(y.dtypes)
    return labels.tolist() if isinstance(y, list) else labels.astype(np.asarray(y).dtype)


def check_sampling_strategy(strategy: Any, labels: np.ndarray) -> Counts:
    """The number of rows to draw for each class, by imbalanced-learn's rules of over-sampling.

    >>> check_sampling_strategy("auto", np.array([0, 0, 0, 1])), check_sampling_strategy({1: 4}, np.array([0, 1]))
    ({1: 2}, {1: 3})
    """
    counts = dict(zip(*(part.tolist() for part in np.unique(labels, return_counts=True)), strict=True))
    if len(counts) < 2:
        raise UserError(f"y has one class, {next(iter(counts))!r}: give rows of at least two classes")
    if isinstance(strategy, str):
        chosen = _named(strategy, counts)
        return {name: max(counts.values()) - counts[name] for name in chosen}
    if isinstance(strategy, Real) and not isinstance(strategy, bool):
        return _by_ratio(float(strategy), counts)
    asked = strategy(labels) if callable(strategy) else strategy
    if not isinstance(asked, Mapping):
        raise UserError(f"sampling_strategy={strategy!r}: use a name, a number, a dictionary or a function")
    return _by_counts(asked, counts)


def _named(strategy: str, counts: Counts) -> list[Any]:
    most, least = max(counts, key=lambda name: counts[name]), min(counts, key=lambda name: counts[name])
    strategies: dict[str, Callable[[Any], bool]] = {
        "auto": lambda name: name != most,
        "not majority": lambda name: name != most,
        "minority": lambda name: name == least,
        "not minority": lambda name: name != least,
        "all": lambda name: True,
    }
    if strategy not in strategies:
        raise UserError(f"sampling_strategy={strategy!r}: use one of {', '.join(strategies)}")
    return [name for name in counts if strategies[strategy](name)]


def _by_ratio(ratio: float, counts: Counts) -> Counts:
    if not 0 < ratio <= 1 or len(counts) != 2:
        raise UserError(
            f"sampling_strategy={ratio}, {len(counts)} classes: use a number above 0, at most 1, with 2 classes; "
            "otherwise a dictionary"
        )
    most = max(counts, key=lambda name: counts[name])
    found = {name: int(counts[most] * ratio - n) for name, n in counts.items() if name != most}
    if min(found.values()) <= 0:
        raise UserError(f"sampling_strategy={ratio}: the rarer class already has that share: use a larger number")
    return found


def _by_counts(asked: Mapping[Any, Any], counts: Counts) -> Counts:
    for name, n in asked.items():
        if name not in counts:
            raise UserError(f"sampling_strategy: y has no class {name!r}: use {', '.join(map(repr, counts))}")
        if not isinstance(n, Integral) or n < counts[name]:
            raise UserError(f"sampling_strategy: class {name!r} has {counts[name]} rows: use that or more, not {n}")
    return {name: int(asked[name]) - n for name, n in counts.items() if name in asked}


SMALL = 3072  # values of a picture, up to which perceptrons are fast and good


def is_pictures(X: Any, shape: tuple[int, ...] | None) -> bool:
    """Whether X holds pictures, `(n, h, w)` or with channels, or vectors that `shape` makes pictures."""
    return shape is not None or np.ndim(X) > 2


def pictures(X: Any, shape: tuple[int, ...] | None) -> np.ndarray:
    """X as pictures; raises `UserError` if it does not hold any."""
    x = np.asarray(X)
    if shape is not None:
        if len(shape) not in (2, 3) or prod(shape) != prod(x.shape[1:]):
            raise UserError(f"shape={shape}, X has shape {x.shape}: use (h, w) or (channels, h, w) with as many values")
        x = x.reshape(len(x), *shape)
    if x.ndim not in (3, 4) or x.dtype.kind not in "buif":
        raise UserError(f"X has shape {x.shape}, {x.dtype}: give numbers (n, h, w) or (n, channels, h, w)")
    return x


def train(x: np.ndarray, settings: Mapping[str, Any], callbacks: list[Callback]) -> tuple[Model, int]:
    """Train a model of pictures with these settings of a recipe; with it, the number of epochs."""
    data = load(x, seed=settings["seed"])
    recipe = recipes.load("mnist" if prod(data.schema.shape) <= SMALL else None, dict(settings))
    model = Model.from_recipe(recipe, data.schema)
    state = model.fit(data, None, callbacks)
    if state.reason == "interrupted":
        signals.deliver(state.signal)
    return model, int(state.rows[-1]["epoch"])


def draw(model: Model, x: np.ndarray, codes: np.ndarray, wanted: Mapping[int, int], seed: int) -> list[np.ndarray]:
    """New pictures, a number of each class by its index in `codes`, in the shape and type of x."""
    real = model.as_dataset((x, codes))
    seeds = np.random.RandomState(seed).randint(2**31 - 1, size=len(wanted)).tolist()
    drawn = [
        augment(model, n, k, reference=real, seed=own)[0] for (k, n), own in zip(wanted.items(), seeds, strict=True)
    ]
    return [_as(values, x) for values in drawn]


def _as(values: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Pictures `(n, channels, h, w)` in the layout, the range and the type of x."""
    if x.ndim == 4 and x.shape[-1] in CHANNELS:
        values = values.transpose(0, 2, 3, 1)
    values = values.reshape(len(values), *x.shape[1:]).clip(x.min(), x.max())
    return (values.round() if x.dtype.kind in "bui" else values).astype(x.dtype)
