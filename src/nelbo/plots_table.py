"""Figures of a table, an axis for each column. Values are x `(n, modelled columns)`, NaN where missing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from nelbo.data import Column, Schema, tables

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ACROSS, MOST_COLUMNS, MOST_CATEGORIES, BINS = 5, 40, 15, 40
REAL, MADE = "0.75", "tab:blue"


def marginals(real: np.ndarray, made: np.ndarray, schema: Schema) -> Figure:
    """The distribution of each column in real rows (grey) and made ones (blue)."""

    def draw(axis: Axes, column: Column, a: np.ndarray, b: np.ndarray) -> None:
        if column.is_choice:
            shares = [np.bincount(v.astype(int), minlength=column.size) / max(len(v), 1) for v in (a, b)]
            first = np.argsort(-shares[0], kind="stable")[:MOST_CATEGORIES]
            axis.bar(range(len(first)), shares[0][first], 0.8, color=REAL)
            axis.plot(range(len(first)), shares[1][first], "_", color=MADE, markersize=9, markeredgewidth=2)
            labels = [column.categories[i][:12] for i in first]
            axis.set_xticks(range(len(first)), labels, rotation=90 if len(first) > 3 else 0, fontsize=6)
            return
        a, b = tables.natural(column, a), tables.natural(column, b)
        edges = np.histogram_bin_edges(np.clip(a, *np.quantile(a, [0.005, 0.995])) if len(a) else a, BINS)
        for values, style in ((a, {"color": REAL}), (b, {"color": MADE, "histtype": "step", "linewidth": 1.5})):
            weights = np.full(len(values), 1 / max(len(values), 1))
            axis.hist(np.clip(values, edges[0], edges[-1]), edges, weights=weights, **style)  # type: ignore[arg-type]
        axis.tick_params(labelsize=6)

    return _by_column(real, made, schema, draw)


def rebuilt(original: np.ndarray, made: np.ndarray, schema: Schema) -> Figure:
    """Each column's cells rebuilt from the rows' codes (up) against the original ones (across)."""

    def draw(axis: Axes, column: Column, a: np.ndarray, b: np.ndarray) -> None:
        if column.is_choice:
            shares = np.zeros((column.size, column.size))
            np.add.at(shares, (b.astype(int), a.astype(int)), 1)
            shares /= np.maximum(shares.sum(0), 1)
            axis.imshow(shares, origin="lower", cmap="Blues", vmin=0, vmax=1, aspect="auto")
            axis.set(xticks=[], yticks=[])
            return
        axis.plot(a, a, color=REAL, linewidth=1)
        axis.plot(a, b, ".", color=MADE, markersize=2, alpha=0.5)
        axis.tick_params(labelsize=6)

    return _by_column(original, made, schema, draw)


def _by_column(
    first: np.ndarray, second: np.ndarray, schema: Schema, draw: Callable[[Axes, Column, np.ndarray, np.ndarray], None]
) -> Figure:
    """An axis for each of the first columns; `draw` gets the cells of both that are there (pairs, if as many)."""
    from matplotlib.figure import Figure

    columns = schema.modelled[:MOST_COLUMNS]
    across = min(ACROSS, len(columns))
    down = math.ceil(len(columns) / across)
    figure = Figure((2.3 * across, 2 * down), layout="constrained")
    axes = figure.subplots(down, across, squeeze=False)
    for axis in axes.flat[len(columns) :]:
        axis.axis("off")
    for j, (axis, column) in enumerate(zip(axes.flat, columns, strict=False)):
        a, b = first[:, j], second[:, j]
        pairs = len(a) == len(b)
        here = ~np.isnan(a) & ~np.isnan(b) if pairs else ~np.isnan(a)
        draw(axis, column, a[here], b[here] if pairs else b[~np.isnan(b)])
        axis.set_title(column.name, fontsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    return figure
