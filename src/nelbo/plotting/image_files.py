"""Pictures and animations as files, with the text that says how they are made again.

.png text chunk · .svg <metadata> · .webp EXIF · .gif comment · .mp4 comment tag

What is read from a file is a text and nothing else: `nelbo.apps.art.provenance` checks it.
"""

from __future__ import annotations

import base64
import html
import re
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, PngImagePlugin

from nelbo.errors import UserError
from nelbo.plotting.image_grid import Sheet, picture

KEY = "nelbo"
LONGEST = 1_000_000  # characters of a text that is read
PALETTE_PIXELS = 2**20  # that choose a GIF's colours


def png(sheet: Image.Image, text: str = "") -> bytes:
    """A PNG file."""
    info = PngImagePlugin.PngInfo()
    if text:
        info.add_text(KEY, text)
    return _saved(sheet, "PNG", pnginfo=info)


def gif(frames: Sequence[Image.Image], fps: float, text: str = "") -> bytes:
    """An animation that repeats, all frames in the same 256 colours; transparent parts show white."""
    first, *rest = _in_palette([_opaque(frame) for frame in frames])
    options: dict[str, Any] = {"comment": text.encode()} if text else {}
    if rest:
        options |= {"save_all": True, "append_images": rest, "duration": durations(len(frames), fps, 10), "loop": 0}
    return _saved(first, "GIF", **options)


def webp(frames: Sequence[Image.Image], fps: float, text: str = "") -> bytes:
    """A picture, or an animation that repeats; without loss."""
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
    """A film in H.264, as every browser plays it, its sides even; transparent parts show white."""
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
    """How long each frame is shown, milliseconds in whole units: together, what the rate says, to half a unit.

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
    """The text that the writers above put into a file, "" where there is none; `UserError` where it cannot be read."""
    if path.suffix.lower() not in FORMS:
        raise UserError(f"{path}: a picture's file must end in {', '.join(FORMS)}")
    try:
        if path.suffix.lower() == ".svg":
            found = re.search(rf'<metadata id="{KEY}">([^<]*)</metadata>', path.read_text("utf-8"))
            text = html.unescape(found[1]) if found else ""
        elif path.suffix.lower() == ".mp4":
            path.open("rb").close()
            text = _film_text(path)
        else:
            with Image.open(path) as opened:
                text = _image_text(opened)
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file") from None
    except Exception as error:  # decoders fail in many ways on a damaged file
        reason = type(error).__name__
        raise UserError(f"{path}: cannot be read as a picture ({reason}): give what nelbo art wrote") from None
    return text if len(text) <= LONGEST else ""


def _image_text(opened: Image.Image) -> str:
    kept = opened.info.get("comment", b"") if opened.format == "GIF" else opened.info.get(KEY, "")
    if opened.format == "WEBP":
        kept = opened.getexif().get(ExifTags.Base.ImageDescription, "")
    return kept.decode("utf-8", "replace") if isinstance(kept, bytes) else str(kept)


def _film_text(path: Path) -> str:
    """By ffmpeg's own list of tags, one `key=value` a line, special characters after a backslash."""
    command = [_ffmpeg().get_ffmpeg_exe(), "-v", "error", "-i", f"file:{path.resolve()}", "-f", "ffmetadata", "-"]
    said = subprocess.run(command, capture_output=True, check=True, stdin=subprocess.DEVNULL).stdout.decode("utf-8")
    found = re.search(r"^comment=((?:\\.|[^\\\n])*)$", said, re.MULTILINE | re.DOTALL)
    return re.sub(r"\\(.)", r"\1", found[1], flags=re.DOTALL) if found else ""


def _ffmpeg() -> Any:
    try:
        import imageio_ffmpeg
    except ImportError:
        raise UserError(".mp4 needs imageio-ffmpeg: pip install 'nelbo[video]', or name a .gif or .webp file") from None
    return imageio_ffmpeg


def _opaque(frame: Image.Image) -> Image.Image:
    if frame.mode != "RGBA":
        return frame
    return Image.alpha_composite(Image.new("RGBA", frame.size, "white"), frame).convert("RGB")


def _in_palette(frames: Sequence[Image.Image]) -> list[Image.Image]:
    """Frames in one palette of the 256 colours that suit all best, so that none flickers; greys have their own."""
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
