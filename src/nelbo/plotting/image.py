"""Sheets and figures of pictures.

Pictures are drawn from values in [0, 1], once: what a model returns in the data's units is scaled back by the
schema and by nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from nelbo.data import Schema
from nelbo.plotting import images
from nelbo.plotting.preview import SheetFigures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CELL = 56  # smaller pictures are enlarged by a whole factor to about this many pixels


class ImageFigures(SheetFigures):
    """Pictures as they are."""

    def sheet(self, values: np.ndarray, schema: Schema, columns: int = 8) -> Image.Image:
        return images.Sheet(images.enlarge(pixels(values, schema), CELL), columns).draw()

    def draw_traversal(self, axis: Axes, values: np.ndarray, schema: Schema, reach: float) -> str:
        cells = pixels(values, schema)
        strip = np.concatenate(list(cells), 1)
        axis.imshow(strip[..., 0] if strip.shape[2] == 1 else strip, cmap="gray", vmin=0, vmax=255, aspect="auto")
        ticks = [f"{value:+.1f}" for value in np.linspace(-reach, reach, len(cells))]
        axis.set(xticks=(np.arange(len(cells)) + 0.5) * cells.shape[2] - 0.5, xticklabels=ticks, yticks=[])
        return "value of the latent"


FIGURES = ImageFigures()


def pixels(values: np.ndarray, schema: Schema) -> np.ndarray:
    """Pictures `(n, channels, height, width)` in the data's units -> `(n, height, width, channels)` uint8."""
    x = schema.encode(torch.from_numpy(np.ascontiguousarray(values))).clamp(0, 1).mul(255).round().byte()
    return x.permute(0, 2, 3, 1).numpy()


def anomaly_figure(
    pictures: np.ndarray, remade: np.ndarray, heat: np.ndarray, titles: Sequence[str], schema: Schema
) -> Figure:
    """A column for each odd picture: itself, its reconstruction, and on it in colour the nats that its pixels cost.

    All pictures are `(n, channels, height, width)`, the first two in the data's units; `heat`, in nats, is summed over
    channels, and what is below 0, less odd than usual, is left out. One scale of colours holds for all.
    """
    from matplotlib.figure import Figure

    count, height, width = len(pictures), *schema.shape[1:]
    figure = Figure((1.25 * max(count, 2) + 1.1, 1.25 * 3 * height / width + 0.6), layout="constrained")
    axes = figure.subplots(3, count, squeeze=False)
    warm = heat.sum(1).clip(0)
    top = max(float(np.quantile(warm, 0.998)), 1e-9)  # a few single pixels would leave all others without colour
    shown = [pixels(values, schema) for values in (pictures, remade)]
    for i, title in enumerate(titles):
        for axis, values in zip(axes[:2, i], shown, strict=True):
            axis.imshow(values[i].squeeze(-1) if schema.shape[0] == 1 else values[i], cmap="gray", vmin=0, vmax=255)
        axes[2, i].imshow(shown[0][i][..., :3].mean(-1) / 2.5, cmap="gray", vmin=0, vmax=255)  # dim, beneath the heat
        strength = (warm[i] / top).clip(0, 1) ** 0.5
        drawn = axes[2, i].imshow(warm[i], cmap="hot", vmin=0, vmax=top, alpha=strength)
        axes[0, i].set_title(title, fontsize=8)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    for axis, name in zip(axes[:, 0], ("picture", "reconstruction", "odd where"), strict=True):
        axis.set_ylabel(name, fontsize=8)
    bar = figure.colorbar(drawn, ax=axes.ravel().tolist(), aspect=40, extend="max")
    bar.set_label("nats above usual", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    return figure
