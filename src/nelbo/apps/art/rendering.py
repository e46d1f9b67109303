"""Rendered pictures, still or animated, and their files."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nelbo.data import Schema
from nelbo.data.images.decode import pixels
from nelbo.errors import UserError
from nelbo.plotting import images
from nelbo.plotting.images import Sheet, enlarge
from nelbo.training.checkpoint import write_bytes

MOMENTS = 10  # frames of an animation that are shown on a sheet
CELL, ALONE = 112, 256  # pixels of a cell, and of a single picture


@dataclass(frozen=True)
class Rendering:
    """Pictures `(frames, cells, channels, height, width)` in the data's units; still pictures have one frame.

    On a sheet, still pictures are in rows of `columns`; each cell of an animation has a row of frames. An animation has
    its cells in rows of `columns`.

    Args:
        values: the pictures.
        schema: the schema of the pictures.
        columns: cells per row; 0: about the number of rows.
        names: the heading of each row of a sheet of still pictures.
        captions: the caption of each cell; for an animation, of each frame on a sheet.
        fps: frames per second.
        size: the longer side of a picture in pixels, about; 0: chosen automatically.
        smooth: whether pictures are enlarged smoothly, to exactly `size`, instead of by an integer factor.
        of: the number of all data, if the pictures are only the first of them.
        record: the provenance, which is written into files; see `nelbo.apps.art.provenance`.
    """

    values: np.ndarray
    schema: Schema
    columns: int = 0
    names: Sequence[str] = ()
    captions: Sequence[str] = ()
    fps: float = 25.0
    size: int = 0
    smooth: bool = False
    of: int = 0
    record: Mapping[str, Any] | None = None

    @property
    def moving(self) -> bool:
        return len(self.values) > 1

    @cached_property
    def pixels(self) -> np.ndarray:
        """`(moments, cells, height, width, channels)`, uint8."""
        flat = pixels(self.values.reshape(-1, *self.values.shape[2:]), self.schema)
        return flat.reshape(*self.values.shape[:2], *flat.shape[1:])

    def sheet(self) -> Sheet:
        """All pictures side by side; for an animation, frames at equal distances."""
        if not self.moving:
            return self._sheet(self.pixels[0], self.columns, self.names, self.captions)
        moments = np.linspace(0, len(self.values) - 1, min(len(self.values), MOMENTS)).round().astype(int)
        cells = self.pixels[moments].swapaxes(0, 1)
        captions = [self.captions[i] for i in moments] * len(cells) if self.captions else ()
        return self._sheet(cells.reshape(-1, *cells.shape[2:]), len(moments), self.names, captions)

    def frames(self) -> list[Image.Image]:
        """The frames of an animation; for still pictures, their sheet."""
        if not self.moving:
            return [self.sheet().draw()]
        columns = self.columns or math.ceil(math.sqrt(self.values.shape[1]))
        return [self._sheet(cells, min(columns, len(cells))).draw() for cells in self.pixels]

    def _sheet(self, cells: np.ndarray, columns: int, names: Sequence[str] = (), captions: Sequence[str] = ()) -> Sheet:
        size = self.size or (ALONE if len(cells) == 1 else CELL)
        size = round(size * max(cells.shape[1:3]) / max(self.schema.shape[1:]))  # a cell may contain two pictures
        return Sheet(enlarge(cells, size, self.smooth), max(columns, 1), names, captions)

    def encode(self, ending: str) -> bytes:
        """The bytes of a file with this ending, such as ".gif"; `UserError` for an unsupported one."""
        if ending.lower() not in images.FORMS:
            raise UserError(f"{ending or 'no ending'}: a picture's file must end in {', '.join(images.FORMS)}")
        if ending.lower() == ".mp4" and not self.moving:
            raise UserError("a still picture cannot be an animation: use .png, .svg or .webp")
        return images.FORMS[ending.lower()](self, json.dumps(self.record) if self.record else "")

    def save(self, path: str | Path) -> None:
        """Write a .png, .svg, .webp, .gif or .mp4: the first two are sheets, the others can be animations."""
        write_bytes(Path(path), self.encode(Path(path).suffix))

    def _repr_png_(self) -> bytes:
        return self.encode(".png")
