"""Classes spread over codes: as the linear equations say, around rings, and from a few pictures to the others."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from test_augment_pictures import corner, drawn
from torch import Tensor

import nelbo
from conftest import GREY, NET, Run
from nelbo.apps.synthesis.label_propagation import NEAREST, neighbor_graph, propagate_labels, propagate_over_graph
from nelbo.apps.synthesis.rows import augment
from nelbo.data import Dataset, load
from nelbo.data.dataset import InMemoryDataset
from nelbo.errors import UserError
from nelbo.model import Model


def fitted(source: Any, **more: Any) -> Model:
    settings = {**NET, "model.latent.dim": 3, "model.likelihood": GREY, "learning_rate": 1e-2}
    return nelbo.fit(source, **{name.replace(".", "__"): value for name, value in settings.items()}, **more)


def told(codes: Tensor, labels: dict[int, int]) -> Tensor:
    known = torch.full((len(codes),), -1)
    known[list(labels)] = torch.tensor(list(labels.values()))
    return propagate_over_graph(codes, neighbor_graph(codes), known)


def test_the_nearest_are_those_that_a_sort_of_distances_gives() -> None:
    codes = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    far = torch.cdist(codes, codes).fill_diagonal_(torch.inf)
    assert torch.equal(neighbor_graph(codes), far.argsort(1)[:, :NEAREST])
    same = neighbor_graph(torch.zeros(30, 2))
    assert same.shape == (30, NEAREST) and not (same == torch.arange(30)[:, None]).any()


def test_spread_solves_its_equations() -> None:
    """L u = b by least squares, of which the one with sum_i d_i u_i = 0 is where the iteration ends."""
    codes = torch.randn(120, 2, generator=torch.Generator().manual_seed(1))
    labels = {0: 0, 7: 1, 31: 2, 64: 1}
    near = neighbor_graph(codes).numpy()
    points = codes.double().numpy()
    weights = np.zeros((120, 120))
    for i, row in enumerate(near):
        squares = ((points[row] - points[i]) ** 2).sum(1)
        weights[i, row] = np.exp(-4 * squares / squares.max())
    weights = weights + weights.T
    degrees = weights.sum(1)
    charges = np.zeros((120, 3))
    charges[list(labels)] = np.eye(3)[list(labels.values())]
    charges[list(labels)] -= charges[list(labels)].mean(0)
    u = np.linalg.lstsq(np.diag(degrees) - weights, charges, rcond=None)[0]
    u -= (degrees @ u) / degrees.sum()
    wanted = u.argmax(1)
    wanted[list(labels)] = list(labels.values())
    assert (told(codes, labels).numpy() == wanted).mean() > 0.98  # near a border the iteration has not settled


def test_a_class_goes_round_its_ring_and_not_to_the_nearer_one() -> None:
    angle = torch.linspace(0, 2 * torch.pi, 301)[:-1]
    ring = torch.stack([angle.cos(), angle.sin()], 1)
    found = told(torch.cat([ring, 1.6 * ring]), {0: 0, 300: 1})
    assert torch.equal(found, torch.arange(2).repeat_interleave(300))


def test_what_no_label_reaches_stays_unknown() -> None:
    cloud = torch.randn(100, 2, generator=torch.Generator().manual_seed(2))
    found = told(torch.cat([cloud, cloud + 100]), {0: 0, 1: 1})
    assert (found[:100] >= 0).all() and (found[100:] == -1).all()


@pytest.fixture(scope="module")
def corners(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Dataset, Tensor]:
    """A model told no classes, its pictures with a class for four of each, and all classes."""
    x, y = drawn(600)
    model = fitted(x, epochs=8)
    classes = torch.from_numpy(y)
    few = torch.cat([(classes == k).nonzero().flatten()[:4] for k in range(3)])
    labels = torch.full_like(classes, -1).index_copy(0, few, classes[few])
    return model, InMemoryDataset(torch.from_numpy(x)[:, None], model.schema, labels), classes


def test_a_few_pictures_name_most_others(corners: tuple[Model, Dataset, Tensor]) -> None:
    model, rows, classes = corners
    labels = propagate_labels(model, rows).labels
    assert labels is not None and rows.labels is not None
    named = labels >= 0
    assert named.float().mean() > 0.5 and (labels == classes)[named].float().mean() > 0.99
    assert (rows.labels < 0).sum() == 588  # those given are as they were


def test_more_pictures_are_of_the_class_though_few_have_one(corners: tuple[Model, Dataset, Tensor]) -> None:
    model, rows, _ = corners
    x, names = augment(model, 300, reference=rows)
    assert (corner(x).astype(str) == names).mean() > 0.95
    nothing = InMemoryDataset(rows.raw, rows.schema, torch.full((600,), -1))  # type: ignore[attr-defined]
    with pytest.raises(UserError, match="these data have no labels"):
        augment(model, 3, reference=nothing)


def test_pictures_of_unknown_class_help_and_are_not_appended(tmp_path: Path, run: Run) -> None:
    x, y = drawn(300)
    folder = tmp_path / "corners"
    folder.mkdir()
    lines = ["file,label"]
    for i, (picture, k) in enumerate(zip(x, y, strict=True)):
        Image.fromarray(picture).save(folder / f"{i:03}.png")
        lines.append(f"{i:03}.png,{f'c{k}' if (y[:i] == k).sum() < 8 else ''}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    fitted(folder, epochs=4, out=tmp_path / "run", data__labels=str(tmp_path / "labels.csv"))
    done = run("augment", tmp_path / "run", "-n", 30, "--append", "--out", tmp_path / "more.npz")
    made = load(str(tmp_path / "more.npz"), val_fraction=0.1)
    assert done.code == 0 and 30 < len(made.train) + len(made.test) <= 30 + 24


def test_pictures_in_the_folder_unlabelled_are_of_no_known_class(tmp_path: Path) -> None:
    for i, name in enumerate(["unlabelled", "a", "b", "unlabelled", "zebra"]):
        (tmp_path / name).mkdir(exist_ok=True)
        Image.fromarray(np.full((3, 4), 40 * i, np.uint8)).save(tmp_path / name / f"{i}.png")
    data = load(tmp_path)
    both = [(part.read(torch.arange(len(part))), part.labels) for part in (data.train, data.test)]
    labels = torch.cat([labels for _, labels in both if labels is not None])
    of = dict(zip((torch.cat([x for x, _ in both])[:, 0, 0, 0] / 40).tolist(), labels.tolist(), strict=True))
    assert data.schema.classes == ("a", "b", "zebra") and of == {0: -1, 1: 0, 2: 1, 3: -1, 4: 2}
