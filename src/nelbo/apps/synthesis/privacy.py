"""Privacy of synthetic rows: whether they reveal the rows that a model was trained on.

Two measures, both by the distance between rows a, b (Gower, 1971, A General Coefficient of Similarity),

    d(a, b) = 1/columns sum_j d_j,   d_j = |a_j - b_j| / range_j for a number, 0 or 1 for a category

where a missing cell is a category of its own, and for numbers lies at least 1/2 from any value.

- The distance from each synthetic row to the closest training row, compared with that of held-out rows: copied rows
  have shorter ones. The share of exact copies is of all training rows.
- Membership: the probability that a training row is closer to the synthetic rows than a held-out row is (the AUC of
  classifying by it), with its standard error: 0.5 where nothing leaks. Source: Hilprecht, Haertwich, Bernau
  (2019), Monte Carlo and Reconstruction Membership Inference Attacks against Generative Models.

If some cells were fixed (to balance classes, say), synthetic rows differ from held-out ones for that reason, too.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nelbo.data import Dataset, Schema, tables

ROWS, MOST = 2000, 20_000  # query rows, and rows that are searched
PART = 2**24  # numbers at once


def report(schema: Schema, synthetic: Any, train: Dataset, held_out: Dataset, seed: int = 0) -> dict[str, Any]:
    """The distances, copies and AUC above; `synthetic` is a DataFrame of the model's samples."""
    made = torch.from_numpy(tables.encode(synthetic, schema))
    real = train.batch(torch.arange(len(train)))
    other = held_out.batch(torch.arange(len(held_out)))
    low, high = _range(real)
    features = [_features(x, schema, low, high) for x in (made, real, other)]
    few_made, few_real, few_other = (_some(f, ROWS, seed) for f in features)
    many_made, many_real = (_some(f, MOST, seed) for f in features[:2])
    n = len(schema.feature_columns)
    inside, outside = closest(few_real, many_made) / n, closest(few_other, many_made) / n
    auc, error = separation(inside, outside)
    return {
        "synthetic": _summary(closest(few_made, many_real) / n, _copies(made, real)),
        "held_out": _summary(closest(few_other, many_real) / n, _copies(other, real)),
        "membership_auc": auc,
        "membership_error": error,
    }


def to_text(found: dict[str, Any]) -> str:
    """The report as text."""
    lines = [f"{'closest training row':22} {'median':>8} {'5 %':>8} {'copies':>8}"]
    for name in ("synthetic", "held_out"):
        part = found[name]
        lines.append(f"{name.replace('_', '-'):22} {part['median']:8.4f} {part['p5']:8.4f} {part['copies']:8.2%}")
    auc, error = found["membership_auc"], found["membership_error"]
    return "\n".join([*lines, f"membership test: AUC {auc:.3f} +- {error:.3f} (0.5: no leak)"])


def closest(a: Tensor, b: Tensor) -> Tensor:
    """The L1 distance from each row of a `(n, features)` to the closest of b, `(n,)`."""
    step = max(1, PART // max(len(b), 1))
    return torch.cat([torch.cdist(part, b, p=1.0).amin(1) for part in a.split(step)])


def separation(inside: Tensor, outside: Tensor) -> tuple[float, float]:
    """(P(inside < outside) + P(inside = outside) / 2, its standard error without a leak)."""
    order = outside.sort().values
    n, m = len(inside), len(outside)
    above = m - torch.searchsorted(order, inside, right=True)
    equal = m - torch.searchsorted(order, inside) - above
    auc = float((above.double() + equal.double() / 2).mean() / m)
    return auc, math.sqrt((n + m + 1) / (12 * n * m))


def _range(x: Tensor) -> tuple[Tensor, Tensor]:
    """The lowest and the highest value of each column."""
    low, high = x.nan_to_num(torch.inf).amin(0), x.nan_to_num(-torch.inf).amax(0)
    return low, torch.where(high > low, high, low + 1)


def _features(x: Tensor, schema: Schema, low: Tensor, high: Tensor) -> Tensor:
    """Numbers whose L1 distance is `columns` times the distance of rows."""
    found = []
    for j, column in enumerate(schema.feature_columns):
        absent = x[:, j].isnan()
        if column.is_categorical:
            codes = torch.where(absent, column.size, x[:, j].nan_to_num(0)).long()
            found.append(torch.nn.functional.one_hot(codes, column.size + 1).float() / 2)
        else:
            scaled = ((x[:, j] - low[j]) / (high[j] - low[j])).clamp(0, 1)
            found.append(torch.stack([torch.where(absent, 0.5, scaled), absent / 2], 1))
    return torch.cat(found, 1)


def _some(x: Tensor, n: int, seed: int) -> Tensor:
    return x[torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:n]]


def _copies(x: Tensor, of: Tensor) -> float:
    """The share of rows of x that are among the rows of another table."""
    known = {row.tobytes() for row in of.numpy()}
    return float(np.mean([row.tobytes() in known for row in x.numpy()]))


def _summary(distance: Tensor, copies: float) -> dict[str, float]:
    median, low = np.quantile(distance.numpy(), [0.5, 0.05]).tolist()
    return {"median": median, "p5": low, "copies": copies}
