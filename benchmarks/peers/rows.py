"""What the contestants of tables.py share: arguments, rows, clock and report."""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

import pandas as pd

MANY = 100_000  # rows whose sampling is timed


def parser(doc: str | None) -> argparse.ArgumentParser:
    """The arguments that every contestant takes."""
    out = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    out.add_argument("train", type=Path)
    out.add_argument("out", type=Path)
    out.add_argument("--seed", type=int, default=0)
    return out


def read(path: Path) -> pd.DataFrame:
    """The rows of a parquet file, texts as Python objects."""
    frame = pd.read_parquet(path)
    return frame.astype({n: object for n in frame if not pd.api.types.is_numeric_dtype(frame[n])})


def timed(work: Callable[[], object]) -> tuple[object, dict[str, float]]:
    """What `work` gives, its seconds by the clock and those of all its threads on the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    result = work()
    seconds = {"clock": time.perf_counter() - clock, "processor": time.process_time() - processor}
    return result, {name: round(value, 2) for name, value in seconds.items()}


def run(
    args: argparse.Namespace,
    packages: Sequence[str],
    fit: Callable[[], object],
    sample: Callable[[int], pd.DataFrame],
) -> None:
    """Fit, write as many synthetic rows as there are in training, time many, and print one line of JSON."""
    _, fitting = timed(fit)
    sample(len(pd.read_parquet(args.train))).to_parquet(args.out)
    _, sampling = timed(lambda: sample(MANY))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 ** (2 if sys.platform == "darwin" else 1)
    version = ", ".join(f"{name} {metadata.version(name).partition('+')[0]}" for name in packages)
    print(json.dumps({"version": version, "fit_seconds": fitting, "sample_seconds": sampling, "peak_mb": round(peak)}))
