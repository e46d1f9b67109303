"""Text as a picture: lines of a run's samples, and test lines above their reconstructions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEIGHT, WIDTH = 0.2, 11.0  # of a line and of the figure, inches
WIDEST = 130  # characters of a line that are shown
GREY = "#888888"


def listed(lines: Sequence[str], columns: int = 1) -> Figure:
    """Lines one below the other, in so many columns."""
    from matplotlib.figure import Figure

    rows = -(-len(lines) // columns)
    figure = Figure((WIDTH, HEIGHT * (rows + 1)))
    for i, line in enumerate(lines):
        _write(figure, line, 0.01 + i // rows / columns, i % rows, rows, WIDEST // columns)
    return figure


def paired(originals: Sequence[str], remade: Sequence[str]) -> Figure:
    """Each original in grey, its reconstruction below it in black."""
    from matplotlib.figure import Figure

    rows = 3 * len(originals) - 1
    figure = Figure((WIDTH, HEIGHT * (rows + 1)))
    for i, (above, below) in enumerate(zip(originals, remade, strict=True)):
        _write(figure, above, 0.01, 3 * i, rows, WIDEST, GREY)
        _write(figure, below, 0.01, 3 * i + 1, rows, WIDEST)
    return figure


def _write(figure: Figure, line: str, left: float, row: int, rows: int, widest: int, colour: str = "black") -> None:
    shown = line if len(line) <= widest else line[: widest - 1] + "…"
    figure.text(left, 1 - (row + 1) / (rows + 1), shown, fontsize=9, color=colour, va="center", parse_math=False)
