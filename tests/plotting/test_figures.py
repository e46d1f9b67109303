"""Figures: nothing that is drawn is cut off by their edges, and points are seen."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from nelbo.data import Schema
from nelbo.plotting import curves as series
from nelbo.plotting import figures, images, text

RNG = np.random.default_rng(0)
IMAGE = Schema("image", (1, 8, 8), (0.0,), (255.0,), "unit")
SERIES = Schema("series", (50, 3), (0.0,) * 3, (1.0,) * 3, "real", names=("a very long channel name",) * 3)
VECTOR = Schema("vector", (4,), (0.0,) * 4, (1.0,) * 4, "real")
CLASSES = [f"a very long class name, of which there are many, {i}" for i in range(100)]
TITLE = "Posterior means, first two principal components (34% of their variance)"


def curves(first: float, step: float) -> Figure:
    epochs = [(split, epoch) for epoch in range(1, 4) for split in ("train", "test")]
    return figures.loss_curve(
        [{"split": s, "epoch": e, **dict.fromkeys(("loss", "distortion", "rate"), first + e * step)} for s, e in epochs]
    )


def points(n: int, classes: int) -> Figure:
    labels = np.arange(n) % classes if classes else None
    return figures.scatter(RNG.normal(size=(n, 2)) * 1e4, labels, CLASSES, TITLE)


def anomalies(n: int) -> Figure:
    values = RNG.random((n, *IMAGE.shape)) * 255
    return images.anomaly_figure(values, values, values / 100, ["row 123456\np = 1.2e-05"] * n, IMAGE)


def intervals(n: int) -> Figure:
    values, titles = RNG.normal(size=(n, *SERIES.shape)).astype(np.float32), ["row 123456 from step 1234567"] * n
    return series.anomaly_figure(values, values, abs(values[..., 0]) * 1e5, [[(3, 9)]] * n, titles, SERIES)


def traversal(latents: int, schema: Schema) -> Figure:
    values = RNG.normal(size=(latents, 5, *schema.shape)).astype(np.float32)
    return figures.traversal(values, range(latents), [1234.5] * latents, 1234.5, schema)


FIGURES: dict[str, Callable[[], Figure]] = {
    **{
        f"loss {first:g}": lambda first=first, step=step: curves(first, step)  # type: ignore[misc]
        for first, step in ((-123456, 1e3), (-9876.5, 3.3), (1e-5, 1e-7), (-1234567, -5e4), (-1000, 5.0))
    },
    **{
        f"{n} points, {classes} classes": lambda n=n, classes=classes: points(n, classes)  # type: ignore[misc]
        for n in (10, 100_000)
        for classes in (0, 3, 30, 100)
    },
    **{f"{n} anomalies": lambda n=n: anomalies(n) for n in (1, 2, 8)},  # type: ignore[misc]
    **{f"{n} intervals": lambda n=n: intervals(n) for n in (1, 2, 8)},  # type: ignore[misc]
    "traversal of pictures": lambda: traversal(50, IMAGE),
    "traversal of one latent": lambda: traversal(1, VECTOR),
    "wide lines": lambda: text.listed(["W" * 300, "i" * 300, "short"]),
    "columns of lines": lambda: text.listed(["W" * 300, "i" * 300] * 4, 4),
    "pairs of lines": lambda: text.paired(["W" * 300], ["日本" * 100]),
}


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_is_cut_off(name: str) -> None:
    figure = FIGURES[name]()
    canvas = FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")
        canvas.draw()
        box = figure.get_tightbbox(canvas.get_renderer())
    width, height = figure.get_size_inches()
    assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height, box


@pytest.mark.parametrize("n", [10, 100_000])
@pytest.mark.parametrize("classes", [0, 18])
def test_points_are_seen_on_white(n: int, classes: int) -> None:
    """A lone point has a pixel that is clearly darker than white, and many points cover much of the map."""
    figure = points(n, classes)
    figure.legends.clear()
    picture = np.asarray(figures.figure_image(figure).convert("RGB")).astype(float)
    inside = picture[60:600, 120:760].min(-1) < 160  # some channel is far from white
    assert inside.sum() >= (10 if n == 10 else 20_000)


def test_no_class_hides_another() -> None:
    """Of two classes of equal density, both are seen."""
    labels = np.repeat([0, 1], 50_000)
    figure = figures.scatter(RNG.normal(size=(100_000, 2)), labels, ["a", "b"], "")
    figure.legends.clear()
    picture = np.asarray(figures.figure_image(figure)).astype(int)
    blue, orange = (picture[..., 2] - picture[..., 0] > 60).sum(), (picture[..., 0] - picture[..., 2] > 60).sum()
    assert min(blue, orange) > 20_000


@pytest.mark.parametrize(("line", "width"), [("short", 500.0), ("W" * 500, 500.0), ("", 500.0), ("W", 1.0)])
def test_lines_are_cut_to_the_page(line: str, width: float) -> None:
    cut = text.fitting(line, width, FigureCanvasAgg(Figure()))
    assert cut == line if len(line) < 10 and width > 1 else cut.endswith("…") and line.startswith(cut[:-1])
