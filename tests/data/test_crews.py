"""One thing done to many by several processes: the results and errors of a plain loop, and nothing left running."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nelbo.data import load, parallel
from nelbo.errors import UserError

forks = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere by threads")


@pytest.fixture(autouse=True)
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "LEAST", 10)
    monkeypatch.setattr(parallel, "THREADS", 4)


@pytest.mark.parametrize("apart", [True, False])
@pytest.mark.parametrize("n", [0, 1, 19, 20, 97, 1000])
def test_gives_what_a_plain_loop_gives_in_its_order(n: int, apart: bool) -> None:
    assert list(parallel.parallel_map(lambda i: i * i, range(n), apart)) == [i * i for i in range(n)]


@forks
def test_works_in_other_processes_where_it_may_and_there_are_many() -> None:
    def used(n: int, apart: bool) -> set[int]:
        return set(parallel.parallel_map(lambda i: os.getpid(), range(n), apart))

    assert len(used(300, True)) == 4 and os.getpid() not in used(300, True)
    assert used(300, False) == used(19, True) == {os.getpid()}


def test_processes_write_to_shared_arrays() -> None:
    squares = parallel.shared_array((100, 2), np.dtype(np.uint16))

    def fill(i: int) -> None:
        squares[i] = i * i

    list(parallel.parallel_map(fill, range(100), processes=True))
    assert (squares == np.arange(100, dtype=np.uint16)[:, None] ** 2).all()


@pytest.mark.parametrize("apart", [True, False])
def test_raises_what_the_work_raises(apart: bool) -> None:
    def work(i: int) -> int:
        if i == 70:
            raise UserError(f"{i} is odd in its way")
        return i

    found = parallel.parallel_map(work, range(100), apart)
    assert [next(found) for _ in range(64)] == list(range(64))
    with pytest.raises(UserError, match="70 is odd in its way"):
        list(found)
    assert not multiprocessing.active_children()


@forks
def test_a_worker_that_is_killed_is_an_error_and_no_wait_without_end() -> None:
    def work(i: int) -> int:
        if i == 50:
            os.kill(os.getpid(), signal.SIGKILL)
        return i

    with pytest.raises(UserError, match="was killed, probably for lack of memory"):
        list(parallel.parallel_map(work, range(100), processes=True))


@forks
def test_who_stops_early_leaves_no_process() -> None:
    found = parallel.parallel_map(lambda i: np.zeros(10_000), range(1000), processes=True)
    next(found)
    assert len(multiprocessing.active_children()) == 4
    found.close()
    assert not multiprocessing.active_children()


@forks
def test_workers_end_with_a_process_that_is_killed() -> None:
    code = (
        "import os, signal, multiprocessing, numpy as np\n"
        "from nelbo.data import parallel\n"
        "found = parallel.parallel_map(lambda i: np.zeros(10_000), range(10_000), processes=True)\n"
        "next(found)\n"
        "print(*(child.pid for child in multiprocessing.active_children()), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    workers = [Path("/proc") / number for number in ended.stdout.split()]
    assert len(workers) >= 2
    until = time.monotonic() + 30
    while any(worker.exists() and "(zombie)" not in (worker / "status").read_text() for worker in workers):
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_folder_read_by_processes_is_the_one_read_by_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    for i in range(60):
        Image.fromarray(rng.integers(0, 256, (5, 4, 3), np.uint8)).save(tmp_path / f"{i:02}.png")
    (tmp_path / "07.png").write_bytes(b"no picture")
    whole = (tmp_path / "33.png").read_bytes()
    (tmp_path / "33.png").write_bytes(whole[: len(whole) // 2])

    def read() -> torch.Tensor:
        with pytest.warns(UserWarning, match="2 of 60 pictures cannot be read and are left out"):
            data = load(tmp_path, skip_unreadable=True)
        return torch.cat([part.read(torch.arange(len(part))) for part in (data.train, data.test)])

    by_processes = read()
    monkeypatch.setattr(parallel, "LEAST", 1000)
    assert len(by_processes) == 58 and torch.equal(by_processes, read())
    monkeypatch.setattr(parallel, "LEAST", 10)
    with pytest.raises(UserError, match=r"2 of 60 pictures cannot be read: .*07\.png"):
        load(tmp_path)
