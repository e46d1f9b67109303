"""Pictures in folders: which files, of which classes and sizes; and the dataset that decodes them.

A folder that holds `train` and `test` (or `val`) gives both splits. One whose subfolders hold pictures has those
as classes, in order of name. Names that start with a dot are passed over.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from nelbo.data.ahead import ahead, groups
from nelbo.data.dataset import Arrays, Dataset, fits_memory
from nelbo.data.pictures import Header, decode, read_header
from nelbo.data.schema import Schema
from nelbo.errors import UserError

SUFFIXES = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".jp2", ".bmp", ".dib", ".gif", ".webp", ".avif"),
    *(".tif", ".tiff", ".pbm", ".pgm", ".ppm", ".pnm", ".tga", ".ico"),
)
A = TypeVar("A")
R = TypeVar("R")
AT_ONCE = 16  # files that a thread takes at once: a task for each would cost as much as opening it


@dataclass(frozen=True)
class Album:
    """Picture files in order, with the class of each (empty if the folder has none).

    Files are strings: there may be millions, and a `Path` is four times as large.
    """

    root: Path
    paths: tuple[str, ...]
    classes: tuple[str, ...] = ()

    def keep(self, good: list[bool]) -> Album:
        """The album without the files that are not good."""
        classes = tuple(c for c, ok in zip(self.classes, good, strict=True) if ok) if self.classes else ()
        return replace(self, paths=tuple(p for p, ok in zip(self.paths, good, strict=True) if ok), classes=classes)

    def labels(self, classes: tuple[str, ...]) -> Tensor | None:
        """The place of each file's class in `classes`; None if the folder has no classes."""
        place = {name: number for number, name in enumerate(classes)}
        return torch.tensor([place[name] for name in self.classes]) if self.classes else None


class Files(Dataset):
    """Pictures decoded when a batch asks for them; raises `UserError` naming a file that is damaged."""

    resident, threaded = False, True

    def __init__(self, paths: tuple[str, ...], schema: Schema, labels: Tensor | None = None) -> None:
        self.paths, self.schema, self.labels = paths, schema, labels

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, index: Tensor) -> Tensor:
        pixels = np.empty((len(index), *self.schema.shape), np.uint8)
        for place, i in enumerate(index.tolist()):
            pixels[place] = decode(self.paths[i], self.schema.shape, self.schema.fit)
        return from_pixels(torch.from_numpy(pixels), self.schema)


def from_pixels(pixels: Tensor, schema: Schema) -> Tensor:
    """Pixels (uint8, 0 to 255) as raw values of the schema: x is pixels / 255, cut at one half if it is binary."""
    if schema.support == "binary":
        pixels = (pixels >= 128).to(torch.uint8) * 255
    if (schema.shift, schema.scale) == ((0.0,), (255.0,)):
        return pixels
    return schema.decode(pixels.to(torch.float32) / 255)


def albums(root: Path) -> tuple[Album, Album | None]:
    """The training (or only) pictures under `root`, which may be a picture itself, and those of a test split."""
    if root.is_file():
        if root.suffix.lower() not in SUFFIXES:
            raise UserError(f"{root}: is no data source: give a table, pictures, .npy, .npz or a known name")
        return Album(root, (str(root),)), None
    held_out = next((root / name for name in ("test", "val") if (root / name).is_dir()), None)
    if held_out is not None and (root / "train").is_dir():
        return _album(root / "train"), _album(held_out)
    return _album(root), None


def _album(root: Path) -> Album:
    loose = tuple(_pictures(str(root), deep=False))
    folders = sorted(folder.name for folder in root.iterdir() if folder.is_dir() and not folder.name.startswith("."))
    found = {name: tuple(_pictures(str(root / name))) for name in folders}
    classes = {name: paths for name, paths in found.items() if paths}
    if loose and classes:
        raise UserError(
            f"{root}: holds pictures beside folders of pictures ({next(iter(classes))}): move them into one"
        )
    if not loose and not classes:
        raise UserError(f"{root}: holds no pictures: give a folder with files such as .png or .jpg")
    names = tuple(name for name, paths in classes.items() for _ in paths)
    return Album(root, loose or tuple(path for paths in classes.values() for path in paths), names)


def _pictures(folder: str, deep: bool = True) -> Iterator[str]:
    """The pictures in a folder and, if `deep`, those below it, in order of their names, folder by folder."""
    folders: set[str] = set()
    files = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.add(entry.name)
                elif os.path.splitext(entry.name)[1].lower() in SUFFIXES and entry.is_file():
                    files.append(entry.name)
    except OSError as error:
        raise UserError(f"{folder}: cannot be listed ({error.strerror}): see to it, or move it away") from None
    for name in sorted([*files, *folders] if deep else files):
        path = os.path.join(folder, name)
        if name in folders:
            yield from _pictures(path)
        else:
            yield path


@dataclass(frozen=True)
class Survey:
    """The readable pictures of an album with their headers, and what is wrong with the others."""

    album: Album
    headers: tuple[Header, ...]
    bad: dict[str, UserError]


def survey(album: Album) -> Survey:
    """The header of every file; no pixel is decoded."""
    headers: list[Header] = []
    bad: dict[str, UserError] = {}
    known: dict[Header, Header] = {}  # equal headers are kept once
    for path, found in zip(album.paths, _every(read_header, album.paths), strict=True):
        if isinstance(found, UserError):
            bad[path] = found
        else:
            headers.append(known.setdefault(found, found))
    return Survey(album.keep([path not in bad for path in album.paths]) if bad else album, tuple(headers), bad)


def common_shape(surveys: list[Survey], size: tuple[int, int] | None, channels: int | None) -> tuple[int, int, int]:
    """(channels, height, width) of all pictures; raises `UserError` if sizes differ and none is given."""
    headers = [header for s in surveys for header in s.headers]
    if not headers:
        _report(surveys[0], {}, skip_bad=False)
    paths = (path for s in surveys for path in s.album.paths)
    header, first = headers[0], next(paths)
    odd = next(
        ((path, other) for path, other in zip(paths, headers[1:], strict=True) if other.size != header.size), None
    )
    if odd and size is None:
        raise UserError(
            f"{first} is {_by(header)}, {odd[0]} is {_by(odd[1])} (height x width): "
            "bring all to one size by --size 64 (or 64x48)"
        )
    return (channels or (1 if all(header.grey for header in headers) else 3), *(size or header.size))


def build(found: Survey, schema: Schema, skip_bad: bool) -> Dataset:
    """The pictures at the schema's size: decoded into memory if they fit there, else file by file when asked for.

    Raises `UserError` naming the first damaged picture and how many there are; with `skip_bad` these are left
    out, with a warning.
    """
    album = found.album
    sample = from_pixels(torch.zeros(1, dtype=torch.uint8), schema)
    if not fits_memory(len(album.paths) * prod(schema.shape) * sample.itemsize):
        _report(found, {}, skip_bad)
        return Files(album.paths, schema, album.labels(schema.classes))
    raw = torch.empty(len(album.paths), *schema.shape, dtype=sample.dtype)
    values = raw.numpy()

    def fill(i: int) -> None:
        values[i] = from_pixels(torch.from_numpy(decode(album.paths[i], schema.shape, schema.fit)), schema).numpy()

    bad = {path: e for path, e in zip(album.paths, _every(fill, range(len(values))), strict=True) if e is not None}
    _report(found, bad, skip_bad)
    good = [path not in bad for path in album.paths]
    kept = np.flatnonzero(good)
    for place, i in enumerate(kept.tolist() if bad else []):  # they close up one by one: a copy might not fit beside
        values[place] = values[i]
    return Arrays(raw[: len(kept)], schema, album.keep(good).labels(schema.classes))


def _every(read: Callable[[A], R], things: Sequence[A]) -> Iterator[R | UserError]:
    """`read` of every thing by all cores, in order, its errors as values."""

    def attempt(thing: A) -> R | UserError:
        try:
            return read(thing)
        except UserError as error:
            return UserError(str(error))  # the one raised holds on to all that it passed through

    for group in ahead(lambda numbers: [attempt(things[i]) for i in numbers], groups(len(things), AT_ONCE)):
        for found in group:
            yield from found


def _report(found: Survey, more: dict[str, UserError], skip_bad: bool) -> None:
    """Raise, or warn of, the pictures that cannot be read: those known from their headers and `more`."""
    bad = found.bad | more
    total = len(found.album.paths) + len(found.bad)
    if not bad:
        return
    if total == 1:
        raise bad[min(bad)]
    text = f"{found.album.root}: {len(bad)} of {total} pictures cannot be read"
    if not skip_bad or len(bad) == total:
        remedy = "mend or remove them" if len(bad) == total else "mend or remove them, or leave them out by --skip-bad"
        raise UserError(f"{text}: {remedy}; the first is {bad[min(bad)]}")
    warnings.warn(f"{text} and are left out; the first is {bad[min(bad)]}", stacklevel=4)


def _by(header: Header) -> str:
    return f"{header.size[0]}x{header.size[1]}"
