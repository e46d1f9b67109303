"""Text: the lines of a file, and lines as rows of token numbers.

Files are UTF-8, with or without a byte order mark, or UTF-16 with one; they may be gzipped.
"""

from __future__ import annotations

import codecs
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nelbo.data import vocabulary
from nelbo.data.dataset import InMemoryDataset
from nelbo.data.options import DataOptions
from nelbo.data.schema import Schema
from nelbo.data.vocabulary import UNKNOWN
from nelbo.errors import UserError
from nelbo.reading import damaged, is_file, opened

ENDINGS = (".txt", ".txt.gz")
MARKS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
LOOK, HEAD = 100, 2**16  # lines, and bytes, by which a table is recognized


def is_text(source: Any) -> bool:
    """Whether a source is text: a list or tuple of strings, or an existing .txt file that is not a table."""
    if isinstance(source, list | tuple):
        return bool(source) and all(isinstance(line, str) for line in source)
    return isinstance(source, str | Path) and _named(source) and not holds_table(Path(source).expanduser())


def _named(source: str | Path) -> bool:
    return str(source).lower().endswith(ENDINGS) and is_file(source)


def holds_table(path: Path) -> bool:
    """Whether tabs, semicolons or bars, or two or more commas, cut all the first lines into equally many cells."""
    try:
        with opened(path) as file:
            head = file.read(HEAD).decode("latin1")
    except UserError:  # raised again when the file is read
        return False
    lines = [line for line in head.split("\n")[:LOOK] if line.strip()]
    for mark, least in (("\t", 1), (";", 1), ("|", 1), (",", 2)):
        counts = {line.count(mark) for line in lines[: max(len(lines) - 1, 2)]}  # the last line may be cut
        if len(lines) > 1 and len(counts) == 1 and min(counts) >= least:
            return True
    return False


def lines_of(source: Any, skip_unreadable: bool = False) -> tuple[str, list[str]]:
    """The name and the lines of text.

    Args:
        source: a path, a line, or a list of lines; a string that is not the name of a file is a line.
        skip_unreadable: whether to leave out lines that are not in the file's encoding, with a warning.

    Raises `UserError` for a file without text.
    """
    name, lines = "text", [source] if isinstance(source, str) else source
    if isinstance(source, Path) or (isinstance(source, str) and (is_file(source) or _meant(source))):
        path = Path(source).expanduser()
        name, lines = str(path), _read(path, skip_unreadable)
    kept = [line for line in map(str.strip, lines) if line]
    if not kept:
        raise UserError(f"{name} is empty: give at least one line of text")
    if len(kept) < len(lines):
        _warn_lines(f"{name}: {len(lines) - len(kept):,} empty lines are left out")
    return name, kept


def _meant(source: str) -> bool:
    """Whether a string looks like the name of a file."""
    return source.lower().endswith(ENDINGS) and len(source.split()) == 1


def _read(path: Path, skip_unreadable: bool) -> list[str]:
    with opened(path) as file, damaged(path):
        content = file.read()
    encoding = MARKS.get(content[:2], "utf-8-sig")
    if encoding == "utf-8-sig" and b"\0" in content:
        raise UserError(
            f"{path} has a zero byte at byte {content.index(0)}, so it is not text, or is UTF-16 without its mark: "
            f"give a text file, or convert it, such as with `iconv -f utf-16le -t utf-8 {path.name} > utf8.txt`"
        )
    try:
        return _cut(content.decode(encoding))
    except UnicodeDecodeError as error:
        if skip_unreadable and encoding == "utf-8-sig":
            return _good(content, path)
        line = content[: error.start].count(b"\n") + 1
        raise UserError(
            f"{path} is not {encoding.removesuffix('-sig').upper()} at byte {error.start} "
            f"(0x{content[error.start]:02x}, line {line}): convert it, such as with `iconv -f latin1 -t utf-8 "
            f"{path.name} "
            "> utf8.txt`, or leave such lines out with --skip-unreadable"
        ) from None


def _cut(text: str) -> list[str]:
    """The lines of a text, with or without a line break at its end."""
    return text.removesuffix("\n").split("\n") if text else []


def _good(content: bytes, path: Path) -> list[str]:
    """The lines that are UTF-8."""
    found, lines = [], content.removeprefix(codecs.BOM_UTF8).removesuffix(b"\n").split(b"\n")
    for line in lines:
        try:
            found.append(line.decode("utf-8"))
        except UnicodeDecodeError:
            continue
    _warn_lines(f"{path}: {len(lines) - len(found):,} lines are not UTF-8 and are left out")
    return found


def _warn_lines(message: str) -> None:
    warnings.warn(message, stacklevel=5)


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
