"""A few data of each kind as HTML for a notebook: inline pictures, inline curves, a table, or lines."""

from __future__ import annotations

import base64
import html
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from nelbo.data.dataset import to_tensor
from nelbo.data.images.decode import MODES, pixels
from nelbo.data.schema import Schema

HEIGHT = 64  # pixels of an image and of a curve's panel
WIDTH = 110  # pixels of a curve's panel
MAX_POINTS = 200  # points of a curve
MAX_CHANNELS = 8  # curves in a panel
COLOURS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f")


def image_strip(values: np.ndarray, schema: Schema) -> str:
    """Images `(n, channels, height, width)` in the data's units, side by side in one PNG."""
    strip = np.concatenate(list(pixels(values, schema)), 1)
    height, channels = schema.shape[1], strip.shape[2]
    image = Image.fromarray(strip.squeeze(-1) if channels == 1 else strip, MODES[channels])
    content = BytesIO()
    image.reduce(max(1, height // HEIGHT)).save(content, "PNG")
    source = base64.b64encode(content.getvalue()).decode()
    style = f"height:{HEIGHT}px;image-rendering:pixelated"
    return f'<img alt="samples" style="{style}" src="data:image/png;base64,{source}">'


def curve_strip(values: np.ndarray, schema: Schema) -> str:
    """Vectors `(n, features)` or series `(n, steps, channels)` in the data's units: a panel of curves for each."""
    x = schema.encode(to_tensor(values)).numpy()
    x = (x if x.ndim == 3 else x[..., None])[:, :: -(-x.shape[1] // MAX_POINTS), :MAX_CHANNELS]
    low, high = np.nanmin(x), np.nanmax(x)
    across = np.linspace(2, WIDTH - 2, x.shape[1]) if x.shape[1] > 1 else np.array([WIDTH / 2])
    down = HEIGHT - 2 - (HEIGHT - 4) * (x - low) / max(high - low, 1e-12)
    return "".join(_panel(across, curves) for curves in down)


def _panel(across: np.ndarray, curves: np.ndarray) -> str:
    """Draw one datum; `curves` `(points, channels)` are heights in pixels."""
    lines = []
    for colour, curve in zip(COLOURS, curves.T, strict=False):
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(across, curve, strict=True) if np.isfinite(b))
        lines.append(f'<polyline points="{points}" fill="none" stroke="{colour}"/>')
    return f'<svg width="{WIDTH}" height="{HEIGHT}">{"".join(lines)}</svg>'


def row_table(frame: Any, schema: Schema) -> str:
    """The first rows of a DataFrame."""
    return str(frame.head(5).to_html(index=False, border=0, max_cols=12))


def line_list(lines: list[str], schema: Schema) -> str:
    """Lines of text."""
    return f"<pre>{html.escape(chr(10).join(lines))}</pre>"
