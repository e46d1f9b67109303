"""Random changes of pictures in training: what each does exactly, that they repeat, and that they stay in training."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import nelbo
from fixtures.arrays import GREYS, RNG, VECTORS, all_rows, assert_user_error, save_pictures
from fixtures.tiny_model import SMALL, assert_equal, weights
from nelbo.config.recipe import load as load_recipe
from nelbo.data import Schema, load
from nelbo.data.images.augment import USUAL, Augment, draws
from nelbo.model import Model
from nelbo.training import Callback
from nelbo.training.loop import augmented
from nelbo.training.players import micro_batches

SHAPES = [(1, 8, 8), (3, 6, 9), (4, 9, 6)]
HALF = torch.full((1, 8), 0.5)  # no change


def schema(shape: tuple[int, ...], **values: Any) -> Schema:
    return Schema("image", shape, **{"shift": (0.0,), "scale": (255.0,), "support": "unit", **values})


def shades(shape: tuple[int, ...], n: int = 1) -> Tensor:
    return schema(shape).encode(torch.from_numpy(RNG.integers(0, 256, (n, *shape), dtype=np.uint8)))


def drawn(place: int, value: float) -> Tensor:
    """Random numbers of one picture: no change but that one."""
    u = HALF.clone()
    u[0, place] = value
    return u


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", USUAL)
def test_no_strength_is_no_change(name: str, shape: tuple[int, ...]) -> None:
    x = shades(shape, 20)
    assert torch.equal(Augment.parse(f"{name}=0")(x, schema(shape), torch.rand(20, 8)), x)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("name", "place", "axis"), [("flip", 2, 3), ("vflip", 3, 2)])
def test_a_flip_is_an_involution(name: str, place: int, axis: int, shape: tuple[int, ...]) -> None:
    x, how, u = shades(shape), Augment.parse(name), drawn(place, 0.1)
    once = how(x, schema(shape), u)
    assert torch.equal(once, x.flip(axis)) and torch.equal(how(once, schema(shape), u), x)
    assert torch.equal(how(x, schema(shape), drawn(place, 0.9)), x)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_flips_come_as_often_as_they_should(share: float) -> None:
    x, n = shades((1, 4, 4)), 4000
    flipped = Augment.parse(f"flip={share}")(x.expand(n, -1, -1, -1), schema((1, 4, 4)), draws(n, 1, 2))
    found = (flipped != x).flatten(1).any(1).float().mean().item()
    assert abs(found - share) <= 4 * math.sqrt(share * (1 - share) / n)


@pytest.mark.parametrize("shape", SHAPES)
def test_shifts_are_by_whole_pixels_and_the_edge_goes_on(shape: tuple[int, ...]) -> None:
    x, how = shades(shape), Augment.parse("shift=0.34")
    most = round(0.34 * shape[2])
    padded = torch.nn.functional.pad(x, (most, most, 0, 0), "replicate")
    truths = [padded[..., k : k + shape[2]] for k in range(2 * most + 1)]
    for k, truth in enumerate(truths):
        assert torch.equal(how(x, schema(shape), drawn(4, (k + 0.5) / len(truths))), truth)


def test_the_mean_of_many_shifts_is_the_mean_of_all() -> None:
    x = torch.nn.functional.pad(shades((1, 4, 4)), (2, 2, 2, 2))
    n = 20_000
    mean = Augment.parse("shift=0.25")(x.expand(n, -1, -1, -1), schema((1, 8, 8)), draws(n, 3, 1)).mean(0)
    truth = torch.nn.functional.avg_pool2d(torch.nn.functional.pad(x, (2, 2, 2, 2)), 5, 1)[0]
    assert (mean - truth).abs().max() < 4 * 0.5 / math.sqrt(n)


@pytest.mark.parametrize("turns", [-1, 1])
def test_a_quarter_turn_is_exact(turns: int) -> None:
    x = shades((3, 9, 9))
    turned = Augment.parse("rotate=180")(x, schema((3, 9, 9)), drawn(0, 0.5 + turns / 4))
    assert torch.equal(turned, x.rot90(turns, (2, 3)))


def test_a_turn_is_rigid_where_pictures_are_not_square() -> None:
    """A disc at a place goes to the place that the angle says, and stays a disc."""
    down, across = torch.meshgrid(torch.arange(40) - 19.5, torch.arange(60) - 29.5, indexing="ij")
    disc = lambda y, x: (-((down - y) ** 2 + (across - x) ** 2) / 18).exp()[None, None]  # noqa: E731
    angle = math.radians(30)
    turned = Augment.parse("rotate=30")(disc(3.0, 12.0), schema((1, 40, 60)), drawn(0, 1.0))
    truth = disc(3 * math.cos(angle) - 12 * math.sin(angle), 12 * math.cos(angle) + 3 * math.sin(angle))
    assert (turned - truth).abs().max() < 0.02


@pytest.mark.parametrize(("u", "factor"), [(1.0, 1.5), (0.0, 1 / 1.5)])
def test_scale_is_a_ratio(u: float, factor: float) -> None:
    down, across = torch.meshgrid(torch.arange(40) - 19.5, torch.arange(60) - 29.5, indexing="ij")
    disc = lambda width: (-(down**2 + across**2) / width**2).exp()[None, None]  # noqa: E731
    scaled = Augment.parse("scale=0.5")(disc(6.0), schema((1, 40, 60)), drawn(1, u))
    assert (scaled - disc(6.0 * factor)).abs().max() < 0.02


@pytest.mark.parametrize("u", [0.0, 0.3, 1.0])
def test_brightness_and_contrast_by_their_formulas(u: float) -> None:
    x, v = shades((4, 6, 6)) * 0.2 + 0.4, 2 * u - 1
    free = schema((4, 6, 6), scale=(1.0,))
    bright = Augment.parse("brightness")(x, free, drawn(7, u))
    assert torch.allclose(bright[:, :3], x[:, :3] + 0.1 * v, atol=1e-6) and torch.equal(bright[:, 3:], x[:, 3:])
    mean = x[:, :3].mean()
    spread = Augment.parse("contrast")(x, free, drawn(6, u))
    assert torch.allclose(spread[:, :3], mean + (x[:, :3] - mean) * 1.2**v, atol=1e-6)


@pytest.mark.parametrize("support", ["unit", "binary"])
def test_values_stay_what_the_data_may_hold(support: str) -> None:
    x = shades((1, 8, 8), 50) if support == "unit" else (shades((1, 8, 8), 50) > 0.5).float()
    names = USUAL if support == "unit" else [name for name in USUAL if name not in ("brightness", "contrast")]
    rule = schema((1, 8, 8), support=support)
    changed = Augment.parse(",".join(names))(x, rule, draws(50, 0, 0))
    assert not torch.equal(changed, x) and changed.min() >= 0 and changed.max() <= 1
    assert torch.equal(changed, rule.encode(rule.decode(changed).round()))
    assert support == "unit" or set(changed.unique().tolist()) == {0.0, 1.0}


def test_the_random_numbers_of_a_batch_do_not_depend_on_how_it_is_cut() -> None:
    assert torch.equal(draws(10, 1, 2), draws(10, 1, 2)) and draws(10, 2**32 - 1, 10**6).shape == (10, 8)
    seen = [draws(10, seed, step) for seed in (1, 2) for step in (0, 1)]
    assert len({tuple(u.flatten().tolist()) for u in seen}) == 4


GREY_SET = RNG.random((150, 6, 5), np.float32)


def trained(
    x: Any = GREY_SET, callbacks: Any = (), folder: Path | None = None, resume: bool = False, **over: Any
) -> Model:
    data = load(x, augment=over.pop("augment", "flip,shift=0.2"))
    model = Model.from_recipe(load_recipe(None, {**SMALL, **over}), data.schema)
    model.fit(data, folder, callbacks, resume)
    return model


def test_training_repeats_and_differs_from_training_without() -> None:
    one, same, none = trained(), trained(), trained(augment=None)
    assert_equal(weights(one), weights(same))
    assert not all(map(torch.equal, weights(one).values(), weights(none).values()))
    assert_equal(weights(trained(augment="flip=0,rotate=0")), weights(none))


def test_training_does_not_depend_on_where_the_rows_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_pictures(tmp_path, RNG.integers(0, 256, (60, 6, 5), dtype=np.uint8))
    resident = trained(folder)
    monkeypatch.setattr("nelbo.data.dataset.MEMORY_BUDGET", 16)
    assert_equal(weights(trained(folder)), weights(resident))


class Stops(Callback):
    """Ends a run after its first epoch, as a kill would."""

    def on_epoch(self, vae: Any, epoch: int, rows: Any) -> None:
        if epoch == 2:
            raise InterruptedError


def test_a_resumed_run_ends_with_the_same_weights(tmp_path: Path) -> None:
    whole = trained(folder=tmp_path / "whole")
    with pytest.raises(InterruptedError):
        trained(callbacks=[Stops()], folder=tmp_path / "cut")
    assert_equal(weights(trained(folder=tmp_path / "cut", resume=True)), weights(whole))


def test_pieces_of_a_batch_are_changed_as_the_whole_is() -> None:
    train = load(GREY_SET, augment="flip,shift,rotate").train
    (whole,) = micro_batches(torch.arange(32), 32)
    truth = augmented(train.batch(whole.index), train, whole, (1, 7))
    cut = [
        piece
        for rank in (0, 1)
        for piece in micro_batches(torch.arange(32), 32, rank=rank, world=2, gradient_accumulation_steps=3)
    ]
    assert torch.equal(torch.cat([augmented(train.batch(p.index), train, p, (1, 7)) for p in cut]), truth)
    assert not torch.equal(augmented(train.batch(whole.index), train, whole, (1, 8)), truth)


def test_test_rows_are_as_they_were() -> None:
    plain, data = load(GREY_SET), load(GREY_SET, augment="flip,shift,rotate,scale,brightness,contrast")
    assert data.train.augment is not None and data.test.augment is None
    assert torch.equal(all_rows(data.test), all_rows(plain.test))
    assert torch.equal(all_rows(data.train), all_rows(plain.train))  # what is looked at is not changed either


def test_what_cannot_be_changed_is_refused() -> None:
    assert_user_error(
        lambda: load(VECTORS, augment="flip"), "augment supports pictures, and the data are of kind", "kind vector"
    )
    assert_user_error(
        lambda: load(GREYS > 99, augment="contrast"), "black and white pictures have no brightness or contrast"
    )
    assert load(GREYS > 99, augment="rotate").schema.support == "binary"


def test_it_is_a_setting_of_a_recipe(tmp_path: Path) -> None:
    small = {"epochs": 1, "model__encoder": {"kind": "mlp", "hidden": [8]}, "model__latent__dim": 2}
    model = nelbo.fit(GREY_SET, out=tmp_path / "a", data__augment="flip,rotate=5", **small)
    assert model.recipe.data.augment == "flip,rotate=5"
    assert 'augment = "flip,rotate=5"' in (tmp_path / "a" / "recipe.toml").read_text()
