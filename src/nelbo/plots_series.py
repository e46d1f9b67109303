"""Figures of series."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from nelbo.data import Schema
from nelbo.plots import standard

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MANY = 3  # channels from which on their names would fill the figure


def oddities(
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

    count, channels = len(series), schema.shape[1]
    columns = min(count, 2)
    rows = -(-count // columns)
    figure = Figure((5.2 * columns, 2.6 * rows), layout="constrained")
    panels = figure.subplots(2 * rows, columns, squeeze=False, sharex=True, height_ratios=[2, 1] * rows)
    drawn = (series, expected) if channels == 1 else (standard(series, schema), standard(expected, schema))
    top = max(float(np.nanmax(heat)), 1e-9)
    for i in range(rows * columns):
        curves, below = panels[2 * (i // columns) : 2 * (i // columns) + 2, i % columns]
        if i >= count:
            curves.axis("off")
            below.axis("off")
            continue
        for j in range(channels):
            colour = f"C{j % 10}"
            curves.plot(drawn[0][i, :, j], color=colour, linewidth=1.2, label=_name(schema, j))
            curves.plot(drawn[1][i, :, j], color=colour, linewidth=0.8, linestyle="--", alpha=0.7)
        below.fill_between(range(schema.shape[0]), heat[i].clip(0), step="mid", color="tab:red", linewidth=0, alpha=0.6)
        below.set(ylim=(0, 1.05 * top))
        for start, end in stretches[i]:
            for panel in (curves, below):
                panel.axvspan(start - 0.5, end - 0.5, color="tab:orange", alpha=0.25, linewidth=0)
        curves.set_title(titles[i], fontsize=9)
        for panel in (curves, below):
            panel.tick_params(labelsize=7)
            panel.spines[["top", "right"]].set_visible(False)
        if i % columns == 0:
            curves.set_ylabel("value" if channels == 1 else "standardised", fontsize=8)
            below.set_ylabel("nats above\nusual", fontsize=8)
    if 1 < channels <= MANY or (channels > 1 and schema.names):
        figure.axes[0].legend(frameon=False, fontsize=7, ncols=MANY)
    figure.supxlabel("step; dashed: expected; shaded: odd", fontsize=8)
    return figure


def _name(schema: Schema, j: int) -> str:
    return schema.names[j] if schema.names else f"x{j}"
