"""What a run's pictures show, by kind of data: test data with their reconstructions, and samples."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from nelbo.data import Schema, form, tables
from nelbo.plotting import figures, table, text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDE = 28  # characters of a line, above which samples are in one column


@dataclass(frozen=True)
class Showing:
    """The two pictures of data of a kind, and what to say of them.

    `rebuilt` draws test data x and their reconstructions, `(n, *shape)` in the model's units; `drawn` draws samples as
    `Model.sample` gives them, beside as many training data, in the model's units, if `compared`. `count` test data
    are shown, and 8 times as many samples.
    """

    rebuilt: Callable[[np.ndarray, np.ndarray, Schema], Image.Image]
    drawn: Callable[[Any, np.ndarray, Schema], Image.Image]
    captions: tuple[str, str]
    count: int = 8
    compared: bool = False


def _sheet_of_both(x: np.ndarray, remade: np.ndarray, schema: Schema) -> Image.Image:
    return figures.sheet(schema.decode(torch.from_numpy(np.concatenate([x, remade]))).numpy(), schema, len(x))


def _sheet(samples: np.ndarray, real: np.ndarray, schema: Schema) -> Image.Image:
    return figures.sheet(samples, schema)


def _cells_of_both(x: np.ndarray, remade: np.ndarray, schema: Schema) -> Image.Image:
    return figures.figure_image(table.rebuilt(x, remade, schema))


def _columns(samples: Any, real: np.ndarray, schema: Schema) -> Image.Image:
    return figures.figure_image(table.marginals(real, tables.encode(samples, schema), schema))


def _lines_of_both(x: np.ndarray, remade: np.ndarray, schema: Schema) -> Image.Image:
    lines = form(schema).told(np.concatenate([x, remade]), schema)
    return _page(text.paired(lines[: len(x)], lines[len(x) :]))


def _lines(samples: list[str], real: np.ndarray, schema: Schema) -> Image.Image:
    wide = max(map(len, samples)) > WIDE
    return _page(text.listed(samples, 1 if wide else 4))


def _page(figure: Figure) -> Image.Image:
    """A picture of text; a character that the font lacks is drawn as a box, and not said for each."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")
        return figures.figure_image(figure)


SHEETS = Showing(
    _sheet_of_both,
    _sheet,
    ("Test data (above) and their reconstructions (below)", "64 draws from the prior, decoded"),
)
CELLS = Showing(
    _cells_of_both,
    _columns,
    (
        "Cells of test rows, rebuilt from the rows' codes",
        "Each column of rows drawn from the model, beside the training data",
    ),
    count=500,
    compared=True,
)
LINES = Showing(
    _lines_of_both,
    _lines,
    ("Test lines (grey) and their reconstructions (black)", "Lines drawn from the model"),
)
SHOWINGS = {"image": SHEETS, "vector": SHEETS, "series": SHEETS, "table": CELLS, "text": LINES}


def showing(schema: Schema) -> Showing:
    """How data of the schema's kind are shown."""
    return SHOWINGS[schema.kind]
