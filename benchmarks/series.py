"""Abnormal heartbeats by a model that saw normal ones only: ECG5000, beside isolation forest and nearest neighbours.

    python benchmarks/series.py /path/to/ecg5000.npz [--seeds 3] [--json results.json] [--figure beats.png]

Trains `nelbo train --kind series` as it is (the recipe "series") on the normal beats of the training set, and takes the
AUROC of its scores on the test set: 2,627 normal and 1,873 abnormal beats of 140 steps. The settings of the recipe were
chosen by the training set alone, its normal beats in three folds against its abnormal ones, and by no test beat.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from nelbo.apps.anomaly import Detector, intervals, scores
from nelbo.config import recipe as recipes
from nelbo.data import load
from nelbo.model import Model
from nelbo.plotting import curves, figures

SCORES = ("nll", "reconstruction", "latent", "regret")


def ours(normal: np.ndarray, test: np.ndarray, odd: np.ndarray, seed: int) -> tuple[dict[str, float], Model]:
    """The AUROC of each score, and the seconds of training."""
    data = load(normal, kind="series", seed=seed)
    model = Model.from_recipe(recipes.load("series", {"seed": seed}), data.schema)
    began = time.perf_counter()
    model.fit(data)
    seconds = time.perf_counter() - began
    rows = model.as_dataset(test)
    found = {name: roc_auc_score(odd, scores.SCORES[name](model, rows, 50, 0)) for name in SCORES}
    return {f"nelbo, {name}": value for name, value in found.items()} | {"seconds": seconds}, model


def peers(normal: np.ndarray, test: np.ndarray, odd: np.ndarray, seed: int) -> dict[str, float]:
    forest = IsolationForest(random_state=seed).fit(normal)
    near = NearestNeighbors(n_neighbors=5).fit(normal)
    return {
        "isolation forest": roc_auc_score(odd, -forest.score_samples(test)),
        "5 nearest neighbours": roc_auc_score(odd, near.kneighbors(test)[0].mean(1)),
    }


def figure(model: Model, normal: np.ndarray, test: np.ndarray, odd: np.ndarray, path: Path) -> None:
    """Eight abnormal test beats drawn at random, and where they are odd."""
    chosen = np.random.default_rng(0).choice(np.flatnonzero(odd), 8, replace=False)
    detector = Detector(model, calibration=test[~odd][:500])
    rows = model.as_dataset(test[chosen])
    where = intervals.find_intervals(detector, rows, 0.01)
    shaded = [[(of.start, of.end) for of in where.intervals if of.row == i] for i in range(8)]
    found = detector.p_values(rows)
    titles = [f"beat {i}, p = {p:.2g}" for i, p in zip(chosen, found, strict=True)]
    drawn = curves.anomaly_figure(
        test[chosen][..., None], where.expected, where.step_scores, shaded, titles, model.schema
    )
    figures.figure_image(drawn).save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    with np.load(options.data, allow_pickle=False) as arrays:
        normal, test, odd = arrays["x_train"][arrays["y_train"] == 1], arrays["x_test"], arrays["abnormal_test"] == 1
    runs = []
    for seed in range(options.seeds):
        found, model = ours(normal, test, odd, seed)
        runs.append(found | peers(normal, test, odd, seed))
        print(f"seed {seed}: " + ", ".join(f"{name} {value:.4f}" for name, value in runs[-1].items()), flush=True)
        if options.json:
            options.json.write_text(
                json.dumps({"data": options.data.name, "normal": len(normal), "runs": runs}, indent=1)
            )
    print(f"\n| score | AUROC, mean of {len(runs)} seeds | least | most |\n|---|---|---|---|")
    for name in runs[0]:
        values = [run[name] for run in runs]
        print(f"| {name} | {np.mean(values):.4f} | {min(values):.4f} | {max(values):.4f} |")
    if options.figure:
        figure(model, normal, test, odd, options.figure)


if __name__ == "__main__":
    main()
