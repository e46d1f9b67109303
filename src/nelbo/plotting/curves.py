"""Sheets of curves: a vector as steps, a series as a line for each channel."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from nelbo.data import Schema
from nelbo.plotting.figures import figure_image
from nelbo.plotting.preview import SheetFigures

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class CurveFigures(SheetFigures):
    """A curve for each datum; series are standardised, so that all channels have one scale."""

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
    """Series in the data's units as the model sees them, so that all channels have one scale."""
    return schema.encode(torch.from_numpy(np.ascontiguousarray(values))).numpy()


def _scaled(values: np.ndarray, schema: Schema) -> np.ndarray:
    return standard(values, schema) if schema.data_kind.is_sequence else values


def _draw(axis: Axes, value: np.ndarray, **style: Any) -> None:
    """A vector `(features,)` as steps, the channels of a series `(steps, channels)` as lines."""
    if value.ndim == 2:
        axis.plot(value, linewidth=1, **style)
    else:
        axis.step(range(len(value)), value, where="mid", linewidth=1, **style)
