"""How the cost of training grows: with the data, with the parameters, and with the processes that share the work.

    python benchmarks/scaling.py [--only data|parameters|workers] [--out benchmarks/scaling.json]

Data: one epoch of the `mnist` recipe. Parameters: one step at batch 128 for hidden layers of several widths, beside its
matrix products alone. Workers: one step of two processes with one thread each, 64 rows a process, beside one process
with the same work; the difference is taken apart into

- tape: the replay of a recorded step, which is for one process only (`alone` with it, `plain` without);
- sharing: two processes that do not talk still share memory and caches (`beside` minus `plain`);
- talking: all that averaging the gradient adds (`ddp` minus `beside`): the all-reduce of its bytes (timed by itself on
  idle cores; in a step its threads compete with the arithmetic), its hooks, and waiting for the slower process.

The model. P parameters are 4P bytes of gradient. A ring all-reduce over N workers takes 2 (N - 1) turns, in each of
which a worker sends 4P / N bytes: in all V = 2 (N - 1) / N * 4P bytes, the least that any algorithm can do, and less
than 8P however many the workers. With a link of B bytes per second and a delay of a seconds each turn,

    T = 2 (N - 1) a + V / B

A ring through several machines goes at the pace of its slowest link, the network between them. Of a step that computes
for C seconds, T / (T + C) is spent on it if nothing overlaps. Gradients of the last layers travel while those of the
first are computed; if all of the backward pass, about 2 C / 3, is used so, max(0, T - 2 C / 3) is left to wait for.
Real runs lie between. B and a of `CLUSTERS` are assumed; those of this machine (gloo, loopback device) are measured.

Source: Patarasuk, Yuan (2009), Bandwidth optimal all-reduce algorithms for clusters of workstations.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from limits import BLOCK, compare, step
from torch import distributed
from torch.utils.flop_counter import FlopCounterMode

import nelbo
from nelbo.config import recipe as recipes
from nelbo.data import DataSplits, load
from nelbo.data.dataset import InMemoryDataset
from nelbo.model import Model
from nelbo.training import players

SIZES = (6_000, 60_000, 600_000)
WIDTHS = (100, 400, 1600, 6400)
SHARED_WIDTHS = (400, 1600)
WAYS = {"alone": 1, "plain": 1, "beside": 2, "ddp": 2}  # processes
ONE_THREAD = {"OMP_NUM_THREADS": "1"}
LOCAL_BATCH = 64
EPOCHS = 8  # of which the first warms up
FLOATS = (1, 2**14, 2**20, 2**22)  # all-reduced, to find the delay and the bandwidth
CLUSTERS = (  # name, workers, bytes per second, seconds each turn
    ("8 GPUs, NVLink 300 GB/s, 5 us", 8, 300e9, 5e-6),
    ("8 GPUs, PCIe 25 GB/s, 10 us", 8, 25e9, 10e-6),
    ("4 x 8 GPUs, 100 Gbit/s, 20 us", 32, 12.5e9, 20e-6),
)
COMPUTE = (1e-3, 1e-2, 1e-1)
LARGE = 100_000_000  # parameters, as a deep hierarchy has
TABLES = {  # of each section: the head of its table, and the form of a row
    "data": """
   rows   epoch s  (spread)          us/row  s before it
{rows:7} {seconds:9.3f}  ({low:6.3f} to {high:6.3f}) {us_per_row:7.2f} {start:12.3f}""",
    "parameters": """
hidden  parameters  GFLOP  ms/step  products  GFLOP/s  products  ratio (10% to 90%)
{hidden:6} {parameters:11} {gflop:6.3f} {ms:8.2f} {products_ms:9.2f} {gflops:8.0f} {products_gflops:9.0f} \
{ratio:6.2f} ({low:.2f} to {high:.2f})""",
    "workers": """
hidden       4P  ms: alone  plain beside    ddp | tape sharing talking | all-reduce  modelled  us/turn  GB/s
{hidden:6} {bytes:8} {alone:10.2f} {plain:6.2f} {beside:6.2f} {ddp:6.2f} | {tape:4.2f} {sharing:7.2f} {talking:7.2f} \
| {all_reduce_ms:10.2f} {modelled_ms:9.2f} {delay_us:8.0f} {gbytes_per_s:5.2f}""",
    "model": """
        P  cluster                         MB sent      T = delays + sending, ms; T's share (overlapped) at C
{parameters:9}  {cluster:30} {mb:8.1f} {ms:6.2f} = {delays_ms:6.2f} + {sending_ms:7.2f} {shares}""",
}

Rows = list[dict[str, Any]]


def pictures(n: int) -> DataSplits:
    """The digits of MNIST, repeated up to `n` rows to train on, and one row to test on."""
    digits = load("mnist")
    raw = digits.train.read(torch.arange(min(n, len(digits.train))))
    raw = raw.repeat(math.ceil(n / len(raw)), *[1] * (raw.dim() - 1))[:n]
    return DataSplits("digits", InMemoryDataset(raw, digits.schema), InMemoryDataset(raw[:1], digits.schema))


def untrained(data: DataSplits, hidden: int = 400, **training: Any) -> tuple[Model, int]:
    """A model of the `mnist` recipe with hidden layers of that width, and the number of its parameters."""
    model = Model.from_recipe(recipes.load("mnist", {"model.encoder.hidden": [hidden], **training}), data.schema)
    return model, sum(p.numel() for p in model.vae.parameters())


def by_data(rounds: int) -> Rows:
    """Seconds of an epoch, and of what goes before it (a mean for the start): all sizes in turn in each round."""
    data = {n: pictures(n) for n in SIZES}
    times: dict[int, list[tuple[float, float]]] = {n: [] for n in SIZES}
    for size in (SIZES[:1] * 4 + SIZES[:2] + SIZES) * rounds:
        (model, _), began = untrained(data[size], epochs=1), time.perf_counter()
        epoch = model.fit(data[size]).rows[0]["seconds"]
        times[size].append((epoch, time.perf_counter() - began - epoch))
    found = []
    for n, pairs in times.items():
        epochs, starts = zip(*pairs, strict=True)
        row = {"rows": n, "seconds": statistics.median(epochs), "low": min(epochs), "high": max(epochs)}
        found.append({**row, "us_per_row": row["seconds"] / n * 1e6, "start": statistics.median(starts)})
    return found


def by_parameters(rounds: int) -> Rows:
    """Time of a step and of its products, and the operations in the products."""
    found, data = [], pictures(1)
    for width in WIDTHS:
        ours, limit = step("mnist", None, 128, {"model.encoder.hidden": [width]})
        with FlopCounterMode(display=False) as counter:
            limit()
        times = compare(ours, limit, rounds * min(20, max(4, 8_000 // width)))
        gflop = counter.get_total_flops() / BLOCK / 1e9
        ms, alone = (times[k] / BLOCK * 1e3 for k in ("seconds", "limit"))
        about = {"hidden": width, "parameters": untrained(data, width)[1], "gflop": gflop}
        rates = {"ms": ms, "products_ms": alone, "gflops": gflop / ms * 1e3, "products_gflops": gflop / alone * 1e3}
        found.append({**about, **rates, **{k: times[k] for k in ("ratio", "low", "high")}})
    return found


def work(hidden: int, way: str, out: Path) -> None:
    """One process of those that train: the time of a step, and of all-reduces if they talk."""
    if way != "alone":
        players.ReplayedFunction = lambda function, state: function  # type: ignore[assignment, misc]
    torch.set_num_threads(1)
    batch, steps = LOCAL_BATCH * int(os.environ.get("WORLD_SIZE", "1")), 100 if hidden <= 400 else 40
    data = pictures(batch * steps)
    model, parameters = untrained(data, hidden, epochs=EPOCHS, batch_size=batch)
    seconds = [row["seconds"] for row in model.fit(data).rows if row["split"] == "train"]
    found: dict[str, Any] = {"ms": statistics.median(seconds[1:]) / steps * 1e3, "parameters": parameters}
    if way == "ddp":
        found["all_reduce"] = {str(4 * n): all_reduce_ms(n) for n in (*FLOATS, parameters)}
    if os.environ.get("RANK", "0") == "0":
        out.write_text(json.dumps(found))
    if way == "ddp":
        distributed.barrier()
        os._exit(0)  # gloo's threads now and then abort an interpreter that ends in the ordinary way


def all_reduce_ms(n: int, rounds: int = 30) -> float:
    """Median time of an all-reduce of `n` floats that all processes enter together."""
    times, values = [], torch.zeros(n)
    for _ in range(rounds + 3):
        distributed.barrier()
        began = time.perf_counter()
        distributed.all_reduce(values)
        times.append(time.perf_counter() - began)
    return statistics.median(times[3:]) * 1e3


def workers(hidden: int, way: str, processes: int) -> dict[str, Any]:
    """What processes with one thread each measure at once: the mean of their steps, or rank 0's if they talk."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    command = [sys.executable, *(torchrun if way == "ddp" else []), __file__, "--way", way, "--hidden", str(hidden)]
    with tempfile.TemporaryDirectory() as folder:
        outs = [Path(folder) / str(i) for i in range(1 if way == "ddp" else processes)]
        running = [subprocess.Popen([*command, "--out", str(out)], env=os.environ | ONE_THREAD) for out in outs]
        if any([process.wait() for process in running]):
            raise SystemExit(f"{way}, hidden={hidden}: a worker failed")
        found = [json.loads(out.read_text()) for out in outs]
    return found[0] | {"ms": statistics.mean(each["ms"] for each in found)}


def by_workers(rounds: int) -> Rows:
    """Milliseconds of a step in the four ways, and of all-reduces; medians over rounds, ways in turn."""
    found = []
    for hidden in SHARED_WIDTHS:
        measured = [{way: workers(hidden, way, n) for way, n in WAYS.items()} for _ in range(rounds)]
        ms = {way: statistics.median(each[way]["ms"] for each in measured) for way in WAYS}
        alone, plain, beside, ddp = ms.values()
        parts = {"tape": plain - alone, "sharing": beside - plain, "talking": ddp - beside}
        tables = [each["ddp"]["all_reduce"] for each in measured]
        table = {size: statistics.median(each[size] for each in tables) for size in tables[0]}
        size, largest, least = 4 * measured[0]["ddp"]["parameters"], 4 * FLOATS[-1], table["4"]
        delay, bandwidth = least / 2e3, largest / (table[str(largest)] - least) * 1e3  # two workers: V = 4P
        modelled = {"modelled_ms": ring(size // 4, 2, bandwidth, delay)[0] * 1e3, "all_reduce_ms": table[str(size)]}
        link = {"delay_us": delay * 1e6, "gbytes_per_s": bandwidth / 1e9}
        found.append({"hidden": hidden, "bytes": size, **ms, **parts, **modelled, **link, "all_reduce": table})
    return found


def ring(parameters: int, n: int, bandwidth: float, delay: float) -> tuple[float, float, float]:
    """T, 2 (N - 1) a and V / B of a ring all-reduce of the gradient, in seconds."""
    delays, sending = 2 * (n - 1) * delay, 2 * (n - 1) / n * 4 * parameters / bandwidth
    return delays + sending, delays, sending


def by_model() -> Rows:
    """The model's times, and their share of a step with nothing and with all of the backward pass overlapped."""
    data, found = pictures(1), []
    for parameters in (untrained(data, 400)[1], untrained(data, 6400)[1], LARGE):
        for name, n, bandwidth, delay in CLUSTERS:
            total, delays, sending = ring(parameters, n, bandwidth, delay)
            row: dict[str, Any] = {"parameters": parameters, "cluster": name, "mb": sending * bandwidth / 1e6}
            row |= {"ms": total * 1e3, "delays_ms": delays * 1e3, "sending_ms": sending * 1e3, "shares": ""}
            for c in COMPUTE:
                left = max(0.0, total - 2 * c / 3)
                row["shares"] += f"  {c * 1e3:3g} ms {total / (total + c):4.0%} ({left / (left + c):3.0%})"
            found.append(row)
    return found


def show(found: dict[str, Any]) -> None:
    """Print a table of each section."""
    for name, table in TABLES.items():
        head, form = table.rsplit("\n", 1)
        print(head, *(form.format(**row) for row in found.get(name, ())), sep="\n")
    for name, x, y in (("data", "rows", "seconds"), ("parameters", "parameters", "ms")):
        if rows := found.get(name):
            fit = statistics.linear_regression([math.log(r[x]) for r in rows], [math.log(r[y]) for r in rows])
            print(f"{y} ~ {x} ** {fit.slope:.3f}, by least squares of the logarithms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("data", "parameters", "workers"))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--hidden", type=int, help=argparse.SUPPRESS)  # for the processes that this one starts
    parser.add_argument("--way", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.hidden:
        return work(options.hidden, options.way, options.out)
    found = json.loads(options.out.read_text()) if options.out.exists() else {}
    found |= {"nelbo": nelbo.__version__, "torch": torch.__version__, "threads": torch.get_num_threads()}
    measures = {"data": by_data, "parameters": by_parameters, "workers": by_workers}
    for name in [options.only] if options.only else measures:
        found[name] = measures[name](options.rounds)
    found["model"] = by_model()
    options.out.write_text(json.dumps(found, indent=1) + "\n")
    show(found)


if __name__ == "__main__":
    main()
