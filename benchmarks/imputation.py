"""Missing cells: 30 % of them removed at random from four tables, filled in by nelbo and by scikit-learn's imputers.

    python benchmarks/imputation.py --data DIR [--tables adult ...] [--methods mean knn ...] [--seeds 3]

Every method gets the same --rows (5 000) training rows, drawn by the seed, with the same cells removed (each with the
same chance, none because of its value). Errors are of the removed cells: the RMSE of numbers in standard deviations of
their column, and the accuracy of categories. The columns count alike.

- `mean`: the column's mean, or its most frequent category;
- `knn`, `knn 20`: KNNImputer, at its 5 neighbours and at 20; `iterative`: IterativeImputer (BayesianRidge). Numbers are
  standardised and categories one-hot, all of a missing cell's columns missing; the likeliest category is chosen. The
  last column of each category is left out: with it the others follow from each other, and IterativeImputer never
  leaves the means it starts from;
- `iterative codes`: the same with ordinal codes, rounded; `iterative trees`: these with extremely randomised trees in
  place of BayesianRidge (as missForest);
- `nelbo`: VAEImputer at its defaults, on the table as it is.

Results are added to the JSON file as they come.
"""

from __future__ import annotations

import json
import platform
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_iterative_imputer  # noqa: F401 (this import is how scikit-learn is asked)
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer
from table_data import FILES, Table, load, parser

MISSING = 0.3


def holes(table: Table, rows: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray]:
    """Some training rows, the same with cells removed, and where: present in the table, and no more."""
    rng = np.random.default_rng(seed)
    kept = rng.choice(len(table.train), min(rows, len(table.train)), replace=False)
    full = table.train.iloc[kept].reset_index(drop=True)
    full = full.astype({n: float if n in table.numbers else object for n in full})
    removed = (rng.random(full.shape) < MISSING) & full.notna().to_numpy()
    return full, full.mask(removed), removed


def standard(column: pd.Series) -> tuple[float, float]:
    """Mean and standard deviation of the present cells."""
    return float(column.mean()), float(column.std()) or 1.0


def known(column: pd.Series) -> np.ndarray:
    """The categories of a column, in order."""
    return np.array(sorted(column.dropna().unique()), dtype=object)


def codes(column: pd.Series) -> pd.Series:
    """The place of each category, NaN where missing."""
    found = pd.Series(pd.Categorical(column, categories=known(column)).codes, index=column.index)
    return found.astype(float).where(column.notna())


def encoded(frame: pd.DataFrame, hot: bool) -> np.ndarray:
    """Standardised numbers, and categories one-hot (the last left out) or as standardised codes; NaN where missing."""
    parts = []
    for column in (frame[name] for name in frame):
        if column.dtype == object and hot:
            one = np.eye(len(known(column)))[codes(column).fillna(0).astype(int)]
            one[column.isna()] = np.nan
            parts.append(one[:, :-1])
            continue
        numbers = codes(column) if column.dtype == object else column
        middle, scale = standard(numbers)
        parts.append(((numbers - middle) / scale).to_numpy()[:, None])
    return np.concatenate(parts, axis=1)


def decoded(filled: np.ndarray, frame: pd.DataFrame, hot: bool) -> pd.DataFrame:
    """The way back, for columns as in `frame`: the likeliest category, or the one of the nearest code."""
    columns, place = {}, 0
    for name in frame:
        column = frame[name]
        width = len(known(column)) - 1 if column.dtype == object and hot else 1
        part = filled[:, place : place + width]
        place += width
        if column.dtype == object and hot:
            columns[name] = known(column)[np.column_stack([part, 1 - part.sum(axis=1)]).argmax(axis=1)]
            continue
        middle, scale = standard(codes(column) if column.dtype == object else column)
        numbers = part[:, 0] * scale + middle
        if column.dtype == object:
            columns[name] = known(column)[np.rint(numbers).clip(0, len(known(column)) - 1).astype(int)]
        else:
            columns[name] = numbers
    return pd.DataFrame(columns)


def by(imputer: Any, hot: bool = True) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """Fill a frame by one of scikit-learn's imputers of numbers."""

    def fill(frame: pd.DataFrame) -> pd.DataFrame:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return decoded(imputer.fit_transform(encoded(frame, hot)), frame, hot)

    return fill


def nelbo(seed: int) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """Fill a frame by nelbo's imputer."""

    def fill(frame: pd.DataFrame) -> pd.DataFrame:
        from nelbo.estimators import VAEImputer

        return VAEImputer(random_state=seed).fit_transform(frame)

    return fill


def trees(seed: int) -> ExtraTreesRegressor:
    """The regressor of `iterative trees`."""
    return ExtraTreesRegressor(30, min_samples_leaf=3, max_features=0.5, n_jobs=-1, random_state=seed)


METHODS: dict[str, Callable[[int], Callable[[pd.DataFrame], pd.DataFrame]]] = {
    "mean": lambda seed: by(SimpleImputer()),
    "knn": lambda seed: by(KNNImputer()),
    "knn 20": lambda seed: by(KNNImputer(n_neighbors=20)),
    "iterative": lambda seed: by(IterativeImputer(random_state=seed)),
    "iterative codes": lambda seed: by(IterativeImputer(random_state=seed), hot=False),
    "iterative trees": lambda seed: by(IterativeImputer(trees(seed), random_state=seed), hot=False),
    "nelbo": nelbo,
}


def errors(full: pd.DataFrame, filled: pd.DataFrame, removed: np.ndarray) -> dict[str, float]:
    """RMSE of numbers in standard deviations and accuracy of categories, over the removed cells; means of columns."""
    squares, right = [], []
    for place, name in enumerate(full):
        where = removed[:, place]
        truth, guess = full[name][where].to_numpy(), filled[name][where].to_numpy()
        if full[name].dtype == object:
            right.append(np.mean(truth == guess))
        else:
            squares.append(np.mean((truth - guess.astype(float)) ** 2) / full[name].var())
    return {"rmse": float(np.sqrt(np.mean(squares))), "accuracy": float(np.mean(right))}


def wins(table: dict[str, dict[str, list[dict[str, float]]]]) -> dict[str, int]:
    """On how many of the tables each method has the least mean RMSE, and the greatest mean accuracy, added up."""
    count = {method: 0 for methods in table.values() for method in methods}
    for methods in table.values():
        for key, best in (("rmse", min), ("accuracy", max)):
            means = {method: float(np.mean([run[key] for run in runs])) for method, runs in methods.items()}
            count[best(means, key=means.__getitem__)] += 1
    return count


def show(table: dict[str, dict[str, list[dict[str, float]]]]) -> None:
    """Means over the seeds, a line for each table and method."""
    print(f"{'':24}{'RMSE':>18}{'accuracy':>18}{'seconds':>10}")
    for name, methods in table.items():
        for method, runs in methods.items():
            cells = (
                f"{np.mean(v):.4f} +- {np.std(v):.4f}" for v in ([r[k] for r in runs] for k in ("rmse", "accuracy"))
            )
            seconds = np.mean([run["seconds"] for run in runs])
            print(f"{name + ' ' + method:24}" + "".join(f"{cell:>18}" for cell in cells) + f"{seconds:10.1f}")
    print("wins, of", 2 * len(table), wins(table))


def main() -> None:
    arguments = parser(__doc__, __file__)
    arguments.add_argument("--tables", nargs="+", choices=list(FILES), default=list(FILES))
    arguments.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--rows", type=int, default=5_000)
    options = arguments.parse_args()
    for name in options.tables:
        table = load(options.data, name)
        for method in options.methods:
            runs = []
            for seed in range(options.seeds):
                full, holed, removed = holes(table, options.rows, seed)
                began = time.perf_counter()
                filled = METHODS[method](seed)(holed)
                runs.append({"seconds": time.perf_counter() - began} | errors(full, filled, removed))
                print(f"{name} {method}, seed {seed}: {json.dumps(runs[-1])}", flush=True)
            results = json.loads(options.out.read_text()) if options.out.exists() else {"table": {}}
            results |= {"platform": platform.platform(), "python": platform.python_version(), "rows": options.rows}
            results["table"].setdefault(name, {})[method] = runs
            options.out.write_text(json.dumps(results, indent=1) + "\n")
    show(results["table"])


if __name__ == "__main__":
    main()
