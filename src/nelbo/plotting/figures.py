"""Pictures and figures of a model. Nothing here saves: sheets are PIL images, figures are matplotlib's.

Pictures are drawn from values in [0, 1], once: what a model returns in the data's units is scaled back by the
schema and by nothing else.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from nelbo.data import Schema
from nelbo.plotting import image_grid

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEGEND = 36  # classes that the legend of a scatter names
CELL = 56  # smaller pictures are enlarged by a whole factor to about this many pixels


def pixels(values: np.ndarray, schema: Schema) -> np.ndarray:
    """Pictures `(n, channels, height, width)` in the data's units -> `(n, height, width, channels)` uint8."""
    x = schema.encode(torch.from_numpy(np.ascontiguousarray(values))).clamp(0, 1).mul(255).round().byte()
    return x.permute(0, 2, 3, 1).numpy()


def sheet(values: np.ndarray, schema: Schema, columns: int = 8) -> Image.Image:
    """A sheet of data in the data's units, `columns` to a row: pictures, or curves of all others."""
    if schema.kind != "image":
        return _curves_sheet(standard(values, schema) if schema.kind == "series" else values, columns)
    return image_grid.Sheet(image_grid.enlarge(pixels(values, schema), CELL), columns).draw()


def frames(values: np.ndarray, schema: Schema) -> list[Image.Image]:
    """Each datum as a picture of its own, for an animation."""
    return [sheet(value[None], schema, 1) for value in values]


def figure_image(figure: Figure) -> Image.Image:
    """A figure as a picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def standard(values: np.ndarray, schema: Schema) -> np.ndarray:
    """Series in the data's units as the model sees them, so that all channels have one scale."""
    return schema.encode(torch.from_numpy(np.ascontiguousarray(values))).numpy()


def draw_curve(axis: Axes, value: np.ndarray, **style: Any) -> None:
    """One datum: a vector `(features,)` as steps, the channels of a series `(steps, channels)` as lines."""
    if value.ndim == 2:
        axis.plot(value, linewidth=1, **style)
    else:
        axis.step(range(len(value)), value, where="mid", linewidth=1, **style)


def _curves_sheet(values: np.ndarray, columns: int) -> Image.Image:
    from matplotlib.figure import Figure

    rows = math.ceil(len(values) / columns)
    figure = Figure((1.2 * columns, 0.9 * rows))  # placed by hand, as below
    figure.subplots_adjust(0.01, 0.01, 0.99, 0.99, wspace=0.05, hspace=0.05)
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, value in zip(axes.flat, values, strict=False):
        draw_curve(axis, value)
    return figure_image(figure)


def loss_curve(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Loss, distortion and rate by epoch, train and test, from the rows of `metrics.jsonl`."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure((12, 3.6))  # placed by hand: a constrained layout costs a training run thrice the time of drawing
    figure.subplots_adjust(left=0.085, right=0.985, bottom=0.15, top=0.88, wspace=0.36)  # for ticks such as -123450
    titles = {"loss": "Loss", "distortion": "Distortion (reconstruction)", "rate": "Rate (KL)"}
    for axis, (part, title) in zip(figure.subplots(1, 3), titles.items(), strict=True):
        for split, style in (("train", "o--"), ("test", "o-")):
            of = [row for row in rows if row["split"] == split]
            axis.plot([row["epoch"] for row in of], [row[part] for row in of], style, label=split, markersize=3)
        axis.set(title=title, xlabel="epoch", ylabel="nats per datum")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    figure.axes[0].legend(frameon=False)
    return figure


def scatter(points: np.ndarray, labels: np.ndarray | None, classes: Sequence[str], title: str) -> Figure:
    """Points `(n, 2)` coloured by label, in a random order so that no class hides another; fewer points are larger."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import MaxNLocator

    figure = Figure((8, 7), layout="constrained")
    axis = figure.subplots()
    colours = np.array([*colormaps["tab10"].colors, *colormaps["Dark2"].colors])  # type: ignore[attr-defined]
    of = np.zeros(len(points), int) if labels is None else labels
    order = np.random.default_rng(0).permutation(len(points))
    size = float(np.clip(20_000 / len(points), 4, 40))
    x, y = points[order].T
    axis.scatter(x, y, s=size, alpha=0.7, linewidths=0, color=colours[of[order] % len(colours)])
    if labels is not None:
        present = np.unique(labels).tolist()
        names = [classes[label] if label < len(classes) else str(label) for label in present[:LEGEND]]
        dots = [Line2D([], [], marker="o", linestyle="", color=colours[label % len(colours)]) for label in present]
        words = [name if len(name) <= 24 else f"{name[:23]}…" for name in names]
        more = f"the first {LEGEND} of {len(present)}" if len(present) > LEGEND else None
        figure.legend(dots[:LEGEND], words, loc="outside right center", frameon=False, fontsize=8, title=more)
    figure.suptitle(textwrap.fill(title, 80), fontsize=11)
    axis.set(xlabel="first component", ylabel="second component")
    axis.set_aspect("equal", adjustable="datalim")
    axis.xaxis.set_major_locator(MaxNLocator(6))
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def traversal(values: np.ndarray, order: Sequence[int], rates: Sequence[float], reach: float, schema: Schema) -> Figure:
    """A row for each latent, labelled with its number and rate; `values` is `(latents, steps, *shape)`."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    latents, steps = values.shape[:2]
    figure = Figure((0.6 * steps + 1.6, 0.62 * latents + 0.6), layout="constrained")
    ticks = [f"{value:+.1f}" for value in np.linspace(-reach, reach, steps)]
    for axis, latent, row in zip(figure.subplots(latents, 1, squeeze=False)[:, 0], order, values, strict=True):
        if schema.kind == "image":
            cells = pixels(row, schema)
            strip = np.concatenate(list(cells), 1)
            axis.imshow(strip[..., 0] if strip.shape[2] == 1 else strip, cmap="gray", vmin=0, vmax=255, aspect="auto")
            axis.set(xticks=(np.arange(steps) + 0.5) * cells.shape[2] - 0.5, xticklabels=ticks, yticks=[])
        else:
            curves = standard(row, schema) if schema.kind == "series" else row
            for curve, shade in zip(curves, np.linspace(0, 1, steps), strict=True):
                draw_curve(axis, curve, color=colormaps["viridis"](shade))
        axis.set_ylabel(f"z{latent}\n{rates[latent]:.2f} nats", rotation=0, ha="right", va="center", fontsize=8)
        axis.tick_params(labelbottom=latent == order[-1], labelsize=8, length=0)
    picture = schema.kind == "image"
    figure.supxlabel("value of the latent" if picture else f"latent from {-reach:g} (dark) to {reach:g}", fontsize=9)
    return figure


def oddities(
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
