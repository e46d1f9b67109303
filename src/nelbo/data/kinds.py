"""What differs by kind of data on the way between a model's numbers and what a user holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from nelbo.data import html, tables
from nelbo.data.schema import Schema


def _as_they_are(values: np.ndarray, schema: Schema) -> np.ndarray:
    return values


def _lines(values: np.ndarray, schema: Schema) -> list[str]:
    assert schema.vocabulary is not None
    return schema.vocabulary.lines(values)


def _image(schema: Schema) -> str:
    channels, height, width = schema.shape
    return f"images of {height} x {width} pixels, {channels} {'channel' if channels == 1 else 'channels'}"


def _vector(schema: Schema) -> str:
    return f"vectors of {schema.shape[0]} numbers"


def _series(schema: Schema) -> str:
    steps, channels = schema.shape
    return f"series of {steps} steps, {channels} {'channel' if channels == 1 else 'channels'}"


def _table(schema: Schema) -> str:
    return f"rows of {len(schema.columns)} columns, {schema.shape[0]} of them modelled"


def _text(schema: Schema) -> str:
    assert schema.vocabulary is not None
    return f"lines of up to {schema.shape[0]} tokens, {schema.vocabulary.size:,} different tokens"


@dataclass(frozen=True)
class Form:
    """How data of a kind are handled.

    `words` describes data of a schema, and `html` shows a few samples in a notebook. `told` makes of values
    `(n, *shape)` in the data's units what a user is given, `beside` of one number for each element of such values;
    `gaps`: data may lack elements (NaN). `drawn`: a sample is a draw from the likelihood, never its mean, which is no
    such datum. A model is started from `start_rows` training rows.
    """

    words: Callable[[Schema], str]
    html: Callable[[Any, Schema], str]
    told: Callable[[np.ndarray, Schema], Any] = _as_they_are
    beside: Callable[[np.ndarray, Schema], Any] = _as_they_are
    gaps: bool = False
    drawn: bool = False
    start_rows: int = 1000


FORMS = {
    "image": Form(_image, html.image_strip),
    "vector": Form(_vector, html.curve_strip),
    "series": Form(_series, html.curve_strip, gaps=True),
    "table": Form(_table, html.row_table, tables.decode, tables.frame_of, gaps=True, drawn=True, start_rows=20_000),
    "text": Form(_text, html.line_list, _lines, drawn=True, start_rows=20_000),
}


def form(schema: Schema) -> Form:
    """The form of the schema's kind."""
    return FORMS[schema.kind]
