"""Draw `docs/structure.png`: the structure of a variational autoencoder and the two terms of its loss.

Run it from anywhere: `python docs/structure.py`.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Polygon
from matplotlib.path import Path as Outline
from matplotlib.textpath import TextPath

INK = "#22303c"
SOFT = "#6b7885"
BLUE, BLUE_PALE = "#2f6db3", "#dfeaf6"  # inference
GREEN, GREEN_PALE = "#2e8b62", "#dff1e8"  # generation
GOLD, GOLD_PALE = "#c08a1e", "#fbf1da"  # noise
RED = "#c0413b"  # the loss

MIDDLE = 2.55


def digit(blur: float, size: int = 28, fine: int = 8) -> np.ndarray:
    """A grey picture of a 7, `size` pixels square, drawn from the font that matplotlib ships."""
    outline = TextPath((0, 0), "7", size=1, prop=FontProperties(family="DejaVu Sans"))
    low, high = outline.vertices.min(0), outline.vertices.max(0)
    scale = 18 / (high - low).max()
    outline = Outline((outline.vertices - (low + high) / 2) * scale + size / 2, outline.codes)
    ticks = (np.arange(size * fine) + 0.5) / fine
    points = np.stack(np.meshgrid(ticks, ticks[::-1]), -1).reshape(-1, 2)
    inside = outline.contains_points(points).reshape(size * fine, -1).astype(float)
    picture = inside.reshape(size, fine, size, fine).mean((1, 3))
    taps = np.arange(-6, 7)
    kernel = np.exp(-0.5 * (taps / blur) ** 2)
    kernel /= kernel.sum()
    for axis in (0, 1):
        picture = np.apply_along_axis(np.convolve, axis, picture, kernel, "same")
    return picture / picture.max()


def picture(ax: Axes, x: float, blur: float, colour: str) -> None:
    """A picture of 1.3 x 1.3 units centred on `x`."""
    half = 0.65
    box = (x - half, x + half, MIDDLE - half, MIDDLE + half)
    ax.imshow(digit(blur), extent=box, cmap="gray_r", vmin=0, vmax=1.05, zorder=3, interpolation="nearest")
    frame = FancyBboxPatch((box[0], box[2]), 1.3, 1.3, "square,pad=0", fc="none", ec=colour, lw=1.6, zorder=4)
    ax.add_patch(frame)


def funnel(ax: Axes, left: float, right: float, heights: tuple[float, float], fill: str, edge: str) -> None:
    """A trapezium between two half-heights."""
    a, b = heights
    corners = [(left, MIDDLE - a), (left, MIDDLE + a), (right, MIDDLE + b), (right, MIDDLE - b)]
    ax.add_patch(Polygon(corners, closed=True, fc=fill, ec=edge, lw=1.6, joinstyle="round", zorder=2))


def box(ax: Axes, x: float, y: float, size: tuple[float, float], text: str, fill: str, edge: str) -> None:
    """A rounded box with a label, centred."""
    w, h = size
    style = "round,pad=0,rounding_size=0.12"
    ax.add_patch(FancyBboxPatch((x - w / 2, y - h / 2), w, h, style, fc=fill, ec=edge, lw=1.6, zorder=3))
    ax.text(x, y, text, ha="center", va="center", color=INK, fontsize=13, zorder=4)


def arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float], colour: str = INK) -> None:
    """A straight arrow."""
    style = {"arrowstyle": "-|>", "mutation_scale": 13, "shrinkA": 0, "shrinkB": 0}
    ax.add_patch(FancyArrowPatch(start, end, lw=1.5, color=colour, zorder=2, **style))


def measure(ax: Axes, points: list[tuple[float, float]]) -> None:
    """A dashed line with a dot at each end: these two are compared by a term of the loss."""
    xs, ys = zip(*points, strict=True)
    ax.plot(xs, ys, color=RED, lw=1.5, ls=(0, (4, 2.5)), solid_joinstyle="round", zorder=1)
    ax.plot(xs[:: len(xs) - 1], ys[:: len(ys) - 1], "o", color=RED, ms=4.5, zorder=5)


def note(ax: Axes, x: float, y: float, text: str, colour: str = SOFT, size: float = 11, **kwargs: object) -> None:
    """A line of text, centred unless `kwargs` says otherwise."""
    ax.text(x, y, text, **{"ha": "center", "va": "center", "color": colour, "fontsize": size, **kwargs})


def label(ax: Axes, x: float, y: float, text: str) -> None:
    """The name of a term of the loss, over its dashed line."""
    note(ax, x, y, text, RED, 12.5, bbox={"fc": "white", "ec": "none", "pad": 3}, zorder=6)


def draw() -> plt.Figure:
    """The whole figure."""
    plt.rcParams.update({"mathtext.fontset": "cm", "font.family": "DejaVu Sans"})
    fig, ax = plt.subplots(figsize=(13, 6.3))
    ax.set(xlim=(0.1, 12.2), ylim=(-1.0, 4.85), aspect="equal")
    ax.axis("off")

    # data -> encoder
    picture(ax, 0.95, 0.55, INK)
    note(ax, 0.95, 1.62, r"$x$", INK, 16)
    note(ax, 0.95, 1.27, "784 pixels")
    arrow(ax, (1.68, MIDDLE), (2.2, MIDDLE))
    funnel(ax, 2.25, 3.75, (1.15, 0.72), BLUE_PALE, BLUE)
    note(ax, 3.0, MIDDLE + 0.18, "encoder", BLUE, 13, weight="bold", zorder=4)
    note(ax, 3.0, MIDDLE - 0.2, r"$784 \to 400$", INK, 12.5, zorder=4)

    # encoder -> posterior
    arrow(ax, (3.8, MIDDLE + 0.2), (4.45, MIDDLE + 0.58))
    arrow(ax, (3.8, MIDDLE - 0.2), (4.45, MIDDLE - 0.58))
    box(ax, 5.0, MIDDLE + 0.6, (1.05, 0.66), r"$\mu$", BLUE_PALE, BLUE)
    box(ax, 5.0, MIDDLE - 0.6, (1.05, 0.66), r"$\log\,\sigma^2$", BLUE_PALE, BLUE)
    note(ax, 5.0, MIDDLE, "20 + 20")
    note(ax, 5.0, 3.82, r"$q_\phi(z\mid x)=\mathcal{N}(\mu,\,\sigma^2)$", BLUE, 13)

    # posterior -> z
    arrow(ax, (5.58, MIDDLE + 0.6), (6.62, MIDDLE + 0.2))
    arrow(ax, (5.58, MIDDLE - 0.6), (6.62, MIDDLE - 0.2))
    ax.add_patch(Circle((7.05, MIDDLE), 0.45, fc="white", ec=INK, lw=1.8, zorder=3))
    note(ax, 7.05, MIDDLE, r"$z$", INK, 18, zorder=4)
    note(ax, 7.05, 3.32, r"$z=\mu+\sigma\odot\varepsilon$", INK, 13)
    ax.add_patch(Circle((7.05, 1.2), 0.34, fc=GOLD_PALE, ec=GOLD, lw=1.6, zorder=3))
    note(ax, 7.05, 1.2, r"$\varepsilon$", INK, 15, zorder=4)
    note(ax, 7.55, 1.2, r"$\sim\mathcal{N}(0,I)$", GOLD, 12.5, ha="left")
    arrow(ax, (7.05, 1.57), (7.05, MIDDLE - 0.49), GOLD)

    # z -> decoder -> likelihood
    arrow(ax, (7.54, MIDDLE), (8.2, MIDDLE))
    funnel(ax, 8.25, 9.98, (0.72, 1.15), GREEN_PALE, GREEN)
    note(ax, 9.115, MIDDLE + 0.18, "decoder", GREEN, 13, weight="bold", zorder=4)
    note(ax, 9.115, MIDDLE - 0.2, r"$20 \to 400 \to 784$", INK, 12, zorder=4)
    arrow(ax, (10.03, MIDDLE), (10.52, MIDDLE))
    picture(ax, 11.22, 1.15, GREEN)
    note(ax, 11.22, 1.62, r"$p_\theta(x\mid z)$", GREEN, 15)
    note(ax, 11.22, 1.27, "784 logits")

    # generation: the prior stands in for the posterior
    box(ax, 5.0, 0.13, (1.75, 0.66), r"$p(z)=\mathcal{N}(0,I)$", GREEN_PALE, GREEN)

    # the loss
    measure(ax, [(5.0, MIDDLE - 1.02), (5.0, 0.5)])
    label(ax, 5.0, 1.0, r"rate  $\mathrm{KL}(q_\phi(z\mid x)\,\Vert\,p(z))$")
    measure(ax, [(0.95, MIDDLE + 0.72), (0.95, 4.55), (11.22, 4.55), (11.22, MIDDLE + 0.72)])
    label(ax, 6.085, 4.55, r"distortion (reconstruction)  $-\log\,p_\theta(x\mid z)$")
    note(
        ax, 6.085, -0.75,
        r"loss $= -\mathrm{ELBO} = \mathbb{E}_{q_\phi(z\mid x)}[-\log\,p_\theta(x\mid z)]"
        r"\;+\;\mathrm{KL}(q_\phi(z\mid x)\,\Vert\,p(z))$",
        RED, 14,
    )  # fmt: skip
    return fig


if __name__ == "__main__":
    draw().savefig(Path(__file__).with_suffix(".png"), dpi=160, facecolor="white", bbox_inches="tight")
