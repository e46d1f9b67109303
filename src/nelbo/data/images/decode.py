"""One encoded picture: its size and mode from the header, and its pixels at a wanted size.

Pixels are whole numbers, grey, RGB or RGBA: 8 bits, or 16 where they are grey and have 16. Without a channel for it,
transparent parts show white; palettes and CMYK become RGB; the camera's rotation is applied; of an animation the first
frame is taken, of several pages the first.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, Protocol

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from nelbo.data.schema import ResizeMode, Schema
from nelbo.errors import UserError

DEEP_MODES = ("I;16", "I;16L", "I;16B", "I;16N")
GREY_MODES = ("1", "L", "LA", "La", *DEEP_MODES)
UNSUPPORTED_MODES = ("I", "F")
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
Image.preinit()  # the common formats come first, as a file is tried with each in turn
Image.init()  # and all others now: registering them from several threads at once loses some


class Encoded(Protocol):
    """An encoded picture that is no file; its `str` names it in messages, its `stamp` tells its content from others."""

    @property
    def stamp(self) -> str: ...
    def open(self) -> BinaryIO: ...


ImageSource = str | Encoded
"""A picture as it is stored: the path of its file, or an `Encoded`."""


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What is said of a picture before it is decoded; the size is (height, width), upright; `is_16bit` is 16-bit grey."""

    size: tuple[int, int]
    is_grayscale: bool
    is_16bit: bool


@dataclass(frozen=True)
class ImageSpec:
    """What pictures are brought to: `shape` is (channels, height, width); `is_16bit` pixels have 16 bits, others 8.

    `resize_mode` says how another size is brought to this one, always by Lanczos' filter: "crop" covers the area and cuts
    what stands out evenly, "pad" fits inside and fills up with black, "stretch" changes the proportions.
    """

    shape: tuple[int, ...]
    resize_mode: ResizeMode
    is_16bit: bool = False

    @classmethod
    def of(cls, schema: Schema, is_16bit: bool = False) -> ImageSpec:
        """The target for a model of this schema; 16 bits are kept where its units are those of 16-bit pixels."""
        return cls(
            schema.shape,
            schema.resize_mode,
            is_16bit and schema.shift[0] >= 0 and schema.shift[0] + schema.scale[0] > 255,
        )

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger]:
        """The type of a pixel."""
        return np.dtype(np.uint16 if self.is_16bit else np.uint8)


def read_header(original: ImageSource) -> ImageHeader:
    """The header of a picture; raises `UserError` naming it if it is none."""
    try:
        with _opened(original) as picture:
            width, height = picture.size
            # TIFF reports the upright size; the base method, unlike PNG's own, decodes no pixels
            turn = 1 if picture.format == "TIFF" else Image.Image.getexif(picture).get(ExifTags.Base.Orientation, 1)
            mode = picture.mode
    except Exception as error:  # decoders fail in many ways on a damaged file
        raise unreadable(original, error) from None
    if mode in UNSUPPORTED_MODES:
        raise UserError(f"{original}: pixels are 32-bit numbers (mode {mode}): save it with 8 or 16 bits, or give .npy")
    size = (width, height) if turn in (5, 6, 7, 8) else (height, width)
    return ImageHeader(size, mode in GREY_MODES, mode in DEEP_MODES)


def decode(original: ImageSource, target: ImageSpec) -> np.ndarray:
    """The pixels, `target.shape` of `target.dtype`; raises `UserError` naming the picture if it is damaged."""
    channels, height, width = target.shape
    try:
        with _opened(original) as picture:
            # A JPEG that is far larger is decoded at a half, a quarter or an eighth, but at twice the size or more.
            picture.draft(None, (2 * max(height, width),) * 2)
            ImageOps.exif_transpose(picture, in_place=True)
            plain = _numbers(picture) if target.is_16bit else _convert(picture, MODES[channels])
    except Exception as error:  # decoders fail in many ways on a damaged file
        raise unreadable(original, error) from None
    pixels = np.asarray(_resize(plain, (width, height), target.resize_mode))
    if target.is_16bit:
        pixels = pixels.clip(0, 2**16 - 1).round().astype(np.uint16)
    return pixels.reshape(height, width, channels).transpose(2, 0, 1).copy()


@contextmanager
def _opened(original: ImageSource) -> Iterator[Image.Image]:
    # from an open file, as Pillow maps a named one, and then scrambles an uncompressed TIFF that is turned
    with open(original, "rb") if isinstance(original, str) else original.open() as file, Image.open(file) as picture:
        yield picture


def unreadable(original: ImageSource, error: Exception) -> UserError:
    """The error for a file that is no picture, a damaged one, or one of more pixels than Pillow agrees to decode."""
    reason = (str(error) or type(error).__name__).splitlines()[0]
    if isinstance(error, Image.DecompressionBombError):
        return UserError(f"{original}: is too large ({reason.partition(',')[0]}): shrink or remove it")
    if isinstance(error, UnidentifiedImageError):
        reason = "no format that is known"
    return UserError(f"{original}: cannot be read as a picture ({reason}): mend or remove it")


def _numbers(picture: Image.Image) -> Image.Image:
    """16-bit grey as floating point, which can be resized; of fewer bits, black and white stay what they are."""
    if picture.mode in DEEP_MODES:
        return Image.fromarray(np.asarray(picture).astype(np.float32))
    return Image.fromarray(np.asarray(_convert(picture, "L")) * np.float32(257))


def _convert(picture: Image.Image, mode: str) -> Image.Image:
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
    if picture.mode == "RGBA":  # colours are weighed by how much they show, else what is clear colours its neighbours
        return _resize(picture.convert("RGBa"), size, resize_mode).convert("RGBA")
    if resize_mode == "crop":
        return ImageOps.fit(picture, size, Image.Resampling.LANCZOS)
    if resize_mode == "pad":
        return ImageOps.pad(picture, size, Image.Resampling.LANCZOS)
    return picture.resize(size, Image.Resampling.LANCZOS)
