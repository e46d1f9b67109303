"""Art: walks keep their pace, arithmetic is arithmetic, and what a file says makes its pixels again."""

from __future__ import annotations

import copy
import dataclasses
import json
import shutil
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats

import nelbo
from conftest import GREY, NET, SIDE, Run
from nelbo.apps import art
from nelbo.apps.art import provenance
from nelbo.apps.art.rendering import MOMENTS, Rendering
from nelbo.apps.art.scenes import sample_embeddings, truncated_noise
from nelbo.apps.synthesis import images as classwise
from nelbo.apps.synthesis import neighbours
from nelbo.apps.synthesis.neighbours import NeighborAugmenter
from nelbo.config import presets
from nelbo.config import recipe as recipes
from nelbo.data import load, subset
from nelbo.distributions import Mixture, noise
from nelbo.errors import UserError
from nelbo.model import Model, latent_space
from nelbo.model.post_hoc import PriorFitConfig, fit_prior_to_embeddings
from nelbo.plotting import images as image_files
from nelbo.plotting.images import Sheet, enlarge

ENDINGS = [".png", ".svg", ".webp", ".gif", ".mp4"]


@pytest.fixture(autouse=True)
def in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every verb writes into a folder of its own."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def conditional_run(picture_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pictures under their three labels."""
    out = tmp_path_factory.mktemp("art") / "conditional"
    overrides = {**NET, "epochs": 1, "model.latent.dim": 3, "model.likelihood": GREY}
    options = {name.replace(".", "__"): value for name, value in overrides.items()}
    nelbo.fit(picture_file, out=out, condition="label", **options)
    return out


def untrained(shape: tuple[int, ...], preset: str | None = None, **overrides: Any) -> tuple[Model, np.ndarray]:
    """A model of pictures of a shape, its weights random, and pictures."""
    x = np.random.default_rng(0).integers(0, 256, (12, *shape), dtype=np.uint8)
    recipe = recipes.load(None, {"model.latent.dim": 3, "model.encoder": {"kind": "mlp", "hidden": [16]}})
    if preset:
        recipe = presets.find(preset).apply_to(recipe, preset)
    data = load(x)
    return Model.from_recipe(recipes.override(recipe, overrides), data.schema), x


# --- ways through the space of codes


def test_slerp_passes_through_its_ends() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 7))
    np.testing.assert_allclose(latent_space.slerp(a, b, np.array([0.0, 1.0])), [a, b], atol=1e-12)


@pytest.mark.parametrize("features", [1, 2, 3, 16, 400])
@pytest.mark.parametrize("closed", [True, False])
def test_a_tour_keeps_its_pace(features: int, closed: bool) -> None:
    """Between corners each step is as long as any other; a step around a corner cuts it short."""
    corners = list(np.random.default_rng(features).normal(size=(4, features)))
    points = latent_space.tour(corners, 401, closed)
    np.testing.assert_allclose(points[0], corners[0], atol=1e-9)
    following = np.roll(points, -1, 0) if closed else points[1:]
    steps = np.linalg.norm(following - (points if closed else points[:-1]), axis=1)
    assert len(points) == 401 and np.quantile(steps, 0.05) == pytest.approx(steps.max(), rel=0.02)
    if not closed:
        np.testing.assert_allclose(points[-1], corners[-1], atol=1e-9)


def test_a_closed_tour_of_a_great_circle_has_no_seam() -> None:
    corners = [np.array([np.cos(t), np.sin(t), 0.0]) for t in (0.0, 1.0, 3.0, 4.7)]  # at unequal distances
    points = latent_space.tour(corners, 50, closed=True)
    angles = (points * np.roll(points, -1, 0)).sum(1)
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1, atol=1e-9)
    np.testing.assert_allclose(angles, np.cos(2 * np.pi / 50), atol=1e-6)


def test_a_tour_of_one_place_stays() -> None:
    np.testing.assert_allclose(latent_space.tour([np.ones(3)] * 3, 5, closed=True), np.ones((5, 3)))


def test_a_walk_is_closed_and_goes_through_draws_of_the_prior(model: Model) -> None:
    piece = art.latent_walk(model, seconds=2, fps=20, waypoints=3, n=2, seed=5)
    assert piece.values.shape == (40, 2, 1, SIDE, SIDE) and piece.moving
    with noise.for_rows(noise.keys_of_numbers(torch.arange(3), 5)), torch.no_grad():
        first = model.decode(model.vae.latent.sample_prior_embedding(3))[0]
    np.testing.assert_allclose(piece.values[0, 0], first, atol=1e-3)
    steps = np.abs(piece.values - np.roll(piece.values, -1, 0)).mean((1, 2, 3, 4))
    assert steps[-1] < 3 * np.median(steps)  # no jump where it begins anew


def test_a_morph_passes_through_what_it_is_given(model: Model, pictures: np.ndarray) -> None:
    """The pictures themselves; and between two of them the decoded way, with their details in the shares of the way."""
    items = [pictures[i] for i in (3, 5, 8)]
    given = model.schema.decode(model.as_dataset(pictures[[3, 5, 8]]).batch(torch.arange(3))).numpy()
    piece = art.morph(model, items, seconds=1.2, fps=10)
    assert len(piece.values) == 12
    np.testing.assert_allclose(piece.values[::4, 0], given, atol=1e-3)
    open_ended = art.morph(model, items, seconds=1.2, fps=10, loop=False)
    np.testing.assert_allclose(open_ended.values[[0, -1], 0], given[[0, 2]], atol=1e-3)
    codes = model.encode(pictures[[3, 5, 8]])
    lost = given - model.decode_unclipped(codes)
    assert np.abs(lost).max() > 0.1 * given.max()
    expected = model.decode_unclipped(latent_space.way(list(codes[:2]), 5))[1] + 0.75 * lost[0] + 0.25 * lost[1]
    np.testing.assert_allclose(piece.values[1, 0], expected.clip(given.min(), given.max()), atol=1e-3)


# --- temperature, truncation


@pytest.mark.parametrize("bound", [0.1, 0.7, 2.0, 8.0])
def test_truncated_noise_is_the_truncated_normal(bound: float) -> None:
    torch.manual_seed(0)
    with noise.truncated(bound):
        z = noise.normal(torch.Size([20_000]), torch.Size(), torch.Size(), torch.zeros(()))
    law = stats.truncnorm(-bound, bound)
    assert z.abs().max() <= bound and stats.kstest(z.numpy(), law.cdf).pvalue > 1e-3
    assert z.std().item() == pytest.approx(law.std(), rel=0.03)
    again = noise.normal(torch.Size([20_000]), torch.Size(), torch.Size(), torch.zeros(()))
    assert again.std().item() == pytest.approx(1, rel=0.03)  # outside, all is as before


def test_truncation_bounds_the_codes_of_the_prior(model: Model) -> None:
    codes = sample_embeddings(model, 4000, 1.0, 0.7, 0)
    assert np.abs(codes).max() <= 0.7 and codes.std() == pytest.approx(stats.truncnorm(-0.7, 0.7).std(), rel=0.03)
    half = sample_embeddings(model, 4000, 0.5, None, 0)
    np.testing.assert_allclose(half, 0.5 * sample_embeddings(model, 4000, 1.0, None, 0), atol=1e-6)


def test_truncation_of_a_hierarchy_bounds_each_level_given_those_above() -> None:
    hierarchical, _ = untrained((8, 8), "vdvae")
    with noise.seeded(0), torch.no_grad(), truncated_noise(hierarchical, 0.5):
        _, levels = hierarchical.vae.latent.run(lambda i, p, q: p.rsample(), 50)  # type: ignore[operator]
    assert len(levels) > 1
    for level in levels:
        assert ((level.z - level.p.mean).abs() <= 0.5001 * level.p.stddev).all()  # type: ignore[attr-defined]


def test_truncation_of_fitted_priors(model: Model, pictures: np.ndarray) -> None:
    """About the centre chosen for a mixture; of the base for a flow."""
    codes = torch.from_numpy(model.sample_posterior(pictures))
    fitted = copy.deepcopy(model)
    latent: Any = fitted.vae.latent
    latent.prior = fit_prior_to_embeddings(codes, "gmm", PriorFitConfig(rounds=5, components=(3,)))[0]
    p: Any = latent.prior(None)
    z = torch.from_numpy(sample_embeddings(fitted, 300, 1.0, 1e-4, 0))
    assert (z[:, None] - p.components.mean).norm(dim=-1).min(1).values.max() < 1e-2
    latent.prior = fit_prior_to_embeddings(codes, "flow-realnvp", PriorFitConfig(steps=3))[0]
    p = latent.prior(None)
    z, _ = p.transform.inverse(torch.from_numpy(sample_embeddings(fitted, 200, 1.0, 0.3, 0)), p.context)
    assert z.abs().max() < 0.3 + 1e-3


def test_a_full_mixture_is_drawn_from_as_before() -> None:
    """Mean and covariance of draws are those of the mixture, whose components share the noise."""
    torch.manual_seed(0)
    root = torch.tensor([[[1.0, 0.0], [0.8, 0.5]], [[0.3, 0.0], [-0.2, 1.0]]])
    components = torch.distributions.MultivariateNormal(torch.tensor([[3.0, 0.0], [-1.0, 2.0]]), scale_tril=root)
    z = Mixture(components, torch.tensor([0.7, 0.3]).log()).sample((200_000,))
    first = z[:, 0] > 1  # the components lie far apart
    assert first.float().mean().item() == pytest.approx(
        0.7 * stats.norm.cdf(2) + 0.3 * stats.norm.sf(2 / 0.3), abs=5e-3
    )
    apart = Mixture(components, torch.tensor([0.0, -99.0])).sample((100_000,))
    torch.testing.assert_close(apart.mean(0), components.mean[0], atol=0.02, rtol=0)
    torch.testing.assert_close(torch.cov(apart.T), components.covariance_matrix[0], atol=0.02, rtol=0)


def test_the_codes_drawn_are_those_of_samples() -> None:
    """`draw` and `generate` agree, of one level and of several."""
    for preset in (None, "vdvae"):
        m, _ = untrained((8, 8), preset)
        with torch.no_grad(), noise.seeded(1):
            h = m.vae.latent.sample_prior(5)
        with torch.no_grad(), noise.seeded(1):
            code = m.vae.latent.sample_prior_embedding(5)
            torch.testing.assert_close(m.vae.latent.embedding_to_features(code), h)


def test_a_grid_shows_what_sample_draws(model: Model) -> None:
    np.testing.assert_array_equal(art.grid(model, 5, seed=3, temperature=0.8).values[0], model.sample(5, 3, 0.8))
    assert not np.array_equal(art.grid(model, 5, truncation=0.1).values[0], model.sample(5))


def test_a_grid_of_variations(model: Model, pictures: np.ndarray) -> None:
    made = art.grid(model, 5, seed=3, temperature=0.8, like=pictures[:40]).values[0]
    np.testing.assert_array_equal(made, neighbours.vary(model, pictures[:40], 5, 3, 0.8))
    with pytest.raises(UserError, match="truncation applies to a model's prior"):
        art.grid(model, 5, truncation=0.5, like=pictures[:40])


# --- classes


def test_attribute_arithmetic_moves_codes_by_the_difference_of_means(model: Model, pictures: np.ndarray) -> None:
    """With a linear decoder the picture itself moves along a straight line, in closed form."""
    linear = Model.from_recipe(
        recipes.override(
            model.recipe,
            {"model.decoder": {"kind": "mlp", "hidden": []}, "model.likelihood": {"kind": "normal", "sigma": 0.1}},
        ),
        model.schema,
    )
    labels = np.arange(len(pictures)) % 3
    data = linear.as_dataset((pictures, labels))
    codes = linear.embed(pictures)
    way = codes[labels == 2].mean(0) - codes[labels == 0].mean(0)
    piece = art.attribute_edit(linear, "2", "0", [pictures[4]], data, strength=1.5, steps=4)
    strengths = np.array([0, 0.5, 1, 1.5])
    net: Any = linear.vae.likelihood
    origin = linear.schema.decode(data.batch(torch.tensor([4]))).numpy()
    ahead = linear.decode_unclipped(codes[[4]] + way) - linear.decode_unclipped(codes[[4]])
    expected = origin + strengths[:, None, None, None] * ahead
    np.testing.assert_allclose(piece.values[:, 0], expected.clip(0, 255), atol=1e-2)
    assert net is not None and list(piece.captions) == ["0", "+0.5", "+1", "+1.5"]
    rest = art.attribute_edit(linear, "2", None, [pictures[4]], data, strength=1.0, steps=2)
    both = [codes[labels == k].mean(0) for k in (0, 1)]
    expected = (
        origin
        + linear.decode_unclipped(codes[[4]] + codes[labels == 2].mean(0) - np.mean(both, 0))
        - linear.decode_unclipped(codes[[4]])
    )
    np.testing.assert_allclose(rest.values[1, 0], expected[0].clip(0, 255), atol=1e-2)


def test_classes_of_a_conditional_model_share_their_noise(conditional_run: Path) -> None:
    m = nelbo.load(conditional_run)
    piece = art.class_grid(m, columns=4, seed=2)
    assert list(piece.names) == ["0", "1", "2"]
    np.testing.assert_array_equal(piece.values[0, 4:8], m.condition_on("1").sample(4, 2))
    walks = art.latent_walk(m, seconds=0.4, fps=10, n=3)  # a class each
    np.testing.assert_array_equal(
        walks.values[:, 2], art.latent_walk(m.condition_on("2"), seconds=0.4, fps=10, seed=2).values[:, 0]
    )


def test_classes_of_an_unconditional_model_come_from_labelled_pictures(model: Model, picture_file: Path) -> None:
    piece = art.class_grid(model, picture_file, columns=5)
    assert piece.values.shape == (1, 15, 1, SIDE, SIDE) and list(piece.names) == ["0", "1", "2"]
    held = model.as_dataset(picture_file)
    np.testing.assert_array_equal(
        piece.values[0, 5:10], NeighborAugmenter(model, classwise.of_class(held, "1")).sample(5)
    )


def test_a_contact_sheet_has_originals_above_reconstructions(model: Model, pictures: np.ndarray) -> None:
    piece = art.contact_sheet(model, pictures[:5], n=3)
    np.testing.assert_allclose(piece.values[0, :, 0, :SIDE], pictures[:3], atol=1e-4)
    np.testing.assert_array_equal(piece.values[0, :, :, SIDE:], model.reconstruct(pictures[:3]))
    assert list(piece.captions) == ["0", "1", "2"]
    labelled = art.contact_sheet(model, (pictures[:3], np.array(["ü", "b", "ü"])))
    assert list(labelled.captions) == ["ü", "b", "ü"]


# --- files


def piece_of(channels: int, moments: int, **more: Any) -> Rendering:
    """Random pictures, all different."""
    schema = dataclasses.replace(load(np.zeros((2, 6, 5), np.uint8)).schema, shape=(channels, 6, 5))
    values = np.random.default_rng(0).integers(0, 256, (moments, 3, channels, 6, 5)).astype(np.float32)
    schema = dataclasses.replace(schema, scale=(255.0,), support="unit")
    return Rendering(values, schema, columns=2, size=12, **more)


def opened(content: bytes) -> Any:
    return Image.open(BytesIO(content))


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("ending", [".png", ".webp"])
def test_still_pictures_are_kept_without_loss(channels: int, ending: str) -> None:
    piece = piece_of(channels, 1)
    expected = piece.sheet().draw()
    found = opened(piece.encode(ending)).convert(expected.mode)
    np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))
    cell = np.asarray(expected).reshape(*expected.size[::-1], channels)[2:14, 14:24]
    np.testing.assert_array_equal(cell, piece.pixels[0, 1].repeat(2, 0).repeat(2, 1))


@pytest.mark.parametrize(("fps", "unit"), [(25.0, 40), (30.0, 33), (7.0, 143)])
@pytest.mark.parametrize("ending", [".gif", ".webp"])
def test_animations_have_their_frames_and_last_as_long_as_they_should(ending: str, fps: float, unit: int) -> None:
    piece = piece_of(3, 12, fps=fps)
    film = opened(piece.encode(ending))
    assert film.n_frames == 12 and film.info["loop"] == 0
    lasted = []
    for i in range(12):
        film.seek(i)
        film.load()
        lasted.append(film.info["duration"])
        if ending == ".webp":
            np.testing.assert_array_equal(np.asarray(film.convert("RGB")), np.asarray(piece.frames()[i]))
    assert abs(sum(lasted) - 12_000 / fps) <= 5 and abs(np.array(lasted) - unit).max() <= 10


def test_a_grey_gif_keeps_every_pixel() -> None:
    piece = piece_of(1, 4)
    film = opened(piece.encode(".gif"))
    for i, frame in enumerate(piece.frames()):
        film.seek(i)
        np.testing.assert_array_equal(np.asarray(film.convert("L")), np.asarray(frame))


def test_a_gif_of_few_colours_keeps_them() -> None:
    values = np.tile(np.eye(3)[:, None, :, None, None] * 255, (1, 3, 1, 6, 5)).astype(np.float32)
    piece = dataclasses.replace(piece_of(3, 3), values=values)
    film = opened(piece.encode(".gif"))
    film.seek(1)
    assert np.abs(np.asarray(film.convert("RGB")).astype(int) - np.asarray(piece.frames()[1])).max() <= 8


def test_a_film_has_its_frames() -> None:
    ffmpeg = pytest.importorskip("imageio_ffmpeg")
    piece = piece_of(3, 20, fps=10.0)
    piece.save("film.mp4")
    assert ffmpeg.count_frames_and_secs("film.mp4") == (20, 2.0)
    reader = ffmpeg.read_frames("film.mp4")
    width, height = next(reader)["size"]
    assert (width, height) == tuple(side + side % 2 for side in piece.frames()[0].size)


def test_a_sprite_holds_each_cell() -> None:
    import base64
    import xml.etree.ElementTree as tree

    piece = piece_of(3, 1, names=["<a>", "b"], captions=["1", "2", "&"])
    root = tree.fromstring(piece.encode(".svg"))
    space = "{http://www.w3.org/2000/svg}"
    images = root.findall(f".//{space}symbol/{space}image")
    assert len(images) == 3 and [t.text for t in root.findall(f"{space}text")] == ["<a>", "b", "1", "2", "&"]
    cell = opened(base64.b64decode(images[2].get("href", "").partition(",")[2]))
    np.testing.assert_array_equal(np.asarray(cell), piece.pixels[0, 2].repeat(2, 0).repeat(2, 1))
    assert len(root.findall(f"{space}use")) == len(root.findall(f"{space}view")) == 3


def test_moving_pictures_on_a_sheet_run_along_their_rows() -> None:
    piece = piece_of(1, 40)
    sheet = piece.sheet()
    assert sheet.columns == MOMENTS and sheet.rows == 3
    np.testing.assert_array_equal(sheet.cells[MOMENTS - 1][::2, ::2], piece.pixels[-1, 0])
    np.testing.assert_array_equal(sheet.cells[MOMENTS][::2, ::2], piece.pixels[0, 1])


def test_enlarging() -> None:
    cells = np.random.default_rng(0).integers(0, 256, (2, 8, 6, 3), dtype=np.uint8)
    np.testing.assert_array_equal(enlarge(cells, 25)[:, ::3, ::3], cells)
    assert enlarge(cells, 20, smooth=True).shape == (2, 20, 15, 3)
    np.testing.assert_array_equal(enlarge(cells, 2), cells)


def test_names_and_captions_fit() -> None:
    cells = np.zeros((3, 40, 30, 1), np.uint8)
    sheet = Sheet(cells, 2, names=["a long name", "b"], captions=["x", "far too long for a cell", ""])
    drawn = np.asarray(sheet.draw())
    assert drawn.shape == sheet.size[::-1] and sheet.fitting("far too long for a cell").endswith("…")
    assert drawn[:40, : sheet.margin].any() and drawn[42 : 42 + sheet.line].any()
    assert not drawn[:40, sheet.margin : sheet.margin + 30].any()  # nothing is written on a picture


# --- records


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_text_in_a_file_comes_back(ending: str) -> None:
    if ending == ".mp4":
        pytest.importorskip("imageio_ffmpeg")
    kept = {"made": 'a "b" \\ = ; # & < > é 日本\n', "n": 3}
    piece_of(3, 4, record=kept).save(f"a{ending}")
    assert json.loads(image_files.read_text(Path(f"a{ending}"))) == kept
    piece_of(3, 4).save(f"b{ending}")
    assert image_files.read_text(Path(f"b{ending}")) == ""


COMMANDS = {
    "grid": ["-n", 6, "--temperature", 0.7, "--truncation", 1.5, "--columns", 3, "--seed", 3, "--size", 20, "--smooth"],
    "walk": ["-n", 2, "--seconds", 0.4, "--fps", 10, "--waypoints", 3, "--truncation", 2, "--columns", 1],
    "morph": ["1", "2", "a.png", "--seconds", 0.6, "--fps", 10, "--no-loop"],
    "attribute": ["--toward", "2", "--away-from", "1", "--item", "a.png", "--item", 3, "--steps", 3],
    "class-grid": ["--columns", 3, "--temperature", 0.5],
    "contact-sheet": ["-n", 5],
}


@pytest.mark.parametrize("made", COMMANDS)
def test_rerender_makes_the_same_file(run: Run, picture_run: Path, pictures: np.ndarray, made: str) -> None:
    Image.fromarray(pictures[1]).save("a.png")
    command = COMMANDS[made]
    first, rest = (command[:3], command[3:]) if made == "morph" else ([], command)
    assert run("art", made, picture_run, *first, *rest, "--out", "one.webp").code == 0
    said = run("art", "rerender", "one.webp", "--out", "two.webp", "--json")
    assert said.code == 0 and said.err == "" and json.loads(said.out)["out"] == "two.webp"
    assert Path("one.webp").read_bytes() == Path("two.webp").read_bytes()


@pytest.mark.parametrize("ending", ENDINGS)
def test_rerender_is_the_same_in_every_form(run: Run, picture_run: Path, ending: str) -> None:
    if ending == ".mp4":
        pytest.importorskip("imageio_ffmpeg")
    run("art", "walk", picture_run, "--seconds", 0.5, "--fps", 10, "--out", f"one{ending}")
    kept = Path(f"one{ending}").read_bytes()
    assert run("art", "rerender", f"one{ending}").out == f"Wrote one{ending} (5, 1, 1, 8, 8)\n"
    assert Path(f"one{ending}").read_bytes() == kept
    run("art", "rerender", f"one{ending}", "--out", "other.png")
    run("art", "walk", picture_run, "--seconds", 0.5, "--fps", 10, "--out", "direct.png")
    assert Path("other.png").read_bytes() == Path("direct.png").read_bytes()


def test_a_condition_is_kept(run: Run, conditional_run: Path) -> None:
    run("art", "grid", conditional_run, "-n", 2, "--condition", "1", "--out", "a.png")
    assert run("art", "rerender", "a.png", "--out", "b.png").code == 0
    assert Path("a.png").read_bytes() == Path("b.png").read_bytes()
    m = nelbo.load(conditional_run).condition_on("1")
    np.testing.assert_array_equal(art.grid(m, 2).pixels, provenance.rerender("a.png").pixels)


def test_a_model_that_moved_or_changed(run: Run, picture_run: Path, conditional_run: Path) -> None:
    shutil.copytree(picture_run / "model", "model")
    run("art", "grid", "model", "-n", 2, "--out", "a.png")
    shutil.move("model", "elsewhere")
    said = run("art", "rerender", "a.png", "--out", "b.png")
    assert said.code == 2 and said.err == "Error: a.png: its model, model, is gone: give its folder with --model\n"
    assert run("art", "rerender", "a.png", "--model", "elsewhere", "--out", "b.png").code == 0
    np.testing.assert_array_equal(*(np.asarray(Image.open(name)) for name in ("a.png", "b.png")))
    said = run("art", "rerender", "a.png", "--model", conditional_run)
    assert said.code == 2 and "a.png: the weights of" in said.err and "are not those of the record" in said.err


@pytest.mark.filterwarnings("default")
def test_data_that_changed_are_told(run: Run, picture_run: Path, pictures: np.ndarray) -> None:
    np.save("x.npy", pictures[:6])
    run("art", "contact-sheet", picture_run, "x.npy", "--out", "a.png")
    np.save("x.npy", pictures[3:9])
    said = run("art", "rerender", "a.png", "--out", "b.png")
    assert said.code == 0 and said.err.startswith("Warning: a.png: pixels differ from the recorded ones, because ")


GOOD = {
    **{"made": "grid", "model": "m", "condition": None, "options": {"n": 2}, "size": 0, "smooth": False},
    **{"version": "0.1.0", "weights": "0", "pixels": "0"},
}
BAD: dict[str, Any] = {
    "no JSON": "{",
    "no object": "[]",
    "another tool's": '{"workflow": 1}',
    "an unknown function": GOOD | {"made": "__import__"},
    "an unknown option": GOOD | {"options": {"model": "/etc"}},
    "a wrong type": GOOD | {"options": {"n": "2"}},
    "a wrong type of text": GOOD | {"model": 3},
    "no number": GOOD | {"options": {"temperature": float("nan")}},
    "options of no kind": GOOD | {"options": [1]},
    "nested without end": "[" * 100_000,
}


@pytest.mark.parametrize("what", BAD)
def test_a_record_is_not_trusted(run: Run, what: str) -> None:
    text = BAD[what] if isinstance(BAD[what], str) else json.dumps(BAD[what])
    Path("a.png").write_bytes(image_files.png(Image.new("L", (2, 2)), text))
    said = run("art", "rerender", "a.png", "--out", "b.png")
    assert said.code == 2 and not said.out
    assert said.err.startswith("Error: a.png has stored options that cannot be read (")
    assert len(said.err.splitlines()) == 1 and not Path("b.png").exists()


# --- models of other kinds, and what is refused


@pytest.mark.parametrize(("channels", "preset"), [(1, "vdvae"), (3, None), (4, None)])
def test_models_of_every_kind_of_picture(channels: int, preset: str | None) -> None:
    m, x = untrained((8, 8) if channels == 1 else (8, 8, channels), preset)
    labelled = m.as_dataset((x, np.arange(12) % 2))
    made = [
        art.grid(m, 4),
        art.latent_walk(m, 0.5, fps=10),
        art.morph(m, [x[0][..., None] if channels == 1 else x[:1], x[1:2]], seconds=0.5, fps=10)
        if channels > 1
        else art.morph(m, [x[0], x[1]], seconds=0.5, fps=10),
        art.attribute_edit(m, "1", data=labelled, steps=3),
        art.class_grid(m, labelled, columns=3),
        art.contact_sheet(m, x, 4),
    ]
    for piece in made:
        assert (
            np.isfinite(piece.values).all() and opened(piece.encode(".webp")).size == opened(piece.encode(".gif")).size
        )
        assert opened(piece.encode(".png")).mode == {1: "L", 3: "RGB", 4: "RGBA"}[channels]


def test_codes_of_a_codebook_have_nothing_between_them() -> None:
    m, x = untrained((8, 8), "vq-vae")
    assert art.grid(m, 2).values.shape[1] == art.contact_sheet(m, x, 2).values.shape[1] == 2
    for call in (lambda: art.latent_walk(m), lambda: art.morph(m, [x[0], x[1]]), lambda: art.attribute_edit(m, "1")):
        with pytest.raises(UserError, match="does not work with VQ models: their latent codes are discrete"):
            call()
    with pytest.raises(UserError, match="does not use Normal noise"):
        art.grid(m, truncation=0.5)


REFUSED: dict[str, tuple[list[Any], str]] = {
    "an unknown class": (["attribute", "M", "--toward", "22"], "class '22' is unknown: did you mean 2?"),
    "one picture": (["morph", "M", "a.png"], "morph: 1 picture: give at least 2"),
    "a row beyond the last": (["morph", "M", "0", "99"], "item 99: the data have 30 rows: use 0 to 29"),
    "a picture that is not there": (["morph", "M", "x.png", "y.png"], "x.png"),
    "a table": (["grid", "PEOPLE"], "art does not support a table: use a model trained on pictures"),
    "vectors": (["grid", "VECTORS"], "art does not support vectors: use a model trained on pictures"),
    "an unknown ending": (["grid", "M", "--out", "a.bmp"], "--out a.bmp: the file must end in .png, .svg, .webp, "),
    "a still film": (["grid", "M", "--out", "a.mp4"], "a still picture cannot be an animation"),
    "no frames": (["walk", "M", "--seconds", "0"], "seconds=0.0, fps=25.0: use at most 100 frames per second"),
    "frames without end": (["walk", "M", "--seconds", "1e9"], "seconds=1000000000.0, fps=25.0: "),
    "one point": (["walk", "M", "--waypoints", "1"], "waypoints=1: use 2 or more"),
    "a temperature of 0": (["walk", "M", "--temperature", "0"], "temperature=0.0: give a number above 0"),
    "a truncation of 0": (["grid", "M", "--truncation", "0"], "truncation=0.0: use a number of standard"),
    "no columns": (["class-grid", "M", "--columns", "0"], "columns=0: use 1 to 10000"),
    "more than memory holds": (["grid", "M", "-n", "1000000000"], "n=1000000000: use 1 to 10000"),
    "a size": (["grid", "M", "--size", "-3"], "size=-3: use 1 to 4096 pixels"),
    "no labels": (["class-grid", "M", "--data", "x.npy"], "these data have no labels"),
    "one step": (["attribute", "M", "--toward", "1", "--steps", "1"], "steps=1, strength=2.0: use at least 2 steps"),
    "a truncated class": (["class-grid", "M", "--truncation", "1"], "truncation applies to a model's prior"),
    "an attribute of a condition": (["attribute", "C", "--toward", "1"], "attribute: the model is conditioned on"),
    "a morph under no condition": (["morph", "C", "0", "1"], "morph: the model is conditional: fix one"),
    "no record": (["rerender", "a.png"], "a.png has no stored options"),
    "no file": (["rerender", "nowhere.png"], "nowhere.png: no such file"),
    "a broken file": (["rerender", "broken.gif"], "broken.gif cannot be read as a picture"),
    "a text": (["rerender", "a.txt", "--out", "a.png"], "a.txt: a picture's file must end in .png, .svg, "),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused(request: pytest.FixtureRequest, run: Run, pictures: np.ndarray, what: str) -> None:
    Image.fromarray(pictures[0]).save("a.png")
    Path("broken.gif").write_bytes(b"GIF89a nothing")
    np.save("x.npy", pictures[:5])
    places = {"M": "picture_run", "C": "conditional_run", "PEOPLE": "people_run"}
    arguments, message = REFUSED[what]
    if "VECTORS" in arguments:
        request.getfixturevalue("vector_model").save("VECTORS")
    given = [request.getfixturevalue(places[a]) if a in places else a for a in arguments]
    said = run("art", *given)
    assert said.code == 2 and said.err.startswith(f"Error: {message}") and len(said.err.splitlines()) == 1


def test_a_film_without_ffmpeg_says_what_to_install(
    run: Run, picture_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    said = run("art", "walk", picture_run, "--out", "a.mp4")
    assert said.code == 2 and said.err.startswith("Error: .mp4 needs imageio-ffmpeg: pip install 'nelbo[video]'")
    assert not Path("a.mp4").exists()


def test_without_a_command_it_says_what_there_is(run: Run) -> None:
    said = run("art")
    assert said.code == 0 and "contact-sheet" in said.out and "rerender" in said.out


def test_subset_of_pictures_is_shown(model: Model, pictures: np.ndarray) -> None:
    rows = subset(model.as_dataset(pictures), [7, 2])
    np.testing.assert_allclose(art.contact_sheet(model, rows).values[0, :, 0, :SIDE], pictures[[7, 2]], atol=1e-4)


def test_what_is_not_made_is_told() -> None:
    with pytest.raises(UserError, match="'walks' is not a nelbo art command: known: attribute_edit"):
        provenance.render("walks", "nowhere")
