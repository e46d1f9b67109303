"""The provenance of a picture, stored in its file, from which the picture can be rendered again.

A record is JSON: the function, its options, the model (its folder, and a hash of its weights), the condition, the
version of nelbo, and a hash of the pixels. It is read as data from an untrusted source: it can name only the functions
of `nelbo.apps.art`, and every option must have its type.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import typing
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nelbo import __version__
from nelbo.apps.art import scenes
from nelbo.apps.art.rendering import Rendering
from nelbo.config.aliases import RENDER_OPTIONS, RENDERED_BY
from nelbo.config.registry import parse
from nelbo.errors import UserError, nearest
from nelbo.model import Model
from nelbo.model.io import load_given, tensor_bytes
from nelbo.plotting import images
from nelbo.reading import damaged

TEXTS = {Sequence[Any]: tuple[str, ...], Any: str | None}  # the types in a record of arguments of any kind


@dataclasses.dataclass(frozen=True)
class Record:
    """The content of a record; `weights` and `pixels` are SHA-256 hashes."""

    made: str
    model: str
    condition: str | None
    options: dict[str, Any]
    size: int
    smooth: bool
    version: str
    weights: str
    pixels: str


def render(
    made: str, path: str | Path, condition: str | None = None, size: int = 0, smooth: bool = False, **options: Any
) -> Rendering:
    """Render a saved model with a function of `nelbo.apps.art`, and attach the record.

    Args:
        made: the name of the function.
        path: the model's folder.
        condition: the condition of the model, as text; None leaves it free.
        size: the longer side of a picture in pixels, 1 to 4096; 0: chosen automatically.
        smooth: whether pictures are enlarged smoothly, to exactly `size`.
        options: arguments of the function; pictures and data are names of files.
    """
    if size < 0 or size > 4096:
        raise UserError(f"size={size}: use 1 to 4096 pixels, or 0 for an automatic size")
    kept = {name: value for name, value in options.items() if value is not None}
    checked = _checked(made, kept)
    model = load_given(path, condition)
    piece = dataclasses.replace(scenes.MAKERS[made](model, **checked), size=size, smooth=smooth)
    known = (__version__, weights_hash(model), pixel_hash(piece.pixels))
    record = Record(made, str(path), condition, kept, size, smooth, *known)
    return dataclasses.replace(piece, record=dataclasses.asdict(record))


def rerender(path: str | Path, model: str | Path | None = None) -> Rendering:
    """Render the picture in a file again.

    Args:
        path: the file.
        model: the folder that its model has now; None: as recorded.

    Raises `UserError` if the file has no record, or the model is gone or has other weights; warns if the pixels differ.
    """
    record = read(Path(path))
    folder = Path(model or record.model)
    if not folder.is_dir():
        raise UserError(f"{path}: its model, {folder}, is gone: give its folder with --model")
    if weights_hash(load_given(folder, record.condition)) != record.weights:
        raise UserError(
            f"{path}: the weights of {folder} are not those of the record: give the right model with --model"
        )
    piece = render(record.made, folder, record.condition, record.size, record.smooth, **record.options)
    if pixel_hash(piece.pixels) != record.pixels:
        warnings.warn(
            f"{path}: pixels differ from the recorded ones, because the data or the version of a library changed "
            "(nelbo "
            f"{record.version} then, {__version__} now)",
            stacklevel=2,
        )
    return piece


def read(path: Path) -> Record:
    """Read the record in a file; raises `UserError` if there is none that this version supports."""
    text = images.read_text(path)
    if not text:
        raise UserError(f"{path} has no stored options: give a file that nelbo art wrote")
    with damaged(path, "has stored options that cannot be read", "give a file that nelbo art wrote"):
        values = json.loads(text)
        names = {field.name for field in dataclasses.fields(Record)}
        if not isinstance(values, dict) or set(values) != names:
            raise ValueError("is not of nelbo art")
        values["made"] = RENDERED_BY.get(values["made"], values["made"])
        old_names = RENDER_OPTIONS.get(values["made"], {})
        values["options"] = {old_names.get(name, name): value for name, value in values["options"].items()}
        hints = typing.get_type_hints(Record)
        known = {name: parse(hints[name], values[name], name) for name in names - {"options"}}
        return Record(**known, options=_checked(known["made"], values["options"]))


def _checked(made: str, options: dict[str, Any]) -> dict[str, Any]:
    """Check that every option has the type of the function's argument."""
    if made not in scenes.MAKERS:
        raise UserError(f"{made!r} is not a nelbo art command: {nearest(made, scenes.MAKERS)}")
    hints = {name: TEXTS.get(hint, hint) for name, hint in typing.get_type_hints(scenes.MAKERS[made]).items()}
    unknown = sorted(set(options) - (set(hints) - {"model", "return"}))
    if unknown:
        raise UserError(f"{made} has no option {unknown[0]!r}: give a file that nelbo art wrote")
    return {name: parse(hints[name], value, name) for name, value in options.items()}


def weights_hash(model: Model) -> str:
    """The SHA-256 of a model's weights: their names, types, shapes and bytes."""
    found = hashlib.sha256()
    for name, tensor in sorted(model.vae.state_dict().items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        found.update(tensor_bytes(tensor))
    return found.hexdigest()


def pixel_hash(pixels: np.ndarray) -> str:
    """The SHA-256 of pixels, with their shape."""
    return hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()
