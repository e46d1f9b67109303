"""Parallel maps over many files: threads that prefetch, or processes.

Threads suffice if reading a file and decoding a picture release the interpreter. Very many small files need
processes, since threads would be limited by the interpreter's lock. ProcessPoolExecutor was weighed: its workers
outlive a parent that is killed, and spawned workers must import torch.
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

# Only Linux reports to which cores a process is confined.
CORES = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
THREADS = max(4, CORES)  # on few cores, more threads than cores, as some wait for the disk
AHEAD = 2

A = TypeVar("A")
R = TypeVar("R")


def prefetch_map(fn: Callable[[A], R], groups: Iterable[Iterable[A]]) -> Generator[list[R], None, None]:
    """Apply `fn` to all items of each group, in order, and prefetch the next two groups on all cores.

    An error is raised in place of its group. If the caller stops early, only the items being read are finished.

    >>> list(prefetch_map(abs, [[-1, 2], [], [-3]]))
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
    """Split the numbers below `things` into ranges of `size`, grouped by the number of threads.

    >>> [len(group) for group in groups(1 + THREADS * 10, 10)] == [THREADS, 1]
    True
    """
    for first in range(0, things, size * THREADS):
        last = min(first + size * THREADS, things)
        yield [range(start, min(start + size, last)) for start in range(first, last, size)]


AT_ONCE = 16  # items per task of a worker: one task per item would cost as much as opening a file
LEAST = 500  # the fewest items that justify starting processes


def parallel_map(fn: Callable[[A], R], items: Sequence[A], processes: bool) -> Generator[R, None, None]:
    """Apply `fn` to every item on all cores, in order, a little ahead of the consumer.

    With `processes`, many items are shared by forked processes, where the system supports it; otherwise by threads.
    Results of a process are copies, and its changes are lost, except in files and arrays of `shared_array`.
    Raises the errors of `fn`, and `UserError` if a process is killed.
    """

    def several(numbers: range) -> list[R]:
        return [fn(items[i]) for i in numbers]

    ranges, workers = groups(len(items), AT_ONCE), min(THREADS, len(items) // LEAST)
    # a worker of a pool may not have children itself
    if not processes or workers < 2 or sys.platform != "linux" or multiprocessing.current_process().daemon:
        for group in prefetch_map(several, ranges):
            yield from chain.from_iterable(group)
    else:
        yield from _forked(several, [*chain.from_iterable(ranges)], workers)


def shared_array(shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """An array of zeros that the processes of `parallel_map` can write to."""
    return np.frombuffer(mmap.mmap(-1, max(1, prod(shape) * dtype.itemsize)), dtype, prod(shape)).reshape(shape)


def _forked(several: Callable[[range], list[R]], parts: list[range], workers: int) -> Generator[R, None, None]:
    """Worker k runs parts k, k + workers, ..., and waits when its pipe is full."""
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
        raise UserError(
            "a process that reads files was killed, probably for lack of memory: free memory, and run again"
        ) from None
    finally:
        for child in children:
            child.kill()
            child.join()
        for pipe in pipes:
            pipe.close()


def _send(several: Callable[[range], list[R]], parts: list[range], writer: Connection, pipes: list[Connection]) -> None:
    """Run in a worker: send its results, or its error, until all are sent or the reader has gone."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the parent handles it, and ends this process
    for pipe in pipes:
        pipe.close()  # otherwise a pipe whose reader was killed would seem to be open still
    try:
        for numbers in parts:
            writer.send(several(numbers))
    except BrokenPipeError:
        pass
    except Exception as error:
        writer.send(error)
