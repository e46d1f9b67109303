"""Digits made by nelbo and by pythae's VAE with its GMM sampler, after the same time of training in the same run.

    python benchmarks/peers/environments.py DIR pythae
    python benchmarks/samples.py --peers DIR [--minutes 10] [--seed 42] [--temperatures 1 0.9] [--work DIR]

Both train at once, each on one thread for twice the minutes, so that a busy machine slows both alike: what two cores
do in `--minutes` where each had them alone. nelbo is `nelbo train mnist --minutes`, told to use one thread; pythae
has its own default nets, with the loss and the number of latents named in the table. The 10 000 digits of each are
compared with the 10 000 test digits of MNIST on the features of the package's own digit classifier (nelbo.metrics):
that is not an FID. Beside them, training digits in the place of samples show the least that is possible. nelbo's
model is drawn from at each of the temperatures, and by `nelbo sample --like mnist`, which varies training digits;
`--against train` compares with training digits, by which one may choose a temperature. In a --work folder, models and
digits that are there are not made again.

Writes samples.json beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import nelbo
from nelbo.data import load
from nelbo.metrics import quality

HERE = Path(__file__).parent
PEER = HERE / "peers" / "pythae_samples.py"
MNIST = Path(nelbo.__file__).parent / "data" / "files" / "mnist.npz"
COUNT = 10_000
PYTHAE = {
    "pythae VAE + GMM, BCE, 16 latents": ("bce", 16),
    "pythae VAE + GMM, MSE (its default), 16 latents": ("mse", 16),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--losses", nargs="+", default=["bce"], choices=["bce", "mse"])
    parser.add_argument("--temperatures", type=float, nargs="+", default=[1.0])
    parser.add_argument("--against", choices=["test", "train"], default="test")
    parser.add_argument("--work", type=Path)
    parser.add_argument("--out", type=Path, default=HERE / "samples.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        made = run(options.work or Path(folder), options)
    mnist = load("mnist")
    real = mnist.test.batch(torch.arange(COUNT))
    if options.against == "train":
        real = mnist.train.batch(torch.arange(len(mnist.train) - COUNT, len(mnist.train)))
    else:
        made["training digits"] = mnist.train.batch(torch.randperm(len(mnist.train))[:COUNT])
    found = {name: quality(digits.clamp(0, 1), real, "digits") for name, digits in made.items()}
    for name, row in found.items():
        print(f"{name:52}", "  ".join(f"{k} {v:.4g}" for k, v in row.items() if isinstance(v, float)))
    options.out.write_text(
        json.dumps({"minutes": options.minutes, "seed": options.seed, "rows": found}, indent=1) + "\n"
    )


def run(folder: Path, options: argparse.Namespace) -> dict[str, torch.Tensor]:
    """The digits of every trainer, `(n, 1, 28, 28)` in [0, 1]; all train at once."""
    folder.mkdir(parents=True, exist_ok=True)
    python, seconds = options.peers / "pythae" / "bin" / "python", 120 * options.minutes
    jobs: dict[str, tuple[Path, subprocess.Popen[Any] | None]] = {}
    for name, (loss, dim) in PYTHAE.items():
        if loss in options.losses:
            out = folder / f"{loss}.npy"
            words = [python, PEER, MNIST, "--seconds", seconds, "--out", out, "--loss", loss, "--latent-dim", dim]
            jobs[name] = out, None if out.exists() else start(words, stderr=subprocess.DEVNULL)
    nelbo_, trained = [sys.executable, "-m", "nelbo"], folder / "run"
    if not trained.exists():
        words = [*nelbo_, "train", "mnist", "--minutes", seconds / 60, "--seed", options.seed, "--out", trained]
        began = time.monotonic()
        finish("nelbo train", start(words, stdout=subprocess.DEVNULL))
        print(f"nelbo took {time.monotonic() - began:.0f} s of {seconds:.0f}", flush=True)
    for way in [*[("temperature", t) for t in options.temperatures], ("like", "mnist")]:
        out = folder / f"nelbo-{way[0]}-{way[1]}.npy"
        words = [*nelbo_, "sample", trained, "-n", COUNT, f"--{way[0]}", way[1], "--out", out]
        jobs[f"nelbo train mnist --minutes, {way[0]} {way[1]}"] = out, None if out.exists() else start(words)
    found = {}
    for name, (path, job) in jobs.items():
        if job:
            finish(name, job)
        digits = np.load(path).reshape(-1, 1, 28, 28)
        found[name] = torch.from_numpy(digits).float() / (255 if digits.max() > 1.5 else 1)
    return found


def start(words: list[Any], **options: Any) -> subprocess.Popen[Any]:
    """A process on one thread."""
    return subprocess.Popen([*map(str, words)], env=os.environ | {"OMP_NUM_THREADS": "1"}, **options)


def finish(name: str, job: subprocess.Popen[Any]) -> None:
    if job.wait():
        raise SystemExit(f"{name} failed")


if __name__ == "__main__":
    main()
