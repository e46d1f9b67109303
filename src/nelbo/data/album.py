"""Which pictures a folder holds, and of which classes.

A folder that holds `train` and `test` (or `val`) gives both splits. One whose subfolders hold pictures has those
as classes, in order of name, unless a file of labels is given; those in `unlabelled` are of no known class. Names that
start with a dot are passed over.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from nelbo.data import labels
from nelbo.data.pictures import Original
from nelbo.errors import UserError

SUFFIXES = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".jp2", ".bmp", ".dib", ".gif", ".webp", ".avif"),
    *(".tif", ".tiff", ".pbm", ".pgm", ".ppm", ".pnm", ".tga", ".ico"),
)
UNLABELLED = ("unlabelled", "unlabeled")


@dataclass(frozen=True)
class Album:
    """Pictures in order, with the class of each ("" if it has none; all empty if the album has no classes).

    Files are strings: there may be millions, and a `Path` is four times as large. `order` are the names of classes,
    where they have an order of their own.
    """

    name: str
    originals: tuple[Original, ...]
    classes: tuple[str, ...] = ()
    order: tuple[str, ...] = ()

    def keep(self, good: list[bool]) -> Album:
        """The album without the pictures that are not good."""
        classes = tuple(c for c, ok in zip(self.classes, good, strict=True) if ok) if self.classes else ()
        originals = tuple(o for o, ok in zip(self.originals, good, strict=True) if ok)
        return replace(self, originals=originals, classes=classes)

    def labels(self, classes: tuple[str, ...]) -> Tensor | None:
        """The place of each picture's class in `classes`, -1 if it has none; None if the album has no classes."""
        place = {name: number for number, name in enumerate(classes)} | {"": -1}
        return torch.tensor([place[name] for name in self.classes]) if self.classes else None


def extend(classes: tuple[str, ...], albums: Iterable[Album]) -> tuple[str, ...]:
    """`classes`, then those of the albums that are not among them, in their own order or by name."""
    both = list(albums)
    own = [name for album in both for name in album.order]
    return tuple(dict.fromkeys((*classes, *own, *sorted({name for album in both for name in album.classes} - {""}))))


def albums(root: Path, table: str | None = None) -> tuple[Album, Album | None]:
    """The training (or only) pictures under `root`, which may be a picture itself, and those of a test split.

    Their classes are their subfolders, or what the CSV file `table` says.
    """
    if root.is_file():
        if root.suffix.lower() not in SUFFIXES:
            raise UserError(f"{root}: is no data source: give a table, pictures, .npy, .npz or a known name")
        return Album(str(root), (str(root),)), None
    held_out = next((root / name for name in ("test", "val") if (root / name).is_dir()), None)
    folders = [root / "train", held_out] if held_out and (root / "train").is_dir() else [root]
    found = [_album(folder, table is None) for folder in folders]
    if table is not None:
        paths = [str(original) for album in found for original in album.originals]
        classes = iter(labels.read(table, root, paths))
        found = [replace(album, classes=tuple(next(classes) for _ in album.originals)) for album in found]
    return found[0], found[1] if len(found) == 2 else None


def _album(root: Path, by_folder: bool) -> Album:
    if not by_folder:
        loose, classes = tuple(_pictures(str(root))), {}
    else:
        loose = tuple(_pictures(str(root), deep=False))
        folders = sorted(
            folder.name for folder in root.iterdir() if folder.is_dir() and not folder.name.startswith(".")
        )
        found = {name: tuple(_pictures(str(root / name))) for name in folders}
        classes = {name: paths for name, paths in found.items() if paths}
    if loose and classes:
        raise UserError(
            f"{root}: holds pictures beside folders of pictures ({next(iter(classes))}): move them into one"
        )
    if not loose and not classes:
        raise UserError(f"{root}: holds no pictures: give a folder with files such as .png or .jpg")
    names = tuple("" if name in UNLABELLED else name for name, paths in classes.items() for _ in paths)
    return Album(str(root), loose or tuple(path for paths in classes.values() for path in paths), names)


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
