"""Figures of a model of any data, and the interface of the figures of a kind of data.

Nothing is saved here: figures are matplotlib's, and `figure_image` renders them.
"""

from __future__ import annotations

import textwrap
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from PIL import Image

from nelbo.data import Schema

if TYPE_CHECKING:
    from matplotlib.axes import Axes
if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Figures(ABC):
    """The figures of data of one kind.

    Attributes:
        captions: the captions of the reconstructions and of the samples.
        count: the number of test data in the figure; there are 8 times as many samples.
        compared: whether samples are drawn beside as many training data.
    """

    captions: ClassVar[tuple[str, str]]
    count: ClassVar[int] = 8
    compared: ClassVar[bool] = False

    @abstractmethod
    def reconstructions(self, x: np.ndarray, remade: np.ndarray, schema: Schema) -> Image.Image:
        """Test data x and their reconstructions, `(n, *shape)` in the model's units."""

    @abstractmethod
    def samples(self, samples: Any, real: np.ndarray, schema: Schema) -> Image.Image:
        """Samples as `Model.sample` returns them; `real` are training data in the model's units, if `compared`."""


class SheetFigures(Figures):
    """Data side by side, each drawn separately."""

    captions = ("Test data (above) and their reconstructions (below)", "64 draws from the prior, decoded")

    @abstractmethod
    def sheet(self, values: np.ndarray, schema: Schema, columns: int = 8) -> Image.Image:
        """Draw data `(n, *shape)` in the data's units, `columns` per row."""

    @abstractmethod
    def draw_traversal(self, axis: Axes, values: np.ndarray, schema: Schema, reach: float) -> str:
        """Draw data `(steps, *shape)`, decoded with a latent from -reach to reach; return the first axis' label."""

    def reconstructions(self, x: np.ndarray, remade: np.ndarray, schema: Schema) -> Image.Image:
        return self.sheet(schema.decode(torch.from_numpy(np.concatenate([x, remade]))).numpy(), schema, len(x))

    def samples(self, samples: Any, real: np.ndarray, schema: Schema) -> Image.Image:
        return self.sheet(samples, schema)


def figures_of(schema: Schema) -> Any:
    """The `Figures` of the schema's kind, `FIGURES` of the kind's module of figures."""
    return import_module(schema.data_kind.figures).FIGURES


LEGEND = 36  # the most classes in the legend of a scatter plot


def figure_image(figure: Figure) -> Image.Image:
    """Render a figure as a picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


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
        axis.set(title=title, xlabel="epoch", ylabel="nats per example")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    figure.axes[0].legend(frameon=False)
    return figure


def scatter(points: np.ndarray, labels: np.ndarray | None, classes: Sequence[str], title: str) -> Figure:
    """Points `(n, 2)` coloured by label, in random order so that no class hides another; fewer points are larger."""
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


def traversal(
    values: np.ndarray, order: Sequence[int], kl_per_latent: Sequence[float], span: float, schema: Schema
) -> Figure:
    """A row for each latent, labelled with its index and KL; `values` is `(latents, steps, *shape)`."""
    from matplotlib.figure import Figure

    latents, steps = values.shape[:2]
    figure, draw = Figure((0.6 * steps + 1.6, 0.62 * latents + 0.6), layout="constrained"), figures_of(schema)
    for axis, latent, row in zip(figure.subplots(latents, 1, squeeze=False)[:, 0], order, values, strict=True):
        label = draw.draw_traversal(axis, row, schema, span)
        axis.set_ylabel(f"z{latent}\n{kl_per_latent[latent]:.2f} nats", rotation=0, ha="right", va="center", fontsize=8)
        axis.tick_params(labelbottom=latent == order[-1], labelsize=8, length=0)
    figure.supxlabel(label, fontsize=9)
    return figure
