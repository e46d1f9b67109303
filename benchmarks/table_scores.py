"""How good synthetic rows are: what a model learns from them, their columns and pairs of columns, what they give away.

Columns and pairs follow SDMetrics' KSComplement, TVComplement, CorrelationSimilarity and ContingencySimilarity, as
errors (1 - score), save for missing cells: a category of their own; of numbers the present ones are compared, and the
difference of the shares of missing ones is added. Numbers beside categories are cut in 10 bins of the real range.
(SDMetrics' quality report cuts each table by its own range instead, which hides shifts; this does not.) Without missing
cells the errors are SDMetrics' own: peers/sdmetrics_scores.py. For distances a row is a point: standardised numbers,
and categories such that a mismatch adds 1 to the squared distance.
"""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
from scipy.stats import ks_2samp
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import pairwise_distances_argmin_min, r2_score, roc_auc_score
from table_data import Table

MISSING = "(missing)"
BINS = 10
MOST = 10_000  # rows whose nearest neighbours are sought
SEEDS = (0, 1, 2)


def texts(column: pd.Series) -> pd.Series:
    """A column of categories with missing cells as one of them."""
    return column.astype(object).where(column.notna(), MISSING).astype(str)


def features(table: Table, frame: pd.DataFrame) -> np.ndarray:
    """Numbers, and the code of each category in the real table; NaN where a cell is missing."""
    columns = {}
    for name in table.train.columns.drop(table.target):
        if name in table.categories:
            known = sorted(set(table.train[name].dropna()) | set(table.test[name].dropna()))
            codes = pd.Categorical(frame[name], categories=known).codes
            columns[name] = np.where(codes < 0, np.nan, codes)
        else:
            columns[name] = frame[name].astype(float).to_numpy()
    return np.column_stack(list(columns.values()))


def utility(table: Table, rows: pd.DataFrame) -> float:
    """AUC (R2 of a number) on the real test rows of gradient-boosted trees trained on `rows`; the mean of 3 seeds."""
    mask = [name in table.categories for name in table.train.columns.drop(table.target)]
    x, test = features(table, rows), features(table, table.test)
    scores = []
    for seed in SEEDS:
        if table.positive is None:
            trees = HistGradientBoostingRegressor(categorical_features=mask, random_state=seed)
            guess = trees.fit(x, rows[table.target]).predict(test)
            scores.append(r2_score(table.test[table.target], guess))
            continue
        y = rows[table.target] == table.positive
        if y.nunique() < 2:
            return 0.5
        classes = HistGradientBoostingClassifier(categorical_features=mask, random_state=seed).fit(x, y)
        scores.append(roc_auc_score(table.test[table.target] == table.positive, classes.predict_proba(test)[:, 1]))
    return float(np.mean(scores))


def variation(real: pd.DataFrame, rows: pd.DataFrame) -> float:
    """Total variation distance of the joint frequencies of all columns of texts."""
    keys = list(real.columns)
    frequencies = [frame.groupby(keys).size() / len(frame) for frame in (real, rows)]
    return float(frequencies[0].sub(frequencies[1], fill_value=0).abs().sum() / 2)


def column_error(real: pd.Series, rows: pd.Series) -> float:
    """Kolmogorov-Smirnov statistic and difference in missing cells, at most 1 together; or total variation distance."""
    if not pd.api.types.is_numeric_dtype(real):
        return variation(texts(real).to_frame(), texts(rows).to_frame())
    present = rows.dropna()
    statistic = ks_2samp(real.dropna(), present).statistic if len(present) else 1.0
    return float(min(1.0, statistic + abs(real.isna().mean() - rows.isna().mean())))


def bins(real: pd.Series, column: pd.Series) -> pd.Series:
    """A column of numbers as texts: its bin of the real range, open at both ends."""
    edges = np.histogram_bin_edges(real.dropna(), bins=BINS)
    cut = pd.Series(np.digitize(column.astype(float), edges[1:-1]), index=column.index)
    return cut.astype(str).where(column.notna(), MISSING)


def correlation(frame: pd.DataFrame) -> float:
    """Pearson's, of the rows where both are present; 0 for a constant."""
    present = frame.dropna().astype(float)
    if len(present) < 2 or (present.nunique() < 2).any():
        return 0.0
    return float(np.corrcoef(present.to_numpy(), rowvar=False)[0, 1])


def pair_errors(real: pd.DataFrame, rows: pd.DataFrame) -> dict[tuple[str, str], float]:
    """Half the difference of correlations of two numbers, else the total variation distance of joint frequencies."""
    numbers = {name for name in real if pd.api.types.is_numeric_dtype(real[name])}
    cut = [
        pd.DataFrame({n: bins(real[n], frame[n]) if n in numbers else texts(frame[n]) for n in real})
        for frame in (real, rows)
    ]
    errors = {}
    for pair in itertools.combinations(real, 2):
        if numbers.issuperset(pair):
            errors[pair] = abs(correlation(real[list(pair)]) - correlation(rows[list(pair)])) / 2
        else:
            errors[pair] = variation(cut[0][list(pair)], cut[1][list(pair)])
    return errors


def points(table: Table, frame: pd.DataFrame) -> np.ndarray:
    """Rows as points, scaled by the training rows."""
    parts = []
    for name in table.train:
        if name in table.categories:
            known = sorted(set(texts(table.train[name])) | set(texts(table.test[name])) | {MISSING})
            codes = pd.Categorical(texts(frame[name]), categories=known).codes
            parts.append(np.eye(len(known))[codes] * 0.5**0.5)
            continue
        real, column = table.train[name].astype(float), frame[name].astype(float)
        scaled = (column - real.mean()) / (real.std() or 1.0)
        parts.append(np.column_stack([scaled.fillna(0), column.isna()]))
    return np.concatenate(parts, axis=1).astype(np.float32)


def nearest(x: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The distance of each of `x` to the nearest of `others`."""
    where = pairwise_distances_argmin_min(x, others)[0]
    return np.linalg.norm(x.astype(np.float64) - others[where], axis=1)


def privacy(table: Table, rows: pd.DataFrame) -> dict[str, float]:
    """Distances to the closest training row, of synthetic and of held-out rows, and two attacks on who was trained on.

    The attacks score training rows against as many held-out ones (AUC; 0.5 gives nothing away) by their distance to the
    nearest synthetic row: alone, and against that to the nearest of other real rows (the second half of the held-out).
    """
    rng = np.random.default_rng(0)
    train, test = points(table, table.train), rng.permutation(points(table, table.test))
    synthetic = points(table, rows)
    count = min(MOST, len(test), len(synthetic))
    drawn = rng.choice(len(synthetic), count, replace=False)
    distances = {"synthetic": nearest(synthetic[drawn], train), "held_out": nearest(test[:count], train)}
    line = np.quantile(distances["held_out"], 0.05)
    out = {f"{name}_median": float(np.median(d)) for name, d in distances.items()}
    out |= {f"{name}_5%": float(np.quantile(d, 0.05)) for name, d in distances.items()}
    out |= {f"{name}_copies": float(np.mean(d < 1e-4)) for name, d in distances.items()}
    out["nearer_than_held_out_5%"] = float(np.mean(distances["synthetic"] < line))
    half = min(MOST // 2, len(test) // 2)
    asked = np.concatenate([train[rng.choice(len(train), half, replace=False)], test[:half]])
    member, own, other = np.repeat([1, 0], half), nearest(asked, synthetic), nearest(asked, test[half : 2 * half])
    out["attack_auc"] = float(roc_auc_score(member, -own))
    out["attack_auc_relative"] = float(roc_auc_score(member, other - own))
    return out


def scores(table: Table, rows: pd.DataFrame) -> dict[str, float]:
    """All of them but the ratio to the real rows' utility; errors in percent."""
    columns = [column_error(table.train[name], rows[name]) for name in table.train]
    pairs = pair_errors(table.train, rows)
    errors = {
        "column_error_%": 100 * float(np.mean(columns)),
        "pair_error_%": 100 * float(np.mean(list(pairs.values()))),
    }
    return {"utility": utility(table, rows), **errors, **privacy(table, rows)}
