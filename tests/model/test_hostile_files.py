"""Damaged files of every kind are refused in one line, or accepted: nothing else is raised, executed or written.

`benchmarks/reliability.py hostile` runs thousands of mutants, with limits of time and memory.
"""

from __future__ import annotations

import gzip
import os
import random
import struct
from pathlib import Path

import numpy as np
import pytest

import nelbo
from fixtures import hostile
from nelbo.config import recipe
from nelbo.data import load
from nelbo.errors import UserError

TRIALS = 3  # of each kind


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> list[hostile.Kind]:
    return hostile.kinds(tmp_path_factory.mktemp("shared"))


def test_mutants_are_accepted_or_refused(
    kinds: list[hostile.Kind], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    faults = [hostile.failure(kind, i, 0, tmp_path) for kind in kinds for i in range(TRIALS)]
    assert len(faults) > 90 and [fault for fault in faults if fault] == []


@pytest.mark.filterwarnings("ignore")
def test_a_file_without_changes_is_accepted(
    kinds: list[hostile.Kind], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise its mutants would prove nothing."""
    monkeypatch.setattr(hostile, "mutated", lambda value, rng: value)
    monkeypatch.setattr(hostile, "bytes_mutated", lambda content, rng: content)
    monkeypatch.setattr(hostile, "table_mutated", lambda text, rng: text.encode())
    monkeypatch.setattr(hostile, "npy_mutated", lambda array, rng: hostile._npy(array))
    for number, kind in enumerate(kinds):
        if kind.name not in ("npz", "pictures"):  # whose names and formats are drawn
            folder = tmp_path / str(number)
            folder.mkdir()
            kind.write(folder, random.Random(8))
            kind.use(folder)


def test_what_has_no_end_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    os.symlink("/dev/zero", tmp_path / "zero.toml")
    for name in ("pipe.toml", "zero.toml"):
        with pytest.raises(UserError, match="pipe or a device"):
            recipe.load(str(tmp_path / name))
    for name in ("model.json", "weights.safetensors"):
        os.mkfifo(tmp_path / name)
    with pytest.raises(UserError, match="not a nelbo model"):
        nelbo.load(tmp_path)
    for name in ("a.csv", "a.npy", "a.txt", "a.parquet", "a.npz"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(UserError):
            load(tmp_path / name)


def test_what_unpacks_to_far_more_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nelbo.reading.UNPACKED", 2**20)
    bomb = gzip.compress(b"a,b\n" + b"1,2\n" * 2**20)
    for name in ("a.csv.gz", "a.txt.gz"):
        (tmp_path / name).write_bytes(bomb)
        with pytest.raises(UserError, match="unpacks to"):
            load(tmp_path / name)


def test_pickle_is_never_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("o.npy", np.array([hostile.Executed()], object))
    np.savez("o.npz", x=np.array([hostile.Executed()], object))
    for name in ("o.npy", "o.npz"):
        with pytest.raises(UserError, match="pickle is never loaded"):
            load(name)
    assert not Path(hostile.EXECUTED).exists()


def test_a_header_cannot_ask_for_memory(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_bytes((hostile.GOLDEN / "vector" / "model.json").read_bytes())
    (tmp_path / "weights.safetensors").write_bytes(struct.pack("<Q", 2**60) + b"{}")
    with pytest.raises(UserError, match="not a whole file of nelbo's"):
        nelbo.load(tmp_path)
