"""Novelty in pictures: one class of digits against the others, and MNIST against Fashion-MNIST, by AUROC.

    python benchmarks/novelty.py [--only digits pairs] [--threads 1] [--json FILE]

Fashion-MNIST: apt install dataset-fashion-mnist. All models are the recipe `mnist` (784-400-z-400-784); the decoder's
likelihood is a Bernoulli on grey pixels, a cross-entropy (the AUROC of such pairs depends on the likelihood). Scores
are those of `nelbo.apps.anomaly.Detector`; "ratio" is the default for pictures.

    digits   trained on the training digits of one class; scored: all 10 000 test digits, odd are the other classes.
             z of 10, 40 epochs
    pairs    trained on all training pictures of one set, z of 20, 4 epochs; scored: the test pictures of both

The size of z and the score were chosen on training pictures: nine tenths of the 2s and of the 8s to train on, the rest
as usual, and 3000 digits of other classes as odd; for pairs, 3000 pictures held out and 3000 of the other set. Test
pictures were only scored, by the settings as they are here. Results are kept as they come; a run goes on where another
was ended.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

import nelbo
from nelbo.apps.anomaly import scores
from nelbo.data import sources

SHOWN = ("ratio", "reconstruction", "bound", "latent")
DRAWS = 2  # of z, for bound and latent
Scores = dict[str, np.ndarray]


def auroc(found: Scores, odd: np.ndarray) -> dict[str, float]:
    """Of each score."""
    return {name: float(roc_auc_score(odd, score)) for name, score in found.items()}


def score(model: nelbo.Model, x: np.ndarray) -> Scores:
    """Each score of each picture."""
    rows = model.as_dataset(x[:, None])
    return {name: scores.SCORES[name](model, rows, DRAWS, 0) for name in SHOWN}


def digit(number: int) -> dict[str, float]:
    """One class of digits against the others."""
    stored = sources.read_named("mnist")
    mine = np.asarray(stored.x)[np.asarray(stored.y) == number]
    model = nelbo.fit(mine[:, None], recipe="mnist", epochs=40, model__latent__dim=10, seed=0)
    return auroc(score(model, stored.x_test), np.asarray(stored.y_test) != number)


def pair(usual: str, other: str) -> dict[str, float]:
    """One set against another."""
    model = nelbo.fit(np.asarray(sources.read_named(usual).x)[:, None], recipe="mnist", epochs=4, seed=0)
    ours, theirs = score(model, sources.read_named(usual).x_test), score(model, sources.read_named(other).x_test)
    both = {name: np.concatenate([ours[name], theirs[name]]) for name in SHOWN}
    return auroc(both, np.repeat([0, 1], [len(ours["ratio"]), len(theirs["ratio"])]))


def table(results: dict[str, dict[str, float]]) -> str:
    """A line for each case, and the mean over the digits."""
    digits = [row for case, row in results.items() if case.startswith("digit")]
    lines = dict(results)
    if len(digits) == 10:
        lines["mean of digits"] = {name: float(np.mean([row[name] for row in digits])) for name in digits[0]}
    shown = ["| usual | " + " | ".join(SHOWN) + " |", "|---" * (len(SHOWN) + 1) + "|"]
    for case, row in sorted(lines.items()):
        shown.append(f"| {case} | " + " | ".join(f"{row[name]:.4f}" for name in SHOWN) + " |")
    return "\n".join(shown)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=["digits", "pairs"], default=["digits", "pairs"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    results: dict[str, Any] = json.loads(options.json.read_text("utf-8")) if options.json.exists() else {}
    sets = ("fashion-mnist", "mnist")
    cases = {f"{a}, odd: {b}": (pair, (a, b)) for a in sets for b in sets if a != b and "pairs" in options.only}
    cases |= {f"digit {number}": (digit, (number,)) for number in range(10) if "digits" in options.only}
    for case, (measure, arguments) in cases.items():
        if case in results:
            continue
        began = time.process_time()
        row = measure(*arguments)
        results[case] = {name: round(value, 4) for name, value in row.items()}
        results[case]["processor seconds"] = round(time.process_time() - began)
        options.json.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        print(case, results[case], flush=True)
    print(table(results))


if __name__ == "__main__":
    main()
