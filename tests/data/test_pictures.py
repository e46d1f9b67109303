"""Encoded pictures of every kind come out as their numbers say, wherever they lie; bad ones in one line."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

import nelbo
from fixtures.arrays import (
    GREYS,
    RNG,
    all_rows,
    assert_user_error,
    labels_of,
    row_index,
    rows_in_source_order,
    save_pictures,
    whole_dataset,
)
from nelbo.data import Schema, load, load_like
from nelbo.data import dataset as store
from nelbo.data.images.decode import ImageSpec, decode
from nelbo.plotting import images
from nelbo.plotting import images as image

DEEP = RNG.integers(100, 4000, (12, 5, 6)).astype(np.uint16)
CLEAR = RNG.integers(0, 256, (8, 5, 6, 4), dtype=np.uint8)
TINY: dict[str, Any] = {"epochs": 1, "model__encoder": {"kind": "mlp", "hidden": [8]}, "model__latent__dim": 2}


@pytest.fixture(params=["in memory", "streamed"])
def held(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether data are held in memory: all that is told of them must not depend on it."""
    if request.param == "streamed":
        monkeypatch.setattr(store, "MEMORY_BUDGET", 16)
    return bool(request.param == "in memory")


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_sixteen_bits_are_the_numbers_of_an_array(suffix: str, tmp_path: Path, held: bool) -> None:
    data, truth = load(save_pictures(tmp_path, DEEP, suffix)), load(DEEP)
    assert data.schema == truth.schema and data.train.resident == held
    assert torch.equal(rows_in_source_order(data), rows_in_source_order(truth)) and torch.equal(
        row_index(data.test), row_index(truth.test)
    )
    assert torch.equal(
        data.schema.decode(rows_in_source_order(data)).round()[:, 0], torch.from_numpy(DEEP.astype(np.float32))
    )
    one = load_like(tmp_path / f"003{suffix}", data.schema)
    assert torch.equal(all_rows(one), rows_in_source_order(truth)[3:4])


@pytest.mark.parametrize("shape", [(9, 5, 6), (9, 5, 6, 3), (9, 4, 5, 6)])
def test_sixteen_bits_of_arrays_are_kept(shape: tuple[int, ...], tmp_path: Path, held: bool) -> None:
    x = RNG.integers(0, 65_536, shape).astype(np.uint16)
    np.save(tmp_path / "x.npy", x)
    data = load(tmp_path / "x.npy")
    truth = x[:, None] if x.ndim == 3 else x.transpose(0, 3, 1, 2) if shape[-1] == 3 else x
    assert (
        np.array_equal(data.schema.decode(rows_in_source_order(data)).round().numpy(), truth)
        and data.train.resident == held
    )


def test_sixteen_bits_and_eight_share_black_and_white(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 65535]], np.uint16)).save(tmp_path / "a.png")
    Image.fromarray(np.array([[0, 255]], np.uint8)).save(tmp_path / "b.png")
    x = rows_in_source_order(load(tmp_path))
    assert torch.equal(x[0], x[1]) and x[0].flatten().tolist() == [0, 1]


def test_sixteen_bits_for_a_model_of_eight(tmp_path: Path) -> None:
    deep = save_pictures(tmp_path, GREYS.astype(np.uint16) * 256 + 77)
    eight = load(GREYS).schema
    assert torch.equal(all_rows(load_like(deep, eight)), eight.encode(torch.from_numpy(GREYS)[:, None]))
    assert load(deep, channels=3).schema.scale == (255.0,)


def test_sixteen_bits_with_splits_and_in_another_size(tmp_path: Path) -> None:
    save_pictures(tmp_path / "train", DEEP[:8])
    save_pictures(tmp_path / "test", DEEP[8:])
    data = load(tmp_path, size=3, resize_mode="stretch")
    low, high = (getattr(np.stack([shrunk(p) for p in DEEP[:8]]), end)() for end in ("min", "max"))
    assert (data.schema.shift, data.schema.scale, data.schema.resize_mode) == ((low,), (high - low,), "stretch")
    assert torch.allclose(data.schema.decode(all_rows(data.test))[0, 0], torch.from_numpy(shrunk(DEEP[8])), atol=1e-2)


def shrunk(pixels: np.ndarray) -> np.ndarray:
    """To 3x3, by Lanczos' filter, in floating point."""
    small = Image.fromarray(pixels.astype(np.float32)).resize((3, 3), Image.Resampling.LANCZOS)
    return np.asarray(small).clip(0, 65535).round()


def test_sixteen_bits_that_hold_eight(tmp_path: Path) -> None:
    data = load(save_pictures(tmp_path, GREYS.astype(np.uint16)))
    assert (data.schema.shift, data.schema.scale, data.schema.dtype) == ((0.0,), (255.0,), "uint16")
    again = load_like(tmp_path, data.schema)
    assert torch.equal((all_rows(again) * 255).round()[:, 0].to(torch.uint8), torch.from_numpy(GREYS))


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
@pytest.mark.filterwarnings("ignore:.*those of training")
def test_thirty_two_bits_are_the_numbers_of_an_array(dtype: type, tmp_path: Path) -> None:
    """Of a float32 or an int32 TIFF, as microscopes and depth cameras write."""
    values = RNG.normal(300, 900, (6, 4, 5)).astype(dtype)
    for i, picture in enumerate(values):
        Image.fromarray(picture).save(tmp_path / f"{i}.tiff")
    data = load(tmp_path)
    assert torch.allclose(data.schema.decode(rows_in_source_order(data))[:, 0], torch.tensor(values).float(), atol=1e-3)
    again = load_like(tmp_path, data.schema)
    assert torch.equal(all_rows(again)[row_index(data.train)], all_rows(data.train))
    Image.fromarray(GREYS[0][:4, :5]).save(tmp_path / "9.tiff")
    assert_user_error(lambda: load(tmp_path), "9.tiff: the picture has 8 bits, and others have 32")


def test_a_picture_is_of_a_known_format_whatever_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import subprocess

    save_pictures(tmp_path, GREYS[:2])
    (tmp_path / "x.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 5 6\n%%EndComments\nshowpage\n")
    monkeypatch.setattr(subprocess, "check_call", lambda *_, **__: pytest.fail("a program was started"))
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a program was started"))
    assert_user_error(lambda: load(tmp_path, size=5), "x.png cannot be read as a picture (unknown format)")


@pytest.mark.parametrize(("size", "shape"), [(None, (192, 256)), (12, (12, 12))])
def test_photographs_are_reduced_unless_a_size_is_chosen(
    size: int | None, shape: tuple[int, int], tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    for i in range(2):
        Image.new("L", (800, 600), i).save(tmp_path / f"{i}.png")
    assert load(tmp_path, size=size).schema.shape == (1, *shape)
    said = [str(warning.message) for warning in recwarn]
    assert len(said) == (size is None) and all(
        "600x800 (height x width) are reduced to 192x256" in text for text in said
    )


def test_rows_have_the_names_of_their_files(tmp_path: Path) -> None:
    save_pictures(tmp_path / "b", GREYS[:3])
    save_pictures(tmp_path / "a", GREYS[3:5])
    data = load(tmp_path)
    for part in (data.train, data.test):
        names = part.schema.data_kind.row_names(part)
        assert names.label == "file" and len(names.values) == len(part)
        for name, row in zip(names.values, all_rows(part), strict=True):
            assert torch.equal((row[0] * 255).round().byte(), torch.from_numpy(np.array(Image.open(name))))


def test_transparency_is_kept_where_it_is_asked_for(tmp_path: Path, held: bool) -> None:
    data = load(save_pictures(tmp_path, CLEAR), channels=4)
    assert data.schema.shape == (4, 5, 6)
    assert torch.equal(
        (rows_in_source_order(data) * 255).round().byte(), torch.from_numpy(CLEAR.transpose(0, 3, 1, 2).copy())
    )
    assert torch.equal(rows_in_source_order(load(CLEAR)), rows_in_source_order(data)) and torch.equal(
        rows_in_source_order(load(CLEAR.transpose(0, 3, 1, 2))), rows_in_source_order(data)
    )
    assert torch.equal(all_rows(load_like(tmp_path / "002.png", data.schema))[0], rows_in_source_order(data)[2])


def test_without_a_channel_for_it_transparency_shows_white(tmp_path: Path) -> None:
    x, alpha = CLEAR[..., :3] / 255, CLEAR[..., 3:] / 255
    truth = torch.from_numpy((alpha * x + 1 - alpha).transpose(0, 3, 1, 2))
    got = rows_in_source_order(load(save_pictures(tmp_path, CLEAR)))
    assert got.shape[1] == 3 and (got - truth).abs().max() < 1.01 / 255


def test_what_is_clear_colours_no_neighbour(tmp_path: Path) -> None:
    """A red square on clear green, made smaller: where anything shows, it is red."""
    square = np.zeros((32, 32, 4), np.uint8)
    square[..., 1] = 255
    square[8:24, 8:24] = (255, 0, 0, 255)
    Image.fromarray(square).save(tmp_path / "a.png")
    shown = decode(str(tmp_path / "a.png"), ImageSpec((4, 9, 9), "crop"))
    assert (shown[3] > 0).sum() > 9 and set(shown[1][shown[3] > 8].tolist()) == {0}


def test_opaque_pictures_get_a_channel_of_ones(tmp_path: Path) -> None:
    x = rows_in_source_order(load(save_pictures(tmp_path, GREYS[:4]), channels=4))
    assert torch.equal(x[:, :3], rows_in_source_order(load(tmp_path)).expand(-1, 3, -1, -1)) and (x[:, 3] == 1).all()


def test_a_sheet_of_four_channels_shows_what_is_there() -> None:
    schema = Schema("image", (4, 5, 6), (0.0,), (255.0,), "unit")
    values = CLEAR.transpose(0, 3, 1, 2).astype(np.float32)
    assert np.array_equal(image.pixels(values, schema), CLEAR)
    sheet = image.FIGURES.sheet(values, schema, 4)
    zoom = round(image.CELL / 6)
    cell = np.asarray(sheet)[images.PAD :: zoom, images.PAD :: zoom][:5, :6]
    assert sheet.mode == "RGBA" and np.array_equal(cell, CLEAR[0]) and np.asarray(sheet)[0, 0, 3] == 0


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_model_of_any_channels_from_pictures_to_pictures(channels: int, tmp_path: Path) -> None:
    folder = save_pictures(tmp_path / "p", RNG.integers(0, 256, (40, 9, 7, 4), dtype=np.uint8))
    model = nelbo.fit(folder, out=tmp_path / "out", data__channels=channels, **TINY)
    made = model.sample(3)
    assert made.shape == (3, channels, 9, 7) and np.isfinite(made).all()
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[channels]
    for name in ("sample_1.png", "reconstruction_1.png"):
        with Image.open(tmp_path / "out" / name) as picture:
            assert picture.mode == mode
    assert model.reconstruct(folder / "000.png").shape == (1, channels, 9, 7)


def test_a_model_of_sixteen_bits_answers_in_its_units(tmp_path: Path) -> None:
    model = nelbo.fit(
        save_pictures(tmp_path, DEEP), model__likelihood={"kind": "bernoulli", "allow_soft_targets": True}, **TINY
    )
    assert model.sample(5).min() >= 100 and 255 < model.sample(5).max() <= 4000


@pytest.mark.parametrize("suffix", [".tiff", ".jpg"])
def test_cmyk_is_converted_by_its_formula(suffix: str, tmp_path: Path) -> None:
    """R = (1 - C) (1 - K), and so on."""
    inks = [(0, 0, 0, 0), (255, 0, 0, 0), (0, 255, 0, 0), (0, 0, 255, 0), (0, 0, 0, 255), (30, 200, 90, 60)]
    for i, ink in enumerate(inks):
        Image.new("CMYK", (8, 8), ink).save(tmp_path / f"{i}{suffix}", **({"quality": 100} if suffix == ".jpg" else {}))
    cmyk = torch.tensor(inks) / 255
    truth = (1 - cmyk[:, :3]) * (1 - cmyk[:, 3:])
    got = rows_in_source_order(load(tmp_path))
    assert (got - truth[..., None, None]).abs().max() < (1.01 if suffix == ".tiff" else 4) / 255


def test_a_palette_gives_its_colours(tmp_path: Path) -> None:
    colours = RNG.integers(0, 256, (16, 3), dtype=np.uint8)
    places = RNG.integers(0, 16, (6, 5, 7), dtype=np.uint8)
    for i, place in enumerate(places):
        picture = Image.fromarray(place)
        picture.putpalette(colours.tobytes())
        picture.save(tmp_path / f"{i}.png", **({"transparency": 3} if i == 0 else {}))
    truth = colours[places]
    truth[0][places[0] == 3] = 255
    assert np.array_equal(
        (rows_in_source_order(load(tmp_path)) * 255).round().byte().permute(0, 2, 3, 1).numpy(), truth
    )


def test_pictures_of_a_format_that_is_not_read_are_counted(tmp_path: Path) -> None:
    save_pictures(tmp_path, GREYS[:3])
    for name in ("b.HEIC", "a.heic", "notes.txt"):
        (tmp_path / name).touch()
    with pytest.warns(UserWarning, match=r"2 files such as a\.heic are left out: convert them") as caught:
        assert len(load(tmp_path).train) == 2
    assert len({str(warning.message) for warning in caught}) == 1


def test_pages_that_are_not_read_are_counted(tmp_path: Path) -> None:
    pages = [Image.fromarray(picture) for picture in GREYS]
    for name in ("a.tiff", "b.tiff"):
        pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:])
    with pytest.warns(UserWarning, match=r"a.tiff has 15 pages, and only the first of a file is read"):
        assert len(load(tmp_path).train) == 1


@pytest.mark.filterwarnings("ignore:.*has 2 pages")
def test_of_an_animation_the_first_frame_is_taken(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((4, 4), shade, np.uint8)) for shade in (255, 0)]
    for name in ("a.gif", "b.webp", "c.png", "d.tiff"):
        frames[0].save(
            tmp_path / name, save_all=True, append_images=frames[1:], **({"lossless": True} if "w" in name else {})
        )
    assert (rows_in_source_order(load(tmp_path, channels=1)) == 1).all()


def test_a_large_jpeg_is_decoded_at_less_and_looks_the_same(tmp_path: Path) -> None:
    across, down = np.meshgrid(np.linspace(0, 9, 600), np.linspace(0, 7, 400))
    waves = np.stack([np.sin(across + i) * np.cos(down - i) for i in range(3)], -1) * 127 + 128
    Image.fromarray(waves.astype(np.uint8)).save(path := tmp_path / "a.jpg", quality=95)
    got = decode(str(path), ImageSpec((3, 24, 32), "crop")).transpose(1, 2, 0).astype(float)
    with Image.open(path) as picture:
        truth = np.asarray(ImageOps.fit(picture, (32, 24), Image.Resampling.LANCZOS)).astype(float)
    assert np.abs(got - truth).mean() < 0.5 and np.abs(got - truth).max() <= 4


def bomb(path: Path, side: int) -> None:
    """A PNG that says it has `side` x `side` pixels."""
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    body = b"".join(struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in chunks)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def test_a_decompression_bomb_is_named_with_its_size(tmp_path: Path, held: bool) -> None:
    folder = save_pictures(tmp_path, GREYS[:4])
    bomb(folder / "004.png", 20_000)
    assert_user_error(
        lambda: load(folder),
        "1 of 5",
        "004.png is too large",
        "400000000 pixels",
        "limit of 178956970",
        "--skip-unreadable",
    )
    with pytest.warns(UserWarning, match=r"1 of 5 pictures .* left out; .*004\.png is too large"):
        assert np.array_equal(
            rows_in_source_order(load(folder, skip_unreadable=True)).mul(255).round()[:, 0], GREYS[:4]
        )
    assert_user_error(
        lambda: load_like(folder / "004.png", load(GREYS).schema), "004.png is too large", "shrink or remove it"
    )


def test_damaged_pixels_are_left_out_of_a_stream_too(tmp_path: Path, held: bool) -> None:
    shades = RNG.integers(0, 256, (6, 40, 40), dtype=np.uint8)
    folder = save_pictures(tmp_path, shades)
    content = (folder / "002.png").read_bytes()
    (folder / "002.png").write_bytes(content[: len(content) // 2])
    (folder / "004.png").write_bytes(b"")
    with pytest.warns(UserWarning, match=r"2 of 6 pictures .* left out; the first is .*002\.png"):
        data = load(folder, skip_unreadable=True)
    assert torch.equal((rows_in_source_order(data) * 255).round().byte()[:, 0], torch.from_numpy(shades[[0, 1, 3, 5]]))


def test_labels_of_what_is_left(tmp_path: Path, held: bool) -> None:
    save_pictures(tmp_path / "a", GREYS[:3])
    save_pictures(tmp_path / "b", GREYS[:2])
    (tmp_path / "a" / "001.png").write_bytes(b"")
    with pytest.warns(UserWarning, match="1 of 5"):
        assert labels_of(whole_dataset(load(tmp_path, skip_unreadable=True).train)).tolist() == [0, 0, 1, 1]
