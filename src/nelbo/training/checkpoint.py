"""Checkpoints, and a clean stop on a signal.

A checkpoint is a single safetensors file, with the plain values as JSON in its header. It is written under a temporary
name, flushed to the disk and renamed, so that a process killed at any moment leaves the last complete one. Nothing is
pickled or unpickled. Ctrl-C (or SIGTERM) sets a flag that the loop reads between two steps.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from nelbo.errors import UserError


def write(path: Path, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
    """Write tensors and JSON values to `path` atomically."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_bytes(path, save(plain, {"values": json.dumps(values)}))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise UserError(f"cannot write {path}: {error.strerror}; choose another folder with --out") from error


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors and values of a file that `write` wrote.

    Raises:
        UserError: if it is missing, truncated, or not such a file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            values = json.loads((file.metadata() or {})["values"])
            return {name: file.get_tensor(name) for name in file.keys()}, values  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise UserError(f"{path} is not a whole nelbo file ({error}); restore it, or train again") from error


@contextmanager
def interruptions() -> Iterator[list[int]]:
    """Within it, collect the signals received so far in a list; a second signal is handled as usual.

    Outside the main thread, where Python cannot handle signals, the list stays empty.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def listen(number: int, frame: FrameType | None) -> None:
        received.append(number)
        signal.signal(number, former[signal.Signals(number)])

    for number in former:
        signal.signal(number, listen)
    try:
        yield received
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
