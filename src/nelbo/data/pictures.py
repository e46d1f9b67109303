"""One picture file: its size and mode from the header, and its pixels at a wanted size.

Pixels are uint8, grey or RGB. Transparent parts show white; 16-bit grey keeps its upper eight bits; the camera's
rotation is applied; of an animation the first frame is taken.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from nelbo.data.schema import Fit
from nelbo.errors import UserError

GREY_MODES = ("1", "L", "LA", "La", "I;16", "I;16L", "I;16B", "I;16N")
UNSUPPORTED_MODES = ("I", "F")
Image.preinit()  # the common formats come first, as a file is tried with each in turn
Image.init()  # and all others now: registering them from several threads at once loses some


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of its picture before it is decoded; the size is (height, width), upright."""

    size: tuple[int, int]
    grey: bool


def read_header(path: str) -> Header:
    """The header of a picture; raises `UserError` naming the file if it is none."""
    try:
        with Image.open(path) as picture:
            width, height = picture.size
            # TIFF reports the upright size; the base method, unlike PNG's own, decodes no pixels
            turn = 1 if picture.format == "TIFF" else Image.Image.getexif(picture).get(ExifTags.Base.Orientation, 1)
            mode = picture.mode
    except Exception as error:  # decoders fail in many ways on a damaged file
        raise unreadable(path, error) from None
    if mode in UNSUPPORTED_MODES:
        raise UserError(f"{path}: pixels are 32-bit numbers (mode {mode}): save it with 8 or 16 bits, or give .npy")
    return Header((width, height) if turn in (5, 6, 7, 8) else (height, width), mode in GREY_MODES)


def decode(path: str, shape: tuple[int, ...], fit: Fit) -> np.ndarray:
    """The pixels, uint8 of `shape` (channels, height, width); raises `UserError` naming the file if damaged.

    `fit` says how another size is brought to this one, always by Lanczos' filter: "crop" covers the area and cuts
    what stands out evenly, "pad" fits inside and fills up with black, "stretch" changes the proportions.
    """
    channels, height, width = shape
    try:
        # from an open file, as Pillow maps a named one, and then scrambles an uncompressed TIFF that is turned
        with open(path, "rb") as file, Image.open(file) as picture:
            upright = ImageOps.exif_transpose(picture)
            plain = _convert(upright, "L" if channels == 1 else "RGB")
    except Exception as error:  # decoders fail in many ways on a damaged file
        raise unreadable(path, error) from None
    pixels = np.asarray(_resize(plain, (width, height), fit))
    return pixels.reshape(height, width, channels).transpose(2, 0, 1).copy()


def unreadable(path: str, error: Exception) -> UserError:
    """The error for a file that is no picture, or a damaged one."""
    reason = (str(error) or type(error).__name__).splitlines()[0]
    if isinstance(error, UnidentifiedImageError):
        reason = "no format that is known"
    return UserError(f"{path}: cannot be read as a picture ({reason}): mend or remove it")


def _convert(picture: Image.Image, mode: str) -> Image.Image:
    if picture.mode.startswith("I;16"):
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    if picture.has_transparency_data:
        coloured = picture.convert("RGBA")
        white = Image.new("RGBA", coloured.size, (255, 255, 255, 255))
        picture = Image.alpha_composite(white, coloured)
    return picture if picture.mode == mode else picture.convert(mode)


def _resize(picture: Image.Image, size: tuple[int, int], fit: Fit) -> Image.Image:
    if picture.size == size:
        return picture
    if fit == "crop":
        return ImageOps.fit(picture, size, Image.Resampling.LANCZOS)
    if fit == "pad":
        return ImageOps.pad(picture, size, Image.Resampling.LANCZOS)
    return picture.resize(size, Image.Resampling.LANCZOS)
