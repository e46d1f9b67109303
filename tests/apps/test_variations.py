"""New data like some that are given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import nelbo
from conftest import Run
from nelbo.apps.synthesis.neighbours import MOST, SHOWN, NeighborAugmenter, vary
from nelbo.config import presets
from nelbo.config import recipe as recipes
from nelbo.data import load, load_like
from nelbo.errors import UserError
from nelbo.model import Model


def test_variations_are_near_any_of_the_data(model: Model, pictures: np.ndarray) -> None:
    made = vary(model, pictures[:30], 9, seed=3, temperature=0.8)
    chosen = torch.from_numpy(np.random.default_rng(3).integers(30, size=9))
    np.testing.assert_array_equal(made, NeighborAugmenter(model, pictures[:30]).augment(chosen, 3, 0.8 * SHOWN))
    many = np.repeat(pictures, MOST // len(pictures) + 1, 0)  # more than are looked at: any of them
    assert vary(model, many, 2).shape == (2, *model.schema.shape)


def test_sample_like_reads_what_training_would(
    model: Model, picture_run: Path, picture_file: Path, run: Run, tmp_path: Path
) -> None:
    out = tmp_path / "made.npy"
    assert run("sample", picture_run, "-n", 5, "--like", picture_file, "--seed", 2, "--out", out).code == 0
    rows = load_like(str(picture_file), model.schema, split="train")
    np.testing.assert_array_equal(np.load(out), vary(model, rows, 5, 2))
    both = run("sample", picture_run, "--like", picture_file, "--sample-likelihood")
    assert both.code == 2 and "--like, --sample-likelihood and --exclude cannot be combined" in both.err


def test_lines_like_others_are_written_anew() -> None:
    """From a moved code of the length of the old one, as by `VAE.decode_mean`; a small step leaves what is rebuilt."""
    words = [a + b for a in ("la", "lu", "re", "do") for b in ("na", "nu", "re", "dodo")] * 4
    small = {"kind": "text-gru", "width": 16, "dropout": 0.0, "word_dropout": 0.1}
    model = nelbo.fit(words, epochs=1, samples_per_epoch=0, model__latent__dim=4, model__encoder=small)
    lines = vary(model, words[:8], 6)
    assert len(lines) == 6 and all(isinstance(line, str) for line in lines)
    near, rows = NeighborAugmenter(model, words[:8]), torch.arange(8)
    assert near.augment(rows, strength=1e-9) == model.reconstruct(words[:8])
    z = near.codes[:1]
    steps = [z + a - b for a in near.codes for b in near.codes]
    assert near.augment(rows[:1], seed=5)[0] in model.decode(torch.cat([s * z.norm() / s.norm() for s in steps]))


def test_what_has_no_variations_is_refused(model: Model, people_model: Model, pictures: np.ndarray) -> None:
    with pytest.raises(UserError, match="with a table: use augment"):
        vary(people_model, None)
    recipe = presets.find("vq-vae").apply_to(recipes.load(None, {}), "vq-vae")
    codebook = Model.from_recipe(recipe, load(pictures).schema)
    with pytest.raises(UserError, match="latent codes are discrete"):
        vary(codebook, pictures)
    for wrong, message in (
        ({"temperature": 0.0}, "temperature=0.0: give a number above 0"),
        ({"temperature": float("nan")}, "temperature=nan"),
        ({"n": 0}, "n=0: use 1 or more"),
    ):
        with pytest.raises(UserError, match=message):
            vary(model, "not read", **wrong)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="variations need at least 2 items per class"):
        vary(model, pictures[:1])
