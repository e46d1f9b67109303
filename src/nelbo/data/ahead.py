"""Reading ahead of who needs it, on threads: reading a file and decoding a picture leave the interpreter to others."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

# A process may be confined to some of the cores, which only Linux tells.
CORES = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
THREADS = max(4, CORES)  # where cores are few, more than them, as some threads wait for the disk
AHEAD = 2

A = TypeVar("A")
R = TypeVar("R")


def ahead(read: Callable[[A], R], groups: Iterable[Iterable[A]]) -> Generator[list[R], None, None]:
    """`read` of all things of each group, in order, while the next two groups are read by all cores.

    An error is raised in the place of its group. A caller that stops early waits for what is being read, and nothing
    more is begun.

    >>> list(ahead(abs, [[-1, 2], [], [-3]]))
    [[1, 2], [], [3]]
    """
    begun: deque[list[Future[R]]] = deque()
    pool = ThreadPoolExecutor(THREADS, "nelbo-read")
    try:
        for group in groups:
            begun.append([pool.submit(read, thing) for thing in group])
            if len(begun) > AHEAD:
                yield [future.result() for future in begun.popleft()]
        while begun:
            yield [future.result() for future in begun.popleft()]
    finally:
        pool.shutdown(cancel_futures=True)


def groups(things: int, size: int) -> Iterator[list[range]]:
    """The numbers below `things` in ranges of `size`, as many in a group as there are threads.

    >>> [len(group) for group in groups(1 + THREADS * 10, 10)] == [THREADS, 1]
    True
    """
    for first in range(0, things, size * THREADS):
        last = min(first + size * THREADS, things)
        yield [range(start, min(start + size, last)) for start in range(first, last, size)]
