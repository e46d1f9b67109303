"""Files that are read: the one boundary to content that may be damaged, endless or hostile.

Every reader opens a file by `opened`, or calls `check_file` before a library opens it: both accept regular files only,
since a pipe or a device may have no end. Gzipped content is unpacked up to a limit. What a decoder raises on a damaged
file is known to nobody in full: within `damaged`, which encloses calls of decoders and parsers and nothing else, every
exception becomes a `UserError` that names the file. `python -X dev` and `nelbo --debug` still show its cause.
"""

from __future__ import annotations

import gzip
import io
import json
import stat
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from nelbo.errors import UserError, escaped

RESTORE = "restore the file, or save or download it again"
UNPACKED, RATIO = 2**27, 100
"""Compressed content is read up to 128 MB, or up to 100 times its compressed size: whichever is more."""
JSON_BYTES, TOML_BYTES = 2**26, 2**18
"""The longest JSON and TOML that is parsed: a parser takes up to 25 times the memory of its text."""


FRAME = "the DataFrame that pandas.{} reads"
REMEDIES = {
    **dict.fromkeys((".xlsx", ".xls", ".xlsm", ".ods"), FRAME.format("read_excel")),
    **dict.fromkeys((".feather", ".arrow"), FRAME.format("read_feather")),
    **dict.fromkeys((".json", ".jsonl", ".ndjson"), FRAME.format("read_json")),
    ".orc": FRAME.format("read_orc"),
    ".dta": FRAME.format("read_stata"),
    ".sav": FRAME.format("read_spss"),
    ".xml": FRAME.format("read_xml"),
    ".html": FRAME.format("read_html"),
    **dict.fromkeys((".h5", ".hdf5", ".nc"), "an array of it, such as h5py.File(path)['x'][:]"),
    ".mat": "an array of it, such as scipy.io.loadmat(path)['x']",
    **dict.fromkeys((".pkl", ".pickle", ".joblib"), "what it holds, which is never unpickled here"),
    **dict.fromkeys((".pt", ".pth"), "what torch.load(path, weights_only=True) reads"),
    ".safetensors": "a tensor of it, by safetensors.torch.load_file",
    **dict.fromkeys((".zip", ".gz", ".tgz", ".tar", ".bz2", ".xz", ".7z", ".zst"), "the unpacked file or folder"),
    **dict.fromkeys((".wav", ".mp3", ".flac", ".ogg"), "an array of its samples, with kind='series'"),
    **dict.fromkeys((".mp4", ".mov", ".avi", ".mkv", ".webm"), "a folder of its frames as pictures"),
    **dict.fromkeys((".dat", ".data", ""), "a table as .csv, text as .txt, or an array as .npy"),
    **dict.fromkeys((".db", ".sqlite", ".sqlite3"), FRAME.format("read_sql")),
}
"""What to give in place of a file that is not read, by its ending."""


@contextmanager
def damaged(name: str | Path, fault: str = "cannot be read", remedy: str = RESTORE) -> Iterator[None]:
    """Within it, any exception becomes a `UserError`: "NAME FAULT (reason): REMEDY".

    An error that names the file already stays as it is. One of a library in Rust, which Python does not count among
    `Exception`, is converted too; Ctrl-C is not.

    Args:
        name: the file, or what else is read.
        fault: what is wrong with it, in words.
        remedy: what to do.
    """
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__module__ != "pyo3_runtime":
            raise
        if isinstance(error, UserError) and str(name) in str(error):
            raise
        raise UserError(f"{name} {fault} ({reason(error)}): {remedy}") from error


def reason(error: BaseException) -> str:
    """What an exception says, on one line.

    >>> reason(KeyError("format")), reason(FileNotFoundError(2, "No such file or directory", "a.npy"))
    ("no 'format'", 'No such file or directory')
    """
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    if isinstance(error, MemoryError):
        return "it does not fit the memory"
    if isinstance(error, KeyError):
        return f"no {error}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def is_file(path: str | Path) -> bool:
    """Whether a path is that of a regular file; False for a text that cannot be a path."""
    try:
        return Path(path).expanduser().is_file()
    except (OSError, RuntimeError, ValueError):  # too long, of an unknown user, with a zero character
        return False


def exists(path: str | Path) -> bool:
    """Whether a path exists; False for a text that cannot be a path."""
    try:
        return Path(path).expanduser().exists()
    except (OSError, RuntimeError, ValueError):
        return False


def check_file(path: str | Path) -> None:
    """Raise `UserError` unless a path is that of a regular file."""
    try:
        mode = Path(path).stat().st_mode
    except FileNotFoundError:
        raise UserError(f"{path}: no such file: give a path that exists") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({reason(error)}): give the path of a file") from None
    if stat.S_ISDIR(mode):
        raise UserError(f"{path} is a folder: give the path of a file")
    if not stat.S_ISREG(mode):
        raise UserError(f"{path} is a pipe or a device, which may have no end: copy its content to a file")


def opened(path: Path) -> IO[bytes]:
    """Open a regular file for reading bytes, unpacked if it is gzipped.

    Raises `UserError` if it cannot be opened; its reads do if it unpacks to more than `UNPACKED` and `RATIO` allow.
    """
    check_file(path)
    with damaged(path):
        file = path.open("rb")
        if path.suffix.lower() != ".gz":
            return file
        return io.BufferedReader(_Unpacked(file, path), 2**20)


def check_unpacked(name: str | Path, packed: int, unpacked: int) -> None:
    """Raise `UserError` if content of `packed` bytes unpacks to so many bytes that it may fill the memory."""
    if unpacked > max(UNPACKED, RATIO * packed):
        raise UserError(
            f"{name} unpacks to {unpacked / 2**20:,.0f} MB or more, over {RATIO} times its size: unpack it first, if "
            "you trust it"
        )


class _Unpacked(io.RawIOBase):
    """The content of a gzipped file, up to a limit."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self._packed, self._path, self._done = path.stat().st_size, path, 0
        self._file, self._content = file, gzip.GzipFile(fileobj=file)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with damaged(self._path):
            got = self._content.readinto(buffer)
        self._done += got
        check_unpacked(self._path, self._packed, self._done)
        return got

    def close(self) -> None:
        self._content.close()
        self._file.close()
        super().close()


def text_of(path: Path, most: int) -> str:
    """The text of a UTF-8 file of up to `most` bytes."""
    with opened(path) as file, damaged(path):
        content = file.read(most + 1)
        if len(content) > most:
            raise UserError(f"{path} has more than the {most / 2**20:g} MB that are read of such a file: {RESTORE}")
        return content.decode("utf-8")


def json_of(path: Path) -> Any:
    """The values of a JSON file."""
    text = text_of(path, JSON_BYTES)
    with damaged(path, "is damaged"):
        return json.loads(text)


def toml_text(value: str) -> str:
    r"""A string in quotes, as TOML and JSON read it; control characters and marks of direction are escaped.

    >>> toml_text("é\x9b\u202e")
    '"é\\u009b\\u202e"'
    """
    quoted = json.dumps(value, ensure_ascii=False)
    if quoted.isascii() and quoted.isprintable():
        return quoted
    return "".join(c if escaped(c) == c else json.dumps(c)[1:-1] if ord(c) != 0x7F else "\\u007f" for c in quoted)


def toml_of(text: str, name: str | Path, remedy: str = "mend it") -> dict[str, Any]:
    """The table of a TOML text.

    Args:
        text: the text.
        name: what messages call it.
        remedy: what to do about a text that is not TOML.
    """
    with damaged(name, "is not TOML", remedy):
        return tomllib.loads(text)


def not_read(path: str | Path) -> UserError:
    """The error for a file of a kind that is not read, with what to give in its place."""
    default = "a table, pictures, text (.txt), .npy, .npz or a known name"
    return UserError(f"{path} is not a data source: give {REMEDIES.get(Path(path).suffix.lower(), default)}")
