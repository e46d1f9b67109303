"""New data like some that are given, and the codes that they are made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import nelbo
from conftest import Run
from nelbo import presets, recipes
from nelbo.apps.variations import MOST, codes_like, neighbours, variations
from nelbo.data import load, load_like
from nelbo.errors import UserError
from nelbo.model import Model


def test_new_codes_are_like_those_of_the_data() -> None:
    rng = np.random.default_rng(0)
    codes = (rng.normal(size=(60, 3)) @ rng.normal(size=(3, 3)) + [1, 2, 3]).astype(np.float32)
    new = codes_like(codes, 40_000)
    np.testing.assert_allclose(new.mean(0), codes.mean(0), atol=0.05)
    np.testing.assert_allclose(new.var(0).sum(), codes.var(0).sum(), rtol=0.02)
    half = codes_like(codes, 1000, temperature=0.5) - codes.mean(0)
    np.testing.assert_allclose(half, 0.5 * (codes_like(codes, 1000) - codes.mean(0)), atol=1e-5)
    two = codes_like(codes[:2], 50)  # on the line through both
    along = (codes[1] - codes[0]) / np.linalg.norm(codes[1] - codes[0])
    off = (two - codes[0]) - ((two - codes[0]) @ along)[:, None] * along
    assert np.abs(off).max() < 1e-4 and len(np.unique(two[:, 0].round(4))) == 5  # both, beyond each, and midway


def test_new_codes_follow_the_form_of_the_data() -> None:
    turns = np.random.default_rng(0).uniform(0, 2 * np.pi, 500)
    ring = np.stack([np.cos(turns), np.sin(turns)], 1).astype(np.float32)
    new = codes_like(ring, 5000)
    assert np.abs(np.linalg.norm(new, axis=1) - 1).mean() < 0.02  # Normal ones of the same covariance: 0.4
    assert np.abs(new[:, None] - ring).sum(2).min(1).max() > 1e-3  # and are new
    expected = neighbours_by_hand(ring, ring[:7], 5)
    np.testing.assert_array_equal(neighbours(torch.from_numpy(ring), torch.from_numpy(ring[:7]), 5), expected)


def neighbours_by_hand(codes: np.ndarray, of: np.ndarray, k: int) -> np.ndarray:
    return np.argsort(((of[:, None] - codes) ** 2).sum(2), axis=1)[:, :k]


def test_variations_are_decoded_codes(model: Model, pictures: np.ndarray) -> None:
    made = variations(model, pictures[:30], 9, seed=3, temperature=0.8)
    codes = codes_like(model.embed(pictures[:30]), 9, 3, 0.8)
    np.testing.assert_array_equal(made, model.decode(codes))
    many = np.repeat(pictures, MOST // len(pictures) + 1, 0)  # more than are looked at: any of them
    assert variations(model, many, 2).shape == (2, *model.schema.shape)


def test_sample_like_reads_what_training_would(
    model: Model, picture_run: Path, picture_file: Path, run: Run, tmp_path: Path
) -> None:
    out = tmp_path / "made.npy"
    assert run("sample", picture_run, "-n", 5, "--like", picture_file, "--seed", 2, "--out", out).code == 0
    rows = load_like(str(picture_file), model.schema, split="train")
    np.testing.assert_array_equal(np.load(out), variations(model, rows, 5, 2))
    both = run("sample", picture_run, "--like", picture_file, "--noise")
    assert both.code == 2 and "--like, --noise and --new-to: give one of them" in both.err


def test_lines_like_others_are_decoded_from_typical_codes() -> None:
    words = [a + b for a in ("la", "lu", "re", "do") for b in ("na", "nu", "re", "dodo")] * 4
    small = {"kind": "text-gru", "width": 16, "dropout": 0.0, "word_dropout": 0.1}
    model = nelbo.fit(words, epochs=1, epoch_size=0, model__latent__dim=4, model__encoder=small)
    made = variations(model, words[:8], 6)
    assert made == model.decode(codes_like(model.stand_in(words[:8]), 6))


def test_what_has_no_variations_is_refused(model: Model, people_model: Model, pictures: np.ndarray) -> None:
    with pytest.raises(UserError, match="of a table: use augment"):
        variations(people_model, None)
    recipe = presets.find("vq-vae").over(recipes.load(None, {}), "vq-vae")
    codebook = Model.create(recipe, load(pictures).schema)
    with pytest.raises(UserError, match="entries of a codebook"):
        variations(codebook, pictures)
    for wrong, message in (
        ({"temperature": 0.0}, "temperature=0.0: give a number above 0"),
        ({"temperature": float("nan")}, "temperature=nan"),
        ({"n": 0}, "n=0: give 1 or more"),
    ):
        with pytest.raises(UserError, match=message):
            variations(model, "not read", **wrong)  # type: ignore[arg-type]
        with pytest.raises(UserError, match=message):
            codes_like(np.eye(3, dtype=np.float32), **{"n": 3, **wrong})  # type: ignore[arg-type]
    with pytest.raises(UserError, match="only 1 to be like: give 2 or more"):
        variations(model, pictures[:1])
