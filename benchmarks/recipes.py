"""Test losses of the shipped recipes on MNIST: three seeds each, the table of the README.

    python benchmarks/recipes.py [--out benchmarks/recipes.json]

The `mnist` recipe's schedule depends on its length, so its 3 epochs are a run of their own.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

import nelbo
from nelbo.config.recipe import load as load_recipe
from nelbo.data import load
from nelbo.model import Model

RUNS = (("fast", 1), ("tutorial", 10), ("mnist", 3), ("mnist", 10))
SEEDS = (42, 1, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    out = parser.parse_args().out
    data = load("mnist")
    results = []
    for name, epochs in RUNS:
        for seed in SEEDS:
            recipe = load_recipe(name, {"epochs": epochs, "seed": seed})
            rows = Model.from_recipe(recipe, data.schema).fit(data).rows
            test = [round(row["loss"], 3) for row in rows if row["split"] == "test"]
            seconds = sum(row["seconds"] for row in rows)
            results.append({"recipe": name, "epochs": epochs, "seed": seed, "test": test, "seconds": round(seconds, 1)})
            print(json.dumps(results[-1]), flush=True)
    out.write_text(json.dumps({"nelbo": nelbo.__version__, "runs": results}, indent=1) + "\n")
    for name, epochs in RUNS:
        curves = [run["test"] for run in results if run["recipe"] == name and run["epochs"] == epochs]
        for at in (3, 10) if name == "tutorial" else (epochs,):
            last = [curve[at - 1] for curve in curves]
            print(f"{name:10} {at:2} epochs: {statistics.mean(last):.2f} ({min(last):.2f} to {max(last):.2f})")


if __name__ == "__main__":
    main()
