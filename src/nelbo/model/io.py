"""A model in its folder: `weights.safetensors` beside `model.json`, and never a pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from nelbo.config.aliases import WEIGHTS
from nelbo.config.build import build
from nelbo.config.recipe import Recipe
from nelbo.config.registry import Result, parse
from nelbo.data import ConditionEncoder, Schema
from nelbo.errors import UserError
from nelbo.model.model import Model
from nelbo.training import checkpoint


def load(path: str | Path) -> Model:
    """Load a saved model.

    Args:
        path: the model's folder, or a results folder that holds it in `model/`.

    Raises `UserError` if the folder does not hold a model, is damaged, or was written in another format of nelbo.
    """
    folder, tensors, values = read_folder(Path(path))
    try:
        recipe: Recipe = parse(Recipe, values["recipe"], "")
        schema: Schema = parse(Schema, values["schema"], "schema")
        rates: tuple[float, ...] = parse(tuple[Result, ...], values["rates"], "rates")
        context = parse(ConditionEncoder, values["context"], "context") if "context" in values else None
        if not rates:
            raise ValueError("no rates")
        vae = build(recipe.model, schema.shape, context.width if context else 0, schema.data_kind.masks_missing)
    except (AssertionError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder / 'model.json'} is damaged ({error}): restore it, or train again") from None
    try:
        vae.load_state_dict({_renamed(name): value for name, value in tensors.items()})
    except RuntimeError:
        raise UserError(
            f"{folder}: the weights are not of the model in model.json; restore it, or train again"
        ) from None
    return Model(vae, schema, recipe, rates, context, values.get("trained"))


def _renamed(name: str) -> str:
    """The current name of a tensor of a saved model."""
    for old, new in WEIGHTS.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


def load_given(path: str | Path, condition: str | None = None) -> Model:
    """Load a saved model and fix its condition.

    Args:
        path: the model's folder, or a results folder that holds it in `model/`.
        condition: a class, comma-separated numbers, or cells of a table's row, as text; None leaves it free.

    Raises `UserError` if the model does not support such a condition.
    """
    loaded = load(path)
    if condition is None:
        return loaded
    parsed = loaded.schema.data_kind.parse_condition(condition)
    if parsed != condition or loaded.context is None or loaded.context.classes:
        return loaded.condition_on(parsed)
    try:
        return loaded.condition_on([float(value) for value in condition.split(",")])
    except ValueError:
        wanted = loaded.context.width
        raise UserError(f"condition {condition!r}: give {wanted} numbers, separated by commas") from None


FORMAT = 1


def write_folder(folder: Path, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
    """Write the weights and the other values of a model into a folder."""
    checkpoint.write(folder / "weights.safetensors", tensors, {"format": FORMAT})
    text = json.dumps({"format": FORMAT, **values}, indent=1)
    checkpoint.write_bytes(folder / "model.json", (text + "\n").encode())


def read_folder(path: Path) -> tuple[Path, dict[str, Tensor], dict[str, Any]]:
    """Read the folder that holds the model (`path`, or `model/` in it), its weights and its values.

    Raises `UserError` if there is no such folder, it is damaged, or it was written in another format.
    """
    folder = path / "model" if (path / "model" / "model.json").is_file() else path
    if not (folder / "model.json").is_file():
        raise UserError(f"{path} is not a nelbo model: give a folder that holds model.json, such as results/mnist")
    try:
        values = json.loads((folder / "model.json").read_text("utf-8"))
        written = values["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder / 'model.json'} is damaged ({error}): restore it, or train again") from None
    if written != FORMAT:
        raise UserError(
            f"{folder} has format {written}, and this nelbo reads {FORMAT}: install the nelbo that wrote it"
        )
    return folder, checkpoint.read(folder / "weights.safetensors")[0], values
