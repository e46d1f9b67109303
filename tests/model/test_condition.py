"""Conditional models: what they are given is what they use, from arrays to files and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import nelbo
from nelbo.config.registry import parse
from nelbo.data import ConditionEncoder, condition, load
from nelbo.errors import UserError

RNG = np.random.default_rng(0)
LABELS = np.arange(240) % 3
# Rows of class k lie around the k-th corner, so that what a condition does can be seen.
ROWS = np.eye(3)[LABELS] * 4 + RNG.normal(0, 0.3, (240, 3))
FAST = {"epochs": 40, "learning_rate": 1e-2, "model__latent__dim": 2, "model__encoder__hidden": [16]}


@pytest.fixture(scope="module")
def model() -> nelbo.Model:
    return nelbo.fit((ROWS, LABELS), condition="label", model__encoder="mlp", **FAST)


def test_samples_follow_their_class(model: nelbo.Model) -> None:
    for label in range(3):
        centre = model.condition_on(label).sample(200).mean(0)
        np.testing.assert_allclose(centre, np.eye(3)[label] * 4, atol=0.4)
    each = model.sample(6).argmax(1)
    assert each.tolist() == [0, 1, 2, 0, 1, 2]  # under no one condition, the classes in turn


def test_labels_of_data_are_their_condition(model: nelbo.Model) -> None:
    right = model.evaluate((ROWS, LABELS))["loss"]
    wrong = model.evaluate((ROWS, (LABELS + 1) % 3))["loss"]
    assert right < wrong - 1
    alike = np.concatenate([model.condition_on(k).embed(ROWS[k == LABELS]) for k in range(3)])
    own = model.embed((ROWS, LABELS))
    np.testing.assert_array_equal(alike, np.concatenate([own[k == LABELS] for k in range(3)]))


def test_a_conditional_model_is_saved_whole(model: nelbo.Model, tmp_path: Path) -> None:
    model.save(tmp_path)
    again = nelbo.load(tmp_path)
    assert again.context == model.context
    np.testing.assert_array_equal(again.condition_on(2).sample(9), model.condition_on(2).sample(9))


def test_numbers_are_standardised_and_used() -> None:
    t = np.linspace(-5, 15, 240)
    x = np.stack([t, -t, RNG.normal(size=240)], 1)
    model = nelbo.fit(x, condition=t, model__encoder="mlp", **FAST)
    for value in (-4.0, 5.0, 14.0):
        centre = model.condition_on(value).sample(200).mean(0)
        np.testing.assert_allclose(centre[:2], [value, -value], atol=2)


def test_a_context_encodes_by_name_number_and_row() -> None:
    classes = ConditionEncoder(("cat", "dog", "eel"))
    assert torch.equal(classes.encode("eel"), torch.tensor([[0.0, 0, 1]]))
    assert torch.equal(classes.encode([1, 0]), torch.tensor([[0.0, 1, 0], [1, 0, 0]]))
    assert classes.one_hot(torch.tensor([-1])).isnan().all()  # an unknown class
    numbers = ConditionEncoder(shift=(1.0, 10.0), scale=(2.0, 5.0))
    torch.testing.assert_close(numbers.encode([[3.0, 0.0]]), torch.tensor([[1.0, -2.0]]))
    assert parse(ConditionEncoder, numbers.to_json(), "") == numbers


def test_what_cannot_be_conditioned_on_is_named(model: nelbo.Model) -> None:
    for make, says in [
        (lambda: model.condition_on("bird"), "condition 'bird': the model knows the classes 0, 1, 2"),
        (lambda: model.condition_on(3), "condition 3"),
        (lambda: model.condition_on([0, 1]), "2 conditions: give one"),
        (lambda: model.condition_on([]), "0 conditions: give one"),
        (lambda: model.embed(ROWS), "no labels"),
        (lambda: nelbo.fit(ROWS, condition="label", epochs=1), "no labels to condition on"),
        (lambda: nelbo.fit(ROWS, condition=np.zeros(7), epochs=1), "7 rows for 240 examples"),
        (lambda: condition(load((ROWS, LABELS)), "colour"), 'use "label"'),
        (lambda: nelbo.fit(ROWS, epochs=1).condition_on(1), "trained without --condition"),
    ]:
        with pytest.raises(UserError, match=says.replace("(", r"\(")):
            make()
