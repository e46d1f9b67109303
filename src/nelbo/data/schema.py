"""Schema of the data: their shape, and the affine map between raw values and model units.

    x = (raw - shift) / scale        raw = x * scale + shift

`shift` and `scale` hold one number, or one per feature. They are fitted once, on the training rows, and saved with the
model. Tables are converted column by column when they are read, so their shift is 0 and their scale 1.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from functools import cached_property
from math import prod
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from nelbo.config.registry import Count
from nelbo.data.columns import Column
from nelbo.data.kinds import DataKind, kind_of
from nelbo.data.vocabulary import Vocabulary
from nelbo.errors import UserError

Kind = Literal["image", "vector", "table", "series", "text"]
Support = Literal["binary", "unit", "real"]
ResizeMode = Literal["crop", "pad", "stretch"]
Package = Literal["", "polars"]
OF_KIND = {"columns": "table", "vocabulary": "text", "package": "table"}
OF_KIND |= dict.fromkeys(("names", "group", "clock"), "series")
"""The fields of a single kind."""
DTYPES = ("", *(f"{sign}int{bits}" for sign in ("u", "") for bits in (8, 16, 32, 64)), "float16", "float64")
WIDE = ("uint32", "uint64", "int32", "int64", "float64")
"""The types with more digits than float32."""


@dataclass(frozen=True)
class Schema:
    """The type of one datum.

    Args:
        kind: the name of the kind of data.
        shape: (channels, height, width) for pictures, (steps, channels) for series, (features,) for vectors and tables,
            and (length,) for text, in tokens.
        shift: one number, or one per feature or channel.
        scale: one number above 0, or one per feature or channel.
        support: the values of x: {0, 1}, [0, 1], any real number, or tokens.
        classes: the names of the classes that labels index.
        resize_mode: how pictures of other sizes are resized.
        columns: all columns of a table, in order; the `feature_columns` are its features.
        names: the names of a series' channels, if known.
        group: the columns that name the units of a series' table, if there are some.
        clock: the column that counts the time of a series' table, if there is one.
        vocabulary: the tokens of text.
        dtype: the NumPy type of an array, in which its values come back; "": float32.
        whole: for each feature or channel of whole numbers, or of one value, its lowest and highest one; () for others.
        package: the package of the DataFrames that samples of a table are: "polars", or "" for pandas.

    Raises `UserError` for inconsistent values.

    >>> Schema("image", (1, 2, 2), (0.0,), (255.0,), "unit").encode(torch.full((1, 1, 2, 2), 51)).mean().item()
    0.20000000298023224
    """

    kind: Kind
    shape: tuple[Count, ...]
    shift: tuple[float, ...]
    scale: tuple[float, ...]
    support: Support
    classes: tuple[str, ...] = ()
    resize_mode: ResizeMode = "crop"
    columns: tuple[Column, ...] = ()
    names: tuple[str, ...] = ()
    group: tuple[str, ...] = field(default=(), compare=False)
    clock: str = field(default="", compare=False)
    vocabulary: Vocabulary | None = None
    dtype: str = field(default="", compare=False)
    whole: tuple[tuple[float, ...], ...] = field(default=(), compare=False)
    package: Package = field(default="", compare=False)

    def __post_init__(self) -> None:
        for name, choices in (("kind", Kind), ("support", Support), ("resize_mode", ResizeMode), ("package", Package)):
            if getattr(self, name) not in get_args(choices):
                raise UserError(f"{name}={getattr(self, name)!r}: use one of {', '.join(get_args(choices))}")
        self.data_kind.check_schema(self)
        for name, values in (("shift", self.shift), ("scale", self.scale)):
            if not all(abs(value) <= torch.finfo(torch.float32).max for value in values):
                raise UserError(f"{name} exceeds the range of float32: rescale the data, whose values are too large")
        if min(self.scale) <= 0:
            raise UserError(f"scale={min(self.scale)}: use numbers above 0")
        if self.dtype not in DTYPES:
            raise UserError(f"dtype={self.dtype!r}: use one of {', '.join(DTYPES[1:])}, or leave it out")
        if self.whole and (len(self.whole) != self.shape[-1] or not {*map(len, self.whole)} <= {0, 2}):
            raise UserError(f"whole has {len(self.whole)} ranges: give (low, high) or () for each of {self.shape[-1]}")
        if unfit := [name for name, kind in OF_KIND.items() if getattr(self, name) and kind != self.kind]:
            raise UserError(
                f"kind={self.kind} does not support {unfit[0]}, which belongs to {OF_KIND[unfit[0]]}: remove it"
            )

    @classmethod
    def table(cls, columns: tuple[Column, ...]) -> Schema:
        """The schema of a table of these columns."""
        return cls("table", (sum(column.is_feature for column in columns),), (0.0,), (1.0,), "real", columns=columns)

    @cached_property
    def data_kind(self) -> DataKind:
        """The kind of the data, as an object."""
        return kind_of(self.kind)

    def require_kind(self, purpose: str, *kinds: Kind) -> None:
        """Raise `UserError` unless the data are of one of these kinds, which `purpose` needs."""
        if self.kind not in kinds:
            nouns = " or ".join(kind_of(name).noun for name in kinds)
            raise UserError(f"{purpose} does not support {self.data_kind.noun}: use a model trained on {nouns}")

    @cached_property
    def feature_columns(self) -> tuple[Column, ...]:
        """The columns of a table that are features of the model, one for each number in x."""
        return tuple(column for column in self.columns if column.is_feature)

    def encode(self, raw: Tensor) -> Tensor:
        """Convert raw values `(n, *shape)` of any dtype to x, float32 of the same shape, without clipping.

        It computes in float64 where the dtype has more digits than float32.
        """
        wide = raw.dtype in (torch.float64, torch.int32, torch.int64)
        x = raw.to(torch.float64 if wide else torch.float32, copy=True)
        if any(self.shift):
            x.sub_(self._affine[0].to(x))
        if self.scale != (1.0,):
            x.div_(self._affine[1].to(x))
        return x.to(torch.float32)

    def decode(self, x: Tensor) -> Tensor:
        """Convert x to raw values of the same shape, the inverse of `encode`: float32, or float64 for a wider type."""
        shift, scale = self._affine
        if self.dtype in WIDE:
            x = x.to("cpu" if x.device.type == "mps" else x.device, torch.float64)
        return (x * scale.to(x) + shift.to(x)).to(self.decoded)

    @property
    def decoded(self) -> torch.dtype:
        """The type of decoded values."""
        return torch.float64 if self.dtype in WIDE else torch.float32

    def clip(self, raw: np.ndarray) -> np.ndarray:
        """Clip raw values, of a floating-point type, to the support of x; a negative zero becomes 0."""
        if self.support == "real":
            return raw
        low, high = self.shift[0], self.shift[0] + self.scale[0]
        first, last = raw.dtype.type(low), raw.dtype.type(high)  # rounded into the range, if they are not exact
        first = np.nextafter(first, raw.dtype.type(np.inf)) if float(first) < low else first
        last = np.nextafter(last, raw.dtype.type(-np.inf)) if float(last) > high else last
        return np.clip(raw, first, last) + raw.dtype.type(0)

    @property
    def inference_batch_size(self) -> int:
        """The number of data in an inference batch: up to 1000, and fewer for large data.

        Intermediate results should stay in the processor's cache.
        """
        return max(1, min(1000, 2**20 // prod(self.shape)))

    @cached_property
    def _affine(self) -> tuple[Tensor, Tensor]:
        """(shift, scale) in float64: scalars, or one number per feature."""
        shift, scale = (torch.tensor(numbers, dtype=torch.float64) for numbers in (self.shift, self.scale))
        return (shift[0] if len(shift) == 1 else shift), (scale[0] if len(scale) == 1 else scale)

    def to_json(self) -> dict[str, Any]:
        """A dictionary of numbers, strings and lists; `parse` reads it back exactly."""
        values = {name: getattr(self, name) for name in self._field_names(self.kind)}
        listed = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
        if self.vocabulary:
            listed["vocabulary"] = self.vocabulary.to_json()
        return listed | ({"columns": [column.to_json() for column in self.columns]} if self.columns else {})

    @classmethod
    def _field_names(cls, kind: Any) -> list[str]:
        """The fields that a schema of this kind has."""
        return [field.name for field in fields(cls) if OF_KIND.get(field.name, kind) == kind]
