"""Stop in good order: Ctrl-C (or a polite kill) sets a flag that the loop reads between two steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interruptions() -> Iterator[list[int]]:
    """A list that holds the signals received so far; a second one is handled as before.

    Outside the main thread, where Python cannot listen to signals, the list stays empty.
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
