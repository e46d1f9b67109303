"""What the peers share: arguments, digits, clock, honest test loss and report. numpy and the standard library only.

The net of every peer is 784-400-20-400-784 with ReLU, trained by Adam at 1e-3 on BCE + KL(q(z|x) || N(0, I)). The BCE
is summed over pixels, with grey targets in [0, 1]. Inputs are in [0, 1], save the tutorial's, which are in [-1, 1].
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path

import numpy as np

IMPORTED = time.perf_counter()


def _age() -> float:
    """Seconds since this process started (0 where there is no /proc)."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        return float(Path("/proc/uptime").read_text().split()[0]) - ticks / os.sysconf("SC_CLK_TCK")
    except OSError:
        return 0.0


AGE = _age()


def parser(doc: str | None) -> argparse.ArgumentParser:
    """The arguments that every peer takes."""
    out = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    out.add_argument("mnist", type=Path, help="an .npz with x_train, y_train, x_test, y_test")
    out.add_argument("--epochs", type=int, default=10)
    out.add_argument("--seed", type=int, default=42)
    out.add_argument("--batch-size", type=int, default=128)
    return out


def array(path: Path, name: str) -> np.ndarray:
    """x_train or x_test as uint8 (n, 28, 28), y_train or y_test as uint8 (n,)."""
    with np.load(path, allow_pickle=False) as file:
        return file[name]


def digits(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Training and test digits as float32 (n, 784) in [0, 1]."""
    train, test = (array(path, name).reshape(-1, 784).astype(np.float32) for name in ("x_train", "x_test"))
    train /= 255  # in place: peak_mb is to be the peer's own
    test /= 255
    return train, test


def honest_loss(layers: Sequence[tuple[np.ndarray, np.ndarray]], test: np.ndarray, seed: int) -> float:
    """Mean over the digits of BCE + KL in nats, with one draw z ~ q(z|x).

    `layers` are (weight of shape (in, out), bias) of: hidden, mean, log-variance, hidden of the decoder, logits.
    """
    sizes = [(784, 400), (400, 20), (400, 20), (20, 400), (400, 784)]
    assert [weight.shape for weight, _ in layers] == sizes, "not the net of this benchmark"
    hidden, mean, log_variance, decoder, output = layers
    rng = np.random.default_rng(seed)
    total = 0.0
    for x in np.split(test, range(1000, len(test), 1000)):  # in pieces, for the same reason
        h = np.maximum(x @ hidden[0] + hidden[1], 0)
        mu, logvar = (h @ weight + bias for weight, bias in (mean, log_variance))
        z = mu + np.exp(logvar / 2) * rng.standard_normal(mu.shape, np.float32)
        logits = np.maximum(z @ decoder[0] + decoder[1], 0) @ output[0] + output[1]
        total += float(np.sum(np.logaddexp(0, logits) - x * logits, dtype=np.float64))
        total += float(np.sum(np.exp(logvar) + mu**2 - 1 - logvar, dtype=np.float64)) / 2
    return total / len(test)


@dataclass
class Record:
    """The measurements of one run; `packages` are those whose versions are reported."""

    peer: str
    packages: Sequence[str]
    batch_size: int
    ready_seconds: float | None = None  # from the start of the process to the first training step
    epoch_seconds: list[float] = field(default_factory=list)
    test_loss: list[float] = field(default_factory=list)
    _began: float = 0.0

    def epoch_begins(self) -> None:
        self._began = time.perf_counter()
        if self.ready_seconds is None:
            self.ready_seconds = round(AGE + self._began - IMPORTED, 3)

    def epoch_ends(self, test_loss: Callable[[], float]) -> None:
        """Stop the clock, then measure the test loss."""
        self.epoch_seconds.append(round(time.perf_counter() - self._began, 3))
        self.test_loss.append(round(test_loss(), 3))
        print(f"epoch {len(self.test_loss)}: {self.epoch_seconds[-1]} s, test loss {self.test_loss[-1]}", flush=True)

    def report(self) -> None:
        """Print one line of JSON. `wall_seconds` is all there was, from the start of the process."""
        out = {name: value for name, value in asdict(self).items() if name not in ("packages", "_began")}
        versions = (f"{name} {metadata.version(name).partition('+')[0]}" for name in self.packages)
        wall = AGE + time.perf_counter() - IMPORTED
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 ** (2 if sys.platform == "darwin" else 1)
        out |= {"version": ", ".join(versions), "wall_seconds": round(wall, 3), "peak_mb": round(peak, 1)}
        print(json.dumps(out), flush=True)
