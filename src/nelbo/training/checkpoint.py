"""Files that are written whole or not at all, and checkpoints.

A checkpoint is a single safetensors file, with the plain values as JSON in its header. Nothing is pickled or unpickled.
Every file of nelbo is written by `write_bytes`: under a new, random name in the same folder, flushed to the disk and
renamed, so that a process killed at any moment leaves the old file or the new one.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from nelbo.config.registry import parse
from nelbo.errors import UserError
from nelbo.reading import check_file, damaged, reason


def write(path: Path, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
    """Write tensors and JSON values to `path` whole or not at all; afterwards, the new file outlasts a power cut."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_bytes(path, save(plain, {"values": json.dumps(values)}))
    with suppress(OSError):  # some file systems cannot
        _flush_folder(path.parent)


class WriteError(UserError):
    """A file cannot be written: the disk is full, or its folder is a file or read-only.

    Args:
        path: the file.
        reason: why.
        remedy: what to do.
    """

    def __init__(self, path: Path, reason: str, remedy: str = "choose another folder with --out") -> None:
        super().__init__(f"cannot write {path}: {reason}; {remedy}")
        self.path, self.reason = path, reason


RESTORE = "restore it, or train again"
PARTIAL = ".nelbo-{}.tmp"
"""The name of a file until it is whole; a killed process may leave one."""


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, and create its folder if needed. A link is replaced, not followed.

    Raises `WriteError` if the file cannot be written.
    """
    partial = path.with_name(PARTIAL.format(secrets.token_hex(8)))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():
            raise ValueError("it is not a file")
        with open(partial, "xb") as file:  # "x" opens no file that exists, nor a link
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException as error:
        with suppress(OSError):
            partial.unlink()
        if not isinstance(error, OSError | ValueError):  # ValueError: characters that no path can have
            raise
        raise WriteError(path, obstacle(error)) from error


def obstacle(error: OSError | ValueError) -> str:
    """Why a file cannot be written."""
    return "a file is in place of its folder" if isinstance(error, FileExistsError) else reason(error)


def _flush_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk, where the system can."""
    if os.name == "posix":
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def read_header(path: Path) -> tuple[dict[str, tuple[int, ...]], dict[str, Any]]:
    """The shapes of the tensors by name, and the values, of a file that `write` wrote; raises as `read` does."""
    check_file(path)
    with damaged(path, "is not a whole file of nelbo's", RESTORE), safe_open(path, framework="pt") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}, _values(file)  # noqa: SIM118


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors and values of a file that `write` wrote.

    Raises:
        UserError: if it is missing, truncated, or not such a file.
    """
    check_file(path)
    with damaged(path, "is not a whole file of nelbo's", RESTORE), safe_open(path, framework="pt") as file:
        values = _values(file)
        return {name: file.get_tensor(name) for name in file.keys()}, values  # noqa: SIM118


def _values(file: Any) -> dict[str, Any]:
    values: dict[str, Any] = parse(dict[str, Any], json.loads((file.metadata() or {})["values"]), "values")
    return values
