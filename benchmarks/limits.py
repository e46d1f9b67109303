"""How close to the limit: nelbo's time for a piece of work over that of the work's matrix products and convolutions.

    python benchmarks/limits.py [--rounds 40] [--full] [--out benchmarks/limits.json]

Both are measured in turn, in one process with the same shapes and threads, so that a machine whose speed drifts drifts
for both. The products are found by recording one step. `--full` scores all 10 000 test digits with 5000 draws each
(some minutes); otherwise 100 of them.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import nelbo
from nelbo.config import presets
from nelbo.config import recipe as recipes
from nelbo.config.build import init_from_data
from nelbo.config.recipe import Recipe
from nelbo.data import load, sample_rows
from nelbo.model import Model, scoring
from nelbo.training.loop import Run
from nelbo.training.players import epoch_order, micro_batches
from nelbo.training.replay import OpRecorder

WORK = {"aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "aten::convolution", "aten::convolution_backward"}
BLOCK = 10  # steps in a row
STEPS: tuple[tuple[str, str | None, int, dict[str, Any]], ...] = (
    ("mnist", None, 128, {}),
    ("mnist", None, 512, {}),
    ("fast", None, 160, {}),
    ("tutorial", None, 128, {}),
    ("mnist", "iwae", 128, {}),
    ("mnist", "vamp", 128, {}),
    ("mnist", None, 128, {"model.encoder": {"kind": "conv"}}),
    ("mnist", "ladder", 128, {}),
    ("mnist", "vdvae", 64, {}),
    ("mnist", "nvae", 64, {}),
)

Work = Callable[[], Any]


def products(function: Callable[[], Any]) -> Work:
    """What does only the matrix products and convolutions that `function` does."""
    with OpRecorder() as recorder:
        function()
    calls = []
    for func, args, kwargs, _ in recorder.calls or ():
        if func._schema.name == "aten::addmm":
            calls.append((torch.mm, args[1:3], {}))
        elif func._schema.name in WORK:
            calls.append((func, args, kwargs))
    assert calls

    @torch.no_grad()
    def work() -> None:
        for f, args, kwargs in calls:
            f(*args, **kwargs)

    return work


def compare(ours: Work, limit: Work, rounds: int) -> dict[str, float]:
    """Median seconds of both, done in turn, and the median of the ratios with their tenth and ninetieth percentile."""
    times = []
    for i in range(rounds + 2):
        pair = []
        for work in (ours, limit):
            began = time.perf_counter()
            work()
            pair.append(time.perf_counter() - began)
        if i > 1:
            times.append(pair)
    ratios = sorted(a / b for a, b in times)
    return {
        "seconds": statistics.median(a for a, _ in times),
        "limit": statistics.median(b for _, b in times),
        "ratio": statistics.median(ratios),
        "low": ratios[len(ratios) // 10],
        "high": ratios[-1 - len(ratios) // 10],
    }


def step(name: str, preset: str | None, batch: int, overrides: dict[str, Any]) -> tuple[Work, Work]:
    """`BLOCK` training steps of a recipe as the loop takes them, and their products."""
    base = recipes.load(name)
    recipe: Recipe = presets.find(preset).apply_to(base, preset) if preset else base
    recipe = recipes.override(recipe, {"training.batch_size": batch, **overrides})
    data = load("mnist")
    model = Model.from_recipe(recipe, data.schema)
    init_from_data(model.vae, model.recipe.model, sample_rows(data.train, 1000).mean(0), sample_rows(data.train, 1000))
    objective = recipe.objective.build()
    objective.setup(model.vae, data.train.batch(torch.arange(1)), len(data.train), None)
    run = Run(model.vae, objective, recipe.training, None, ())
    run.steps = len(data.train) // batch
    run.module.train()
    order = iter(
        [p for e in range(1, 40) for p in micro_batches(epoch_order(len(data.train), 1, e), batch)][: 40 * run.steps]
    )

    def steps() -> None:
        for piece in (next(order) for _ in range(BLOCK)):
            run.backward(data.train.batch(piece.index), None, piece)

    piece = next(order)
    limit = products(lambda: run.players._measure(data.train.batch(piece.index), None, 1.0))
    return steps, lambda: [limit() for _ in range(BLOCK)]


@contextmanager
def folder_of_pictures(n: int) -> Iterator[Path]:
    """A folder of `n` PNG files of 64x64 pixels."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        for i in range(n):
            pixels = np.kron(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8), np.ones((4, 4, 1), np.uint8))
            Image.fromarray(pixels).save(Path(name) / f"{i:05}.png")
        yield Path(name)


def decode_all(folder: Path) -> None:
    """Open and decode every picture, by as many threads as there are cores."""

    def one(path: Path) -> None:
        with Image.open(path) as picture:
            np.asarray(picture.convert("RGB"))

    with ThreadPoolExecutor() as pool:
        list(pool.map(one, sorted(folder.iterdir())))


def uses(rounds: int, full: bool) -> Iterator[tuple[str, dict[str, float]]]:
    """Sampling, scoring, the likelihood and embedding."""
    grey = load("mnist").train
    raw = (grey.batch(torch.arange(60_000))[:, 0] > 0.5).byte().numpy()  # digits of 0 and 1, which have a density
    data = load(raw)
    model = Model.from_recipe(
        recipes.override(recipes.load("mnist"), {"model.likelihood.allow_soft_targets": False}), data.schema
    )
    vae, x = model.vae.eval(), data.train.batch(torch.arange(1000))
    thousand = products(lambda: vae.generate(1000).mean)
    few = max(rounds // 8, 3)
    yield "sample 100 000", compare(lambda: model.sample(100_000), lambda: [thousand() for _ in range(100)], few)
    scored = products(lambda: vae(x).distortion)
    yield "score 60 000", compare(lambda: model.elbo(raw), lambda: [scored() for _ in range(60)], few)
    chunk = scoring.ROWS // scoring.DRAWS
    drawn = products(lambda: vae(x[:chunk], None, (scoring.DRAWS,)).log_weight)
    n, draws = (10_000, 5000) if full else (100, 5000)
    passes = n * draws // scoring.ROWS
    test = raw[:n]
    bound = partial(scoring.importance_weighted_bound, model, test, draws)
    scores = compare(bound, lambda: [drawn() for _ in range(passes)], 1 if full else few)
    yield f"{n} digits, 5000 draws", scores
    with folder_of_pictures(10_000) as folder:
        colour = nelbo.fit(str(folder), epochs=1, max_seconds=1.0)
        encoded = products(lambda: colour.vae.latent.infer(torch.rand(100, *colour.schema.shape)))

        def least() -> None:
            decode_all(folder)
            for _ in range(100):
                encoded()

        yield "embed 10 000 PNGs", compare(lambda: colour.embed(str(folder)), least, 3)


def line(name: str, found: dict[str, float], each: int = 1) -> str:
    spread = f"({found['low']:.2f} to {found['high']:.2f})"
    ms, limit = found["seconds"] / each * 1e3, found["limit"] / each * 1e3
    return f"{name:40} {ms:11.2f} ms  limit {limit:11.2f} ms  ratio {found['ratio']:.2f} {spread}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--only", choices=("steps", "uses"))
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args(arguments)
    table: dict[str, dict[str, float]] = {}
    if options.only != "uses":
        for name, preset, batch, overrides in STEPS:
            title = f"step: {preset or name}{' conv' if overrides else ''}, batch {batch}"
            table[title] = compare(*step(name, preset, batch, overrides), options.rounds)
            print(line(title, table[title], BLOCK), flush=True)
    if options.only != "steps":
        for title, found in uses(options.rounds, options.full):
            table[title] = found
            print(line(title, found), flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    about = {"nelbo": nelbo.__version__, "torch": torch.__version__, "threads": torch.get_num_threads()}
    options.out.write_text(json.dumps({**about, "peak_mb": round(peak), "table": table}, indent=1) + "\n")


if __name__ == "__main__":
    main()
