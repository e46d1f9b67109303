"""nelbo beside its peers: seconds an epoch, time to a test loss, memory, start-up; one net, one machine, one run.

    python benchmarks/speed.py --peers DIR [--rounds 3] [--epochs 10] [--out benchmarks/speed.json]

The peers' environments are made in DIR if they are not there (from the package registry, some minutes). Without --peers
only nelbo is timed. Every peer trains the tutorial's net on MNIST by its own means, in a process of its own; in each
round all take their turn, so that a machine whose speed drifts drifts for all. The limit is the time of the matrix
products of the same steps alone, measured in each round. The test loss is computed by the same numpy code for all.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from limits import BLOCK, step
from peers.environments import ENVIRONMENTS, python

HERE = Path(__file__).parent
GOALS = (107.03, 105.5)  # nats: the tutorial's test loss after ten epochs, and a better one
DIGITS = 60_000
NELBO = (("tutorial", None), ("mnist", 3), ("mnist", 10), ("fast", None))  # recipe, epochs


def run(command: Sequence[str | Path]) -> str:
    """What a command prints."""
    return subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True).stdout


def contestants(peers: Path | None, epochs: int) -> dict[str, list[str | Path]]:
    """The commands to time, by name."""
    mnist = Path(str(resources.files("nelbo") / "data" / "files" / "mnist.npz"))
    found: dict[str, list[str | Path]] = {}
    for environment, scripts in ENVIRONMENTS.items() if peers else ():
        for script in scripts:
            command = [python(peers / environment), HERE / "peers" / f"{script}.py", mnist, "--epochs", str(epochs)]
            found[script] = command
    for recipe, own in NELBO:
        command = [sys.executable, HERE / "peers" / "nelbo_fit.py", mnist, "--recipe", recipe]
        name = f"nelbo {recipe}{f', {own} epochs' if own else ''}"
        found[name] = command + (["--epochs", str(own)] if own else [])
    return found


def until(goal: float, found: dict[str, Any]) -> float | None:
    """Seconds of training until the test loss is at most `goal`."""
    total = 0.0
    for seconds, loss in zip(found["epoch_seconds"], found["test_loss"], strict=True):
        total += seconds
        if loss <= goal:
            return total
    return None


def figures(found: dict[str, Any], products: dict[int, float]) -> dict[str, float | None]:
    """What is compared, from one run; `products` are the seconds of a step's products, by batch size."""
    epoch = statistics.median(found["epoch_seconds"])
    steps = DIGITS / found["batch_size"]
    return {
        "epoch_seconds": epoch,
        "digits_per_second": DIGITS / epoch,
        "ratio_to_products": epoch / (steps * products[found["batch_size"]]),
        **{f"seconds_to_{goal}": until(goal, found) for goal in GOALS},
        "test_loss": found["test_loss"][-1],
        "ready_seconds": found["ready_seconds"],
        "wall_seconds": found["wall_seconds"],
        "peak_mb": found["peak_mb"],
    }


def products(sizes: Sequence[int]) -> dict[int, float]:
    """Median seconds of the products of one step, by batch size."""
    result = {}
    for size in sizes:
        limit, times = step("mnist", None, size, {})[1], []
        for _ in range(12):
            began = time.perf_counter()
            limit()
            times.append((time.perf_counter() - began) / BLOCK)
        result[size] = statistics.median(times)
    return result


def start_up() -> dict[str, float]:
    """Seconds of whole processes: start-up, and the main job with all that it writes."""
    nelbo = Path(sys.executable).with_name("nelbo")
    with tempfile.TemporaryDirectory() as folder:
        out = f"{folder}/mnist"
        commands: dict[str, list[str | Path]] = {
            "nelbo train mnist, 10 epochs with pictures and report": [nelbo, "train", "mnist", "--out", out],
            "import torch": [sys.executable, "-c", "import torch"],
            "nelbo --help": [nelbo, "--help"],
            "nelbo sample": [nelbo, "sample", out, "--out", f"{folder}/samples.png"],
            "nelbo train fast": [nelbo, "train", "--recipe", "fast", "--out", f"{folder}/fast"],
        }
        times = {}
        for name, command in commands.items():
            began = time.perf_counter()
            run(command)
            times[name] = time.perf_counter() - began
        return times


def spread(values: Sequence[float | None]) -> dict[str, float] | None:
    """Median, least and greatest; None if in any round there was none."""
    found = [value for value in values if value is not None]
    if len(found) < len(values):
        return None
    return {"median": statistics.median(found), "low": min(found), "high": max(found)}


def gather(rounds: list[dict[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """The spread of each figure of each contestant over the rounds."""
    first = rounds[0]
    return {n: {key: spread([r[n][key] for r in rounds]) for key in first[n]} for n in first}


def show(table: dict[str, dict[str, Any]]) -> None:
    """Print it: medians, with the range in brackets."""
    for name, values in table.items():
        print(name)
        for key, value in values.items():
            text = (
                f"{value['median']:10.3f}  ({value['low']:.3f} to {value['high']:.3f})" if value else "   not reached"
            )
            print(f"    {key:56} {text}")


def against_tutorial(rounds: list[dict[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """How many times less than the tutorial's ten epochs: training alone, and whole processes."""
    ratios = []
    for found in rounds:
        tutorial, fast = found["tutorial"], found["nelbo fast"]
        ratios.append(
            {
                "training": tutorial["training_seconds"] / fast["training_seconds"],
                "process": tutorial["wall_seconds"] / fast["wall_seconds"],
            }
        )
    return gather([{"the tutorial's time over nelbo fast's": ratio} for ratio in ratios])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    if options.peers:
        subprocess.run([sys.executable, HERE / "peers" / "environments.py", options.peers, *ENVIRONMENTS], check=True)
    rounds, starts = [], []
    for number in range(options.rounds):
        limit, found = products((128, 160)), {}
        for name, command in contestants(options.peers, options.epochs).items():
            last = json.loads(run([*command, "--seed", str((42, 1, 2)[number % 3])]).splitlines()[-1])
            found[name] = {"training_seconds": sum(last["epoch_seconds"]), **figures(last, limit)}
            print(f"round {number + 1}: {name}: {json.dumps(last)}", flush=True)
        rounds.append(found)
        starts.append({"seconds": start_up()})
    table = gather(rounds) | gather(starts) | (against_tutorial(rounds) if options.peers else {})
    show(table)
    about = {"platform": platform.platform(), "python": platform.python_version(), "rounds": options.rounds}
    options.out.write_text(json.dumps(about | {"table": table}, indent=1) + "\n")


if __name__ == "__main__":
    main()
