"""Delimited text: which delimiter, which header, and its cells as Arrow texts, batch by batch; what is wrong, by line.

The delimiter is that of `,` `;` tab `|` into which most of the first lines fall as the header does. Files are
UTF-8, with or without a byte order mark, and may be gzipped.
"""

from __future__ import annotations

import csv
import io
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from nelbo.data.tables.cells import NUMBER
from nelbo.data.text.files import opened
from nelbo.errors import UserError, require

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
LOOK, HEAD = 100, 2**20  # lines, and bytes, by which the delimiter is told
BLOCK = 2**24
csv.field_size_limit(2**30)


def _records(head: str, delimiter: str) -> list[tuple[int, list[str]]]:
    """(the line that it ends on, the cells) of the first records in the head of a file."""
    reader = csv.reader(io.StringIO(head), delimiter=delimiter)
    found = [(reader.line_num, cells) for cells in islice(reader, LOOK) if cells]
    return found[:-1] if len(head) >= HEAD // 4 and len(found) > 1 else found  # the last one may be cut


class TextFile:
    """A file of records: its `delimiter`, the `names` in its header, and `batches` of its cells as texts.

    Raises `UserError` naming the line, column or byte for whatever is wrong with the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._check_encoding(HEAD)
            with opened(path) as file:
                head = file.read(HEAD).decode("utf-8-sig", "replace")
            found = {mark: _records(head, mark) for mark in DELIMITERS}
        except (OSError, EOFError, zlib.error, csv.Error) as error:
            raise UserError(f"{path}: cannot be read ({error}): save or download it again") from None
        self.delimiter = _sniff({mark: [len(cells) for _, cells in lines] for mark, lines in found.items()}, path)
        self.head = found[self.delimiter]
        if not self.head or not any(cell.strip() for cell in self.head[0][1]):
            raise UserError(f"{path}: is empty: give a header and at least 2 rows")
        self.lines, cells = self.head[0]
        self.names = tuple(cell.strip() or f"Unnamed: {i}" for i, cell in enumerate(cells))
        self._check_header()

    def _check_header(self) -> None:
        pc, pa = require("pyarrow.compute"), require("pyarrow")
        if all(pc.match_substring_regex(pa.array(self.names), NUMBER).to_pylist()):
            raise UserError(f"{self.path}: the first line holds numbers ({self.names[0]}, ...): add a line of names")
        other = next((mark for mark in (":", "^", "~") if mark in self.names[0]), "")
        if len(self.names) == 1 and other and all(other in cells[0] for _, cells in self.head):
            raise UserError(
                f"{self.path}: has one column, {self.names[0]!r}, parted by {other!r}: part its columns by , ; | or tab"
            )

    def batches(self) -> Iterator[Any]:
        """All records after the header, as Arrow record batches of texts."""
        pa = require("pyarrow")
        try:
            yield from self._reader()
        except pa.ArrowInvalid as error:
            if str(error).startswith("Empty CSV file"):
                return
            self._check_encoding()
            self._check_lengths()
            raise UserError(f"{self.path}: {str(error).splitlines()[0]}: mend it and try again") from None
        except (OSError, EOFError) as error:
            raise UserError(f"{self.path}: cannot be read ({error}): save or download it again") from None

    def _reader(self) -> Iterator[Any]:
        pa, arrow = require("pyarrow"), require("pyarrow.csv")
        places = [str(i) for i in range(len(self.names))]
        yield from arrow.open_csv(
            self.path,
            read_options=arrow.ReadOptions(column_names=places, skip_rows=self.lines, block_size=BLOCK),
            parse_options=arrow.ParseOptions(delimiter=self.delimiter, newlines_in_values=True),
            convert_options=arrow.ConvertOptions(column_types=dict.fromkeys(places, pa.string())),
        )

    def _check_lengths(self) -> None:
        wanted = len(self.names)
        with opened(self.path) as file, io.TextIOWrapper(file, "utf-8-sig", "replace", newline="") as text:
            reader = csv.reader(text, delimiter=self.delimiter)
            for cells in reader:
                if cells and len(cells) != wanted:
                    raise UserError(
                        f"{self.path}: line {reader.line_num} has {len(cells)} cells, the header {wanted}: mend the "
                        f"line, or quote a cell that holds {DELIMITERS[self.delimiter]}"
                    )

    def _check_encoding(self, limit: int | None = None) -> None:
        """Raise `UserError` naming the first byte that is not UTF-8, if there is one before `limit`."""
        at, rest = 0, b""
        with opened(self.path) as file:
            while block := file.read(BLOCK if limit is None else limit):
                try:
                    (rest + block).decode("utf-8")
                    at, rest = at + len(rest + block), b""
                except UnicodeDecodeError as error:
                    if error.reason != "unexpected end of data":
                        raise self._not_utf8(at + error.start, (rest + block)[error.start]) from None
                    at, rest = at + error.start, (rest + block)[error.start :]
                if limit is not None:
                    return
        if rest:
            raise self._not_utf8(at, rest[0])

    def _not_utf8(self, place: int, byte: int) -> UserError:
        with opened(self.path) as file:
            known = "utf-16" if file.read(2) in (b"\xff\xfe", b"\xfe\xff") else "latin1"
        return UserError(
            f"{self.path}: is not UTF-8 at byte {place} (0x{byte:02x}): convert it, as by "
            f"`iconv -f {known} -t utf-8 {self.path.name} > utf8.csv` (or read it with pandas, and give the DataFrame)"
        )


def _sniff(widths: dict[str, list[int]], path: Path) -> str:
    """The delimiter, by how many cells each makes of the first lines: see above. A file of one column has a comma."""
    best, found = (0.0, 1), ","
    for mark in sorted(widths, key=lambda mark: mark != ("\t" if ".tsv" in path.name.lower() else ",")):
        first, *others = widths[mark] or [1]
        share = sum(width == first for width in others) / max(len(others), 1)
        if first > 1 and (share, first) > best:
            best, found = (share, first), mark
    return found
