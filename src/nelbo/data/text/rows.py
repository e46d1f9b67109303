"""Text: the lines of a file, and lines as rows of token numbers.

Files are UTF-8, with or without a byte order mark, or UTF-16 with one; they may be gzipped.
"""

from __future__ import annotations

import codecs
import reprlib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from nelbo.data import vocabulary
from nelbo.data.dataset import InMemoryDataset
from nelbo.data.images.folder import SUFFIXES
from nelbo.data.options import DataOptions
from nelbo.data.schema import Schema
from nelbo.data.vocabulary import UNKNOWN
from nelbo.errors import UserError
from nelbo.reading import damaged, exists, is_file, opened

ENDINGS = (".txt", ".txt.gz")
MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
LOOK, HEAD = 100, 2**16  # lines, and bytes, by which a table is recognized


class TextLines(NamedTuple):
    """TextLines of text without those that are empty: their name in messages, the lines, and their numbers.

    `numbers` counts lines of a file from 1, and items of a list from 0.
    """

    name: str
    lines: list[str]
    numbers: list[int]
    in_file: bool


def is_text(source: Any) -> bool:
    """Whether a source is text: strings in a list, a tuple, an array or a Series, or a .txt file that is not a table.

    Strings that all name files, or pictures, are not text.
    """
    if isinstance(source, str | Path):
        return _named(source) and not holds_table(Path(source).expanduser())
    items = _items(source)
    return any(isinstance(item, str | bytes) for item in items[:LOOK]) and not all(map(_is_file_name, items))


def _items(source: Any) -> list[Any]:
    """The items of a list or of one-dimensional strings of NumPy, pandas, polars and pyarrow; else an empty list."""
    if isinstance(source, list | tuple):
        scalar = all(item is None or isinstance(item, str | bytes | int | float) for item in source)
        return list(source) if scalar else []
    package = type(source).__module__.partition(".")[0]
    if isinstance(source, np.ndarray):
        return source.tolist() if source.ndim == 1 and source.dtype.kind in "OUST" else []
    if package in ("pandas", "polars") and type(source).__name__ in ("Series", "Index"):
        is_text = str(source.dtype).lower() in ("object", "str", "string", "category", "utf8", "categorical")
        return list(source) if is_text or str(source.dtype).startswith("string") else []
    texts = ("StringArray", "LargeStringArray", "StringViewArray", "ChunkedArray")
    return list(source.to_pylist()) if package == "pyarrow" and type(source).__name__ in texts else []


def _is_file_name(item: Any) -> bool:
    """Whether an item is the name of a file, or could be that of a picture."""
    return isinstance(item, str) and (is_file(item) or item.lower().endswith(SUFFIXES))


def _named(source: str | Path) -> bool:
    return str(source).lower().endswith(ENDINGS) and is_file(source)


def holds_table(path: Path) -> bool:
    """Whether tabs, semicolons or bars, or two or more commas, cut all the first lines into equally many cells."""
    try:
        with opened(path) as file:
            head = _broken(file.read(HEAD)).decode("latin1")
    except UserError:  # raised again when the file is read
        return False
    lines = [line for line in head.split("\n")[:LOOK] if line.strip()]
    for mark, least in (("\t", 1), (";", 1), ("|", 1), (",", 2)):
        counts = {line.count(mark) for line in lines[: max(len(lines) - 1, 2)]}  # the last line may be cut
        if len(lines) > 1 and len(counts) == 1 and min(counts) >= least:
            return True
    return False


def lines_of(source: Any, skip_unreadable: bool | None = False) -> TextLines:
    """Read the lines of text, without those that are empty or missing.

    Args:
        source: a path, a line, or a list of lines; a string that is not the name of a file is a line.
        skip_unreadable: whether to leave out lines that are not in the file's encoding, with a warning.

    Raises `UserError` for a file without text, and naming an item of a list that is not a string.
    """
    bad = 0
    if isinstance(source, Path) or (isinstance(source, str) and (is_file(source) or _meant(source))):
        path, in_file = Path(source).expanduser(), True
        if not exists(path):
            raise UserError(f"{path}: no such file: give a path that exists, or a line of text")
        name, (lines, bad) = str(path), _read(path, skip_unreadable)
        if bad:
            _warn_lines(f"{name}: {bad:,} lines are not UTF-8 and are left out")
    else:
        name, lines, in_file = "text", _strings([source] if isinstance(source, str) else _items(source)), False
    kept = [(number, text) for number, line in enumerate(lines, int(in_file)) if (text := line.strip())]
    if not kept:
        raise UserError(f"{name} is empty: give at least one line of text")
    if empty := len(lines) - len(kept) - bad:
        _warn_lines(f"{name}: {f'{empty:,} empty lines are' if empty > 1 else '1 empty line is'} left out")
    numbers, texts = map(list, zip(*kept, strict=True))
    if all(map(_is_number, texts)):
        _warn_lines(f"{name}: all lines are numbers, read as text: to model them as numbers, give an array or a table")
    return TextLines(name, texts, numbers, in_file)


def _strings(items: list[Any]) -> list[str]:
    """The items of a list as strings, "" for a missing one; raises `UserError` for any other item."""
    for i, item in enumerate(items):
        if not isinstance(item, str) and not _is_missing(item):
            remedy = "decode it, as by item.decode()" if isinstance(item, bytes) else "give strings alone"
            raise UserError(f"text: item {i} is {reprlib.repr(item)}, which is not a string: {remedy}")
    return [item if isinstance(item, str) else "" for item in items]


def _is_missing(item: Any) -> bool:
    return item is None or type(item).__name__ in ("NAType", "NaTType") or (isinstance(item, float) and item != item)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _meant(source: str) -> bool:
    """Whether a string looks like the name of a file."""
    return source.lower().endswith(ENDINGS) and len(source.split()) == 1


def _read(path: Path, skip_unreadable: bool | None) -> tuple[list[str], int]:
    """The lines of a file; "" for one that is not in its encoding, and the number of these."""
    with opened(path) as file, damaged(path):
        content = file.read()
    encoding = next((name for mark, name in MARKS.items() if content.startswith(mark)), "utf-8-sig")
    if encoding == "utf-8-sig" and b"\0" in content:
        raise UserError(
            f"{path} has a zero byte at byte {content.index(0)}, so it is not text, or is UTF-16 without its mark: "
            f"give a text file, or convert it, such as with `iconv -f utf-16le -t utf-8 {path.name} > utf8.txt`"
        )
    try:
        return _cut(content.decode(encoding)), 0
    except UnicodeDecodeError as error:
        if skip_unreadable and encoding == "utf-8-sig":
            return _good(content)
        line = _broken(content[: error.start]).count(b"\n") + 1
        raise UserError(
            f"{path} is not {encoding.removesuffix('-sig').upper()} at byte {error.start} "
            f"(0x{content[error.start]:02x}, line {line}): convert it, such as with `iconv -f latin1 -t utf-8 "
            f"{path.name} > utf8.txt`"
            + ("" if skip_unreadable is None else ", or leave such lines out with --skip-unreadable")
        ) from None


def _broken(content: bytes) -> bytes:
    """Content with each kind of line break (LF, CR LF, CR) as LF."""
    return content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _cut(text: str) -> list[str]:
    """The lines of a text, with or without a line break at its end."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text.removesuffix("\n").split("\n") if text else []


def _good(content: bytes) -> tuple[list[str], int]:
    """The lines, "" for one that is not UTF-8, and the number of these."""
    lines = _broken(content.removeprefix(codecs.BOM_UTF8)).removesuffix(b"\n").split(b"\n")
    found = [line.decode("utf-8", "replace") for line in lines]
    good = [text.encode() == line for line, text in zip(lines, found, strict=True)]
    return [text if ok else "" for text, ok in zip(found, good, strict=True)], good.count(False)


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


def encode(text: TextLines, schema: Schema) -> InMemoryDataset:
    """Encode lines as rows; warns of the number of cut lines and of unknown characters."""
    assert schema.vocabulary is not None
    length, found = schema.shape[0], schema.vocabulary.numbers(text.lines)
    rows = torch.zeros(len(found), length, dtype=torch.int32)
    for row, tokens in zip(rows, found, strict=True):
        row[: len(tokens)] = torch.tensor(tokens[:length], dtype=torch.int32)
    _warn(text, rows, [len(tokens) for tokens in found], length)
    made = InMemoryDataset(rows, schema)
    made.source = text
    return made


def _warn(text: TextLines, rows: Tensor, lengths: Sequence[int], length: int) -> None:
    name = text.name
    if cut := sum(n > length for n in lengths):
        at = text.numbers[lengths.index(max(lengths))] + (not text.in_file)
        remedy = f"the longest is line {at}, of {max(lengths):,}: --length {max(lengths)} keeps all"
        warnings.warn(f"{name}: {cut:,} of {len(rows):,} lines are cut to {length} tokens ({remedy})", stacklevel=5)
    if unknown := int((rows == UNKNOWN).sum()):
        warnings.warn(f"{name}: {unknown:,} characters are not in the vocabulary and become UNKNOWN", stacklevel=5)
