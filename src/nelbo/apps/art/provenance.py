"""How a picture was made, kept in its file, and the same picture made again.

A record is JSON: what was made, with which options, by which model (its folder, and a hash of its weights), under
which condition, the version of nelbo, and a hash of the pixels. It is read as data from whoever wrote the file:
nothing but the functions of `nelbo.apps.art` can be named, and every option must be of its type.
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
import torch

from nelbo import __version__
from nelbo.apps.art import scenes
from nelbo.apps.art.rendering import Rendering
from nelbo.config.aliases import RENDER_OPTIONS, RENDERED_BY
from nelbo.config.registry import parse
from nelbo.errors import UserError, nearest
from nelbo.model import Model
from nelbo.model.io import load_given
from nelbo.plotting import images

TEXTS = {Sequence[Any]: tuple[str, ...], Any: str | None}  # what a record has for arguments of any kind


@dataclasses.dataclass(frozen=True)
class Record:
    """What is written; `weights` and `pixels` are SHA-256."""

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
    """The piece that the function `made` of `nelbo.apps.art` makes of a saved model, with its record.

    Options are the function's arguments; pictures and data are given by the names of files.
    """
    if size < 0 or size > 4096:
        raise UserError(f"size={size}: give 1 to 4096 pixels, or 0 for a size that suits")
    kept = {name: value for name, value in options.items() if value is not None}
    checked = _checked(made, kept)
    model = load_given(path, condition)
    piece = dataclasses.replace(scenes.MAKERS[made](model, **checked), size=size, smooth=smooth)
    known = (__version__, weights_hash(model), pixel_hash(piece.pixels))
    record = Record(made, str(path), condition, kept, size, smooth, *known)
    return dataclasses.replace(piece, record=dataclasses.asdict(record))


def rerender(path: str | Path, model: str | Path | None = None) -> Rendering:
    """The piece in a file, made again; `model` says where its model is now.

    Raises `UserError` if the file has no record, or the model is gone or has other weights; warns if the pixels differ.
    """
    record = read(Path(path))
    folder = Path(model or record.model)
    if not folder.is_dir():
        raise UserError(f"{path}: its model, {folder}, is gone: say where it is with --model")
    if weights_hash(load_given(folder, record.condition)) != record.weights:
        raise UserError(f"{path}: the weights of {folder} are not those that made it: name the right one with --model")
    piece = render(record.made, folder, record.condition, record.size, record.smooth, **record.options)
    if pixel_hash(piece.pixels) != record.pixels:
        warnings.warn(
            f"{path}: pixels differ from those first made: the data or another version of a library did (nelbo "
            f"{record.version} then, {__version__} now)",
            stacklevel=2,
        )
    return piece


def read(path: Path) -> Record:
    """The record in a file; raises `UserError` if there is none that this version understands."""
    text = images.read_text(path)
    if not text:
        raise UserError(f"{path}: has no record of how it was made: give a file that nelbo art wrote")
    try:
        values = json.loads(text)
        names = {field.name for field in dataclasses.fields(Record)}
        if not isinstance(values, dict) or set(values) != names:
            raise ValueError("is not of nelbo art")
        values["made"] = RENDERED_BY.get(values["made"], values["made"])
        old_names = RENDER_OPTIONS.get(values["made"], {})
        values["options"] = {old_names.get(name, name): value for name, value in values["options"].items()}
        hints = typing.get_type_hints(Record)
        known = {name: parse(hints[name], values[name], name) for name in names - {"options"}}
        record = Record(**known, options=_checked(known["made"], values["options"]))
    except (ValueError, TypeError, RecursionError, AttributeError) as error:
        reason = str(error).splitlines()[0][:200]
        raise UserError(f"{path}: its record cannot be used ({reason}): give a file that nelbo art wrote") from None
    return record


def _checked(made: str, options: dict[str, Any]) -> dict[str, Any]:
    """The options, each of the type that the function names."""
    if made not in scenes.MAKERS:
        raise UserError(f"{made!r} is nothing that nelbo art makes: {nearest(made, scenes.MAKERS)}")
    hints = {name: TEXTS.get(hint, hint) for name, hint in typing.get_type_hints(scenes.MAKERS[made]).items()}
    unknown = sorted(set(options) - (set(hints) - {"model", "return"}))
    if unknown:
        raise UserError(f"{made} has no option {unknown[0]!r}")
    return {name: parse(hints[name], value, name) for name, value in options.items()}


def weights_hash(model: Model) -> str:
    """The SHA-256 of a model's weights: their names, types, shapes and bytes."""
    found = hashlib.sha256()
    for name, tensor in sorted(model.vae.state_dict().items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        found.update(tensor.detach().cpu().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def pixel_hash(pixels: np.ndarray) -> str:
    """The SHA-256 of pixels, with their shape."""
    return hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()
