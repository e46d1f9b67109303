"""Lines of text to rows of token numbers, and the schema of the rows."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from nelbo.data import vocabulary
from nelbo.data.dataset import InMemoryDataset
from nelbo.data.options import DataOptions
from nelbo.data.schema import Schema
from nelbo.data.vocabulary import UNKNOWN

SHORT = 32  # characters of a line, up to which its tokens are characters
DEFAULT = 4000  # token numbers of a vocabulary
LONGEST = 512  # the default limit of tokens per row


def fit_vocabulary(lines: Sequence[str], options: DataOptions) -> Schema:
    """Fit the vocabulary and the length to lines, and return their schema."""
    short = np.quantile([len(line) for line in lines], 0.9) <= SHORT
    characters = options.tokens == "characters" or (options.tokens is None and short)
    make = vocabulary.characters if characters else vocabulary.subwords
    known = make(lines, options.vocabulary or DEFAULT)
    lengths = [len(row) for row in known.numbers(lines)]
    most = min(2 * int(np.quantile(lengths, 0.99)), LONGEST)
    return Schema("text", (options.length or most,), (0.0,), (1.0,), "real", vocabulary=known)


def encode(lines: Sequence[str], schema: Schema, name: str) -> InMemoryDataset:
    """Encode lines as rows; warns of the number of cut lines and of unknown characters."""
    assert schema.vocabulary is not None
    length, found = schema.shape[0], schema.vocabulary.numbers(lines)
    rows = torch.zeros(len(found), length, dtype=torch.int32)
    for row, tokens in zip(rows, found, strict=True):
        row[: len(tokens)] = torch.tensor(tokens[:length], dtype=torch.int32)
    _warn(name, rows, [len(tokens) for tokens in found], length)
    return InMemoryDataset(rows, schema)


def _warn(name: str, rows: Tensor, lengths: Sequence[int], length: int) -> None:
    if cut := sum(n > length for n in lengths):
        at = lengths.index(max(lengths)) + 1
        remedy = f"the longest is line {at}, of {max(lengths):,}: --length {max(lengths)} keeps all"
        warnings.warn(f"{name}: {cut:,} of {len(rows):,} lines are cut to {length} tokens ({remedy})", stacklevel=5)
    if unknown := int((rows == UNKNOWN).sum()):
        warnings.warn(f"{name}: {unknown:,} characters are not in the vocabulary and become UNKNOWN", stacklevel=5)
