"""Decoding of one picture: its size and mode from the header, and its pixels at a target size.

Pixels are integers, grey, RGB or RGBA, of 8 bits; or grey of 16 bits, or of 32 as floating-point numbers. Without a
transparency channel, transparent parts become white. Palettes and CMYK become RGB. The camera's rotation is applied.
The first frame or page is used. Only the formats in `FORMATS` are read: decoders of others start programs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal, Protocol

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from nelbo.data.dataset import to_tensor
from nelbo.data.schema import ResizeMode, Schema
from nelbo.errors import UserError

DEEP_MODES = ("I;16", "I;16L", "I;16B", "I;16N")
WIDE_MODES = ("I", "F")
GREY_MODES = ("1", "L", "LA", "La", *DEEP_MODES, *WIDE_MODES)
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
Image.preinit()  # the common formats come first, as formats are tried in turn
Image.init()  # and all others now: registering them from several threads at once loses some
FORMATS = tuple(
    name
    for name in ("PNG", "JPEG", "BMP", "DIB", "GIF", "WEBP", "TIFF", "PPM", "AVIF", "JPEG2000", "ICO", "TGA")
    if name in Image.OPEN
)


class Encoded(Protocol):
    """The bytes of an image file, not on disk; its `str` names it in messages, its `stamp` identifies its content."""

    @property
    def stamp(self) -> str: ...
    def open(self) -> BinaryIO: ...


@dataclass(frozen=True, eq=False, slots=True)
class Opened:
    """A picture that is a Pillow object, with its name in messages."""

    image: Image.Image
    name: str

    def __str__(self) -> str:
        return self.name


ImageSource = str | Encoded | Opened
"""A picture: the path of its file, an `Encoded`, or an `Opened`."""
Depth = Literal["uint8", "uint16", "float32"]
DEPTHS: tuple[Depth, ...] = ("uint8", "uint16", "float32")


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """The header of a picture; `size` is (height, width), upright; `depth` is "uint8" for all colours.

    `pages` counts those of a TIFF; of an animation, it is 1.
    """

    size: tuple[int, int]
    is_grayscale: bool
    depth: Depth
    pages: int = 1


@dataclass(frozen=True)
class ImageSpec:
    """The target of decoding: `shape` is (channels, height, width), `depth` the type of a pixel.

    `resize_mode` is how another size is resized, always with a Lanczos filter: "crop" covers the area and cuts the
    excess evenly, "pad" fits inside and fills with black, "stretch" changes the proportions.
    """

    shape: tuple[int, ...]
    resize_mode: ResizeMode
    depth: Depth = "uint8"

    @classmethod
    def of(cls, schema: Schema, depth: Depth = "uint8") -> ImageSpec:
        """The target for a model with this schema; more than 8 bits are kept if its units are not those of bytes."""
        beyond = schema.shift[0] >= 0 and schema.shift[0] + schema.scale[0] > 255
        kept = depth == "float32" or schema.dtype == depth or beyond
        return cls(schema.shape, schema.resize_mode, depth if kept else "uint8")

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of a pixel."""
        return np.dtype(self.depth)


def read_header(original: ImageSource) -> ImageHeader:
    """Read the header of a picture; raises `UserError` naming a file that is not a picture."""
    try:
        with _opened(original) as picture:
            width, height = picture.size
            # TIFF reports the upright size; the base method, unlike PNG's own, decodes no pixels
            turn = 1 if picture.format == "TIFF" else Image.Image.getexif(picture).get(ExifTags.Base.Orientation, 1)
            mode, pages = picture.mode, getattr(picture, "n_frames", 1) if picture.format == "TIFF" else 1
    except Exception as error:  # decoders fail in many ways on a damaged file
        raise unreadable(original, error) from None
    size = (width, height) if turn in (5, 6, 7, 8) else (height, width)
    depth = DEPTHS[2 if mode in WIDE_MODES else 1 if mode in DEEP_MODES else 0]
    return ImageHeader(size, mode in GREY_MODES, depth, pages)


def decode(original: ImageSource, target: ImageSpec) -> np.ndarray:
    """Decode the pixels, `target.shape` of `target.dtype`; raises `UserError` naming a damaged picture."""
    channels, height, width = target.shape
    try:
        with _opened(original) as picture:
            # A JPEG that is far larger is decoded at a half, a quarter or an eighth, but at twice the size or more.
            picture.draft(None, (2 * max(height, width),) * 2)
            ImageOps.exif_transpose(picture, in_place=True)
            plain = _convert(picture, MODES[channels]) if target.depth == "uint8" else _numbers(picture, target.depth)
    except UserError as error:
        raise UserError(f"{original}: {error}") from None
    except Exception as error:  # decoders fail in many ways on a damaged file
        raise unreadable(original, error) from None
    pixels = np.asarray(_resize(plain, (width, height), target.resize_mode))
    if target.depth == "uint16":
        pixels = pixels.clip(0, 2**16 - 1).round().astype(np.uint16)
    return pixels.reshape(height, width, channels).transpose(2, 0, 1).copy()


@contextmanager
def _opened(original: ImageSource) -> Iterator[Image.Image]:
    if isinstance(original, Opened):
        yield original.image.copy()
        return
    # from an open file, as Pillow maps a named one, and then scrambles an uncompressed TIFF that is turned
    with (
        open(original, "rb") if isinstance(original, str) else original.open() as file,
        Image.open(file, formats=FORMATS) as picture,
    ):
        yield picture


def unreadable(original: ImageSource, error: Exception) -> UserError:
    """The error for a file that is not a picture, is damaged, or has more pixels than Pillow decodes."""
    reason = (str(error) or type(error).__name__).splitlines()[0]
    if isinstance(error, Image.DecompressionBombError):
        return UserError(f"{original} is too large ({reason.partition(',')[0]}): shrink or remove it")
    if isinstance(error, UnidentifiedImageError):
        reason = "unknown format"
    return UserError(f"{original} cannot be read as a picture ({reason}): repair or remove it")


def _numbers(picture: Image.Image, depth: Depth) -> Image.Image:
    """Grey of 16 or 32 bits as floating point, which can be resized; of 8 bits beside 16, black and white unchanged."""
    if picture.mode in DEEP_MODES or (picture.mode in WIDE_MODES and depth == "float32"):
        return Image.fromarray(np.asarray(picture).astype(np.float32))
    if depth == "float32":
        raise UserError("the picture has 8 bits, and others have 32: save all with the same number of bits")
    return Image.fromarray(np.asarray(_convert(picture, "L")) * np.float32(257))


def _convert(picture: Image.Image, mode: str) -> Image.Image:
    if picture.mode in WIDE_MODES:
        raise UserError("the picture has 32 bits, and 8 are needed: save it as grey or colour of 8 bits")
    if picture.mode in DEEP_MODES:
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    if picture.has_transparency_data and mode != "RGBA":
        coloured = picture.convert("RGBA")
        white = Image.new("RGBA", coloured.size, (255, 255, 255, 255))
        picture = Image.alpha_composite(white, coloured)
    return picture if picture.mode == mode else picture.convert(mode)


def _resize(picture: Image.Image, size: tuple[int, int], resize_mode: ResizeMode) -> Image.Image:
    if picture.size == size:
        return picture
    if picture.mode == "RGBA":  # weigh colours by opacity, or transparent pixels would colour their neighbours
        return _resize(picture.convert("RGBa"), size, resize_mode).convert("RGBA")
    if resize_mode == "crop":
        return ImageOps.fit(picture, size, Image.Resampling.LANCZOS)
    if resize_mode == "pad":
        return ImageOps.pad(picture, size, Image.Resampling.LANCZOS)
    return picture.resize(size, Image.Resampling.LANCZOS)


def pixels(values: np.ndarray, schema: Schema) -> np.ndarray:
    """Convert pictures `(n, channels, height, width)` in the data's units to `(n, height, width, channels)` uint8.

    Of a number of channels that no picture file has, such as 2 or 13, the mean is drawn, in grey.
    """
    x = schema.encode(to_tensor(values)).clamp(0, 1)
    if x.shape[1] not in MODES:
        x = x.mean(1, keepdim=True)
    return x.mul(255).round().byte().permute(0, 2, 3, 1).numpy()
