"""What is read ahead, row by row or in one pass equals what is read at once."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fixtures.arrays import BYTES, COLOURS, GREYS, RNG, VECTORS, assert_user_error
from nelbo.data import StreamedDataset, batches, load
from nelbo.data.arrays import infer
from nelbo.data.arrays.infer import RawSplit, summarise
from nelbo.data.arrays.layout import as_batch_layout
from nelbo.data.arrays.npy import FileRows, rows_of
from nelbo.data.parallel import AHEAD, THREADS, prefetch_map

BITS, LAST = (GREYS > 99).astype(np.uint8), np.arange(450).reshape(15, 5, 6) == 449
ARRAYS: dict[str, np.ndarray] = {
    "vectors": VECTORS,
    "one-feature": VECTORS[:, :1].astype(np.float16),
    "grey": GREYS.astype(">u2") * 200,
    "channels-last": COLOURS,
    "one-channel-last": GREYS[..., None].astype(np.int16) - 99,
    "channels-first": RNG.normal(size=(9, 3, 5, 6)).astype("<f4"),
    "marks": BITS > 0,
}
# every kind that the table of `nelbo.data.arrays.infer` tells apart, and near misses
KINDS = ARRAYS | {
    "bytes": GREYS,
    "ones": BITS,
    "ones-but-the-last": np.where(LAST, 2, BITS).astype(np.uint8),
    "black-or-white": BITS * 255,
    "black-or-white-but-the-last": np.where(LAST, 254, BITS * 255).astype(np.uint8),
    "black": np.zeros_like(GREYS),
    "unit": GREYS / 255,
    "halves": BITS / 2,
    "signs": np.where(BITS, 1, -1),
    "vector-bits": (VECTORS > 0).astype(np.int8),
    "constant": np.column_stack([VECTORS, np.full(40, 0.1)]),
}
GREY_KINDS = [which for which, array in KINDS.items() if array.shape[1:] == (5, 6)]
SPLITS = [*((which, None) for which in KINDS), *itertools.product(GREY_KINDS, GREY_KINDS)]
INDICES: list[Any] = [
    *(slice(None), slice(2, 7), slice(7, 2), slice(4, 400), slice(-3, None), slice(0, 0)),
    *(np.array(rows, int) for rows in ([], [8], [3, 3, 4, 4], [5, 6, 7, 0, 1, 8], [4, 3, 2, 3])),
    *(RNG.permutation(9), RNG.integers(0, 9, 50)),
]


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("nelbo-read")]


def test_ahead_keeps_the_order_whatever_is_ready_first() -> None:
    groups = [RNG.integers(0, 1000, size).tolist() for size in RNG.integers(0, 6, 20)]

    def slow(thing: int) -> int:
        time.sleep(thing / 1e6)
        return -thing

    assert list(prefetch_map(slow, groups)) == [[-thing for thing in group] for group in groups]
    assert not readers()


def test_a_group_is_read_by_all_threads_at_once() -> None:
    meeting = threading.Barrier(THREADS)
    (places,) = prefetch_map(lambda _: meeting.wait(timeout=30), [range(THREADS)])
    assert sorted(places) == list(range(THREADS))


@pytest.mark.parametrize("bad", [0, 2, 5, 9])
def test_an_error_is_raised_in_the_place_of_its_group(bad: int) -> None:
    found = prefetch_map(lambda thing: 1 // (thing - bad), ([i] for i in range(10)))
    assert [next(found) for _ in range(bad)] == [[1 // (i - bad)] for i in range(bad)]
    with pytest.raises(ZeroDivisionError):
        next(found)
    assert not readers() and list(found) == []


def test_only_the_next_groups_are_begun() -> None:
    asked: list[int] = []
    read: set[int] = set()

    def groups() -> Iterator[list[int]]:
        for i in range(10):
            asked.append(i)
            yield [i]

    for k, _ in enumerate(prefetch_map(read.add, groups())):
        assert len(asked) == min(k + AHEAD + 1, 10)
        assert set(range(k + 1)) <= read <= set(asked)


def test_threads_end_with_a_caller_that_stops() -> None:
    read: list[int] = []
    found = prefetch_map(read.append, ([i] * 50 for i in range(1000)))
    next(found)
    assert readers()
    found.close()
    assert not readers() and len(read) <= 50 * (AHEAD + 1)


def test_threads_end_with_a_caller_of_batches_that_stops(tmp_path: Path) -> None:
    found = iter(
        batches(StreamedDataset(mapped(tmp_path / "x.npy", GREYS), BYTES, None, True), torch.arange(12).split(2))
    )
    assert torch.equal(next(found), BYTES.encode(torch.from_numpy(GREYS[:2, None]))) and readers()
    del found
    assert not readers()


def mapped(path: Path, array: np.ndarray) -> FileRows:
    np.save(path, array)
    rows = rows_of(np.load(path, mmap_mode="r"), str(path))
    assert isinstance(rows, FileRows)
    return rows


def same(got: np.ndarray, truth: np.ndarray) -> None:
    assert got.shape == truth.shape and got.dtype == truth.dtype and np.array_equal(got, truth)


@pytest.mark.parametrize("which", ARRAYS)
def test_rows_of_a_file_are_the_rows_of_the_array(which: str, tmp_path: Path) -> None:
    rows, truth = mapped(tmp_path / "x.npy", ARRAYS[which]), as_batch_layout(ARRAYS[which], "x")
    assert (rows.shape, rows.dtype) == (truth.shape, truth.dtype)
    for index in INDICES:
        same(rows[index], truth[index])
    rows[:][:] = 0
    same(rows[:], truth)  # what was read is the caller's own


@pytest.mark.parametrize("which", ARRAYS)
def test_an_array_in_another_order_of_memory_is_left_to_numpy(which: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.asfortranarray(ARRAYS[which]))
    file: Any = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert isinstance(rows_of(file, "x"), FileRows) == file.flags.c_contiguous == (which == "one-feature")
    for index in INDICES:
        same(as_batch_layout(file, "x")[index], as_batch_layout(ARRAYS[which], "x")[index])
    assert rows_of(ARRAYS[which], "x") is ARRAYS[which]


def test_a_file_cut_short_while_it_is_used(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    rows = mapped(path, VECTORS)
    os.truncate(path, rows.offset + 10 * VECTORS[0].nbytes + 1)  # ten rows, and a byte of the next
    same(rows[:10], VECTORS[:10])
    for index in (slice(None), np.array([3, 10]), np.array([39])):
        assert_user_error(partial(rows.__getitem__, index), f"{path}: ends before row", "cut short")
    path.unlink()
    assert_user_error(lambda: rows[:1], f"{path} cannot be read (No such file")


@pytest.mark.parametrize("chunk", [1, 500, 2**22])
@pytest.mark.parametrize("which", KINDS)
def test_a_summary_is_that_of_all_values(which: str, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(infer, "CHUNK_BYTES", chunk)
    part = RawSplit("x", as_batch_layout(KINDS[which], "x"))
    values, n = part.rows[:].astype(np.float64), part.rows.shape[0]
    for train in (np.full(n, True), np.arange(n) == n - 1, np.arange(n) < n // 2, np.arange(n) % 3 == 1):
        stats, fitted = summarise(part, None if train.all() else train), values[train]
        assert (stats.low, stats.high) == (values.min(), values.max())
        assert (stats.fitted_low, stats.fitted_high) == (fitted.min(), fitted.max())
        assert stats.is_binary == np.isin(values, [0, 1]).all() and stats.is_0_or_255 == np.isin(values, [0, 255]).all()
        if len(part.shape) == 1:
            assert np.allclose(stats.mean, fitted.mean(0), rtol=1e-12, atol=1e-12)
            assert np.allclose(stats.std, np.where(np.ptp(fitted, 0), fitted.std(0), 1), rtol=1e-7)


@pytest.mark.parametrize(("which", "test"), SPLITS)
def test_what_is_not_read_would_not_change_the_schema(
    which: str, test: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(infer, "CHUNK_BYTES", 60)
    split: dict[str, Any] = {"x": KINDS[which]} if test is None else {"x_train": KINDS[which], "x_test": KINDS[test]}
    np.savez(tmp_path / "x.npz", **split)
    brief = load(tmp_path / "x.npz").schema
    monkeypatch.setattr(infer, "summarise", lambda part, train=None, fast=False: summarise(part, train))
    assert load(tmp_path / "x.npz").schema == brief


@pytest.mark.parametrize("chunk", [1, 500, 2**22])
def test_the_first_bad_value_is_named(chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(infer, "CHUNK_BYTES", chunk)
    for bad, shape in itertools.product((np.nan, np.inf, -np.inf), ((9, 4), (9, 3, 5, 6))):
        x = RNG.normal(size=shape)
        places = np.sort(RNG.choice(x.size, 3, replace=False))
        x.reshape(-1)[places] = bad
        first = ", ".join(str(i) for i in np.unravel_index(places[0], shape))
        says = f"x: 3 values are NaN or infinite, the first at [{first}]"
        for rows in (x, mapped(tmp_path / "x.npy", x)):
            assert_user_error(partial(summarise, RawSplit("x", rows), fast=True), says)


@pytest.mark.parametrize("index", [[-1], [-2, 3], [9], [0, 400]])
def test_rows_that_are_not_there_are_refused(index: list[int], tmp_path: Path) -> None:
    np.save(path := tmp_path / "a.npy", RNG.integers(0, 256, (9, 3), dtype=np.uint8))
    rows = FileRows(np.load(path, mmap_mode="r"), "a")
    with pytest.raises(IndexError, match="of 9 rows"):
        rows[np.array(index)]
