"""Augmentation by a VAE beside ordinary augmentation: accuracy on MNIST.

    python benchmarks/augmentation.py [--only few points] [--sizes 10 50 100] [--arms ...] [--seeds 5] [--json FILE]

    few     10, 50 and 100 pictures a class, another subset for each seed. A small convolutional net, the same steps
            and settings for all. Ordinary: every picture drawn is shifted, turned and scaled at random.
            Unlabelled: a share of the batch is of pictures made by `nelbo.apps.synthesis.rows` from all training
            digits, of which only those few have a class
    points  permutation-invariant: all 60 000 digits, a 784-1024-1024-10 perceptron, nothing knows of geometry.
            Ordinary: label smoothing. Exemplars: the same, and beside each digit of a batch one that is drawn near it
            by `nelbo.apps.synthesis.neighbours` and a VAE (perceptrons, of the same digits), the label kept. The net's
            training and the shares are those of Norouzi, Fleet, Norouzi (2020), Exemplar VAE, whose draws decode
            N(mu(x), sigma^2)

Settings were chosen on training digits 50 000 to 59 999, which no subset of few holds. The test digits are only scored.
Results are kept as they come; a run goes on where another was ended.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import nelbo
from nelbo.apps.synthesis.neighbours import NeighborAugmenter
from nelbo.apps.synthesis.rows import augment
from nelbo.data import sources
from nelbo.data.dataset import InMemoryDataset

Made = Callable[[Tensor, int], tuple[Tensor, Tensor]]  # pictures and classes, of pictures of these numbers, in a step
ARMS = ("ordinary", "unlabelled")
BATCH, STEPS, RATE = 64, 2000, 3e-3  # of the convolutional net
SHARE, MADE = 0.5, 20_000  # of a batch that is made; pictures made
EPOCHS, POINTS_BATCH, POINTS_RATE = 100, 100, 0.1  # of the perceptron
REAL = 0.4  # the weight of real digits beside drawn ones


def ordinary(
    x: Tensor, generator: torch.Generator, degrees: float = 15, pixels: float = 2, scale: float = 0.15
) -> Tensor:
    """Each picture turned, scaled and shifted by up to so much."""

    def uniform(most: float) -> Tensor:
        return (2 * torch.rand(len(x), generator=generator) - 1) * most

    angle, size = uniform(degrees * math.pi / 180), 1 + uniform(scale)
    right, down = uniform(2 * pixels / x.shape[3]), uniform(2 * pixels / x.shape[2])
    rows = [
        torch.stack([angle.cos() / size, -angle.sin() / size, right], 1),
        torch.stack([angle.sin() / size, angle.cos() / size, down], 1),
    ]
    points = F.affine_grid(torch.stack(rows, 1), list(x.shape), align_corners=False)
    return F.grid_sample(x, points, align_corners=False)


def convolutions() -> nn.Module:
    """28 x 28 -> 10 logits."""
    layers: list[nn.Module] = []
    for before, after, size in ((1, 16, 5), (16, 32, 3), (32, 64, 3)):
        layers += [nn.Conv2d(before, after, size, 2, size // 2), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.3), nn.Linear(1024, 10))


def accuracy(net: nn.Module, x: Tensor, y: Tensor) -> float:
    net.eval()
    with torch.no_grad():
        return 100 * float(
            np.mean([(net(a).argmax(1) == b).float().mean() for a, b in zip(x.split(1000), y.split(1000), strict=True)])
        )


def train(net: nn.Module, batches: Any, steps: int, rate: float) -> None:
    """One cycle of Adam on batches (x, y), with smoothed labels."""
    optimizer = torch.optim.AdamW(net.parameters(), rate, weight_decay=1e-2, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps)
    net.train()
    for x, y in batches:
        loss = F.cross_entropy(net(x), y, label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def convolutional(x: Tensor, y: Tensor, seed: int, made: Made | None = None) -> nn.Module:
    """The net trained on few pictures, of which a share is made in each batch."""
    torch.manual_seed(seed)
    net, generator = convolutions(), torch.Generator().manual_seed(seed)

    def batches() -> Any:
        for step in range(STEPS):
            chosen, many = torch.randint(len(x), (BATCH,), generator=generator), round(SHARE * BATCH)
            batch, labels = x[chosen], y[chosen]
            if made:
                new, of = made(chosen[:many], step)
                batch, labels = torch.cat([new, batch[many:]]), torch.cat([of, labels[many:]])
            yield ordinary(batch, generator), labels

    train(net, batches(), STEPS, RATE)
    return net


def few(x: Tensor, y: Tensor, test: tuple[Tensor, Tensor], arm: str, size: int, seed: int) -> dict[str, float]:
    """Accuracy, %, of one arm on one subset."""
    order = torch.randperm(50_000, generator=torch.Generator().manual_seed(seed))
    chosen = torch.cat([order[y[order] == k][:size] for k in range(10)])
    made = None
    if arm == "unlabelled":
        made = drawn(x, torch.full_like(y, -1).index_copy(0, chosen, y[chosen]), seed)
    return {"accuracy": accuracy(convolutional(x[chosen], y[chosen], seed, made), *test)}


def drawn(x: Tensor, y: Tensor, seed: int) -> Made:
    """Any pictures of those made from x, of which most have no class (-1)."""
    pictures, names = augment(
        model_of(x), MADE, reference=InMemoryDataset(as_bytes(x), model_of(x).schema, y), seed=seed
    )
    new, of = torch.from_numpy(pictures).float().view(-1, 1, 28, 28) / 255, torch.from_numpy(names.astype(int))

    def made(rows: Tensor, step: int) -> tuple[Tensor, Tensor]:
        any_ = torch.randint(MADE, (len(rows),), generator=torch.Generator().manual_seed(step))
        return new[any_], of[any_]

    return made


def as_bytes(x: Tensor) -> Tensor:
    return (255 * x).round().byte()


@cache
def model_of(x: Tensor) -> nelbo.Model:
    """A VAE of digits, of perceptrons, which is told no classes; of a light rate, so that codes hold much."""
    settings = {"minutes": 0, "post_hoc_prior": "", "epochs": 40, "model__latent__dim": 40, "objective__beta": 0.3}
    return nelbo.fit(as_bytes(x).numpy(), recipe="digits", seed=0, **settings)


def points(x: Tensor, y: Tensor, test: tuple[Tensor, Tensor], arm: str, seed: int) -> dict[str, float]:
    """The test error, %, of one arm of the perceptron."""
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Flatten(), nn.Linear(784, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 10)
    )
    generator = torch.Generator().manual_seed(seed)
    near = nearby(x, y, generator) if arm == "exemplars" else None
    optimizer = torch.optim.SGD(net.parameters(), POINTS_RATE, momentum=0.9, fused=True)
    falling = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, EPOCHS * math.ceil(len(x) / POINTS_BATCH))
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(x), generator=generator).split(POINTS_BATCH):
            loss = F.cross_entropy(net(x[chosen]), y[chosen], label_smoothing=0.1)
            if near:
                drawn = F.cross_entropy(net(near(chosen)), y[chosen], label_smoothing=0.1)
                loss = REAL * loss + (1 - REAL) * drawn
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            falling.step()
    return {"error": 100 - accuracy(net, *test)}


def nearby(x: Tensor, y: Tensor, generator: torch.Generator) -> Callable[[Tensor], Tensor]:
    """What draws a digit near each of x of the numbers given, by a VAE of x."""
    near = NeighborAugmenter(model_of(x), InMemoryDataset(as_bytes(x), model_of(x).schema, y))

    def draw(chosen: Tensor) -> Tensor:
        return torch.from_numpy(near.augment(chosen, int(torch.randint(2**62, (), generator=generator)))) / 255

    return draw


def table(results: dict[str, dict[str, float]]) -> str:
    """Means and ranges over the seeds."""
    lines = ["| task | arm | seeds | mean | range |", "|---|---|---|---|---|"]
    tasks = sorted({key.rpartition("/")[0] for key in results})
    for task in tasks:
        rows = [row for key, row in results.items() if key.rpartition("/")[0] == task]
        for arm in (name for name in rows[0] if name != "processor seconds"):
            values = [row[arm] for row in rows]
            low, high = min(values), max(values)
            lines.append(f"| {task} | {arm} | {len(rows)} | {np.mean(values):.2f} | {low:.2f} to {high:.2f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=["few", "points"], default=["few", "points"])
    parser.add_argument("--sizes", type=int, nargs="*", default=[10, 50, 100])
    parser.add_argument("--arms", nargs="*", choices=ARMS, default=ARMS, help="of few")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--validate", action="store_true", help="score training digits 50 000 to 54 999; keep nothing")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    stored = sources.read_named("mnist")
    x, y, x_test, y_test = (torch.from_numpy(np.array(a)) for a in (stored.x, stored.y, stored.x_test, stored.y_test))
    x, x_test = (a.view(-1, 1, 28, 28).float() / 255 for a in (x, x_test))
    y, test = y.long(), (x_test, y_test.long())
    if options.validate:
        x, y, test = x[:50_000], y[:50_000], (x[50_000:55_000], y[50_000:55_000])
    results: dict[str, Any] = {}
    if options.json.exists() and not options.validate:
        results = json.loads(options.json.read_text("utf-8"))
    cases: dict[str, tuple[Any, ...]] = {}
    for seed in range(options.seeds):
        for size in options.sizes if "few" in options.only else ():
            for arm in options.arms:
                cases[f"few, {size} a class, {arm}/{seed}"] = (few, x, y, test, arm, size, seed)
        if "points" in options.only and seed < 2:
            cases |= {f"points, {arm}/{seed}": (points, x, y, test, arm, seed) for arm in ("ordinary", "exemplars")}
    for case, (measure, *arguments) in cases.items():
        if case in results:
            continue
        began = time.process_time()
        results[case] = {name: round(value, 3) for name, value in measure(*arguments).items()}
        results[case]["processor seconds"] = round(time.process_time() - began)
        print(case, results[case], flush=True)
        if not options.validate:
            options.json.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(table(results))


if __name__ == "__main__":
    main()
