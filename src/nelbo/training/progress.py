"""Progress of long loops: a loop iterates over `track`, and `on_progress` registers a callback.

    with on_progress(lambda what, done, total: print(f"{what}: {done} of {total}")):
        codes = model.embed("pictures/")

Without a callback, `track` has no effect.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")
ProgressCallback = Callable[[str, int, int], None]
_watcher: ContextVar[ProgressCallback | None] = ContextVar("watcher", default=None)


@contextmanager
def on_progress(watcher: ProgressCallback) -> Iterator[None]:
    """Within it, every tracked loop calls `watcher(what, done, total)`: before each item, and after the last.

    Loops may be nested. A loop that ends early, even by an error, reports itself as complete.
    """
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


def is_watched() -> bool:
    """Whether a callback is registered."""
    return _watcher.get() is not None


def track(things: Iterable[T], what: str, total: int) -> Generator[T, None, None]:
    """Iterate over items and report progress to the callback.

    Args:
        things: the items.
        what: description of the loop, for the callback.
        total: number of items, or an upper bound.

    >>> with on_progress(lambda *progress: print(progress)):
    ...     print([letter for letter in track("ab", "letters", 2)])
    ('letters', 0, 2)
    ('letters', 1, 2)
    ('letters', 2, 2)
    ['a', 'b']
    """
    watcher = _watcher.get()
    if watcher is None:
        yield from things
        return
    done = -1
    try:
        for done, thing in enumerate(things):
            watcher(what, done, total)
            yield thing
    finally:
        if done >= 0:
            watcher(what, total, total)
