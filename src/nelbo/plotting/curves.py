"""Curves: a vector as steps, a series as a line per channel, and anomalies of series."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from nelbo.data import Schema
from nelbo.data.dataset import to_tensor
from nelbo.plotting.figures import SheetFigures, figure_image

if TYPE_CHECKING:
    from matplotlib.axes import Axes
if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class CurveFigures(SheetFigures):
    """A curve for each datum; series are standardized, so that all channels share one scale."""

    def sheet(self, values: np.ndarray, schema: Schema, columns: int = 8) -> Image.Image:
        from matplotlib.figure import Figure

        rows = math.ceil(len(values) / columns)
        figure = Figure((1.2 * columns, 0.9 * rows))  # placed by hand: a constrained layout takes long
        figure.subplots_adjust(0.01, 0.01, 0.99, 0.99, wspace=0.05, hspace=0.05)
        axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for axis in axes.flat:
            axis.set_axis_off()
        for axis, value in zip(axes.flat, _scaled(values, schema), strict=False):
            _draw(axis, value)
        return figure_image(figure)

    def draw_traversal(self, axis: Axes, values: np.ndarray, schema: Schema, reach: float) -> str:
        from matplotlib import colormaps

        for curve, shade in zip(_scaled(values, schema), np.linspace(0, 1, len(values)), strict=True):
            _draw(axis, curve, color=colormaps["viridis"](shade))
        return f"latent from {-reach:g} (dark) to {reach:g}"


FIGURES = CurveFigures()


def standard(values: np.ndarray, schema: Schema) -> np.ndarray:
    """Standardize series in the data's units, so that all channels share one scale."""
    return schema.encode(to_tensor(values)).numpy()


def _scaled(values: np.ndarray, schema: Schema) -> np.ndarray:
    return standard(values, schema) if schema.data_kind.is_sequence else values


def _draw(axis: Axes, value: np.ndarray, **style: Any) -> None:
    """Draw a vector `(features,)` as steps, or the channels of a series `(steps, channels)` as lines."""
    if value.ndim == 2:
        axis.plot(value, linewidth=1, **style)
    else:
        axis.step(range(len(value)), value, where="mid", linewidth=1, **style)


MANY = 8  # the most channels whose names fit in the figure


def anomaly_figure(
    series: np.ndarray,
    expected: np.ndarray,
    heat: np.ndarray,
    intervals: Sequence[Sequence[tuple[int, int]]],
    titles: Sequence[str],
    schema: Schema,
) -> Figure:
    """Two panels for each anomalous series: the series and (dashed) its expectation, and below the score of each step.

    `series` and `expected` are `(n, steps, channels)` in the data's units, `heat` `(n, steps)` is nats above the mean.
    The anomalous `intervals` of each, from a step to before another, are shaded. Several channels are drawn
    standardized.
    """
    from matplotlib.figure import Figure

    columns = min(len(series), 2)
    rows = -(-len(series) // columns)
    figure = Figure((5.2 * columns, 2.6 * rows), layout="constrained")
    panels = figure.subplots(2 * rows, columns, squeeze=False, sharex=True, height_ratios=[2, 1] * rows)
    several = schema.shape[1] > 1
    drawn = (standard(series, schema), standard(expected, schema)) if several else (series, expected)
    top = max(float(heat.max()), 1e-9)
    for i in range(rows * columns):
        pair = list(panels[2 * (i // columns) : 2 * (i // columns) + 2, i % columns])
        if i < len(series):
            _draw_gaps(pair, (drawn[0][i], drawn[1][i]), heat[i], intervals[i], schema)
            pair[0].set_title(titles[i], fontsize=9)
            pair[1].set(ylim=(0, 1.05 * top))
        else:
            for panel in pair:
                panel.axis("off")
        if i % columns == 0:
            pair[0].set_ylabel("standardised" if several else "value", fontsize=8)
            pair[1].set_ylabel("nats above\nthe mean", fontsize=8)
    if several and schema.shape[1] <= MANY:
        panels[0, 0].legend(frameon=False, fontsize=7, ncols=4)
    figure.supxlabel("step; dashed: expected; shaded: anomalous", fontsize=8)
    return figure


def _draw_gaps(
    pair: Sequence[Axes],
    curves: tuple[np.ndarray, np.ndarray],
    heat: np.ndarray,
    intervals: Sequence[tuple[int, int]],
    schema: Schema,
) -> None:
    """Draw one series with its expectation, above the scores of its steps."""
    for j in range(schema.shape[1]):
        name = schema.names[j] if schema.names else f"x{j}"
        name = name if len(name) <= 12 else f"{name[:11]}…"
        pair[0].plot(curves[0][:, j], color=f"C{j % 10}", linewidth=1.2, label=name)
        pair[0].plot(curves[1][:, j], color=f"C{j % 10}", linewidth=0.8, linestyle="--", alpha=0.7)
    pair[1].fill_between(range(len(heat)), heat.clip(0), step="mid", color="tab:red", linewidth=0, alpha=0.6)
    for panel in pair:
        for start, end in intervals:
            panel.axvspan(start - 0.5, end - 0.5, color="tab:orange", alpha=0.25, linewidth=0)
        panel.tick_params(labelsize=7)
        panel.spines[["top", "right"]].set_visible(False)
