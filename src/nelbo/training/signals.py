"""Signals that end a process: a clean stop while training, and the usual exit codes for the command line.

A signal that the caller ignores (`nohup`, a job in the background of a shell) or handles outside Python stays as it is.
Nothing here imports torch, so that the command line can use it at its start.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
ENDING = tuple(signal.Signals[name] for name in NAMES if name in signal.Signals.__members__)
"""The signals that ask a process to end; Windows has no SIGHUP."""


@contextmanager
def interruptions() -> Iterator[list[int]]:
    """Within it, collect the numbers of the signals received so far in a list; a second one is handled as usual.

    Outside the main thread, where Python cannot handle signals, the list stays empty.
    """
    received: list[int] = []

    def listen(number: int, frame: FrameType | None) -> None:
        received.append(number)
        signal.signal(number, former[number])
        _leave_terminal(number)

    with _handling(listen, ENDING) as former:
        yield received


@contextmanager
def exit_codes() -> Iterator[None]:
    """Within it, SIGTERM and SIGHUP raise SystemExit with the usual code, so that temporary files are removed."""

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        _leave_terminal(number)
        raise SystemExit(128 + number)

    with _handling(leave, ENDING[1:]):
        yield


@contextmanager
def importing() -> Iterator[None]:
    """Within it, Ctrl-C ends the process at once: some imports swallow KeyboardInterrupt."""

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        os.write(2, b"Interrupted\n")
        os._exit(128 + number)

    with _handling(leave, (signal.SIGINT,)):
        yield


def deliver(number: int) -> NoReturn:
    """Send this process a signal that `interruptions` collected, for the handler that it has outside.

    Raises `KeyboardInterrupt` if that handler returns.
    """
    signal.raise_signal(number)
    raise KeyboardInterrupt


@contextmanager
def _handling(
    handler: Callable[[int, FrameType | None], None], numbers: tuple[int, ...]
) -> Iterator[dict[int, Callable[[int, FrameType | None], object] | int]]:
    """Within it, these signals have a handler, except those that are ignored or handled by C code.

    Yields the former handlers.
    """
    former = {}
    for number in numbers:
        before = signal.getsignal(number)
        if before is not None and before is not signal.SIG_IGN:
            with suppress(ValueError):  # not the main thread
                signal.signal(number, handler)
                former[number] = before
    try:
        yield former
    finally:
        for number, before in former.items():
            signal.signal(number, before)


def _leave_terminal(number: int) -> None:
    """After a hang-up, discard output to the terminal: it has gone, and writing to it would raise an error."""
    if signal.Signals(number).name != "SIGHUP":
        return
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            if os.isatty(stream.fileno()):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
