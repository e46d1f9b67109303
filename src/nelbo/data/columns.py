"""A column of a table: its kind, and the map between its cells and the numbers that a model sees.

A model sees one number for each cell of a feature column, NaN for a missing one: the index of a category in
`categories`, or a number that `transform` maps to about standard Normal units (see `nelbo.data.tables`).
"""

from __future__ import annotations

import json
import math
from dataclasses import MISSING, dataclass, fields
from datetime import date, datetime
from itertools import pairwise
from typing import Any, Literal, get_args

import numpy as np

from nelbo.data import formats
from nelbo.errors import UserError

ColumnKind = Literal[
    "continuous", "count", "binary", "categorical", "ordinal", "datetime", "constant", "identifier"
]  # fmt: skip
Transform = Literal["", "standard", "log", "quantile"]
NUMBERS = ("continuous", "count", "datetime")
CHOICES = ("binary", "categorical", "ordinal")
LEFT_OUT = ("constant", "identifier")
DATES: dict[str, Any] = {"datetime": datetime, "date": date}  # types of labels; a datetime is a date, too


@dataclass(frozen=True)
class Column:
    """One column of a table. It is saved with the model.

    Args:
        name: the column's label, as a text.
        kind: one of `ColumnKind`.
        dtype: the source's type in Arrow's notation (`int64`, `double`, `string`, `bool`, `date32[day]`,
            `timestamp[us]`, `dictionary<string>`, ...).
        frame: the type in pandas, if Arrow's does not imply it.
        categories: the categories of a categorical column, in order.
        transform: how numbers are transformed to about standard Normal units.
        transform_params: for "standard", the mean and standard deviation of the values; for "log", those of their
            logarithms, and the lowest value; for "quantile", the knots, then their scores.
        low: the lowest number in training.
        high: the highest number in training.
        decimals: the number of decimals that are written; None: all.
        unit: the unit in which a datetime (since 1970), a duration or a time of day is counted, as in NumPy: D, h, m,
            s, ms, us or ns.
        format: how texts write the numbers or dates, or whole numbers the dates; see `nelbo.data.formats`. "":
            numbers with a decimal point, and ISO dates.
        missing: the share of missing cells in training.
        constant: the only value of a constant column; None: all cells are missing.
        note: why the column is left out.
        label: the label in a DataFrame as JSON, a text, number, date or tuple of these; "": the name. See `label_of`.

    >>> Column("sex", "binary", "string", categories=("f", "m")).size
    2
    """

    name: str
    kind: ColumnKind
    dtype: str
    frame: str = ""
    categories: tuple[str, ...] = ()
    transform: Transform = ""
    transform_params: tuple[float, ...] = ()
    low: int | float | None = None
    high: int | float | None = None
    decimals: int | None = None
    unit: str = ""
    format: str = ""
    missing: float = 0.0
    constant: str | None = None
    note: str = ""
    label: str = ""

    def __post_init__(self) -> None:
        for name, choices in (("kind", ColumnKind), ("transform", Transform)):
            if getattr(self, name) not in get_args(choices):
                known = ", ".join(filter(None, get_args(choices)))
                raise UserError(f"column {self.name!r}: {name}={getattr(self, name)!r}: give one of {known}")
        if self.is_number != bool(self.transform):
            raise UserError(f"column {self.name!r}: kind={self.kind!r} with transform={self.transform!r} do not fit")
        if self.is_categorical and len(set(self.categories)) != max(len(self.categories), 2):
            raise UserError(f"column {self.name!r}: categories={self.categories}: give 2 or more, all different")
        if self.format:
            formats.parse(self.format)
        _ = self.user_label
        if self.is_number and not self._is_invertible():
            raise UserError(
                f"column {self.name!r}: low={self.low}, high={self.high} and {len(self.transform_params)} "
                f"transform_params do not make a {self.transform} transform: infer the schema anew"
            )

    def _is_invertible(self) -> bool:
        """Whether the range and the parameters of the transform map numbers to numbers and back."""
        if self.low is None or self.high is None or not self.low <= self.high:
            return False
        n, values = len(self.transform_params), self.transform_params
        if self.transform == "quantile":
            knots, scores = values[: n // 2], values[n // 2 :]
            rising = all(a < b for a, b in pairwise(knots)) and all(a <= b for a, b in pairwise(scores))
            return n >= 4 and n % 2 == 0 and rising and scores[0] < scores[-1]
        return n == (3 if self.transform == "log" else 2) and values[1] > 0 and (n == 2 or values[2] > 0)

    @property
    def is_feature(self) -> bool:
        """Whether a model sees it."""
        return self.kind not in LEFT_OUT

    @property
    def is_number(self) -> bool:
        """Whether its values are numbers on a scale, dates included."""
        return self.kind in NUMBERS

    @property
    def is_categorical(self) -> bool:
        """Whether each value is one of `categories`."""
        return self.kind in CHOICES

    @property
    def user_label(self) -> Any:
        """The label in a DataFrame."""
        if not self.label:
            return self.name
        try:
            return _label_from_json(json.loads(self.label))
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
            raise UserError(f"column {self.name!r}: label={self.label!r} is not a label: leave it out") from None

    @property
    def size(self) -> int:
        """The number of its categories; 0 for numbers."""
        return len(self.categories) if self.is_categorical else 0

    def to_json(self) -> dict[str, Any]:
        """A dictionary of numbers, strings and lists, without what is left at its default; `parse` reads it back."""
        values = {field.name: (getattr(self, field.name), field.default) for field in fields(self)}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, (value, default) in values.items()
            if default is MISSING or value != default
        }


def label_of(label: Any, name: str) -> str:
    """The label of a column as it is saved with it: "" if that is its name, or of a type that has no JSON.

    >>> label_of(np.int64(3), "3"), label_of("age", "age"), label_of(("a", 1), "a_1")
    ('3', '', '{"tuple": ["a", 1]}')
    """
    plain = None if isinstance(label, str) and label == name else _label_to_json(label)
    return "" if plain is None else json.dumps(plain, ensure_ascii=False)


def _label_to_json(label: Any) -> Any:
    if isinstance(label, np.generic):
        label = label.item()
    if isinstance(label, tuple):
        parts = [_label_to_json(part) for part in label]
        return None if None in parts else {"tuple": parts}
    for name, kind in DATES.items():
        if isinstance(label, kind):
            return {name: label.isoformat()}
    return label if isinstance(label, str | int) or (isinstance(label, float) and math.isfinite(label)) else None


def _label_from_json(value: Any) -> Any:
    if isinstance(value, str | int | float):
        return value
    ((name, content),) = value.items()
    return tuple(map(_label_from_json, content)) if name == "tuple" else DATES[name].fromisoformat(content)
