"""Decoded pictures that are kept in a file, so that a folder that does not fit memory is decoded once.

The file is a record for each picture: a checksum of its pixels, and they. A record whose checksum is not right is not
there yet. So nothing has to be locked, finished or cleaned up: a process may be killed at any moment, and two may fill
the same file, as both write the same. The file is named by what it depends on: names, sizes and times of the pictures'
files and what they are brought to. It is sparse, so it takes the room of what was decoded.

Files are in `$NELBO_CACHE`, else `$XDG_CACHE_HOME/nelbo`, else `~/.cache/nelbo`; `NELBO_CACHE=off` keeps none. All of
them together take 32 GiB at most: those that were not used for longest are removed for a new one.
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

from nelbo.data.images.decode import ImageSource, ImageSpec

BUDGET = 32 * 1024**3
"""Bytes that all files of the cache may take."""
ENDING = ".pixels"
CHECK = 4  # bytes


class Cache:
    """`n` pictures of `target`, as far as they were put there; a folder that cannot be written keeps nothing."""

    def __init__(self, path: Path, n: int, target: ImageSpec) -> None:
        self.path, self.target = path, target
        self.record = CHECK + prod(target.shape) * target.dtype.itemsize
        self.file = _opened(path, n * self.record)

    def __del__(self) -> None:
        if self.file is not None:
            os.close(self.file)

    def get(self, i: int, pixels: np.ndarray) -> bool:
        """Read picture `i` into `pixels`, in C order; whether it was there. Several threads may read and write."""
        if self.file is None:
            return False
        check = bytearray(CHECK)
        got = os.preadv(self.file, [check, pixels.reshape(-1).view(np.uint8).data], i * self.record)
        return got == self.record and int.from_bytes(check, "little") == _checksum(pixels)

    def put(self, i: int, pixels: np.ndarray) -> None:
        """Keep picture `i`, if there is room."""
        if self.file is not None:
            with suppress(OSError):  # a full disk costs time later, nothing else
                os.pwritev(self.file, [_checksum(pixels).to_bytes(CHECK, "little"), pixels.data], i * self.record)


def cache(originals: Sequence[ImageSource], target: ImageSpec) -> Cache | None:
    """The cache of these pictures, or None: where there is to be none, or there is no room, or no name for them."""
    folder = _folder()
    if folder is None:
        return None
    digest = sha256(repr(target).encode())
    try:
        for original in originals:
            digest.update(_stamp(original).encode("utf-8", "surrogateescape"))
    except OSError:
        return None
    return Cache(folder / (digest.hexdigest()[:32] + ENDING), len(originals), target)


def _folder() -> Path | None:
    """Where files are kept; None for nowhere."""
    chosen = os.environ.get("NELBO_CACHE")
    if chosen == "off" or sys.platform == "win32":  # which has no reading at a place
        return None
    if chosen:
        return Path(chosen).expanduser()
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nelbo"
    except RuntimeError:  # no home
        return None


def _stamp(original: ImageSource) -> str:
    if not isinstance(original, str):
        return f"{original.stamp}\n"
    about = os.stat(original)
    return f"{os.path.abspath(original)}\0{about.st_size}\0{about.st_mtime_ns}\n"


def _opened(path: Path, size: int) -> int | None:
    """The file, made or brought to its size; None if it may not be, or there is no room for it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        here = path.exists()
        if not here and not _room(path.parent, size):
            return None
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.utime(file)
        if os.fstat(file).st_size != size:
            os.ftruncate(file, size)
        return file
    except OSError:
        return None


def _room(folder: Path, size: int) -> bool:
    """Whether there is room for a file of this size beside what is kept, once the oldest files are removed."""
    if size > BUDGET or size > shutil.disk_usage(folder).free / 2:
        return False
    kept = sorted(((path, path.stat()) for path in folder.glob(f"*{ENDING}")), key=lambda found: found[1].st_mtime)
    total = size + sum(about.st_blocks * 512 for _, about in kept)
    for path, about in kept:
        if total <= BUDGET:
            break
        path.unlink()  # who has it open goes on with it
        total -= about.st_blocks * 512
    return True


def _checksum(pixels: np.ndarray) -> int:
    """Never 0, which is what stands where nothing was written."""
    return zlib.crc32(pixels.data) or 1
