"""Does nelbo lose, hide or execute anything? Campaigns of faults; each counts what was tried and what failed.

    python benchmarks/reliability.py                 # all campaigns, into benchmarks/reliability.json
    python benchmarks/reliability.py kills --n 40    # one of them, shorter, only printed

A campaign is a function of a number of trials and a seed that returns a `Tally`. The tests run each with few trials.

kills: `train`, `train --force`, `--resume`, `prior fit` and `Model.save` over a model are killed: half of the trials
at each of their calls that change the disk (a file is then half written), half at random times by SIGKILL. Afterwards
the model must load and equal the old or the new one, and the run must resume and end with the old or the new model.
Needs fork (Linux, macOS).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # a forked process cannot use the threads of its parent

import numpy as np

import nelbo
from nelbo.errors import UserError
from nelbo.experiment import run
from nelbo.model import io

OUT = Path(__file__).with_suffix(".json")
FORK = multiprocessing.get_context("fork")


@dataclass
class Tally:
    """The result of a campaign: the number of trials, and a line for each that failed."""

    tried: int = 0
    failed: list[str] = field(default_factory=list)

    def count(self, failure: str | None) -> None:
        self.tried += 1
        if failure:
            self.failed.append(failure)


TINY: dict[str, Any] = {
    "batch_size": 16,
    "model__encoder": {"kind": "mlp", "hidden": [4]},
    "model__latent__dim": 2,
    "training__checkpoint_seconds": 0.0,
    "post_hoc_prior": "",
}
ROWS = np.random.default_rng(0).integers(0, 256, (60, 6, 6), np.uint8)


def train(out: Path, seed: int, **more: Any) -> None:
    nelbo.fit(ROWS, out=out, seed=seed, epochs=2, **TINY, **more)


def resume(out: Path, epochs: int | None = None) -> None:
    nelbo.fit(ROWS, out=out, resume=True, epochs=epochs)


def fit_prior(out: Path) -> None:
    with run.locked(out):
        run.save(nelbo.fit_prior(nelbo.load(out), ROWS, "normal"), out / "model")


def save_another(out: Path) -> None:
    nelbo.Model.from_recipe(nelbo.load(out).recipe, nelbo.load(out).schema).save(out / "model")


ACTIONS: dict[str, Callable[[Path], None]] = {
    "train": partial(train, seed=1),
    "train --force": partial(train, seed=2, force=True),
    "train --resume": partial(resume, epochs=4),
    "prior fit --force": fit_prior,
    "Model.save": save_another,
}
"""What is killed, on the folder of a run of seed 1 and 2 epochs; the first, on no folder."""
TRAINING = ("train", "train --force", "train --resume")


def kills(n: int, seed: int) -> Tally:
    """Kill each action at its calls that change the disk, and at random times."""
    tally, randomness = Tally(), random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        base, out = Path(name) / "base", Path(name) / "out"
        train(base, 1)  # in this process, so that no other needs to import anything
        actions = {action: whole(action, base, fresh(out, base, action)) for action in ACTIONS}
        cases = [(action, k) for action, (calls, _, _) in actions.items() for k in range(calls)]
        for action, k in randomness.sample(cases, min(len(cases), n // 2)):
            in_child(at_call, k, ACTIONS[action], fresh(out, base, action))
            tally.count(verdict(f"{action}, killed at call {k}", action, out, actions[action][2]))
        for action in islice(cycle(ACTIONS), n - tally.tried):
            _, seconds, known = actions[action]
            after = randomness.uniform(0, seconds)
            in_child(ACTIONS[action], fresh(out, base, action), kill_after=after)
            tally.count(verdict(f"{action}, killed after {after:.3f} s", action, out, known))
    return tally


def fresh(out: Path, base: Path, action: str) -> Path:
    """The folder on which to run an action."""
    shutil.rmtree(out, ignore_errors=True)
    if action != "train":
        shutil.copytree(base, out)
    return out


def whole(action: str, base: Path, out: Path) -> tuple[int, float, set[str]]:
    """Run an action to its end: the number of its calls that change the disk, its seconds, and all models it saves."""
    started = time.monotonic()
    calls, models = in_child(at_call, -1, partial(saved, ACTIONS[action]), out)
    return calls, time.monotonic() - started, {digest(base), *models}


def at_call(k: int, act: Callable[[Path], Any], out: Path) -> tuple[int, Any]:
    """Run `act(out)`; at its k-th call that changes the disk, the process dies. Returns their number and the result."""
    calls = 0

    def hooked(call: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
        nonlocal calls
        if calls == k:
            if call.__name__ == "fsync" and os.fstat(arguments[0]).st_size:
                with suppress(OSError):  # of a folder
                    os.ftruncate(arguments[0], os.fstat(arguments[0]).st_size // 2)
            os._exit(9)
        calls += 1
        return call(*arguments, **more)

    for name in ("fsync", "replace", "unlink", "mkdir"):
        setattr(os, name, partial(hooked, getattr(os, name)))
    result = act(out)
    return calls, result


def saved(act: Callable[[Path], None], out: Path) -> set[str]:
    """Run `act(out)`, and return the digests of all models that it saves."""
    digests, write = set(), io.write_folder

    def write_folder(folder: Path, *arguments: Any) -> None:
        write(folder, *arguments)
        digests.add(digest(folder))

    io.write_folder = write_folder
    act(out)
    return digests


def verdict(text: str, action: str, out: Path, known: set[str]) -> str | None:
    """What is wrong with a folder after a kill, if anything; `known` has the old model and those of the action."""
    model = in_child(digest, out)
    if model not in known and not (action == "train" and "is not a nelbo model" in model):
        return f"{text}: the model is neither the old nor the new one: {model}"
    if action in TRAINING:
        model = in_child(resumed, out)
    return None if model in known else f"{text}: the resumed run has neither model: {model}"


def digest(out: Path) -> str:
    """A hash of the weights of the model in a folder."""
    content = hashlib.sha256()
    for name, tensor in nelbo.load(out).vae.state_dict().items():
        content.update(name.encode() + tensor.numpy().tobytes())
    return content.hexdigest()[:16]


def resumed(out: Path) -> str:
    """The same at the end of the run in a folder, which is resumed; a run that had not begun begins."""
    if run.recipe_of_run(out) is None:
        train(out, 1, resume=True)
    else:
        resume(out)
    return digest(out)


def in_child(call: Callable[..., Any], *arguments: Any, kill_after: float | None = None) -> Any:
    """Run a call in a forked process: its result, or the text of its error; None if the process was killed."""
    reader, writer = FORK.Pipe(duplex=False)
    child = FORK.Process(target=_send, args=(writer, call, arguments))
    child.start()
    writer.close()
    if kill_after is not None:
        child.join(kill_after)
        child.kill()
    try:
        return reader.recv()
    except EOFError:
        return None
    finally:
        child.join(60)
        child.kill()  # it hangs: its trial fails, since nothing was received


def _send(writer: Any, call: Callable[..., Any], arguments: Any) -> None:
    try:
        result = call(*arguments)
    except UserError as error:
        result = f"UserError: {error}"
    except Exception:
        result = traceback.format_exc()
    writer.send(result)


CAMPAIGNS: dict[str, tuple[Callable[[int, int], Tally], int]] = {"kills": (kills, 200)}
"""Each campaign and its number of trials."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("campaigns", nargs="*", metavar="CAMPAIGN", help=f"of {', '.join(CAMPAIGNS)}; default: all")
    parser.add_argument("--n", type=int, help="number of trials; default: each campaign's own")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    tallies = {}
    for name in options.campaigns or CAMPAIGNS:
        campaign, n = CAMPAIGNS[name]
        tallies[name] = campaign(n if options.n is None else options.n, options.seed)
        print(f"{name}: {tallies[name].tried} tried, {len(tallies[name].failed)} failed", flush=True)
        print(*tallies[name].failed, sep="\n", end="\n" if tallies[name].failed else "")
    if not options.campaigns and options.n is None:
        found = {name: asdict(tally) for name, tally in tallies.items()}
        OUT.write_text(json.dumps({"nelbo": nelbo.__version__, "campaigns": found}, indent=1) + "\n")
    sys.exit(any(tally.failed for tally in tallies.values()))


if __name__ == "__main__":
    main()
