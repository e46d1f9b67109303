"""Does nelbo lose, hide or execute anything? Campaigns of faults; each counts what was tried and what failed.

    python benchmarks/reliability.py                 # all campaigns, into benchmarks/reliability.json
    python benchmarks/reliability.py kills --n 40    # one of them, shorter, only printed

A campaign is a function of a number of trials and a seed that returns a `Tally`. The tests run each with few trials.

kills: `train`, `train --force`, `--resume`, `prior fit` and `Model.save` over a model are killed: half of the trials
at each of their calls that change the disk (a file is then half written), half at random times by SIGKILL. Afterwards
the model must load and equal the old or the new one, and the run must resume and end with the old or the new model.
Needs fork (Linux, macOS).
frames: DataFrames of random columns, labels, index and missing cells are imputed and sampled by untrained models. Each
is refused by a `UserError`, or every cell that was there, the index, the labels and the types come back.
faults: at a random step of a run, a gradient, the weights, a batch or the learning rate is damaged. The run must end
within 1 % of the loss of the undisturbed one.
divergence: the default recipes train on ten kinds of data, seed by seed. No run may end with a test loss that is not
finite or is above that of its first epoch.

hostile: mutants of model folders, weights, checkpoints, recipes, descriptions of columns, npy, npz, CSV, Parquet,
labels, pictures, text, art records and IDX files (`tests/fixtures/hostile.py`) are read and used. Each must be accepted
or refused by a `UserError`, within 10 s and 2 GB, without executing anything or writing outside its folder. Linux.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # a forked process cannot use the threads of its parent

import numpy as np
import pandas

import nelbo
from nelbo.config import recipe as recipes
from nelbo.errors import UserError
from nelbo.experiment import run
from nelbo.model import io
from nelbo.training import Callback, loop
from nelbo.training.players import OptimizerGroups

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from fixtures import hostile as mutants

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


COLUMNS: dict[str, Callable[[np.random.Generator, int], Any]] = {
    "float": lambda r, n: (r.normal(size=n) * 10.0 ** r.integers(-9, 9)).round(int(r.integers(0, 6))),
    "int": lambda r, n: r.integers(-(2 ** r.integers(1, 63)), 2 ** r.integers(1, 63), n),
    "uint": lambda r, n: pandas.Series(r.integers(0, 2**64 - 1, n, dtype=np.uint64)),
    "small": lambda r, n: r.integers(0, r.integers(1, 30), n).astype(r.choice(["int8", "uint8", "int16", "float32"])),
    "nullable": lambda r, n: pandas.array(r.integers(0, 99, n), dtype=r.choice(["Int64", "UInt16", "Float64"])),
    "bool": lambda r, n: pandas.Series(r.random(n) < 0.5, dtype=r.choice(["bool", "boolean", "object"])),
    "text": lambda r, n: pandas.Series(r.choice(["NA", "b", 'ü, "', "", "=1+1", "007", "None"], n), dtype=object),
    "category": lambda r, n: pandas.Categorical(r.choice(list("xyz"), n), ordered=bool(r.random() < 0.5)),
    "interval": lambda r, n: pandas.cut(r.uniform(0, 90, n), [0, 18, 65, 99]),
    "date": lambda r, n: pandas.to_datetime(r.integers(0, 2 * 10**9, n), unit="s").tz_localize(
        [None, "UTC", "Europe/Oslo"][r.integers(3)]
    ),
    "duration": lambda r, n: pandas.to_timedelta(r.integers(0, 9000, n), unit=str(r.choice(["s", "ms", "D"]))),
    "time": lambda r, n: pandas.Series([datetime.time(k // 60, k % 60) for k in r.integers(0, 1440, n).tolist()]),
    "period": lambda r, n: pandas.Series(pandas.period_range("2015-01", periods=n, freq="M")),
    "decimal": lambda r, n: pandas.Series([Decimal(int(k)) / 100 for k in r.integers(0, 10**6, n)]),
    "written": lambda r, n: pandas.Series([f"{k:,}.50" for k in r.integers(10**3, 10**7, n)], dtype=object),
    "id": lambda r, n: np.arange(n) + 1000,
    "mixed": lambda r, n: pandas.Series([[1, "a", 2.5, None][k] for k in r.integers(0, 4, n)], dtype=object),
    "constant": lambda r, n: np.full(n, 7),
    "extreme": lambda r, n: r.choice([0.0, 1e30, -1e30, np.inf, 5e-324, -0.0], n),
    "arrow": lambda r, n: pandas.Series(r.integers(0, 50, n)).astype("int64[pyarrow]"),
}
"""Columns of a frame, by generator and number of rows."""
LABELS = ("a", 0, 1.5, ("x", 1), "a=b", "x,y", "", " ", datetime.date(2024, 1, 1), "\x1b[31m")


def frame_of(r: np.random.Generator) -> Any:
    """A frame of random columns, labels, index, size and missing cells."""
    n, kinds = int(r.integers(1, 60)), r.choice(list(COLUMNS), r.integers(1, 6))
    labels = [LABELS[i] for i in r.permutation(len(LABELS))[: len(kinds)]]
    columns = []
    for kind in kinds:
        column = pandas.Series(COLUMNS[kind](r, n))
        columns.append(column.mask(r.random(n) < 0.2) if r.random() < 0.5 else column)
    frame = pandas.concat(columns, axis=1)
    frame.columns = pandas.Index(labels, dtype=object)
    indices = (pandas.RangeIndex(5, 5 + n), pandas.Index(r.permutation(n)), pandas.Index([f"r{i}" for i in range(n)]))
    frame.index = indices[r.integers(3)]
    return frame


def frames(n: int, seed: int) -> Tally:
    """Impute and sample generated frames with untrained models: given cells, index, labels and types stay."""
    tally = Tally()
    for trial in range(n):
        frame = frame_of(np.random.default_rng((seed, trial)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                tally.count(changed(frame, f"frame {trial}"))
            except UserError:
                tally.count(None)
            except Exception as error:
                tally.count(f"frame {trial}: {type(error).__name__}: {error}"[:300])
    return tally


def changed(frame: Any, name: str) -> str | None:
    """What `impute` and `sample` change in a frame, if anything."""
    recipe = recipes.load("table", {"model.encoder.width": 8, "model.encoder.blocks": 1, "model.latent.dim": 2})
    model = nelbo.Model.from_recipe(recipe, nelbo.data.load(frame, seed=0).schema)
    filled, drawn = model.impute(frame), model.sample(8)
    for result, columns in ((filled, list(frame)), (drawn, [c for c in frame if c in list(drawn)])):
        if list(result) != columns:
            return f"{name}: columns {list(frame)!r} became {list(result)!r}"
        if wrong := [c for c in columns if result[c].dtype != frame[c].dtype]:
            return f"{name}: {wrong[0]!r}: {frame[wrong[0]].dtype} became {result[wrong[0]].dtype}"
    if not filled.index.equals(frame.index):
        return f"{name}: the index changed"
    for label in frame:
        there = frame[label].notna().to_numpy()
        pairs = zip(frame[label][there].tolist(), filled[label][there].tolist(), strict=True)
        if wrong := [pair for pair in pairs if type(pair[0]) is not type(pair[1]) or pair[0] != pair[1]]:
            return f"{name}: {label!r}: {wrong[0][0]!r} became {wrong[0][1]!r}"
    return None


def faults(n: int, seed: int) -> Tally:
    """Damage runs at random steps."""
    tally, usual = Tally(), damaged_run("none", 0)
    chance = random.Random(seed)
    for kind in islice(cycle(["gradient", "weights", "large weights", "batch", "rate"]), n):
        step = chance.randrange(1, 80)
        loss = damaged_run(kind, step)
        tally.count(None if abs(loss - usual) <= 0.01 * abs(usual) else f"{kind}, step {step}: {loss} for {usual}")
    return tally


def damaged_run(kind: str, at: int) -> float:
    """The last test loss of a run of 90 steps that is damaged at step `at`; NaN if it fails."""
    step, batches, calls = OptimizerGroups.step, loop.batches, [0, 0]

    def damaged_step(players: OptimizerGroups, lr: float) -> None:
        calls[0] += 1
        if calls[0] == at and kind == "gradient":
            players.all[0].grad.fill_(np.nan)  # type: ignore[union-attr]
        if calls[0] == at and "weights" in kind:
            players.all[0].data.fill_(1e3 if "large" in kind else np.nan)
        step(players, lr * 1e3 if calls[0] == at and kind == "rate" else lr)

    def damaged_batches(*arguments: Any) -> Any:
        for x in batches(*arguments):
            calls[1] += 1
            yield x * np.nan if calls[1] == at and kind == "batch" else x

    OptimizerGroups.step, loop.batches = damaged_step, damaged_batches  # type: ignore[method-assign]
    try:
        model = nelbo.fit(ROWS, epochs=30, seed=0, verbose=False, **{**TINY, "batch_size": 20})
        return float(model.trained["test"]["loss"])
    except UserError:
        return float("nan")
    finally:
        OptimizerGroups.step, loop.batches = step, batches  # type: ignore[method-assign]


def divergence(n: int, seed: int) -> Tally:
    """Train the default recipes."""
    tally, r = Tally(), np.random.default_rng(seed)
    smooth = r.normal(size=(200, 4)) @ r.normal(size=(4, 32 * 32 * 3))
    pictures = np.clip(128 + 40 * smooth, 0, 255).astype(np.uint8).reshape(200, 32, 32, 3)
    waves = np.sin(np.arange(64) * r.uniform(0.1, 1, (200, 1)))[..., None]
    mixed = pandas.DataFrame({"x": r.normal(size=300), "y": r.lognormal(0, 3, 300), "z": r.choice(list("abc"), 300)})
    lines = [f"the {a} has {b} {c}" for a, b, c in r.choice(["cat", "dog", "red", "nine", "old"], (200, 3))]
    data: dict[str, tuple[Any, dict[str, Any]]] = {
        "coloured pictures": (pictures, {}),
        "grey pictures": (pictures[..., 0], {}),
        "small pictures": (pictures[:, ::4, ::4], {}),
        "binary pictures": (pictures[..., 0] // 128, {}),
        "vectors": (smooth[:, :20].astype(np.float32), {}),
        "heavy tails": (r.standard_t(1.5, (300, 6)).astype(np.float32), {}),
        "counts": (r.poisson(3, (300, 8)), {}),
        "a table": (mixed, {"samples_per_epoch": 1024}),
        "series": (waves.astype(np.float32), {"kind": "series", "samples_per_epoch": 512}),
        "text": (lines, {"samples_per_epoch": 256}),
    }
    for i, (name, (source, more)) in enumerate(islice(cycle(data.items()), n)):
        losses: list[float] = []
        watch = Callback()
        watch.on_epoch = lambda vae, epoch, rows, losses=losses: losses.append(rows[-1]["loss"])  # type: ignore
        nelbo.fit(source, epochs=5, seed=seed + i, verbose=False, post_hoc_prior="", callbacks=[watch], **more)
        good = np.isfinite(losses).all() and losses[-1] <= losses[0]
        tally.count(None if good else f"{name}, seed {seed + i}: {losses}")
    return tally


BLOCK, SECONDS, ROOM = 25, 10, 2 * 2**30


def hostile(n: int, seed: int) -> Tally:
    """Read and use mutants of every kind of file, each for at most 10 s and within 2 GB of memory."""
    tally = Tally()
    with tempfile.TemporaryDirectory() as folder:
        kinds = mutants.kinds(Path(folder))
        work = [(kinds[i % len(kinds)], i) for i in range(n)]
        for first in range(0, n, BLOCK):
            block = work[first : first + BLOCK]
            found = in_child(within_limits, block, seed, Path(folder), kill_after=4 * SECONDS)
            if not isinstance(found, list):  # one of them hangs or is killed: each alone
                found = []
                for kind, i in block:
                    alone = in_child(within_limits, [(kind, i)], seed, Path(folder), kill_after=2 * SECONDS)
                    found += (
                        alone if isinstance(alone, list) else [f"{kind.name}, mutant {i}: killed or hangs: {alone}"]
                    )
            for fault in found:
                tally.count(fault)
    return tally


def within_limits(block: list[tuple[mutants.Kind, int]], seed: int, folder: Path) -> list[str | None]:
    """The faults of some mutants, with a limit of memory, and of time for each."""

    def late(*_: Any) -> None:
        raise TimeoutError(f"more than {SECONDS} s")

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ROOM,) * 2)
    signal.signal(signal.SIGALRM, late)
    place = folder / str(os.getpid())
    place.mkdir()
    os.chdir(place)
    found = []
    for kind, i in block:
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        found.append(mutants.failure(kind, i, seed, place))
        signal.setitimer(signal.ITIMER_REAL, 0)
    return found


CAMPAIGNS: dict[str, tuple[Callable[[int, int], Tally], int]] = {
    "kills": (kills, 200),
    "frames": (frames, 500),
    "faults": (faults, 50),
    "divergence": (divergence, 50),
    "hostile": (hostile, 5000),
}
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
