"""Folders of images: which images and classes they hold, and the dataset that reads them.

A CSV file of classes has a column that names the pictures, and one with their classes. The column of names is the one
that matches most pictures: by their path in the folder, by the file's name, or by its name without ending. The column
of classes is the requested one (`labels.csv:COLUMN`), else one called `label`, `class`, `category`, `target` or
similar, else the only other one. An empty class is unknown.

A folder with `train` and `test` (or `val`) has both splits, by any name that `nelbo.data.split_names` knows:

    train/cat/1.png           parts with classes; the splits may lie one folder deeper, as in `data/train/cat/1.png`
    images/train/1.png        parts beside folders without pictures, such as `labels/train`
    train/images/1.png        a single folder `images` is not a class
    cat/train/1.png           classes that have their own parts

The test data are those of `test`; without it, those of `val`. A folder whose subfolders hold pictures has them as
classes, in order of name, unless a file of labels is given; pictures in a subfolder `unlabelled` have no class. Names
that start with a dot are ignored.
"""

from __future__ import annotations

import csv
import glob
import logging
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nelbo.data.dataset import Dataset, InMemoryDataset, fits_memory
from nelbo.data.images.cache import cache
from nelbo.data.images.decode import DEPTHS, Depth, ImageHeader, ImageSource, ImageSpec, Opened, decode, read_header
from nelbo.data.labels import in_order, labels_of
from nelbo.data.parallel import parallel_map, shared_array
from nelbo.data.schema import Schema
from nelbo.data.split_names import HELD_OUT, Part, part_of, split_by_name
from nelbo.errors import UserError
from nelbo.reading import damaged, exists, is_file, not_read
from nelbo.training.progress import track

LOG = logging.getLogger(__name__)
NAMES = ("label", "labels", "class", "classes", "category", "target", "y")
DELIMITERS = ",;\t|"


def read_labels(table: str, root: Path, paths: Sequence[str]) -> list[str]:
    """Read the class of each picture in `paths`, all below `root`; "" if the cell is empty.

    Raises `UserError` if the table cannot be read or its columns are ambiguous, and naming the first picture without a
    row, row without a picture, or picture with two rows.
    """
    file, header, rows = _rows(table)
    places = _places(root, paths)
    shared = [sum(cells[column] in places for cells in rows.values()) for column in range(len(header))]
    named = max(range(len(header)), key=shared.__getitem__)
    if not shared[named]:
        raise UserError(f"{file}: no column names pictures in {root}: use their paths in it, or the files' names")
    if header[named] in places:
        raise UserError(f"{file}: its first line is of a picture: add a line of column names above it, as file,label")
    chosen = _class_column(table, header, named)
    classes: dict[int, tuple[int, str]] = {}
    for line, cells in rows.items():
        found = places.get(cells[named], [])
        where = f"{file}: line {line}: {cells[named]!r}"
        if not found:
            raise UserError(f"{where} is not a picture in {root}: remove the row, or add the picture")
        if len(found) > 1:
            raise UserError(f"{where} is the name of {len(found)} pictures in {root}: use the path in the folder")
        if found[0] in classes:
            raise UserError(
                f"{file}: lines {classes[found[0]][0]} and {line} are both of {cells[named]!r}: remove one of them"
            )
        classes[found[0]] = (line, cells[chosen])
    missing = [path for i, path in enumerate(paths) if i not in classes]
    if missing:
        raise UserError(
            f"{file}: {len(missing)} of {len(paths)} pictures have no row: add rows for them (with an empty class "
            "if it "
            f"is unknown), or move them away; the first is {missing[0]}"
        )
    return [classes[i][1] for i in range(len(paths))]


def _rows(table: str) -> tuple[str, list[str], dict[int, list[str]]]:
    """The file, the names of its columns, and its rows by their line."""
    file = next((name for name in (table, table.rpartition(":")[0]) if name and is_file(name)), "")
    if not file:
        raise UserError(f"labels={table!r}: no such file: give a CSV file, or labels.csv:COLUMN")
    with (
        damaged(file, "cannot be read as a table", "save it as CSV in UTF-8"),
        Path(file).expanduser().open(encoding="utf-8-sig", newline="") as text,
    ):
        first = text.readline()
        text.seek(0)
        reader = csv.reader(text, delimiter=max(DELIMITERS, key=first.count))
        lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader if any(cells)]
    header = lines[0][1] if lines else []
    rows = dict(lines[1:])
    if len(header) < 2:
        raise UserError(f"{file} has {len(header)} columns: give one of pictures' names and one of classes")
    if wrong := next((line for line, cells in rows.items() if len(cells) != len(header)), 0):
        raise UserError(
            f"{file}: line {wrong} has {len(rows[wrong])} cells, the first {len(header)}: give all lines equally many"
        )
    return file, header, rows


def _places(root: Path, paths: Sequence[str]) -> dict[str, list[int]]:
    """The indices of the pictures that each name may mean: a path means one, even if others have its name."""
    places: dict[str, list[int]] = {}
    inside = [os.path.relpath(path, root).replace(os.sep, "/") for path in paths]
    for name in (os.path.basename, lambda path: os.path.splitext(os.path.basename(path))[0]):
        for number, path in enumerate(inside):
            places.setdefault(name(path), []).append(number)
    return places | {path: [number] for number, path in enumerate(inside)}


def _class_column(table: str, header: list[str], named: int) -> int:
    """The index of the column of classes."""
    others = [column for column in range(len(header)) if column != named]
    wanted = table.rpartition(":")[2] if not is_file(table) else ""
    if wanted:
        found = [column for column in others if header[column] == wanted]
    else:
        found = [column for column in others if header[column].lower() in NAMES] or others
    if len(found) != 1:
        listed = ", ".join(header[column] for column in others)
        about = f"no column {wanted!r}" if wanted else "several columns may be the class"
        raise UserError(f"{table}: {about}: choose among {listed}, as in labels.csv:{header[others[0]]}")
    return found[0]


SUFFIXES = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".jp2", ".bmp", ".dib", ".gif", ".webp", ".avif"),
    *(".tif", ".tiff", ".pbm", ".pgm", ".ppm", ".pnm", ".tga", ".ico"),
)
UNREAD = (".heic", ".heif", ".jxl", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".dcm", ".psd", ".exr")
"""Endings of pictures that are not read."""
UNLABELLED = ("unlabelled", "unlabeled")


@dataclass(frozen=True)
class ImageFolder:
    """Pictures in order, with the class of each ("" if unknown; no classes at all if `classes` is empty).

    Files are strings: there may be millions, and a `Path` is four times as large. `order` are the names of the classes,
    if they have an order of their own.
    """

    name: str
    sources: tuple[ImageSource, ...] = ()
    classes: tuple[str, ...] = ()
    order: tuple[str, ...] = ()

    def keep(self, good: list[bool]) -> ImageFolder:
        """The folder's pictures that are marked good."""
        classes = tuple(c for c, ok in zip(self.classes, good, strict=True) if ok) if self.classes else ()
        originals = tuple(o for o, ok in zip(self.sources, good, strict=True) if ok)
        return replace(self, sources=originals, classes=classes)

    def labels(self, classes: tuple[str, ...]) -> Tensor | None:
        """The index of each picture's class in `classes`, -1 if unknown; None if the folder has no classes."""
        place = {name: number for number, name in enumerate(classes)} | {"": -1}
        return torch.tensor([place[name] for name in self.classes]) if self.classes else None


def extend_by(classes: tuple[str, ...], albums: Iterable[ImageFolder]) -> tuple[str, ...]:
    """`classes`, then the new classes of the folders, in their own order or by name."""
    both = list(albums)
    own = [name for album in both for name in album.order]
    return in_order((*classes, *own), {name for album in both for name in album.classes} - {""})


def albums(root: Path, table: str | None = None) -> tuple[ImageFolder, ImageFolder | None]:
    """The training (or only) pictures under `root`, which may be a single picture, and those of a test split.

    Their classes are their subfolders, or those in the CSV file `table`.
    """
    if root.is_file():
        if root.suffix.lower() not in SUFFIXES:
            raise not_read(root)
        return ImageFolder(str(root), (str(root),)), None
    parts = _parts(root, table is None)
    if table is not None:
        paths = [str(original) for album in parts.values() for original in album.sources]
        classes = iter(read_labels(table, root, paths))
        parts = {
            part: replace(album, classes=tuple(next(classes) for _ in album.sources)) for part, album in parts.items()
        }
    train = parts.pop("train")
    labelled = [part for part, album in parts.items() if album.classes or not train.classes]
    held_out: Part | None = next((part for part in HELD_OUT if part in (labelled or parts)), None)
    if held_out is None:
        return train, None
    test = parts.pop(held_out)
    for album in parts.values():
        LOG.info("%s is not used: the test data are %s", album.name, test.name)
    return train, test


def listed(source: Any) -> ImageFolder | None:
    """The pictures of a list of files or Pillow pictures, alone or with labels, or of a pattern such as "cats/*.jpg".

    None for any other source. Raises `UserError` for a list with other files.
    """
    labels: Any = None
    if isinstance(source, str) and any(sign in source for sign in "*?[") and not exists(source):
        source = sorted(path for path in glob.glob(os.path.expanduser(source), recursive=True) if _is_picture(path))
    elif isinstance(source, Image.Image):
        source = [source]
    elif isinstance(source, tuple) and len(source) == 2 and isinstance(source[0], list | tuple | np.ndarray):
        source, labels = source
    if isinstance(source, np.ndarray) and source.ndim == 1 and source.dtype.kind in "OU":
        source = source.tolist()
    if not isinstance(source, list | tuple) or not source:
        return None
    if not all(isinstance(item, str | Path | Image.Image) for item in source):
        return None
    named = [Opened(x, f"picture {i}") if isinstance(x, Image.Image) else str(x) for i, x in enumerate(source)]
    if other := next((x for x in named if isinstance(x, str) and not _is_picture(x)), None):
        raise UserError(
            f"a list of {len(named)} files with {other}, which is not a picture: give pictures, or one file"
        )
    if labels is None:
        return ImageFolder("pictures", tuple(named))
    (index,), classes = labels_of([("pictures", labels, len(named))])
    assert index is not None
    return ImageFolder("pictures", tuple(named), tuple(classes[k] if k >= 0 else "" for k in index.tolist()))


IMAGES = ("images", "image", "imgs", "img", "jpegimages")
MASKS = ("masks", "mask", "labels", "label", "annotations", "segmentationclass", "segmentationobject")


def _parts(root: Path, by_folder: bool) -> dict[Part, ImageFolder]:
    """The pictures of each part of a split; without a split, all are "train"."""
    root, folders = _content(root)
    if parts := split_by_name(folders):
        others = [name for name in folders if name not in parts.values() and not part_of(name)]
        if left_out := [*others, *_pictures(str(root), deep=False)]:
            warnings.warn(f"{root} has a split, and {left_out[0]} is in no part of it: it is left out", stacklevel=2)
        return {part: _album(_content(root / name)[0], by_folder) for part, name in parts.items()}
    if len(folders) > 1 and all(map(part_of, folders)):
        raise UserError(
            f"{root} has {', '.join(folders)}, but no part for training: give one of them, as {root / folders[0]}"
        )
    splits = {name: split_by_name(_content(root / name)[1]) for name in folders}
    if not any(splits.values()):
        return {"train": _album(root, by_folder)}
    if without := [name for name, parts in splits.items() if not parts]:
        within = next(name for name, parts in splits.items() if parts)
        raise UserError(f"{root}: {within} has a split, and {without[0]} has none: give all folders one, or none")
    found: dict[Part, ImageFolder] = {}
    for name, parts in splits.items():
        for part, folder in parts.items():
            paths = tuple(_pictures(str(_content(root / name)[0] / folder)))
            so_far = found.get(part, ImageFolder(str(root)))
            classes = (*so_far.classes, *[name] * len(paths)) if by_folder else ()
            found[part] = replace(so_far, sources=so_far.sources + paths, classes=classes)
    return found


def _content(root: Path) -> tuple[Path, list[str]]:
    """The folder, or the one in it that has all its pictures and is not a class; and its folders with pictures."""
    while True:
        folders = [name for name in _subfolders(root) if _has_pictures(root / name)]
        images = [name for name in folders if name.lower() in IMAGES]
        masks = [name for name in folders if name.lower() in MASKS]
        if len(images) == 1 and masks and len(folders) == 1 + len(masks):
            warnings.warn(f"{root}: the data are the pictures in {images[0]}; {masks[0]} is left out", stacklevel=2)
            root = root / images[0]
        elif (
            len(folders) == 1
            and not next(_pictures(str(root), deep=False), None)
            and (images or part_of(folders[0]) or _has_split(root / folders[0]))
        ):
            root = root / folders[0]
        else:
            return root, folders


def _subfolders(root: Path) -> list[str]:
    try:
        return sorted(folder.name for folder in root.iterdir() if folder.is_dir() and not folder.name.startswith("."))
    except OSError as error:
        _unlistable(error)


def _has_pictures(folder: Path) -> bool:
    """Whether a folder, or one below it, has a picture; it stops at the first."""
    for _, folders, files in os.walk(folder, onerror=_unlistable):
        if any(_is_picture(name) for name in files):
            return True
        folders[:] = [name for name in folders if not name.startswith(".")]
    return False


def _is_picture(name: str) -> bool:
    return not os.path.basename(name).startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES


def _unlistable(error: OSError) -> NoReturn:
    reason = f"{error.filename} cannot be listed ({error.strerror})"
    raise UserError(f"{reason}: change its permissions, or remove it") from None


def _has_split(root: Path) -> bool:
    return bool(split_by_name(_content(root)[1]))


def _album(root: Path, by_folder: bool) -> ImageFolder:
    if not by_folder:
        loose, classes = tuple(_pictures(str(root))), {}
    else:
        loose = tuple(_pictures(str(root), deep=False))
        found = {name: tuple(_pictures(str(_content(root / name)[0]))) for name in _subfolders(root)}
        classes = {name: paths for name, paths in found.items() if paths}
    if loose and classes:
        raise UserError(
            f"{root} has pictures beside folders of pictures ({next(iter(classes))}): move them into one folder"
        )
    if not loose and not classes:
        raise UserError(f"{root} has no pictures: give a folder with files such as .png or .jpg")
    names = tuple("" if name in UNLABELLED else name for name, paths in classes.items() for _ in paths)
    return ImageFolder(str(root), loose or tuple(path for paths in classes.values() for path in paths), names)


def _pictures(folder: str, deep: bool = True) -> Iterator[str]:
    """The pictures in a folder and, if `deep`, its subfolders, in order of their names, folder by folder."""
    folders: set[str] = set()
    files, unread = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if not entry.name.startswith("."):
                        folders.add(entry.name)
                elif _is_picture(entry.name) and entry.is_file():
                    files.append(entry.name)
                elif entry.name.lower().endswith(UNREAD):
                    unread.append(entry.name)
    except OSError as error:
        _unlistable(error)
    if unread:
        left_out = f"{len(unread)} files such as {min(unread)} are left out"
        warnings.warn(f"{folder}: {left_out}: convert them to PNG or JPEG", stacklevel=2)
    for name in sorted([*files, *folders] if deep else files):
        path = os.path.join(folder, name)
        if name in folders:
            yield from _pictures(path)
        else:
            yield path


R = TypeVar("R")


class DecodedImages:
    """Pixels `(n, channels, height, width)` of pictures, decoded when rows are read, and then cached if possible.

    `chosen` are the indices of the pictures that are rows, in order; None: all. Raises `UserError` naming a damaged
    picture. Several threads may read.
    """

    def __init__(self, originals: tuple[ImageSource, ...], target: ImageSpec, chosen: np.ndarray | None = None) -> None:
        self.originals, self.target, self.dtype = originals, target, target.dtype
        self.chosen = np.arange(len(originals)) if chosen is None else chosen
        self.shape: tuple[int, ...] = (len(self.chosen), *target.shape)
        self.cache = cache(originals, target)

    def __getitem__(self, index: slice | np.ndarray) -> np.ndarray:
        numbers = self.chosen[index].tolist()
        pixels = np.empty((len(numbers), *self.target.shape), self.dtype)
        for place, i in zip(pixels, numbers, strict=True):
            if self.cache is None:
                place[:] = decode(self.originals[i], self.target)
            elif not self.cache.get(i, place):
                place[:] = decode(self.originals[i], self.target)
                self.cache.put(i, place)
        return pixels


class ImageFileDataset(Dataset):
    """8-bit pictures in the units of any schema, decoded when a batch is read.

    Args:
        rows: the pixels.
        schema: the shape and the units of the pictures.
        labels: int64 of shape `(n,)`; None for unlabelled pictures.
    """

    resident, threaded = False, True

    def __init__(self, rows: DecodedImages, schema: Schema, labels: Tensor | None = None) -> None:
        self.rows, self.schema, self.labels = rows, schema, labels

    def __len__(self) -> int:
        return self.rows.shape[0]

    def read(self, index: Tensor) -> Tensor:
        return from_pixels(torch.from_numpy(self.rows[index.numpy()]), self.schema)


def from_pixels(pixels: Tensor, schema: Schema) -> Tensor:
    """Convert pixels (uint8, 0 to 255) to the schema's raw values: x is pixels / 255, thresholded at 0.5 if binary."""
    if schema.support == "binary":
        pixels = (pixels >= 128).to(torch.uint8) * 255
    if (schema.shift, schema.scale) == ((0.0,), (255.0,)):
        return pixels
    return schema.decode(pixels.to(torch.float32) / 255)


@dataclass(frozen=True)
class FolderScan:
    """The readable pictures of a folder with their headers, and the errors of the others."""

    album: ImageFolder
    headers: tuple[ImageHeader, ...]
    bad: dict[ImageSource, UserError]

    @property
    def depth(self) -> Depth:
        """The deepest of the pictures' depths."""
        return max((header.depth for header in self.headers), key=DEPTHS.index, default="uint8")


def scan_folder(album: ImageFolder) -> FolderScan:
    """Read the header of every picture, without decoding pixels."""
    headers: list[ImageHeader] = []
    bad: dict[ImageSource, UserError] = {}
    known: dict[ImageHeader, ImageHeader] = {}  # equal headers are kept once
    looked_at = _every(album, lambda i: read_header(album.sources[i]), "looking at pictures")
    for original, found in zip(album.sources, looked_at, strict=True):
        if isinstance(found, UserError):
            bad[original] = found
        else:
            headers.append(known.setdefault(found, found))
    kept = album.keep([original not in bad for original in album.sources]) if bad else album
    paged = ((x, header.pages) for x, header in zip(kept.sources, headers, strict=True) if header.pages > 1)
    if first := next(paged, None):
        warnings.warn(
            f"{first[0]} has {first[1]} pages, and only the first of a file is read: save each page as a file, or all "
            "as an array (.npy)",
            stacklevel=2,
        )
    return FolderScan(kept, tuple(headers), bad)


LARGE, REDUCED = 512, 256  # pixels of the longer side: training on photographs as they are would take days


def common_shape(surveys: list[FolderScan], size: tuple[int, int] | None, channels: int | None) -> tuple[int, int, int]:
    """(channels, height, width) for all pictures.

    If `size` is None, pictures with a side above `LARGE` are reduced to a longer side of `REDUCED`, with a warning, and
    `UserError` is raised if sizes differ.
    """
    headers = [header for s in surveys for header in s.headers]
    if not headers:
        _report(surveys[0], surveys[0].bad, skip_unreadable=False)
    originals = (original for s in surveys for original in s.album.sources)
    header, first = headers[0], next(originals)
    odd = next(
        (
            (original, other)
            for original, other in zip(originals, headers[1:], strict=True)
            if other.size != header.size
        ),
        None,
    )
    if odd and size is None:
        raise UserError(
            f"{first} is {_by(header)}, {odd[0]} is {_by(odd[1])} (height x width): "
            "resize all with --size 64 (or 64x48)"
        )
    if size is None and max(header.size) > LARGE:
        height, width = (max(1, round(side * REDUCED / max(header.size))) for side in header.size)
        size = height, width
        warnings.warn(
            f"{surveys[0].album.name}: the pictures of {_by(header)} (height x width) are reduced to {height}x{width}: "
            f"choose another size with --size, such as {height}x{width}",
            stacklevel=2,
        )
    return (channels or (1 if all(header.is_grayscale for header in headers) else 3), *(size or header.size))


def read(
    scan: FolderScan, target: ImageSpec, skip_unreadable: bool | None, itemsize: int = 0
) -> tuple[np.ndarray | DecodedImages, ImageFolder]:
    """Decode the pictures, into memory if they fit there at `itemsize` bytes per value; with them, their folder.

    Raises `UserError` naming the first damaged picture and their number; with `skip_unreadable` they are left out, with
    a warning. If they do not fit in memory, all are decoded at once only if some may have to be left out.
    """
    album, n = scan.album, len(scan.album.sources)
    if not fits_memory(n * prod(target.shape) * max(itemsize, target.dtype.itemsize)):
        rows = DecodedImages(album.sources, target)
        # a process returns only the length of a picture, as pixels would have to be sent
        good = _good(scan, (lambda i: len(rows[np.array([i])])) if skip_unreadable else None, skip_unreadable)
        chosen = np.flatnonzero(good)
        return (rows if len(chosen) == n else DecodedImages(album.sources, target, chosen)), album.keep(good)
    pixels = shared_array((n, *target.shape), target.dtype)

    def fill(i: int) -> None:
        pixels[i] = decode(album.sources[i], target)

    good = _good(scan, fill, skip_unreadable)
    chosen = np.flatnonzero(good)
    for place, i in enumerate(chosen.tolist() if len(chosen) < n else []):
        pixels[place] = pixels[i]  # moved one by one: a copy might not fit in memory
    return pixels[: len(chosen)], album.keep(good)


def build(scan: FolderScan, schema: Schema, skip_unreadable: bool | None) -> Dataset:
    """The 8-bit pictures in the schema's units: decoded into memory if they fit there, else on demand."""
    itemsize = from_pixels(torch.zeros(1, dtype=torch.uint8), schema).itemsize
    rows, album = read(scan, ImageSpec.of(schema), skip_unreadable, itemsize)
    labels = album.labels(schema.classes)
    built: Dataset = (
        ImageFileDataset(rows, schema, labels)
        if isinstance(rows, DecodedImages)
        else InMemoryDataset(from_pixels(torch.from_numpy(rows), schema), schema, labels)
    )
    built.source = album
    return built


def _every(album: ImageFolder, read: Callable[[int], R], what: str) -> Iterator[R | UserError]:
    """Apply `read` to the index of every picture on all cores, in order, with errors as values; `what` is its name."""

    def attempt(i: int) -> R | UserError:
        try:
            return read(i)
        except UserError as error:
            return UserError(str(error))  # the one raised keeps its traceback, and all its frames, in memory

    files = all(isinstance(original, str) for original in album.sources)  # others may share a file handle
    numbers = range(len(album.sources))
    return track(parallel_map(attempt, numbers, processes=files), what, len(numbers))


def _good(scan: FolderScan, attempt: Callable[[int], object] | None, skip_unreadable: bool | None) -> list[bool]:
    """Which pictures can be read, tested by `attempt` on the index of each, if not None.

    Raises for, or warns of, those that cannot, including those with bad headers.
    """
    originals = scan.album.sources
    tried = list(_every(scan.album, attempt, "reading pictures")) if attempt else [None] * len(originals)
    bad = scan.bad | {o: e for o, e in zip(originals, tried, strict=True) if isinstance(e, UserError)}
    _report(scan, bad, skip_unreadable)
    return [original not in bad for original in originals] if bad else [True] * len(originals)


def _report(scan: FolderScan, bad: dict[ImageSource, UserError], skip_unreadable: bool | None) -> None:
    """Raise for, or warn of, the pictures that cannot be read."""
    total = len(scan.album.sources) + len(scan.bad)
    if not bad:
        return
    first = bad[min(bad, key=str)]
    if total == 1:
        raise first
    text = f"{scan.album.name}: {len(bad)} of {total} pictures cannot be read"
    if not skip_unreadable or len(bad) == total:
        option = ", or leave them out with --skip-unreadable"
        remedy = "repair or remove them" + option * (len(bad) < total and skip_unreadable is not None)
        raise UserError(f"{text}: {remedy}; the first is {first}")
    warnings.warn(f"{text} and are left out; the first is {first}", stacklevel=2)


def _by(header: ImageHeader) -> str:
    return f"{header.size[0]}x{header.size[1]}"
