"""Lines of text -> rows of token numbers, and what the rows' schema is."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nelbo.data import vocabulary
from nelbo.data.dataset import Arrays, Dataset
from nelbo.data.schema import Schema
from nelbo.data.text.files import is_text, lines_of
from nelbo.data.vocabulary import UNKNOWN, Tokens
from nelbo.errors import UserError

SHORT = 32  # characters of a line, up to which its tokens are characters
DEFAULT = 4000  # numbers of a vocabulary
LONGEST = 512  # tokens of a row, unless more are asked for


@dataclass(frozen=True)
class Options:
    """How lines become rows: the kind of tokens, how many there are at most, and how many a row takes.

    What is None is chosen from the lines; see `nelbo.data.text`. Raises `UserError` for numbers that cannot be.
    """

    tokens: Tokens | None = None
    vocabulary: int | None = None
    length: int | None = None

    def __post_init__(self) -> None:
        least = vocabulary.RESERVED + 2
        if self.vocabulary is not None and self.vocabulary < least:
            raise UserError(f"vocabulary={self.vocabulary}: give {least} or more: two tokens, the end and the unknown")
        if self.length is not None and self.length < 1:
            raise UserError(f"length={self.length}: give 1 token or more")

    def refuse(self) -> None:
        """Raise `UserError` if an option is given: the data are no text."""
        if given := [f"{name}={value!r}" for name, value in vars(self).items() if value is not None]:
            raise UserError(f"{given[0]}: this is for text: leave it out, or give a .txt file")


def learn(lines: Sequence[str], options: Options) -> Schema:
    """The schema of such lines: the vocabulary and the length that they ask for."""
    short = np.quantile([len(line) for line in lines], 0.9) <= SHORT
    kind = options.tokens or ("characters" if short else "subwords")
    makers = {"characters": vocabulary.characters, "subwords": vocabulary.subwords}
    if kind not in makers:
        raise UserError(f"tokens={kind!r}: give one of {', '.join(makers)}")
    known = makers[kind](lines, options.vocabulary or DEFAULT)
    lengths = [len(row) for row in known.numbers(lines)]
    most = min(2 * int(np.quantile(lengths, 0.99)), LONGEST)
    return Schema("text", (options.length or most,), (0.0,), (1.0,), "real", vocabulary=known)


def encode(lines: Sequence[str], schema: Schema, name: str) -> Arrays:
    """The rows of lines; warns how many lines are cut, and how many characters are unknown."""
    assert schema.vocabulary is not None
    length, found = schema.shape[0], schema.vocabulary.numbers(lines)
    rows = torch.zeros(len(found), length, dtype=torch.int32)
    for row, tokens in zip(rows, found, strict=True):
        row[: len(tokens)] = torch.tensor(tokens[:length], dtype=torch.int32)
    _warn(name, rows, [len(tokens) for tokens in found], length)
    return Arrays(rows, schema)


def _warn(name: str, rows: Tensor, lengths: Sequence[int], length: int) -> None:
    if cut := sum(n > length for n in lengths):
        at = lengths.index(max(lengths)) + 1
        remedy = f"the longest is line {at}, of {max(lengths):,}: --length {max(lengths)} keeps all"
        warnings.warn(f"{name}: {cut:,} of {len(rows):,} lines are cut to {length} tokens ({remedy})", stacklevel=5)
    if unknown := int((rows == UNKNOWN).sum()):
        warnings.warn(f"{name}: {unknown:,} characters are not in the vocabulary, and taken as one", stacklevel=5)


def like(source: Any, schema: Schema, skip_bad: bool) -> Dataset:
    """Lines of any source of text, for a model of this schema; raises `UserError` if one of the two is of no text."""
    if schema.kind != "text":
        held = source if isinstance(source, str | Path) else "a list of strings"
        raise UserError(f"{held}: is text, the model takes rows of shape {schema.shape}: give an array or pictures")
    if not (isinstance(source, str | Path) or is_text(source)):
        raise UserError(
            f"a {type(source).__name__} is no text as the model takes: give a line, a list of lines, a .txt"
        )
    name, lines = lines_of(source, skip_bad)
    return encode(lines, schema, name)
