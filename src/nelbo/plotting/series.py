"""Figures of series."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from nelbo.data import Schema
from nelbo.plotting.curves import standard

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MANY = 8  # channels up to which their names have room in the figure


def anomaly_figure(
    series: np.ndarray,
    expected: np.ndarray,
    heat: np.ndarray,
    stretches: Sequence[Sequence[tuple[int, int]]],
    titles: Sequence[str],
    schema: Schema,
) -> Figure:
    """Two panels for each odd series: it and (dashed) what is expected of it, and below the nats that each step costs.

    `series` and `expected` are `(n, steps, channels)` in the data's units, `heat` `(n, steps)` is nats above usual; the
    odd `stretches` of each, from a step to before another, are shaded. Several channels are drawn standardised.
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
            _draw(pair, (drawn[0][i], drawn[1][i]), heat[i], stretches[i], schema)
            pair[0].set_title(titles[i], fontsize=9)
            pair[1].set(ylim=(0, 1.05 * top))
        else:
            for panel in pair:
                panel.axis("off")
        if i % columns == 0:
            pair[0].set_ylabel("standardised" if several else "value", fontsize=8)
            pair[1].set_ylabel("nats above\nusual", fontsize=8)
    if several and schema.shape[1] <= MANY:
        panels[0, 0].legend(frameon=False, fontsize=7, ncols=4)
    figure.supxlabel("step; dashed: expected; shaded: odd", fontsize=8)
    return figure


def _draw(
    pair: Sequence[Axes],
    curves: tuple[np.ndarray, np.ndarray],
    heat: np.ndarray,
    stretches: Sequence[tuple[int, int]],
    schema: Schema,
) -> None:
    """One series, itself and what is expected, above what its steps cost."""
    for j in range(schema.shape[1]):
        name = schema.names[j] if schema.names else f"x{j}"
        name = name if len(name) <= 12 else f"{name[:11]}…"
        pair[0].plot(curves[0][:, j], color=f"C{j % 10}", linewidth=1.2, label=name)
        pair[0].plot(curves[1][:, j], color=f"C{j % 10}", linewidth=0.8, linestyle="--", alpha=0.7)
    pair[1].fill_between(range(len(heat)), heat.clip(0), step="mid", color="tab:red", linewidth=0, alpha=0.6)
    for panel in pair:
        for start, end in stretches:
            panel.axvspan(start - 0.5, end - 0.5, color="tab:orange", alpha=0.25, linewidth=0)
        panel.tick_params(labelsize=7)
        panel.spines[["top", "right"]].set_visible(False)
