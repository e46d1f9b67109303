"""Figures of a table, one axis per column. Values are x `(n, feature columns)`, NaN where missing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from nelbo.data import Column, Schema, tables
from nelbo.plotting.figures import Figures, figure_image

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ACROSS, MOST_COLUMNS, MOST_CATEGORIES, BINS = 5, 40, 15, 40
SMALL, TINY = 8, 6  # font sizes
REAL, MADE = "0.75", "tab:blue"


class TableFigures(Figures):
    """The cells and the distribution of each column."""

    captions = (
        "Cells of test rows, reconstructed from the rows' embeddings",
        "Each column of samples, beside the training data",
    )
    count = 500
    compared = True

    def reconstructions(self, x: np.ndarray, remade: np.ndarray, schema: Schema) -> Image.Image:
        return figure_image(reconstruction_scatter(x, remade, schema))

    def samples(self, samples: Any, real: np.ndarray, schema: Schema) -> Image.Image:
        return figure_image(marginals(real, tables.encode(samples, schema), schema))


FIGURES = TableFigures()


def marginals(real: np.ndarray, samples: np.ndarray, schema: Schema) -> Figure:
    """The distribution of each column in real rows (grey) and samples (blue), and the shares of missing cells."""

    def draw(axis: Axes, j: int, column: Column) -> None:
        a, b = (v[:, j][~np.isnan(v[:, j])] for v in (real, samples))
        if column.is_categorical:
            _bars(axis, column, a, b)
        else:
            _histograms(axis, column, tables.inverse_transform(column, a), tables.inverse_transform(column, b))
        axis.set_yticks([])
        axis.spines["left"].set_visible(False)
        lacking = [np.isnan(v[:, j]).mean() for v in (real, samples)]
        if max(lacking) > 0:
            axis.set_xlabel(f"missing {lacking[0]:.1%}, drawn {lacking[1]:.1%}", fontsize=TINY)

    return _by_column(schema, "Training data (grey) and samples (blue), column by column", draw)


def _bars(axis: Axes, column: Column, a: np.ndarray, b: np.ndarray) -> None:
    """The shares of the most frequent categories; ordinal categories in their order."""
    shares = [np.bincount(v.astype(int), minlength=column.size) / max(len(v), 1) for v in (a, b)]
    first = np.argsort(-shares[0], kind="stable")[:MOST_CATEGORIES]
    first = np.sort(first) if column.kind == "ordinal" else first
    axis.bar(range(len(first)), shares[0][first], 0.8, color=REAL)
    axis.plot(range(len(first)), shares[1][first], "_", color=MADE, markersize=9, markeredgewidth=2)
    labels = [column.categories[i][:12] for i in first]
    axis.set_xticks(range(len(first)), labels, rotation=90 if sum(map(len, labels)) > 24 else 0)
    axis.set_ylim(bottom=0)


def _histograms(axis: Axes, column: Column, a: np.ndarray, b: np.ndarray) -> None:
    """Histograms; values beyond 99 % of the real ones are in the bins at the ends."""
    bins = min(BINS, max(8, round(2 * len(a) ** (1 / 3))))
    edges = np.histogram_bin_edges(np.clip(a, *np.quantile(a, [0.005, 0.995])) if len(a) else a, bins)
    for values, style in ((a, {"color": REAL}), (b, {"color": MADE, "histtype": "step", "linewidth": 1.5})):
        weights = np.full(len(values), 1 / max(len(values), 1))
        axis.hist(np.clip(values, edges[0], edges[-1]), edges, weights=weights, **style)  # type: ignore[arg-type]
    _number_ticks(axis.xaxis, column)


def reconstruction_scatter(original: np.ndarray, made: np.ndarray, schema: Schema) -> Figure:
    """Each column's reconstructed cells (vertical) against the original ones (horizontal).

    For categories, the darker, the larger the share of an original category that is reconstructed as that.
    """

    def draw(axis: Axes, j: int, column: Column) -> None:
        here = ~np.isnan(original[:, j]) & ~np.isnan(made[:, j])
        a, b = original[here, j], made[here, j]
        if column.is_categorical:
            _shares(axis, column, a.astype(int), b.astype(int))
            return
        a, b = tables.inverse_transform(column, a), tables.inverse_transform(column, b)
        ends = [*np.quantile(a, [0, 1])] if len(a) else [0.0, 1.0]
        axis.plot(ends, ends, color=REAL, linewidth=1)
        axis.plot(a, b, ".", color=MADE, markersize=5, alpha=min(0.8, 0.2 + 20 / (1 + len(a))), markeredgewidth=0)
        for one in (axis.xaxis, axis.yaxis):
            _number_ticks(one, column)

    return _by_column(schema, "Reconstruction (vertical) against original (horizontal)", draw)


def _shares(axis: Axes, column: Column, a: np.ndarray, b: np.ndarray) -> None:
    shares = np.zeros((column.size, column.size))
    np.add.at(shares, (b, a), 1)
    shares /= np.maximum(shares.sum(0), 1)
    axis.imshow(shares, origin="lower", cmap="Blues", vmin=0, vmax=1, aspect="auto")
    labels = [category[:8] for category in column.categories] if column.size <= MOST_CATEGORIES else []
    axis.set_xticks(range(len(labels)), labels, rotation=90 if sum(map(len, labels)) > 24 else 0)
    axis.set_yticks(range(len(labels)), labels)


def _number_ticks(axis: Any, column: Column) -> None:
    """A few ticks, dates as such."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(3 if column.unit else 4, integer=column.decimals == 0))
    if column.unit:
        axis.set_major_formatter(FuncFormatter(lambda v, _: tables.format_number(column, v)[:10]))


def _by_column(schema: Schema, title: str, draw: Callable[[Axes, int, Column], None]) -> Figure:
    """An axis for each of the first columns."""
    from matplotlib.figure import Figure

    columns = schema.feature_columns[:MOST_COLUMNS]
    across = min(ACROSS, len(columns))
    down = math.ceil(len(columns) / across)
    figure = Figure((2.3 * max(across, 2), 1.9 * down + 0.3), layout="constrained")
    more = len(schema.feature_columns) - len(columns)
    figure.suptitle(
        title + (f" (the first {len(columns)} of {len(schema.feature_columns)})" if more else ""), fontsize=SMALL
    )
    axes = figure.subplots(down, across, squeeze=False)
    for axis in axes.flat[len(columns) :]:
        axis.axis("off")
    for j, (axis, column) in enumerate(zip(axes.flat, columns, strict=False)):
        axis.spines[["top", "right"]].set_visible(False)
        draw(axis, j, column)
        axis.tick_params(labelsize=TINY, length=2)
        axis.set_title(column.name if len(column.name) < 30 else f"{column.name[:28]}...", fontsize=SMALL)
    return figure
