"""Messages, and a progress line for long work, on a terminal and in a notebook.

Nothing here imports torch, so that the first message comes before that import.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from nelbo.errors import one_line
from nelbo.training.progress import is_watched, on_progress

PATIENCE = 1.0  # seconds of work before the line appears
EVERY = 0.1  # seconds between two updates of the line
WIDTH = 24  # of the bar


def in_notebook() -> bool:
    """Whether the output goes to a notebook (Jupyter, Colab, or an editor) and not to IPython on a terminal."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and ipython.get_ipython() is not None and not sys.stderr.isatty()


def is_live(file: TextIO) -> bool:
    """Whether the file is a terminal or a notebook."""
    return file.isatty() or in_notebook()


def bar(part: float, width: int = WIDTH) -> str:
    """A bar that is full up to a fraction.

    >>> bar(0.25, 8)
    '━━──────'
    """
    return f"{'━' * round(width * part):─<{width}}"


class StatusLine:
    """A line that is overwritten. No escape codes: a notebook supports only the carriage return."""

    def __init__(self, file: TextIO) -> None:
        self.file = file
        self.width = 0  # of the present text

    def write(self, text: str) -> None:
        """Replace the text."""
        print(f"\r{text:<{self.width}}", end="", file=self.file, flush=True)
        self.width = len(text)

    def clear(self) -> None:
        """Remove the line, if there is one."""
        if self.width:
            print(f"\r{'':{self.width}}\r", end="", file=self.file, flush=True)
            self.width = 0


class LoopLine:
    """Shows one progress bar, for the outermost loop of `nelbo.training.progress`; inner loops advance it too."""

    def __init__(self, file: TextIO) -> None:
        self.line = StatusLine(file)
        self.loops: list[tuple[str, int, int]] = []  # outermost first: what, done, total
        self.began = self.shown = 0.0

    def __call__(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if done == total:
            self.loops.pop()
            if not self.loops:
                self.line.clear()
        elif done == 0:
            self.loops.append((what, done, total))
            self.began = now if len(self.loops) == 1 else self.began
        else:
            self.loops[-1] = (what, done, total)
            if now - max(self.began + PATIENCE - EVERY, self.shown) >= EVERY:
                self.shown = now
                self.line.write(self.text(now - self.began))

    def text(self, elapsed: float) -> str:
        """The progress of the loops, after `elapsed` seconds."""
        part, whole = 0.0, 1.0
        for _, done, total in self.loops:
            part, whole = part + whole * done / total, whole / total
        minutes, seconds = divmod(round(elapsed * (1 - part) / part), 60)
        return f"{self.loops[0][0]} {bar(part)} {part:4.0%}  {minutes}:{seconds:02} left"


@contextmanager
def loops_on(file: TextIO) -> Iterator[None]:
    """A context in which long work has a progress line, on a terminal or in a notebook without another listener."""
    if is_watched() or not is_live(file):
        yield
        return
    shown = LoopLine(file)
    try:
        with on_progress(shown):
            yield
    finally:
        shown.line.clear()


class _OneLine(logging.Formatter):
    """Each message as it is printed elsewhere."""

    def format(self, record: logging.LogRecord) -> str:
        return one_line(super().format(record))


@contextmanager
def messages_on(file: TextIO) -> Iterator[None]:
    """A context in which messages of the logger "nelbo" go to the file, unless the caller's logging shows them.

    Debug messages name the work in progress: they are for a terminal or a notebook.
    """
    logger = logging.getLogger("nelbo")
    if logger.isEnabledFor(logging.INFO) and logger.hasHandlers():
        yield
        return
    handler, level = logging.StreamHandler(file), logger.level
    handler.setFormatter(_OneLine())
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG if is_live(file) else logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
