"""Work on many files at once: on threads that read ahead, or on processes that share the work.

Threads suffice where reading a file and decoding a picture release the interpreter. Very many small files need
processes, since their threads would wait for the interpreter. ProcessPoolExecutor was weighed: its workers outlive a
parent that is killed, and workers that are spawned must import torch.
"""

from __future__ import annotations

import mmap
import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from math import prod
from multiprocessing.connection import Connection
from typing import Any, TypeVar

import numpy as np

from nelbo.errors import UserError

# A process may be confined to some of the cores, which only Linux tells.
CORES = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
THREADS = max(4, CORES)  # where cores are few, more than them, as some threads wait for the disk
AHEAD = 2

A = TypeVar("A")
R = TypeVar("R")


def prefetch_map(fn: Callable[[A], R], groups: Iterable[Iterable[A]]) -> Generator[list[R], None, None]:
    """`fn` of all things of each group, in order, while the next two groups are read by all cores.

    An error is raised in the place of its group. A caller that stops early waits for what is being read, and nothing
    more is begun.

    >>> list(ahead(abs, [[-1, 2], [], [-3]]))
    [[1, 2], [], [3]]
    """
    begun: deque[list[Future[R]]] = deque()
    pool = ThreadPoolExecutor(THREADS, "nelbo-read")
    try:
        for group in groups:
            begun.append([pool.submit(fn, thing) for thing in group])
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


AT_ONCE = 16  # things that a worker takes at once: a task for each would cost as much as opening a file
LEAST = 500  # things for which a process is worth its start


def parallel_map(fn: Callable[[A], R], items: Sequence[A], processes: bool) -> Generator[R, None, None]:
    """`fn` of every thing by all cores, in order, a little ahead of who asks.

    By processes if it may be done `processes` and there are many things, where processes can be forked; else by threads.
    What comes back from a process is a copy, and what `fn` changes there is lost, save in files and `shared_array` arrays.
    Raises what `fn` raises, or `UserError` if a process is ended from outside.
    """

    def several(numbers: range) -> list[R]:
        return [fn(items[i]) for i in numbers]

    ranges, workers = groups(len(items), AT_ONCE), min(THREADS, len(items) // LEAST)
    # what is itself a worker of a pool may have no children
    if not processes or workers < 2 or sys.platform != "linux" or multiprocessing.current_process().daemon:
        for group in prefetch_map(several, ranges):
            yield from chain.from_iterable(group)
    else:
        yield from _forked(several, [*chain.from_iterable(ranges)], workers)


def shared_array(shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """An array of zeros to which the processes of `parallel_map` can write."""
    return np.frombuffer(mmap.mmap(-1, max(1, prod(shape) * dtype.itemsize)), dtype, prod(shape)).reshape(shape)


def _forked(several: Callable[[range], list[R]], parts: list[range], workers: int) -> Generator[R, None, None]:
    """Worker k does parts k, k + workers, ..., and waits when its pipe is full."""
    context = multiprocessing.get_context("fork")
    pipes: list[Connection] = []
    children = []
    try:
        for k in range(workers):
            reader, writer = context.Pipe(duplex=False)
            pipes.append(reader)
            child = context.Process(target=_send, args=(several, parts[k::workers], writer, pipes), daemon=True)
            child.start()
            children.append(child)
            writer.close()
        for i in range(len(parts)):
            found = pipes[i % workers].recv()
            if isinstance(found, BaseException):
                raise found
            yield from found
    except EOFError:
        raise UserError("a process that read files was ended from outside: is there enough memory?") from None
    finally:
        for child in children:
            child.terminate()
            child.join()
        for pipe in pipes:
            pipe.close()


def _send(several: Callable[[range], list[R]], parts: list[range], writer: Connection, pipes: list[Connection]) -> None:
    """In a worker: its results, or what was raised, until they are all sent or nobody is there to take them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is for the process that asks, which ends this one
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for pipe in pipes:
        pipe.close()  # else a pipe whose reader was killed would seem to be read still
    try:
        for numbers in parts:
            writer.send(several(numbers))
    except BrokenPipeError:
        pass
    except Exception as error:
        writer.send(error)
