"""Images in a grid, figures of them, and files of images and animations.

A sheet shows many small pictures: enlarged, side by side, with names beside the rows and captions beneath the cells.
Cells are `(n, height, width, channels)` uint8, with 1 (grey), 3 (RGB) or 4 (RGBA) channels.

Files of pictures and animations carry a text, the record of their provenance:

    .png text chunk · .svg <metadata> · .webp EXIF · .gif comment · .mp4 comment tag

The text that is read from a file is not trusted: `nelbo.apps.art.provenance` checks it.

Pictures are drawn from values in [0, 1]: model output in the data's units is scaled back by the schema alone.
"""

from __future__ import annotations

import base64
import html
import math
import re
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import ExifTags, Image, ImageDraw, ImageFont, PngImagePlugin

from nelbo.data import Schema
from nelbo.data.images.decode import MODES, pixels
from nelbo.errors import UserError
from nelbo.plotting.figures import SheetFigures
from nelbo.reading import check_file, damaged, text_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAD = 2
INK = {1: (200,), 3: (200, 200, 200), 4: (128, 128, 128, 255)}  # of text, legible on black and on transparency


def enlarge(cells: np.ndarray, size: int, smooth: bool = False) -> np.ndarray:
    """Enlarge cells to a longer side of about `size` pixels, by an integer factor; or smoothly, to exactly that.

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
    """One cell as a picture; raises `UserError` for an unsupported number of channels."""
    channels = cell.shape[2]
    if channels not in MODES:
        raise UserError(f"pictures of {channels} channels cannot be drawn: use pictures of 1, 3 or 4 channels")
    return Image.fromarray(np.ascontiguousarray(cell[..., 0] if channels == 1 else cell))


@dataclass(frozen=True)
class Sheet:
    """Cells in rows of `columns`; `names` has a text for each row, at its left, `captions` one for each cell."""

    cells: np.ndarray
    columns: int
    names: Sequence[str] = ()
    captions: Sequence[str] = ()

    @cached_property
    def letters(self) -> ImageFont.FreeTypeFont:
        """The font of names and captions, in a size for the cells."""
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
        """The width and height of the sheet."""
        height, width = self.cells.shape[1:3]
        return (self.margin + self.columns * (width + PAD) + PAD, self.rows * (height + self.line + PAD) + PAD)

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


KEY = "nelbo"
LONGEST = 1_000_000  # the most characters of a text that is read
PALETTE_PIXELS = 2**20  # pixels from which a GIF's colours are chosen


def png(sheet: Image.Image, text: str = "") -> bytes:
    """A PNG file."""
    info = PngImagePlugin.PngInfo()
    if text:
        info.add_text(KEY, text)
    return _saved(sheet, "PNG", pnginfo=info)


def gif(frames: Sequence[Image.Image], fps: float, text: str = "") -> bytes:
    """An animation that repeats, all frames in the same 256 colours; transparent parts become white."""
    first, *rest = _in_palette([_opaque(frame) for frame in frames])
    options: dict[str, Any] = {"comment": text.encode()} if text else {}
    if rest:
        options |= {"save_all": True, "append_images": rest, "duration": durations(len(frames), fps, 10), "loop": 0}
    return _saved(first, "GIF", **options)


def webp(frames: Sequence[Image.Image], fps: float, text: str = "") -> bytes:
    """A picture, or an animation that repeats; lossless."""
    first, *rest = frames
    exif = Image.Exif()
    if text:
        exif[ExifTags.Base.ImageDescription] = text
    options: dict[str, Any] = {"lossless": True, "exif": exif}
    if rest:
        options |= {"save_all": True, "append_images": rest, "duration": durations(len(frames), fps, 1), "loop": 0}
    return _saved(first, "WEBP", **options)


def svg(sheet: Sheet, text: str = "") -> bytes:
    """A sprite: cell i is the symbol `i` and the view `v{i}`, drawn in its place; names and captions are texts."""
    height, width = sheet.cells.shape[1:3]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{sheet.size[0]}" height="{sheet.size[1]}">'
    lines = [head, f'<metadata id="{KEY}">{html.escape(text, quote=False)}</metadata>'] if text else [head]
    if sheet.cells.shape[3] < 4:
        lines.append('<rect width="100%" height="100%"/>')
    for i, cell in enumerate(sheet.cells):
        content = base64.b64encode(png(picture(cell))).decode()
        image = f'<image width="{width}" height="{height}" href="data:image/png;base64,{content}"/>'
        left, top = sheet.place(i)
        lines.append(f'<symbol id="c{i}" viewBox="0 0 {width} {height}">{image}</symbol>')
        lines.append(f'<view id="v{i}" viewBox="{left} {top} {width} {height}"/>')
        lines.append(f'<use href="#c{i}" x="{left}" y="{top}" width="{width}" height="{height}"/>')
    anchors = {"rm": 'text-anchor="end" dominant-baseline="middle"', "ma": 'text-anchor="middle" dy="1em"'}
    style = f'fill="#888" font-family="DejaVu Sans, sans-serif" font-size="{sheet.letters.size:g}"'
    lines += [f'<text x="{x:g}" y="{y:g}" {anchors[a]} {style}>{html.escape(t)}</text>' for t, x, y, a in sheet.texts()]
    return "\n".join([*lines, "</svg>\n"]).encode()


def mp4(frames: Sequence[Image.Image], fps: float, text: str = "") -> bytes:
    """A film in H.264, which every browser plays, with even sides; transparent parts become white."""
    ffmpeg = _ffmpeg()
    width, height = (side + side % 2 for side in frames[0].size)
    quiet = ["-fflags", "+bitexact", "-flags:v", "+bitexact", "-threads", "1", "-crf", "16", "-movflags", "+faststart"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        writer = ffmpeg.write_frames(
            str(path),
            (width, height),
            fps=fps,
            codec="libx264",
            quality=None,
            macro_block_size=2,
            output_params=[*quiet, "-metadata", f"comment={text}"],
        )
        writer.send(None)
        for frame in frames:
            even = Image.new("RGB", (width, height))
            even.paste(_opaque(frame).convert("RGB"))
            writer.send(np.asarray(even).tobytes())
        writer.close()
        return path.read_bytes()


def durations(frames: int, fps: float, unit: int) -> list[int]:
    """The duration of each frame, milliseconds in whole units; their sum matches the rate to half a unit.

    >>> durations(3, 30, 10)
    [30, 40, 30]
    """
    ends = np.round(np.arange(frames + 1) * 1000 / fps / unit).astype(int) * unit
    return np.diff(ends).tolist()


FORMS: dict[str, Callable[[Any, str], bytes]] = {
    ".png": lambda piece, text: png(piece.sheet().draw(), text),
    ".svg": lambda piece, text: svg(piece.sheet(), text),
    ".webp": lambda piece, text: webp(piece.frames(), piece.fps, text),
    ".gif": lambda piece, text: gif(piece.frames(), piece.fps, text),
    ".mp4": lambda piece, text: mp4(piece.frames(), piece.fps, text),
}


def read_text(path: Path) -> str:
    """Read the text that the writers above put into a file, "" if there is none; `UserError` for a damaged file."""
    if path.suffix.lower() not in FORMS:
        raise UserError(f"{path}: a picture's file must end in {', '.join(FORMS)}")
    check_file(path)
    with damaged(path, "cannot be read as a picture", "give a file that nelbo art wrote"):
        if path.suffix.lower() == ".svg":
            found = re.search(rf'<metadata id="{KEY}">([^<]*)</metadata>', text_of(path, 2**28))
            text = html.unescape(found[1]) if found else ""
        elif path.suffix.lower() == ".mp4":
            text = _film_text(path)
        else:
            with Image.open(path, formats=("PNG", "WEBP", "GIF")) as picture:
                text = _image_text(picture)
    return text if len(text) <= LONGEST else ""


def _image_text(picture: Image.Image) -> str:
    kept = picture.info.get("comment", b"") if picture.format == "GIF" else picture.info.get(KEY, "")
    if picture.format == "WEBP":
        kept = picture.getexif().get(ExifTags.Base.ImageDescription, "")
    return kept.decode("utf-8", "replace") if isinstance(kept, bytes) else str(kept)


def _film_text(path: Path) -> str:
    """Read the text from ffmpeg's list of tags, one `key=value` per line, with special characters escaped.

    The format is set: a playlist named .mp4 would have ffmpeg open other files and addresses.
    """
    source = ["-protocol_whitelist", "file", "-f", "mp4", "-i", f"file:{path.resolve()}"]
    command = [_ffmpeg().get_ffmpeg_exe(), "-v", "error", *source, "-f", "ffmetadata", "-"]
    settings: dict[str, Any] = {"check": True, "stdin": subprocess.DEVNULL, "timeout": 10}
    said = subprocess.run(command, capture_output=True, **settings).stdout.decode("utf-8")
    found = re.search(r"^comment=((?:\\.|[^\\\n])*)$", said, re.MULTILINE | re.DOTALL)
    return re.sub(r"\\(.)", r"\1", found[1], flags=re.DOTALL) if found else ""


def _ffmpeg() -> Any:
    try:
        import imageio_ffmpeg
    except ImportError:
        raise UserError(".mp4 needs imageio-ffmpeg: pip install 'nelbo[video]', or use .gif or .webp") from None
    return imageio_ffmpeg


def _opaque(frame: Image.Image) -> Image.Image:
    if frame.mode != "RGBA":
        return frame
    return Image.alpha_composite(Image.new("RGBA", frame.size, "white"), frame).convert("RGB")


def _in_palette(frames: Sequence[Image.Image]) -> list[Image.Image]:
    """Frames in a common palette of 256 colours, so that colours do not flicker; greys have their own."""
    if frames[0].mode == "L":
        return list(frames)
    every = max(1, int(np.sqrt(len(frames) * frames[0].width * frames[0].height / PALETTE_PIXELS)))
    seen = np.concatenate([np.asarray(frame)[::every, ::every].reshape(-1, 3) for frame in frames])
    palette = Image.fromarray(seen[None]).quantize(256, Image.Quantize.MEDIANCUT)
    return [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]


def _saved(image: Image.Image, form: str, **options: Any) -> bytes:
    content = BytesIO()
    image.save(content, form, **options)
    return content.getvalue()


CELL = 56  # smaller pictures are enlarged by an integer factor to about this many pixels


class ImageFigures(SheetFigures):
    """Pictures, unchanged."""

    def sheet(self, values: np.ndarray, schema: Schema, columns: int = 8) -> Image.Image:
        return Sheet(enlarge(pixels(values, schema), CELL), columns).draw()

    def draw_traversal(self, axis: Axes, values: np.ndarray, schema: Schema, reach: float) -> str:
        cells = pixels(values, schema)
        strip = np.concatenate(list(cells), 1)
        axis.imshow(strip[..., 0] if strip.shape[2] == 1 else strip, cmap="gray", vmin=0, vmax=255, aspect="auto")
        ticks = [f"{value:+.1f}" for value in np.linspace(-reach, reach, len(cells))]
        axis.set(xticks=(np.arange(len(cells)) + 0.5) * cells.shape[2] - 0.5, xticklabels=ticks, yticks=[])
        return "value of the latent"


FIGURES = ImageFigures()


def anomaly_figure(
    pictures: np.ndarray, remade: np.ndarray, heat: np.ndarray, titles: Sequence[str], schema: Schema
) -> Figure:
    """A column for each anomalous picture: itself, its reconstruction, and on it in colour the scores of its pixels.

    All pictures are `(n, channels, height, width)`, the first two in the data's units; `heat`, in nats, is summed over
    channels, and values below 0, less anomalous than the mean, are left out. All share one colour scale.
    """
    from matplotlib.figure import Figure

    count, height, width = len(pictures), *schema.shape[1:]
    figure = Figure((1.25 * max(count, 2) + 1.1, 1.25 * 3 * height / width + 0.6), layout="constrained")
    axes = figure.subplots(3, count, squeeze=False)
    warm = heat.sum(1).clip(0)
    top = max(float(np.quantile(warm, 0.998)), 1e-9)  # a few single pixels would take the whole colour scale
    shown = [pixels(values, schema) for values in (pictures, remade)]
    for i, title in enumerate(titles):
        for axis, values in zip(axes[:2, i], shown, strict=True):
            axis.imshow(values[i].squeeze(-1) if values.shape[3] == 1 else values[i], cmap="gray", vmin=0, vmax=255)
        axes[2, i].imshow(shown[0][i][..., :3].mean(-1) / 2.5, cmap="gray", vmin=0, vmax=255)  # dim, beneath the heat
        strength = (warm[i] / top).clip(0, 1) ** 0.5
        drawn = axes[2, i].imshow(warm[i], cmap="hot", vmin=0, vmax=top, alpha=strength)
        axes[0, i].set_title(title, fontsize=8)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    for axis, name in zip(axes[:, 0], ("picture", "reconstruction", "anomaly"), strict=True):
        axis.set_ylabel(name, fontsize=8)
    bar = figure.colorbar(drawn, ax=axes.ravel().tolist(), aspect=40, extend="max")
    bar.set_label("nats above the mean", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    return figure
