"""How much memory nelbo takes: that it does not grow with the data.

    python benchmarks/memory.py [--big-gb 20] [--pictures 200000] [--dir DIR] [--out benchmarks/memory.json]

Each case is a process of its own. Its peak is what it held of real memory at most (`ru_maxrss`); of a file that is
read, the system's cache is no part of it, of one that is mapped, the pages seen would be. Large data are trained on
under a limit of all memory that a process may write to (`RLIMIT_DATA`): where it would be exceeded, an allocation
fails and so does the case. No other limit would do: `RLIMIT_AS` counts what is mapped, such as the libraries of Torch
and the whole file when its header is read; Linux ignores `RLIMIT_RSS`; and a peak alone says nothing of what was
reserved and never touched. Peaks vary by up to 250 MB from run to run, as the C library keeps what was freed.

The large files are made in a temporary folder in DIR and removed: a sparse array of bytes whose first pictures are
random, and a folder of hard links to 1000 PNGs, 1000 in each subfolder.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

import nelbo

SHAPE, PIXELS = (64, 64, 3), 64 * 64 * 3
RANDOM, DIFFERENT = 20_000, 1000  # pictures
STEPS, BATCH = 300, 64
LIMIT_MB, MNIST_MB = 2048, 700
TRAIN = ("-m", "nelbo", "train", "--quiet")
NET = ("--set=model.encoder=mlp", "--set=model.encoder.hidden=[128]")  # small: it is the data that matter here
STREAM = (*NET, "--epochs=1", f"--batch-size={BATCH}", f"--epoch-size={STEPS * BATCH}", "--val-fraction=0.001")


@dataclass(frozen=True)
class Case:
    """What a process took: peak and limits in MB; it holds if it ended well and its peak is below the bar."""

    name: str
    data_mb: int
    seconds: float
    peak_mb: int
    bar_mb: int
    limit_mb: int
    holds: bool


def measure(name: str, arguments: tuple[str, ...], data_mb: int = 0, bar_mb: int = 0, limit_mb: int = 0) -> Case:
    """Run Python with these arguments, under the limit if there is one.

    This process must stay small: until the child runs its own program, the pages of its parent count as the child's.
    """

    def confine() -> None:
        if limit_mb:
            resource.setrlimit(resource.RLIMIT_DATA, (limit_mb * 2**20, limit_mb * 2**20))

    began = time.monotonic()
    kept = {**os.environ, "NELBO_CACHE": "off"}  # what is kept of pictures is for a second run
    child = subprocess.Popen([sys.executable, *arguments], preexec_fn=confine, stdout=subprocess.DEVNULL, env=kept)
    try:
        _, status, usage = os.wait4(child.pid, 0)
    except BaseException:
        child.kill()  # else it would go on in a folder that is removed
        raise
    child.returncode = os.waitstatus_to_exitcode(status)
    peak, seconds = round(usage.ru_maxrss / 1024), round(time.monotonic() - began, 1)
    holds = child.returncode == 0 and peak <= (bar_mb or limit_mb or peak)
    return Case(name, data_mb, seconds, peak, bar_mb or limit_mb, limit_mb, holds)


def write_array(path: Path, gigabytes: float) -> int:
    """Write a sparse `.npy` of so many GB, and return how many pictures it holds."""
    rows = int(gigabytes * 1e9) // PIXELS
    array = np.lib.format.open_memmap(path, "w+", np.uint8, (rows, *SHAPE))
    rng = np.random.default_rng(0)
    for start in range(0, min(RANDOM, rows), 100):
        some = array[start : start + 100]
        some[:] = rng.integers(0, 256, some.shape, np.uint8)
    return rows


def write_pictures(folder: Path, pictures: int) -> None:
    """Write different PNGs into the first subfolder, and link to them from the others."""
    rng = np.random.default_rng(0)
    for number in range(pictures):
        path = folder / f"{number // DIFFERENT:04}" / f"{number % DIFFERENT:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        if number < DIFFERENT:
            blocks = rng.integers(0, 256, (16, 16, 3), np.uint8)
            Image.fromarray(blocks.repeat(4, 0).repeat(4, 1)).save(path)
        else:
            os.link(folder / "0000" / path.name, path)


def cases(folder: Path, gigabytes: float, pictures: int) -> Iterator[Case]:
    """All cases, in a folder that is empty."""
    yield measure("import torch", ("-c", "import torch"))
    yield measure("mnist, 1 epoch", (*TRAIN, "mnist", "--epochs=1", f"--out={folder}/mnist"), bar_mb=MNIST_MB)
    array, pngs = folder / "big.npy", folder / "pngs"
    rows = write_array(array, gigabytes)
    yield stream(f"{gigabytes:g} GB .npy, {rows} pictures", array, rows)
    array.unlink()
    write_pictures(pngs, pictures)
    yield stream(f"{pictures} PNGs in folders", pngs, pictures)


def stream(name: str, source: Path, rows: int) -> Case:
    """Train for some steps under the limit."""
    arguments = (*TRAIN, str(source), *STREAM, f"--out={source}-out")
    return measure(f"{name}, {STEPS} steps", arguments, rows * PIXELS // 2**20, limit_mb=LIMIT_MB)


def line(case: Case) -> str:
    limit = f"limit {case.limit_mb} MB" if case.limit_mb else f"bar {case.bar_mb} MB" if case.bar_mb else ""
    return f"{case.name:45} {case.peak_mb:5} MB {case.seconds:7.1f} s  {limit:13} {'' if case.holds else 'FAILED'}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--big-gb", type=float, default=20)
    parser.add_argument("--pictures", type=int, default=200_000)
    parser.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # so that the folder is removed then too
    options.dir.mkdir(parents=True, exist_ok=True)
    found = []
    with tempfile.TemporaryDirectory(dir=options.dir) as folder:
        for case in cases(Path(folder), options.big_gb, options.pictures):
            found.append(case)
            print(line(case), flush=True)
    about = {"nelbo": nelbo.__version__, "python": sys.version.split()[0]}
    options.out.write_text(json.dumps({**about, "cases": [asdict(case) for case in found]}, indent=1) + "\n")
    if not all(case.holds for case in found):
        sys.exit("a case is above its bar, or failed")


if __name__ == "__main__":
    main()
