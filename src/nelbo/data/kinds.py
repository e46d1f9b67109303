"""What differs by kind of data on the way between a model's numbers and what a user holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from nelbo.data import tables
from nelbo.data.schema import Schema


def _as_they_are(values: np.ndarray, schema: Schema) -> np.ndarray:
    return values


def _lines(values: np.ndarray, schema: Schema) -> list[str]:
    assert schema.vocabulary is not None
    return schema.vocabulary.lines(values)


@dataclass(frozen=True)
class Form:
    """How data of a kind are handled.

    `told` makes of values `(n, *shape)` in the data's units what a user is given, `beside` of one number for each
    element of such values; `gaps`: data may lack elements (NaN). `drawn`: a sample is a draw from the likelihood, never
    its mean, which is no such datum. A model is started from `start_rows` training rows.
    """

    told: Callable[[np.ndarray, Schema], Any] = _as_they_are
    beside: Callable[[np.ndarray, Schema], Any] = _as_they_are
    gaps: bool = False
    drawn: bool = False
    start_rows: int = 1000


FORMS = {
    "image": Form(),
    "vector": Form(),
    "series": Form(gaps=True),
    "table": Form(tables.decode, tables.frame_of, gaps=True, drawn=True, start_rows=20_000),
    "text": Form(_lines, drawn=True, start_rows=20_000),
}


def form(schema: Schema) -> Form:
    """The form of the schema's kind."""
    return FORMS[schema.kind]
