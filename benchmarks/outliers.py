"""Outlier detection on ADBench: VAEDetector beside isolation forest and nearest neighbours, by AUROC.

    python benchmarks/outliers.py --data DIR [--seeds 0 1 2 3 4] [--only 6_cardio ...] [--json FILE]

DIR holds ADBench's sets as .npz files of X and y, 1 for anomalies (Han et al., 2022; github.com/Minqi824/ADBench).
The labels only measure. Two protocols:

    A   unsupervised: fit on all rows, score the same rows; VAEDetector()
    B   clean: fit on a random half of the normal rows, score the other half and all anomalies; with novelty=True

Beside it, on the same rows: scikit-learn's isolation forest; the distance to the 5th neighbour over standardised
columns (PyOD's default); and in B the distance to the nearest over columns scaled to their range. A row of training
is not its own neighbour. Results are kept as they come, small files first; a run goes on where another was ended.
`--fit` takes parameters of VAEDetector.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from nelbo.estimators import VAEDetector

Result = dict[str, Any]


def rows(x: np.ndarray, y: np.ndarray, protocol: str, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(training rows, rows to score, their labels)."""
    if protocol == "A":
        return x, x, y
    normal = np.random.RandomState(seed).permutation(np.flatnonzero(y == 0))
    trained = normal[: len(normal) // 2]
    tested = np.setdiff1d(np.arange(len(y)), trained)
    return x[trained], x[tested], y[tested]


def neighbour(train: np.ndarray, test: np.ndarray, k: int, own: bool, ranged: bool = False) -> np.ndarray:
    """The distance to the k-th neighbour among the training rows, themselves left out if the rows are the same."""
    shift, scale = (train.min(0), np.ptp(train, 0)) if ranged else (train.mean(0), train.std(0))
    scale = np.where(scale > 1e-8, scale, 1)
    index = NearestNeighbors(n_neighbors=k, n_jobs=-1).fit((train - shift) / scale)
    return index.kneighbors(None if own else (test - shift) / scale)[0][:, -1]


def contestants(protocol: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Name -> (training rows, rows to score, seed) -> scores, high for outliers."""
    own = protocol == "A"
    found = {
        "vae": lambda a, b, s: -VAEDetector(novelty=not own, random_state=s, **settings).fit(a).score_samples(b),
        "forest": lambda a, b, s: -IsolationForest(random_state=s).fit(a).score_samples(b),
        "knn5": lambda a, b, s: neighbour(a, b, 5, own),
    }
    return found if own else {**found, "knn1-range": lambda a, b, s: neighbour(a, b, 1, own, ranged=True)}


def measure(
    path: Path, protocol: str, seed: int, settings: dict[str, Any], done: Result
) -> Iterator[tuple[str, float]]:
    """(name, AUROC) and (name + " s", seconds) of the contestants of one set that are not `done`."""
    with np.load(path) as file:
        x, y = file["X"].astype(np.float64), file["y"].astype(int)
    train, test, labels = rows(x, y, protocol, seed)
    for name, score in contestants(protocol, settings).items():
        if name not in done:
            began = time.perf_counter()
            yield name, float(roc_auc_score(labels, score(train, test, seed)))
            yield f"{name} s", time.perf_counter() - began


def table(results: dict[str, Result]) -> str:
    """Means over seeds for each set, then over sets for each seed and altogether."""
    lines = []
    for protocol in "AB":
        kept = {tuple(key.split("/")[1:]): row for key, row in results.items() if key.startswith(protocol)}
        names = [name for name in next(iter(kept.values()), {}) if not name.endswith(" s")]
        whole = {key: row for key, row in kept.items() if set(names) <= set(row)}
        if not whole:
            continue
        sets, seeds = sorted({s for s, _ in whole}), sorted({s for _, s in whole})
        lines += ["", f"| {protocol} | seeds | " + " | ".join(names) + " |", "|---" * (len(names) + 2) + "|"]
        for group, axis in ((sets, 0), (seeds, 1)):
            for value in group:
                of = [row for key, row in whole.items() if key[axis] == value]
                label = value if axis == 0 else f"all sets, seed {value}"
                means = " | ".join(f"{np.mean([row[name] for row in of]):.4f}" for name in names)
                lines.append(f"| {label} | {len(of)} | {means} |")
        means = [np.mean([row[name] for row in whole.values()]) for name in names]
        lines.append(f"| mean of {len(whole)} | | " + " | ".join(f"{mean:.4f}" for mean in means) + " |")
        seconds = [sum(row[f"{name} s"] for row in whole.values()) for name in names]
        lines.append("| seconds in all | | " + " | ".join(f"{second:.0f}" for second in seconds) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of ADBench's .npz files")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2, 3, 4])
    parser.add_argument("--protocols", nargs="*", default=["A", "B"], choices=["A", "B"])
    parser.add_argument("--only", nargs="*", help="names of sets")
    parser.add_argument("--fit", type=json.loads, default={}, help="parameters of VAEDetector, as JSON")
    parser.add_argument("--minutes", type=float, default=np.inf, help="start no more after this time")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    results: dict[str, Result] = json.loads(options.json.read_text("utf-8")) if options.json.exists() else {}
    paths = [
        p
        for p in sorted(options.data.glob("*.npz"), key=lambda p: p.stat().st_size)
        if not options.only or p.stem in options.only
    ]
    began = time.monotonic()
    for seed in options.seeds:
        for path in paths:
            for protocol in options.protocols:
                row = results.setdefault(f"{protocol}/{path.stem}/{seed}", {})
                if time.monotonic() - began < 60 * options.minutes:
                    for name, value in measure(path, protocol, seed, options.fit, row):
                        row[name] = round(value, 6)
                    options.json.write_text(json.dumps(results, indent=1, sort_keys=True), encoding="utf-8")
                    print(protocol, path.stem, seed, row, flush=True)
    print(table({key: row for key, row in results.items() if row}))


if __name__ == "__main__":
    main()
