"""A file cache of decoded pictures, so that a folder that does not fit in memory is decoded once.

The file has a record for each picture: a checksum of its pixels, and the pixels. A record with a wrong checksum counts
as absent. So nothing has to be locked, finished or cleaned up: a process may be killed at any moment, and two may fill
the same file, as both write the same. The file's name depends on the names, sizes and times of the pictures' files and
on the target. The file is sparse: it uses disk space only for decoded pictures.

Files are in `$NELBO_CACHE`, else `$XDG_CACHE_HOME/nelbo`, else `~/.cache/nelbo`; `NELBO_CACHE=off` keeps none. All of
them together use at most 32 GiB: the least recently used ones are removed for a new one.
"""

from __future__ import annotations

import os
import shutil
import sys
import zlib
from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256
from math import prod
from pathlib import Path

import numpy as np

from nelbo.data.images.decode import Encoded, ImageSource, ImageSpec, Opened

BUDGET = 32 * 1024**3
"""The largest size of all files of the cache, in bytes."""
ENDING = ".pixels"
CHECK = 4  # bytes


class Cache:
    """A cache of `n` pictures of `target`; in a folder that cannot be written, it stores nothing."""

    def __init__(self, path: Path, n: int, target: ImageSpec) -> None:
        self.path, self.target = path, target
        self.record = CHECK + prod(target.shape) * target.dtype.itemsize
        self.file = _opened(path, n * self.record)

    def __del__(self) -> None:
        if self.file is not None:
            os.close(self.file)

    def get(self, i: int, pixels: np.ndarray) -> bool:
        """Read picture `i` into `pixels`, in C order; whether it was cached. Several threads may read and write."""
        if self.file is None:
            return False
        check = bytearray(CHECK)
        got = os.preadv(self.file, [check, pixels.reshape(-1).view(np.uint8).data], i * self.record)
        return got == self.record and int.from_bytes(check, "little") == _checksum(pixels)

    def put(self, i: int, pixels: np.ndarray) -> None:
        """Store picture `i`, if there is space."""
        if self.file is not None:
            with suppress(OSError):  # a full disk only costs time later
                os.pwritev(self.file, [_checksum(pixels).to_bytes(CHECK, "little"), pixels.data], i * self.record)


def cache(originals: Sequence[ImageSource], target: ImageSpec) -> Cache | None:
    """Open the decode cache for these files.

    None if caching is off, the disk is full, a file cannot be stat'ed, or a picture is in memory.
    """
    folder = _folder()
    if folder is None or any(isinstance(original, Opened) for original in originals):
        return None
    digest = sha256(repr(target).encode())
    try:
        for original in originals:
            assert not isinstance(original, Opened)
            digest.update(_stamp(original).encode("utf-8", "surrogateescape"))
    except OSError:
        return None
    return Cache(folder / (digest.hexdigest()[:32] + ENDING), len(originals), target)


def _folder() -> Path | None:
    """The folder of the files; None if caching is off."""
    chosen = os.environ.get("NELBO_CACHE")
    if chosen == "off" or sys.platform == "win32":  # Windows lacks os.pread
        return None
    if chosen:
        return Path(chosen).expanduser()
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nelbo"
    except RuntimeError:  # no home folder
        return None


def _stamp(original: str | Encoded) -> str:
    if not isinstance(original, str):
        return f"{original.stamp}\n"
    about = os.stat(original)
    return f"{os.path.abspath(original)}\0{about.st_size}\0{about.st_mtime_ns}\n"


def _opened(path: Path, size: int) -> int | None:
    """The open file, created or resized; None if it cannot be written, or there is no space for it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        here = path.exists()
        if not here and not _room(path.parent, size):
            return None
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        os.utime(file)
        if os.fstat(file).st_size != size:
            os.ftruncate(file, size)
        return file
    except OSError:
        return None


def _room(folder: Path, size: int) -> bool:
    """Whether a file of this size fits beside the others, after removal of the oldest files."""
    if size > BUDGET or size > shutil.disk_usage(folder).free / 2:
        return False
    kept = sorted(((path, path.stat()) for path in folder.glob(f"*{ENDING}")), key=lambda found: found[1].st_mtime)
    total = size + sum(about.st_blocks * 512 for _, about in kept)
    for path, about in kept:
        if total <= BUDGET:
            break
        path.unlink()  # a process that has it open can go on reading
        total -= about.st_blocks * 512
    return True


def _checksum(pixels: np.ndarray) -> int:
    """A checksum that is never 0, the value of absent records."""
    return zlib.crc32(pixels.data) or 1
