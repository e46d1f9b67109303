"""A line on the terminal that says how far long work is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from nelbo.training.progress import watching

PATIENCE = 1.0  # seconds of work before it is worth a line
EVERY = 0.1  # seconds between two changes of it
WIDTH = 24  # of the bar


class Line:
    """What `nelbo.training.progress` calls: it shows the outermost loop, which is further on as those within it are."""

    def __init__(self, file: TextIO) -> None:
        self.file = file
        self.loops: list[tuple[str, int, int]] = []  # outermost first: what, done, total
        self.began = self.shown = 0.0

    def __call__(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if done == total:
            self.loops.pop()
            if not self.loops:
                self.clear()
        elif done == 0:
            self.loops.append((what, done, total))
            self.began = now if len(self.loops) == 1 else self.began
        else:
            self.loops[-1] = (what, done, total)
            if now - max(self.began + PATIENCE - EVERY, self.shown) >= EVERY:
                self.shown = now
                self.show(now - self.began)

    def show(self, elapsed: float) -> None:
        """Write the line anew."""
        part, whole = 0.0, 1.0
        for _, done, total in self.loops:
            part, whole = part + whole * done / total, whole / total
        minutes, seconds = divmod(round(elapsed * (1 - part) / part), 60)
        bar = "━" * round(WIDTH * part)
        print(
            f"\r{self.loops[0][0]} {bar:─<{WIDTH}} {part:4.0%}  {minutes}:{seconds:02} left\033[K",
            end="",
            file=self.file,
            flush=True,
        )

    def clear(self) -> None:
        """Take the line away, if there is one."""
        if self.shown:
            self.shown = 0.0
            print("\r\033[K", end="", file=self.file, flush=True)


@contextmanager
def shown_on(file: TextIO) -> Iterator[None]:
    """Within it, long work has a line on the file, if that is a terminal."""
    if not file.isatty():
        yield
        return
    line = Line(file)
    try:
        with watching(line):
            yield
    finally:
        line.clear()
