"""Findings in words: the elements to blame, by name and with their value in the data's own units.

hours_per_week=99 (+7.1)    the value, and the nats that it costs above what is usual for that column
"""

from __future__ import annotations

import numpy as np
import torch

from nelbo.data import Dataset

COUNT = 3


def top_features(feature_scores: np.ndarray, rows: Dataset, count: int = COUNT) -> list[list[str]]:
    """For each row of `feature_scores` `(n, columns)`, nats, its `count` worst columns in words, the worst first."""
    kind = rows.schema.data_kind
    texts = kind.element_texts(rows.batch(torch.arange(len(rows))), rows.schema)
    names = kind.element_names(rows.schema)
    order = np.argsort(-feature_scores, 1, kind="stable")[:, :count].tolist()
    return [
        [f"{names[j]}={cells[j]} ({of[j]:+.1f})" for j in chosen]
        for chosen, cells, of in zip(order, texts, feature_scores.tolist(), strict=True)
    ]
