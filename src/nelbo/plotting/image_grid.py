"""Many small pictures as one: enlarged, side by side, with names at the rows and captions beneath the cells.

Cells are `(n, height, width, channels)` uint8, channels 1 (grey), 3 (RGB) or 4 (RGBA).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from nelbo.errors import UserError

PAD = 2
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
INK = {1: (200,), 3: (200, 200, 200), 4: (128, 128, 128, 255)}  # of text; it reads on black and on nothing


def enlarge(cells: np.ndarray, size: int, smooth: bool = False) -> np.ndarray:
    """Cells whose longer side is about `size` pixels: by a whole factor, 1 or more; or smoothly, to exactly that.

    >>> enlarge(np.zeros((3, 28, 20, 1), np.uint8), 56).shape, enlarge(np.zeros((3, 28, 20, 1), np.uint8), 14).shape
    ((3, 56, 40, 1), (3, 28, 20, 1))
    """
    height, width = cells.shape[1:3]
    if not smooth:
        zoom = max(1, round(size / max(height, width)))
        return cells.repeat(zoom, 1).repeat(zoom, 2)
    to = tuple(max(1, round(side * size / max(height, width))) for side in (width, height))
    made = [np.asarray(picture(cell).resize(to, Image.Resampling.BICUBIC)) for cell in cells]
    return np.stack(made).reshape(len(cells), to[1], to[0], cells.shape[3])


def picture(cell: np.ndarray) -> Image.Image:
    """One cell as a picture; raises `UserError` for channels that no picture has."""
    channels = cell.shape[2]
    if channels not in MODES:
        raise UserError(f"pictures of {channels} channels cannot be drawn: train on pictures of 1, 3 or 4")
    return Image.fromarray(np.ascontiguousarray(cell[..., 0] if channels == 1 else cell))


@dataclass(frozen=True)
class Sheet:
    """Cells laid out, `columns` to a row; `names` has one for each row, at its left, `captions` one for each cell."""

    cells: np.ndarray
    columns: int
    names: Sequence[str] = ()
    captions: Sequence[str] = ()

    @cached_property
    def letters(self) -> ImageFont.FreeTypeFont:
        """The font of names and captions, in a size that suits the cells."""
        import matplotlib

        file = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
        return ImageFont.truetype(str(file), int(np.clip(self.cells.shape[1] // 5, 9, 18)))

    @property
    def rows(self) -> int:
        return math.ceil(len(self.cells) / self.columns)

    @cached_property
    def margin(self) -> int:
        """The width of the names."""
        return max((math.ceil(self.letters.getlength(name)) + 4 * PAD for name in self.names), default=0)

    @cached_property
    def line(self) -> int:
        """The height of a caption."""
        return sum(self.letters.getmetrics()) + PAD if self.captions else 0

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the whole."""
        height, width = self.cells.shape[1:3]
        return (
            self.margin + self.columns * (width + PAD) + PAD,
            self.rows * (height + self.line + PAD) + PAD,
        )

    def place(self, i: int) -> tuple[int, int]:
        """Left and top of cell i."""
        height, width = self.cells.shape[1:3]
        row, column = divmod(i, self.columns)
        return self.margin + PAD + column * (width + PAD), PAD + row * (height + self.line + PAD)

    def texts(self) -> list[tuple[str, float, float, str]]:
        """Each text with its place and Pillow's anchor: names right of the left margin, captions beneath the middle."""
        height, width = self.cells.shape[1:3]
        names = [
            (name, self.margin - PAD, self.place(row * self.columns)[1] + height / 2, "rm")
            for row, name in enumerate(self.names)
        ]
        captions = [
            (self.fitting(caption), self.place(i)[0] + width / 2, self.place(i)[1] + height, "ma")
            for i, caption in enumerate(self.captions)
        ]
        return names + captions

    def fitting(self, caption: str) -> str:
        """The caption, cut to the width of a cell."""
        width = self.cells.shape[2]
        if self.letters.getlength(caption) <= width:
            return caption
        cut = next((k for k in range(len(caption), 0, -1) if self.letters.getlength(caption[:k] + "…") <= width), 0)
        return caption[:cut] + "…" if cut else ""

    def draw(self) -> Image.Image:
        """The sheet, black (for RGBA, transparent) between the cells."""
        channels = self.cells.shape[3]
        canvas = Image.new(MODES.get(channels, "L"), self.size)
        for i, cell in enumerate(self.cells):
            canvas.paste(picture(cell), self.place(i))
        pen = ImageDraw.Draw(canvas)
        for text, x, y, anchor in self.texts():
            pen.text((x, y), text, INK[channels], self.letters, anchor)
        return canvas
