"""Text as a picture: lines of a run's samples, and test lines above their reconstructions."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from nelbo.data import Schema
from nelbo.plotting.figures import Figures, figure_image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEIGHT, WIDTH, MARGIN = 0.2, 11.0, 0.2  # of a line, of the figure, and on its sides together, inches
SIZE = 9  # of letters, points
GREY = "#888888"
WIDE = 28  # characters of a line, above which samples are in one column


class TextFigures(Figures):
    """Lines of text; a character that the font lacks is drawn as a box, without a warning for each."""

    captions = ("Test lines (grey) and their reconstructions (black)", "Lines drawn from the model")

    def reconstructions(self, x: np.ndarray, remade: np.ndarray, schema: Schema) -> Image.Image:
        lines = schema.data_kind.to_user(np.concatenate([x, remade]), schema)
        return _drawn(paired(lines[: len(x)], lines[len(x) :]))

    def samples(self, samples: Any, real: np.ndarray, schema: Schema) -> Image.Image:
        return _drawn(listed(samples, 1 if max(map(len, samples)) > WIDE else 4))


FIGURES = TextFigures()


def _drawn(figure: Figure) -> Image.Image:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")
        return figure_image(figure)


def listed(lines: Sequence[str], columns: int = 1) -> Figure:
    """Lines one below the other, in so many columns."""
    rows = -(-len(lines) // columns)
    figure = _page(rows)
    for i, line in enumerate(lines):
        _write(figure, line, 0.01 + i // rows / columns, i % rows, rows, WIDTH / columns)
    return figure


def paired(originals: Sequence[str], remade: Sequence[str]) -> Figure:
    """Each original in grey, its reconstruction below it in black."""
    rows = 3 * len(originals) - 1
    figure = _page(rows)
    for i, (above, below) in enumerate(zip(originals, remade, strict=True)):
        _write(figure, above, 0.01, 3 * i, rows, WIDTH, GREY)
        _write(figure, below, 0.01, 3 * i + 1, rows, WIDTH)
    return figure


def _page(rows: int) -> Figure:
    """A figure of so many lines, with a canvas that measures text."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((WIDTH, HEIGHT * (rows + 1)))
    FigureCanvasAgg(figure)
    return figure


def _write(figure: Figure, line: str, left: float, row: int, rows: int, width: float, colour: str = "black") -> None:
    words, height = fitting(line, (width - MARGIN) * figure.dpi, figure.canvas), 1 - (row + 1) / (rows + 1)
    figure.text(left, height, words, fontsize=SIZE, color=colour, va="center", parse_math=False)


def fitting(line: str, width: float, canvas: Any) -> str:
    """The line, cut to so many pixels of a canvas."""
    from matplotlib.font_manager import FontProperties

    font = FontProperties(size=SIZE)

    def measured(text: str) -> float:
        return float(canvas.get_renderer().get_text_width_height_descent(text, font, False)[0])

    cut = line
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # a character that the font lacks is drawn as a box
        while cut and measured(f"{cut}…" if cut != line else line) > width:
            cut = cut[: min(int(len(cut) * width / measured(cut)), len(cut) - 1)]
    return line if cut == line else f"{cut}…"
