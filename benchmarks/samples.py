"""Digits made by nelbo and by pythae's VAE with its GMM sampler, after the same time of training in the same run.

    python benchmarks/peers/environments.py DIR pythae
    python benchmarks/samples.py --peers DIR [--minutes 10] [--seed 42]

Both train at once, each on one thread for twice the minutes, so that a busy machine slows both alike: what two cores
do in `--minutes` where each had them alone. nelbo is `nelbo train mnist --minutes`, told to use one thread; pythae has
its own default nets, with the loss and the number of latents named in the table. The 10 000 digits of each are compared
with the 10 000 test digits of MNIST on the features of the package's own digit classifier (nelbo.metrics): that is no
FID. Beside them, training digits in the place of samples say what the least possible is.

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
    parser.add_argument("--out", type=Path, default=HERE / "samples.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        made = run(Path(folder), options)
    found = {name: compare(digits) for name, digits in made.items()}
    train = load("mnist").train
    found["training digits"] = compare(train.batch(torch.randperm(len(train))[:COUNT]))
    for name, row in found.items():
        print(f"{name:52}", "  ".join(f"{k} {v:.4g}" for k, v in row.items() if isinstance(v, float)))
    options.out.write_text(
        json.dumps({"minutes": options.minutes, "seed": options.seed, "rows": found}, indent=1) + "\n"
    )


def run(folder: Path, options: argparse.Namespace) -> dict[str, torch.Tensor]:
    """The digits of every trainer, `(n, 1, 28, 28)` in [0, 1]; all train at once."""
    alone = os.environ | {"OMP_NUM_THREADS": "1"}
    seconds = 120 * options.minutes
    jobs: dict[str, tuple[Path, subprocess.Popen[Any]]] = {}
    python = options.peers / "pythae" / "bin" / "python"
    for name, (loss, dim) in PYTHAE.items():
        if loss in options.losses:
            out = folder / f"{loss}.npy"
            words = [python, PEER, MNIST, "--seconds", seconds, "--out", out, "--loss", loss, "--latent-dim", dim]
            jobs[name] = out, subprocess.Popen([*map(str, words)], env=alone, stderr=subprocess.DEVNULL)
    trained, out = folder / "run", folder / "nelbo.npy"
    words = [
        sys.executable,
        "-m",
        "nelbo",
        "train",
        "mnist",
        "--minutes",
        seconds / 60,
        "--seed",
        options.seed,
        "--out",
        trained,
    ]
    began = time.monotonic()
    subprocess.run([*map(str, words), "--out", trained], env=alone, check=True, stdout=subprocess.DEVNULL)
    print(f"nelbo took {time.monotonic() - began:.0f} s of {seconds:.0f}", flush=True)
    words = [sys.executable, "-m", "nelbo", "sample", trained, "-n", COUNT, "--out", out]
    subprocess.run([*map(str, words)], env=alone, check=True)
    jobs["nelbo train mnist --minutes"] = out, subprocess.Popen(["true"])
    found = {}
    for name, (path, job) in jobs.items():
        if job.wait():
            raise SystemExit(f"{name} failed")
        digits = np.load(path).reshape(-1, 1, 28, 28)
        found[name] = torch.from_numpy(digits).float() / (255 if digits.max() > 1.5 else 1)
    return found


def compare(digits: torch.Tensor) -> dict[str, float | str]:
    test = load("mnist").test
    return quality(digits.clamp(0, 1), test.batch(torch.arange(len(test))))


if __name__ == "__main__":
    main()
