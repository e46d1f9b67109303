"""Vectors, and all sources of arrays: NumPy arrays and files, tensors, Torch datasets, named data sets."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from nelbo.data import html, sources
from nelbo.data.arrays import infer
from nelbo.data.dataset import Dataset, DataSplits, subset
from nelbo.data.kinds import DataKind, reader_of
from nelbo.data.options import DataOptions
from nelbo.data.schema import ResizeMode, Schema
from nelbo.data.split import RANDOM_SPLIT, at_random
from nelbo.errors import UserError


class ArrayKind(DataKind):
    """A kind of data whose values are arrays, drawn as curves."""

    def to_user(self, values: np.ndarray, schema: Schema) -> np.ndarray:
        """Values in the data's range and type; whole numbers are rounded, and lie in the range of training."""
        for j, ends in enumerate(schema.whole):
            if ends:
                values[..., j] = np.rint(values[..., j]).clip(*ends) + 0.0
        if not schema.dtype or schema.dtype.startswith("float"):
            return schema.clip(values).astype(schema.dtype or values.dtype, copy=False)
        limits = np.iinfo(schema.dtype)
        rounded = np.rint(schema.clip(values.astype(np.float64)))
        # 2**63 and 2**64 are floats, and beyond the largest integers
        whole = rounded.clip(limits.min, np.nextafter(float(limits.max), 0)).astype(schema.dtype)
        return np.where(rounded >= float(limits.max), np.array(limits.max, schema.dtype), whole)

    def to_html(self, values: Any, schema: Schema) -> str:
        return html.curve_strip(values, schema)

    def to_bytes(self, values: Any, schema: Schema, ending: str) -> bytes:
        return array_bytes(values, ending)


class VectorKind(ArrayKind):
    """Vectors. This kind reads every source that no other kind reads; its arrays may also hold pictures."""

    name = "vector"
    noun = "vectors"
    scaled_by_feature = True

    def recognises(self, source: Any, options: DataOptions) -> bool:
        return True

    def load(self, source: Any, options: DataOptions, seed: int) -> DataSplits:
        stored = sources.read(source, options.data_root)
        train, test, classes = sources.parts(stored)
        return fitted(Path(stored.name).stem, train, test, classes, (options.val_fraction, seed), counts=options.counts)

    def load_like(self, source: Any, schema: Schema, split: str, options: DataOptions) -> Dataset:
        train, test, classes = sources.parts(sources.read(source, options.data_root), schema.classes)
        part = train if split == "train" or test is None else test
        if part.shape != schema.shape:
            raise UserError(
                f"{part.name}: rows have shape {part.shape}, the model takes {schema.shape}: give such rows"
            )
        return rows_like(part, replace(schema, classes=classes))

    def reader_of(self, source: Any) -> DataKind:
        return reader_of(source, DataOptions())

    def default_recipe(self, source: Any) -> str | None:
        while isinstance(source, tuple) and source:  # ((x, y), (x_test, y_test))
            source = source[0]
        shape = getattr(source, "shape", ())
        return "pictures" if len(shape) in (3, 4) else None

    def default_net(self, schema: Schema) -> dict[str, Any]:
        return {"kind": "mlp"}

    def describe(self, schema: Schema) -> str:
        return f"vectors of {schema.shape[0]} numbers"


def rows_like(part: infer.RawSplit, schema: Schema) -> Dataset:
    """The rows for a model of this schema; see `infer.check_range`."""
    stats = infer.summarise(part, fast=infer.accepts_all_bytes(schema))
    infer.check_range(part, schema, stats)
    return infer.build(part, schema, stats)


def fitted(
    name: str,
    train: infer.RawSplit,
    test: infer.RawSplit | None,
    classes: tuple[str, ...],
    split: tuple[float, int],
    fit: ResizeMode = "crop",
    counts: bool = False,
) -> DataSplits:
    """Rows scaled by the statistics of the training rows; counts are not scaled."""
    if test is not None:
        alike = train.rows.dtype == test.rows.dtype
        stats, seen_test = (infer.summarise(part, fast=alike) for part in (train, test))
        schema = replace(infer.fit_schema(train, stats | seen_test, classes, counts), resize_mode=fit)
        return DataSplits(name, infer.build(train, schema, stats), infer.build(test, schema, seen_test))
    first, second = at_random(train.rows.shape[0], train.name, *split)
    chosen = np.ones(train.rows.shape[0], bool)
    chosen[second.numpy()] = False
    stats = infer.summarise(train, chosen, fast=True)
    schema = replace(infer.fit_schema(train, stats, classes, counts), resize_mode=fit)
    whole = infer.build(train, schema, stats)
    return DataSplits(name, subset(whole, first), subset(whole, second), RANDOM_SPLIT)


def array_bytes(values: np.ndarray, ending: str) -> bytes:
    """An array as `.npy`, or as a `.csv` of one row for each datum."""
    content = BytesIO()
    if ending == ".npy":
        np.save(content, values)
    else:
        np.savetxt(content, values.reshape(len(values), -1), delimiter=",", fmt="%.9g")
    return content.getvalue()
