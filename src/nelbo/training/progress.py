"""Long work and who watches it: a loop is `track`, and whoever is `on_progress` hears how far it is.

    with watching(lambda what, done, total: print(f"{what}: {done} of {total}")):
        codes = model.embed("pictures/")

Without a watcher, a loop is as it was.
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
    """Within it, every watched loop calls `watcher(what, done, total)`: before each of its things, and after all.

    Loops may be within loops. One that ends early, be it by an error, is done with all, too.
    """
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


def is_watched() -> bool:
    """Whether anybody watches."""
    return _watcher.get() is not None


def track(things: Iterable[T], what: str, total: int) -> Generator[T, None, None]:
    """The things one by one, of which there are `total`, or at most; `what` says what is done with them.

    >>> with watching(lambda *heard: print(heard)):
    ...     print([letter for letter in watched("ab", "letters", 2)])
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
