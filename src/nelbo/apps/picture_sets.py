"""Labelled pictures in files: a folder with a subfolder for each class, or one .npz with x and y."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np

from nelbo import plots, sheets
from nelbo.apps import picturefiles
from nelbo.data import Schema
from nelbo.errors import UserError
from nelbo.training.checkpoint import write_bytes


def check(out: Path) -> None:
    """Raises `UserError` before any work, unless `out` is a .npz file or an empty or new folder."""
    if out.suffix.lower() == ".npz":
        return
    if out.suffix or out.is_file():
        raise UserError(f"--out {out}: name a .npz file, or a folder for a subfolder of .png files for each class")
    if out.is_dir() and any(out.iterdir()):
        raise UserError(f"--out {out}: the folder has files already: name another")


def write(out: Path, x: np.ndarray, y: np.ndarray, schema: Schema, real: int = 0) -> None:
    """Write pictures `(n, *shape)`, in the data's units, and their classes' names `(n,)`; the first `real` are real."""
    if out.suffix.lower() == ".npz":
        write_bytes(out, as_npz(x, y, schema))
        return
    for name in np.unique(y).tolist():
        if name in ("", ".", "..") or Path(name).name != name or name.startswith("."):
            raise UserError(f"class {name!r} is no name of a folder: name a .npz file with --out")
    for path, content in _files(x, y, schema, real):
        write_bytes(out / path, content)


def as_npz(x: np.ndarray, y: np.ndarray, schema: Schema) -> bytes:
    """x `(n, h, w)` if grey, else `(n, channels, h, w)`, bytes where the data have 0 to 255; y, numbers if they are."""
    if (schema.shift, schema.scale) == ((0.0,), (255.0,)):
        x = x.round().clip(0, 255).astype(np.uint8)
    labels = y.astype(np.int64) if all(name.isdecimal() for name in np.unique(y).tolist()) else y
    content = BytesIO()
    np.savez_compressed(content, x=x[:, 0] if schema.shape[0] == 1 else x, y=labels)
    return content.getvalue()


def _files(x: np.ndarray, y: np.ndarray, schema: Schema, real: int) -> Iterator[tuple[Path, bytes]]:
    cells = plots.pixels(x, schema)
    for i, (cell, name) in enumerate(zip(cells, y.tolist(), strict=True)):
        file = f"real_{i:06d}.png" if i < real else f"new_{i - real:06d}.png"
        yield Path(name) / file, picturefiles.png(sheets.picture(cell))
