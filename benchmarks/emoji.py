"""Emoji of 32 x 32 pixels: how well groups that training never saw are rebuilt, from 64 numbers and from 1024 bits.

    python benchmarks/emoji.py EMOJI.npz [--minutes 10] [--pictures docs/emoji.png]

EMOJI.npz holds `x` `(n, 32, 32, 3)` bytes and `group`; variants of an emoji (skin tones, genders) share a group. Groups
are split at random by seed 0: a tenth to test on, a tenth left out to choose settings by, the rest to train on. The
recipe `pictures` has 64 latent numbers; `codec` has two codes of 8 bits for each of 8 x 8 places: 1024 bits, as many as
64 numbers of 16 bits. Both train with mirrored pictures beside the others, on one thread for twice the minutes. PSNR in
dB: the mean over pictures of -10 log10 of the mean squared error of values in [0, 1].

Writes emoji.json beside this file, and with --pictures a figure of test emoji, reconstructions, new ones like those of
training (`nelbo sample --like`), and morphs.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import nelbo
from nelbo import Model
from nelbo.apps import art
from nelbo.apps.synthesis.neighbours import vary
from nelbo.experiment.console import Lines
from nelbo.plotting.images import FIGURES

HERE = Path(__file__).parent


def split(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Training pictures and their mirror images, those left out, and test pictures: `(n, 3, 32, 32)` bytes."""
    with np.load(path, allow_pickle=False) as stored:
        x, group = stored["x"].transpose(0, 3, 1, 2), stored["group"]
    names = np.random.default_rng(0).permutation(np.unique(group))
    tenth = len(names) // 10
    test, left = (np.isin(group, part) for part in (names[:tenth], names[tenth : 2 * tenth]))
    train = x[~(test | left)]
    return np.concatenate([train, train[..., ::-1]]), x[left], x[test]


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """The mean over pictures of values in 0 to 255, dB."""
    squares = ((a.clip(0, 255).astype(np.float64) - b) / 255) ** 2
    return float(-10 * np.log10(squares.reshape(len(a), -1).mean(1)).mean())


def measure(model: Model, left: np.ndarray, test: np.ndarray) -> dict[str, Any]:
    return {
        "psnr": psnr(model.reconstruct(test), test),
        "psnr_left_out": psnr(model.reconstruct(left), left),
        "parameters": sum(p.numel() for p in model.vae.parameters()),
    }


def figure(models: dict[str, Model], train: np.ndarray, test: np.ndarray, samples: int) -> Image.Image:
    """Test emoji, what codec and pictures make of them, draws like training ones, and morphs between test emoji."""
    chosen = test[np.random.default_rng(1).permutation(len(test))[:16]]
    rows = [chosen.astype(np.float32), *(model.reconstruct(chosen) for model in models.values())]
    smooth = models["pictures"]
    rows.append(vary(smooth, train, samples, seed=1))
    rows += [art.morph(smooth, chosen[i : i + 2], seconds=1.5, fps=10, loop=False).values[:, 0] for i in (0, 2, 4)]
    return FIGURES.sheet(np.concatenate(rows), smooth.schema, 16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("emoji", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--out", type=Path, default=HERE / "emoji.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    train, left, test = split(options.emoji)
    models, found = {}, {}
    for recipe in ("codec", "pictures"):
        models[recipe] = nelbo.fit(train, recipe=recipe, minutes=2 * options.minutes, callbacks=[Lines()])
        found[recipe] = measure(models[recipe], left, test)
        print(recipe, found[recipe], flush=True)
        options.out.write_text(json.dumps({"minutes": options.minutes, "rows": found}, indent=1) + "\n")
    if options.pictures:
        figure(models, train, test, 32).save(options.pictures)


if __name__ == "__main__":
    main()
