"""Training, sampling, scoring and embedding beside 0, 1 and 2 busy processes, with an adapted number of threads,
with one thread and with all; pythae and JAX train the same net in the same rounds.

    python benchmarks/busy.py [--peers DIR] [--rounds 3] [--neighbours 0 1 2] [--out benchmarks/busy.json]

The net is the tutorial's, on MNIST. At each load all take their turn, in processes of their own; a process that counts
without end is a neighbour. `ratio` is the time with the adapted number over that of the better fixed one, medians over
the rounds; `same weights` tells whether all three trained to the same bits.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

from peers.environments import python

MNIST = Path(str(resources.files("nelbo") / "data" / "files" / "mnist.npz"))
PEERS = {"pythae_vae": "pythae", "jax_jit": "jax"}
EPOCHS, ROWS = 2, 20_000
WORK = ("train", "sample", "score", "embed")


def measure(threads: str) -> dict[str, Any]:
    """Seconds of each kind of work in this process, and a hash of the trained weights."""
    import torch

    import nelbo
    from nelbo.training import threads as adapting

    if threads != "adapted":
        adapting.getrusage = None  # type: ignore[assignment]
        torch.set_num_threads(int(threads))
    model = nelbo.fit("mnist", recipe="tutorial", epochs=1, epoch_size=2_000, verbose=False)  # start-up is not measured
    rows = nelbo.data.subset(nelbo.data.load("mnist").train, torch.arange(ROWS))
    seconds = {}

    def clock(name: str, work: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        result = work()
        seconds[name] = time.perf_counter() - began
        return result

    trained = clock("train", lambda: nelbo.fit("mnist", recipe="tutorial", epochs=EPOCHS, verbose=False))
    clock("sample", lambda: model.sample(ROWS))
    clock("score", lambda: model.elbo(rows))
    clock("embed", lambda: model.embed(rows))
    weights = b"".join(value.numpy().tobytes() for value in trained.vae.state_dict().values())
    return {"seconds": seconds, "weights": hashlib.sha256(weights).hexdigest()}


@contextmanager
def neighbours(number: int) -> Iterator[None]:
    """Within it, `number` processes keep a core busy each."""
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(number)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def last_line(command: list[Any]) -> dict[str, Any]:
    """The JSON object that a command prints last."""
    printed = subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True).stdout
    result: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return result


def one_round(peers: Path | None, choices: list[str]) -> dict[str, Any]:
    """Each contestant once."""
    found = {threads: last_line([sys.executable, __file__, "--measure", threads]) for threads in choices}
    for script, environment in PEERS.items() if peers else ():
        command = [python(peers / environment), Path(__file__).parent / "peers" / f"{script}.py", MNIST]  # type: ignore[operator]
        took = last_line([*command, "--epochs", EPOCHS])["epoch_seconds"]
        found[script] = {"seconds": {"train": sum(took)}}
    return found


def table(rounds: list[dict[str, Any]], fixed: list[str]) -> dict[str, Any]:
    """Medians and ranges over the rounds, and the ratios."""
    seconds: dict[str, dict[str, Any]] = {}
    for name, result in rounds[0].items():
        for work in result["seconds"]:
            values = [r[name]["seconds"][work] for r in rounds]
            summary = {"median": statistics.median(values), "low": min(values), "high": max(values)}
            seconds.setdefault(work, {})[name] = summary
    ratio = {
        work: seconds[work]["adapted"]["median"] / min(seconds[work][threads]["median"] for threads in fixed)
        for work in WORK
    }
    weights = {r[name]["weights"] for r in rounds for name in ("adapted", *fixed)}
    return {"seconds": seconds, "ratio": ratio, "same weights": len(weights) == 1}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, help="environments made by benchmarks/peers/environments.py")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--neighbours", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure)))
        return
    fixed = ["1", str(os.cpu_count())]
    result: dict[str, Any] = {"platform": platform.platform(), "cores": os.cpu_count(), "rounds": options.rounds}
    for number in options.neighbours:
        with neighbours(number):
            rounds = [one_round(options.peers, ["adapted", *fixed]) for _ in range(options.rounds)]
        result[f"{number} neighbours"] = table(rounds, fixed)
        print(number, json.dumps(result[f"{number} neighbours"], indent=1), flush=True)
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
