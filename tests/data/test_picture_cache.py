"""What is decoded is decoded once, and what is kept is right whatever befalls its file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fixtures.arrays import COLOURS, GREYS, save_pictures
from nelbo.data import batches, load
from nelbo.data import dataset as store
from nelbo.data.images import cache
from nelbo.data.images import folder as folders
from nelbo.data.images.cache import Cache
from nelbo.data.images.decode import ImageSpec, decode
from nelbo.data.images.folder import DecodedImages

COLOUR, GREY = ImageSpec((3, 5, 6), "crop"), ImageSpec((1, 5, 6), "crop")
TRUTH = COLOURS.transpose(0, 3, 1, 2)


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the cache; nothing fits memory."""
    monkeypatch.setattr(store, "MEMORY_BUDGET", 16)
    monkeypatch.setenv("NELBO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def pictures(tmp_path: Path) -> tuple[str, ...]:
    return tuple(map(str, sorted(save_pictures(tmp_path / "p", COLOURS).iterdir())))


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is decoded from now on."""
    seen: list[Any] = []

    def watched(original: Any, target: ImageSpec) -> np.ndarray:
        seen.append(original)
        return decode(original, target)

    monkeypatch.setattr(folders, "decode", watched)
    return seen


def read(pictures: tuple[str, ...], target: ImageSpec = COLOUR) -> np.ndarray:
    return DecodedImages(pictures, target)[:]


def test_every_picture_is_decoded_once(pictures: tuple[str, ...], decoded: list[Any]) -> None:
    data = load(Path(pictures[0]).parent)
    order = torch.randperm(len(data.train)).split(4)
    first, second = (list(batches(data.train, order)) for _ in range(2))
    again = list(batches(load(Path(pictures[0]).parent).train, order))
    assert all(map(torch.equal, first, second)) and all(map(torch.equal, first, again))
    assert len(decoded) == len(data.train) == len(set(decoded))


@pytest.mark.parametrize(
    "target", [COLOUR, GREY, ImageSpec((4, 7, 3), "pad"), ImageSpec((1, 5, 6), "crop", depth="uint16")]
)
def test_what_is_kept_is_what_was_decoded(target: ImageSpec, pictures: tuple[str, ...], decoded: list[Any]) -> None:
    truth = np.stack([decode(path, target) for path in pictures])
    for _ in range(2):
        got = read(pictures, target)
        assert got.dtype == truth.dtype and np.array_equal(got, truth)
    assert len(decoded) == len(pictures)


def test_a_picture_that_changed_is_decoded_again(pictures: tuple[str, ...], decoded: list[Any]) -> None:
    read(pictures)
    Image.fromarray(255 - COLOURS[3]).save(pictures[3])
    os.utime(pictures[3], (1, 1))
    assert np.array_equal(read(pictures)[3], 255 - TRUTH[3])
    assert np.array_equal(read(pictures[:5])[:3], TRUTH[:3])  # another set of pictures is another file


def test_black_pictures_are_kept_too(tmp_path: Path, decoded: list[Any]) -> None:
    paths = tuple(map(str, save_pictures(tmp_path / "p", np.zeros((2, 5, 6), np.uint8)).iterdir()))
    assert not read(paths, GREY).any() and not read(paths, GREY).any() and len(decoded) == 2


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "grow"])
def test_a_damaged_file_costs_time_only(damage: str, pictures: tuple[str, ...], kept: Path, decoded: list[Any]) -> None:
    read(pictures)
    (file,) = kept.iterdir()
    content = bytearray(file.read_bytes())
    record = len(content) // len(pictures)
    if damage == "flip":
        content[3 * record + 7] ^= 1
        content[5 * record] ^= 1
    kinds = {"flip": content, "cut": content[: 4 * record + 5], "empty": b"", "grow": content + b"x" * 99}
    file.write_bytes(kinds[damage])
    decoded.clear()
    assert np.array_equal(read(pictures), TRUTH)
    assert len(decoded) == {"flip": 2, "cut": len(pictures) - 4, "empty": len(pictures), "grow": 0}[damage]
    assert np.array_equal(read(pictures), TRUTH) and file.stat().st_size == len(content)


FILL = """
import os, sys
from nelbo.data.images.folder import DecodedImages
from nelbo.data.images.decode import ImageSpec
rows = DecodedImages(tuple(sys.argv[1:]), ImageSpec((3, 5, 6), "crop"))
print("ready", flush=True)
while True:
    rows[:]
    for size in 0, len(rows.originals) * rows.cache.record:
        os.truncate(rows.cache.path, size)
"""


def test_killed_at_any_moment_and_in_two_processes_at_once(pictures: tuple[str, ...], kept: Path) -> None:
    """One process fills and empties the file without end while this one reads; then it is killed."""
    with subprocess.Popen([sys.executable, "-c", FILL, *pictures], stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout and other.stdout.readline() == b"ready\n"
            for _ in range(60):
                assert np.array_equal(read(pictures), TRUTH)
        finally:
            other.send_signal(signal.SIGKILL)
    assert np.array_equal(read(pictures), TRUTH)


def test_threads_share_it(pictures: tuple[str, ...]) -> None:
    rows, wrong = DecodedImages(pictures, COLOUR), []

    def look(seed: int) -> None:
        order = np.random.default_rng(seed).permutation(len(pictures))
        wrong.extend([seed] * (not np.array_equal(rows[order], TRUTH[order])))

    threads = [threading.Thread(target=look, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def files(kept: Path) -> set[str]:
    return {path.name for path in kept.iterdir()}


def test_the_oldest_make_room(pictures: tuple[str, ...], kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, names = DecodedImages(pictures[:4], COLOUR), []
    for age, chosen in ((300, pictures[:4]), (200, pictures[4:8]), (100, pictures[8:])):
        read(chosen)
        (new,) = files(kept) - set(names)
        names.append(new)
        os.utime(kept / new, (1e9 - age, 1e9 - age))
    read(pictures[:4])  # used again, so the second is the oldest now
    block = max(path.stat().st_blocks * 512 for path in kept.iterdir())
    monkeypatch.setattr(cache, "BUDGET", 3 * block)
    read(pictures[2:6])
    assert names[0] in files(kept) and names[1] not in files(kept) and len(files(kept)) == 3
    monkeypatch.setattr(cache, "BUDGET", 1)
    assert np.array_equal(read(pictures[3:7]), TRUTH[3:7]) and len(files(kept)) == 3  # too large to be kept
    assert np.array_equal(rows[:], TRUTH[:4])  # whoever holds a file goes on with it


def test_where_nothing_can_be_kept(pictures: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NELBO_CACHE", "off")
    assert DecodedImages(pictures, COLOUR).cache is None and np.array_equal(read(pictures), TRUTH)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NELBO_CACHE", str(tmp_path / "file"))
    assert np.array_equal(read(pictures), TRUTH) and (tmp_path / "file").read_text() == ""


def test_a_full_disk_costs_time_only(pictures: tuple[str, ...], kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwritev", full)
    assert np.array_equal(read(pictures), TRUTH) and np.array_equal(read(pictures), TRUTH)


def test_it_is_where_the_system_keeps_caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NELBO_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    paths = tuple(map(str, save_pictures(tmp_path / "p", GREYS[:1]).iterdir()))
    found = DecodedImages(paths, GREY).cache
    assert isinstance(found, Cache) and found.path.parent == tmp_path / "x" / "nelbo"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    found = DecodedImages(paths, GREY).cache
    assert isinstance(found, Cache) and found.path.parent == tmp_path / "home" / ".cache" / "nelbo"
