"""Pictures: as arrays (`nelbo.data.arrays.kind` reads these), in files, or in a Hugging Face dataset."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from nelbo.data import html, sources
from nelbo.data.arrays.infer import Part
from nelbo.data.arrays.kind import ArrayKind, fitted, rows_like
from nelbo.data.dataset import Data, Dataset
from nelbo.data.images import folder, huggingface
from nelbo.data.images.decode import MODES, Target
from nelbo.data.images.folder import Album, albums, extend_by
from nelbo.data.kinds import DataKind, reader_of
from nelbo.data.options import DataOptions
from nelbo.data.schema import Schema
from nelbo.data.split import split_at_random
from nelbo.errors import UserError

SMALL = 28  # pixels a side, up to which convolutions see pixels
LARGEST = 32  # patches a side
WIDTH = 40  # channels of convolutions over patches


class ImageKind(ArrayKind):
    """Pictures. Of sources, this kind reads those that hold encoded pictures."""

    name = "image"
    noun = "pictures"
    source_nouns = ("folders of pictures", "a folder")
    options = ("size", "channels", "labels")
    recipe = "pictures"
    axes = ("channels", "height", "width")
    figures = "nelbo.plotting.image"
    default_ending = ".png"
    is_picture = True

    def recognises(self, source: Any, options: DataOptions) -> bool:
        return huggingface.has_pictures(source) if huggingface.is_hub(source) else bool(sources.locate(source))

    def load(self, source: Any, options: DataOptions, seed: int) -> Data:
        both = _albums(source, options.labels)
        name = "dataset" if huggingface.is_hub(source) else Path(source).expanduser().name
        surveys = [folder.survey(album) for album in both if album is not None]
        shape = folder.common_shape(surveys, options.height_and_width, options.channels)
        classes = extend_by((), (found.album for found in surveys))
        held_out = (options.val_fraction, seed)
        if shape[0] == 1 and any(found.deep for found in surveys):
            target, parts = Target(shape, options.fit, deep=True), []
            for found in surveys:
                rows, kept = folder.read(found, target, options.skip_bad)
                parts.append(Part(kept.name, rows, kept.labels(classes)))
            data = fitted(name, parts[0], parts[1] if len(parts) == 2 else None, classes, held_out, options.fit)
            if not Target.of(data.schema, deep=True).deep:
                raise UserError(
                    f"{both[0].name}: the pictures have 16 bits, but no value above 255: save them with 8 bits"
                )
            return data
        schema = Schema("image", shape, (0.0,), (255.0,), "unit", classes, options.fit)
        built = [folder.build(found, schema, options.skip_bad) for found in surveys]
        return Data(name, *built) if len(built) == 2 else split_at_random(built[0], name, *held_out, both[0].name)

    def load_like(self, source: Any, schema: Schema, split: str, options: DataOptions) -> Dataset:
        both = _albums(source)
        album = both[0] if split == "train" or both[1] is None else both[1]
        if schema.kind != "image" or schema.shape[0] not in MODES:
            raise UserError(
                f"{album.name}: holds pictures, the model takes rows of shape {schema.shape}: give an array"
            )
        known, found = replace(schema, classes=extend_by(schema.classes, [album])), folder.survey(album)
        target = Target.of(schema, found.deep)
        if not target.deep:
            return folder.build(found, known, options.skip_bad)
        rows, kept = folder.read(found, target, options.skip_bad)
        return rows_like(Part(album.name, rows, kept.labels(known.classes)), known)

    def reader_of(self, source: Any) -> DataKind:
        return reader_of(source, DataOptions())

    def default_net(self, schema: Schema) -> dict[str, Any]:
        """Convolutions where the shorter side is at least 8, over patches where the longer one is large.

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
        return f"images of {height} x {width} pixels, {channels} {'channel' if channels == 1 else 'channels'}"

    def to_html(self, values: Any, schema: Schema) -> str:
        return html.image_strip(values, schema)


def _albums(source: Any, labels: str | None = None) -> tuple[Album, Album | None]:
    """The pictures of a source: of the training (or only) split, and of a test split if there is one."""
    return huggingface.unwrap(source) if huggingface.is_hub(source) else albums(Path(source).expanduser(), labels)
