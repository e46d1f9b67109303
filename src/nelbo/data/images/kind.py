"""Pictures: as arrays (which `nelbo.data.arrays.kind` reads), in files, or in a Hugging Face dataset."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from nelbo.data import html, sources
from nelbo.data.arrays.infer import RawSplit
from nelbo.data.arrays.kind import ArrayKind, fitted, rows_like
from nelbo.data.dataset import Dataset, DataSplits
from nelbo.data.images import folder, huggingface
from nelbo.data.images.decode import DEPTHS, MODES, ImageSpec
from nelbo.data.images.folder import ImageFolder, albums, extend_by
from nelbo.data.kinds import DataKind, RowNames, reader_of
from nelbo.data.options import DataOptions
from nelbo.data.schema import Schema
from nelbo.data.split import split_at_random
from nelbo.errors import UserError

SMALL = 28  # pixels per side up to which convolutions apply to pixels
LARGEST = 32  # patches per side
WIDTH = 40  # channels of convolutions over patches


class ImageKind(ArrayKind):
    """Pictures. This kind reads sources of image files (PNG, JPEG ...)."""

    name = "image"
    noun = "pictures"
    source_nouns = ("folders of pictures", "a folder")
    options = ("size", "channels", "labels")
    recipe = "pictures"
    axes = ("channels", "height", "width")
    figures = "nelbo.plotting.images"
    default_ending = ".png"
    is_picture = True

    def recognises(self, source: Any, options: DataOptions) -> bool:
        return (
            huggingface.has_pictures(source)
            if huggingface.is_dataset_object(source)
            else folder.listed(source) is not None or bool(sources.locate(source))
        )

    def load(self, source: Any, options: DataOptions, seed: int) -> DataSplits:
        both = _albums(source, options.labels)
        name = Path(source).expanduser().name if isinstance(source, str | Path) else "dataset"
        surveys = [folder.scan_folder(album) for album in both if album is not None]
        shape = folder.common_shape(surveys, options.height_and_width, options.channels)
        classes = extend_by((), (scan.album for scan in surveys))
        held_out = (options.val_fraction, seed)
        depth = max((scan.depth for scan in surveys), key=DEPTHS.index) if shape[0] == 1 else "uint8"
        if depth != "uint8":
            target, parts = ImageSpec(shape, options.resize_mode, depth), []
            for scan in surveys:
                rows, kept = folder.read(scan, target, options.skip_unreadable)
                parts.append(RawSplit(kept.name, rows, kept.labels(classes), kept))
            test = parts[1] if len(parts) == 2 else None
            return fitted(name, parts[0], test, classes, held_out, options.resize_mode)
        schema = Schema("image", shape, (0.0,), (255.0,), "unit", classes, options.resize_mode, dtype="uint8")
        built = [folder.build(scan, schema, options.skip_unreadable) for scan in surveys]
        return (
            DataSplits(name, built[0], built[1])
            if len(built) == 2
            else split_at_random(built[0], name, *held_out, both[0].name)
        )

    def load_like(self, source: Any, schema: Schema, split: str, options: DataOptions) -> Dataset:
        both = _albums(source)
        album = both[0] if split == "train" or both[1] is None else both[1]
        if schema.kind != "image" or schema.shape[0] not in MODES:
            raise UserError(
                f"{album.name} has pictures, and the model needs data of shape {schema.shape}: give an array"
            )
        known, scan = replace(schema, classes=extend_by(schema.classes, [album])), folder.scan_folder(album)
        target = ImageSpec.of(schema, scan.depth)
        if target.depth == "uint8":
            return folder.build(scan, known, options.skip_unreadable)
        rows, kept = folder.read(scan, target, options.skip_unreadable)
        return rows_like(RawSplit(album.name, rows, kept.labels(known.classes), kept), known)

    def reader_of(self, source: Any) -> DataKind:
        return reader_of(source, DataOptions())

    def default_net(self, schema: Schema) -> dict[str, Any]:
        """Convolutions if the shorter side is at least 8, over patches if the longer side is large.

        >>> [ImageKind().default_net(Schema("image", (1, n, n), (0.0,), (1.0,), "unit")) for n in (4, 28, 64)]
        [{'kind': 'mlp'}, {'kind': 'conv'}, {'kind': 'conv', 'width': 40, 'patch': 2}]
        """
        sides = schema.shape[1:]
        if min(sides) < 8:
            return {"kind": "mlp"}
        if max(sides) <= SMALL:
            return {"kind": "conv"}
        return {"kind": "conv", "width": WIDTH, "patch": max(2, 2 ** math.ceil(math.log2(max(sides) / LARGEST)))}

    def describe(self, schema: Schema) -> str:
        channels, height, width = schema.shape
        values = (
            f"{schema.shift[0]:g} {'and' if schema.support == 'binary' else 'to'} {schema.shift[0] + schema.scale[0]:g}"
        )
        named = f"{channels} {'channel' if channels == 1 else 'channels'}"
        return f"images of {height} x {width} pixels, {named}, values {values}"

    def row_names(self, rows: Dataset) -> RowNames:
        if not isinstance(rows.source, ImageFolder):
            return super().row_names(rows)
        return RowNames("file", [str(rows.source.sources[place]) for place in rows.places.tolist()])

    def to_html(self, values: Any, schema: Schema) -> str:
        return html.image_strip(values, schema)


def _albums(source: Any, labels: str | None = None) -> tuple[ImageFolder, ImageFolder | None]:
    """The pictures of a source: of its training (or only) split, and of its test split if any."""
    if huggingface.is_dataset_object(source):
        unwrapped: tuple[ImageFolder, ImageFolder | None] = huggingface.unwrap(source)
        return unwrapped
    if (pictures := folder.listed(source)) is None:
        return albums(Path(source).expanduser(), labels)
    if labels is not None:
        raise UserError(f"labels={labels!r} is for a folder: give the labels of listed pictures as (pictures, labels)")
    return pictures, None
