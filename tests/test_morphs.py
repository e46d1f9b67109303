"""Morphs: pairs are two of one class, what is learned is how these differ, and draws keep the picture's kind."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nelbo.apps.morphs import learn, morph, pairs
from nelbo.errors import UserError

LABELS = torch.tensor([2, 0, 2, 3, 0, 3, 2, 0, 3, 3])  # none of class 1


def numbered() -> Tensor:
    """Pictures whose every pixel is their number."""
    return torch.arange(10.0).view(-1, 1, 1, 1).expand(-1, 1, 4, 4)


def test_pairs_are_two_pictures_of_one_class_each_as_often() -> None:
    source, target = (side[:, 0, 0, 0].long() for side in pairs(numbered(), LABELS, 20_000))
    assert (LABELS[source] == LABELS[target]).all() and (source != target).all()
    expected = torch.zeros(10, 10)
    for i in range(10):
        others = (LABELS[i] == LABELS) & (torch.arange(10) != i)
        expected[i, others] = 0.1 / others.sum()
    found = torch.bincount(10 * source + target, minlength=100).view(10, 10) / 20_000
    assert ((found - expected).abs() <= 5 * (expected / 20_000).sqrt()).all()


def test_what_varies_varies_both_sides() -> None:
    source, target = pairs(numbered(), LABELS, 50, vary=lambda x: x + 100)
    assert source.min() >= 100 and target.min() >= 100
    assert torch.equal(source - 100, pairs(numbered(), LABELS, 50)[0])


def test_a_class_of_one_picture_is_named() -> None:
    with pytest.raises(UserError, match="class 4 has one picture: give two or more, or leave it out"):
        pairs(numbered(), torch.tensor([0, 0, 0, 4, 1, 1, 1, 2, 2, 2]), 5)


def test_morphs_are_of_the_class_that_they_are_made_from() -> None:
    """Lying and standing bars at any height or place: morphs of one move it, and never turn it."""
    x = torch.zeros(12, 1, 12, 12)
    for i in range(6):
        x[i, :, i + 1 : i + 5, 1:11], x[i + 6, :, 1:11, i + 1 : i + 5] = 1, 1
    labels = torch.arange(12) // 6
    vae = learn(*pairs(x, labels, 2000), epochs=8)
    made = morph(vae, x.repeat(20, 1, 1, 1), seed=1)
    assert torch.equal(made, morph(vae, x.repeat(20, 1, 1, 1), seed=1)) and made.min() >= 0 and made.max() <= 1 + 1e-6
    along, across = made.sum(2).amax(2).flatten(), made.sum(3).amax(2).flatten()  # of the fullest column and row
    lying, whole = labels.repeat(20) == 0, made.sum((1, 2, 3)) > 25  # not moved out of the picture
    assert whole.float().mean() > 0.75
    assert ((across > along) == lying)[whole].float().mean() > 0.95
    height = (made.sum((1, 3)) * torch.arange(12)).sum(1) / made.sum((1, 2, 3))
    assert height[lying & whole].std() > 0.5 and (made - x.repeat(20, 1, 1, 1)).square().sum((1, 2, 3)).mean() > 1
