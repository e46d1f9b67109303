"""Findings in words: the elements to blame, by name and with their value in the data's own units.

hours_per_week=99 (+7.1)    the value, and the nats that it costs above what is usual for that column
"""

from __future__ import annotations

import numpy as np
import torch

from nelbo.data import Dataset, Schema

COUNT = 3


def worst(blame: np.ndarray, rows: Dataset, count: int = COUNT) -> list[list[str]]:
    """For each row of `blame` `(n, columns)`, nats, its `count` worst columns in words, the worst first."""
    texts = _cells(rows.batch(torch.arange(len(rows))), rows.schema)
    names = _names(rows.schema)
    order = np.argsort(-blame, 1, kind="stable")[:, :count].tolist()
    return [
        [f"{names[j]}={cells[j]} ({of[j]:+.1f})" for j in chosen]
        for chosen, cells, of in zip(order, texts, blame.tolist(), strict=True)
    ]


def _names(schema: Schema) -> list[str]:
    """What each element of a datum is called: a table's columns have names, others numbers."""
    mark = "token " if schema.kind == "text" else "x"
    return [column.name for column in schema.modelled] or [f"{mark}{j}" for j in range(schema.shape[0])]


def _cells(x: torch.Tensor, schema: Schema) -> list[list[str]]:
    """Each element of x `(n, columns)` as it was written in the source."""
    if schema.vocabulary is not None:
        return [[schema.vocabulary.spelled(int(token)) for token in row] for row in x.tolist()]
    if schema.kind != "table":
        return [[f"{value:.6g}" for value in row] for row in schema.decode(x).tolist()]
    from nelbo.data.tables.codec import decode

    table = decode(x.numpy(), schema, "arrow")
    columns = [table.column(column.name).to_pylist() for column in schema.modelled]
    return [["missing" if cell is None else str(cell) for cell in row] for row in zip(*columns, strict=True)]
