"""A model in its folder: `weights.safetensors` beside `model.json`, and never a pickle.

`weights.safetensors` is the whole model: the header has all that `model.json` has. To replace this one file is to
replace the model, so that a crash at any point, a copy of the folder, or a reader beside a writer has the old model or
the new one. Then `model.json` follows, for people and other programs. Both have the same `id`, a hash of their content.
If the ids differ, a writer was killed between the two files, and `load` takes the header. Folders of older versions
have no ids.

A folder is not trusted. Its values are parsed by the types of `Saved`. The model that they describe is built as far as
its tensors are about as large as those in the header of the weights; their names and shapes are compared, and only
then are the weights read. A small folder cannot ask for much memory.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor

from nelbo.config.aliases import WEIGHTS
from nelbo.config.build import Bounded, build, resolve
from nelbo.config.recipe import Recipe
from nelbo.config.registry import NotEmpty, Result, parse, short
from nelbo.data import ConditionEncoder, Schema
from nelbo.distributions import noise
from nelbo.errors import UserError
from nelbo.model import description
from nelbo.model.model import Model
from nelbo.reading import damaged, is_file, json_of
from nelbo.training import checkpoint
from nelbo.training.recovery import not_finite

SPARE, SHARE = 2**28, 100
"""Bytes of the tensors that building a model may create: 256 MB, and so many for each number of the weights."""


@dataclass(frozen=True)
class Saved:
    """The values of a saved model, as `model.json` and the header of its weights hold them; see `Model`."""

    format: int
    schema: Schema
    recipe: Recipe
    rates: Annotated[tuple[Result, ...], NotEmpty()]
    trained: dict[str, Any] = field(default_factory=dict)
    context: ConditionEncoder | None = None
    id: str = ""


def load(path: str | Path) -> Model:
    """Load a saved model.

    Args:
        path: the model's folder, or a results folder that holds it in `model/`.

    Raises `UserError` if the folder does not hold a model, is damaged, or was written in another format of nelbo.
    """
    folder, shapes, values = read_folder(Path(path))
    with damaged(folder / "model.json", "is damaged", checkpoint.RESTORE):
        saved: Saved = parse(Saved, values, "")
        spec, schema, context = saved.recipe.model, saved.schema, saved.context
        if resolve(spec, schema) != spec:
            raise UserError("the recipe's model does not fit the schema")
        sizes = schema.shape, context.width if context else 0, schema.data_kind.masks_missing
        other = f"{folder}: the weights are not of the model in model.json; {checkpoint.RESTORE}"
        most = SPARE + SHARE * sum(map(math.prod, shapes.values()))
        with noise.seeded(saved.recipe.training.seed), noise.building(), Bounded(most, other):
            vae = build(spec, *sizes)
        if saved.recipe.training.precision == "64":
            vae.double()
        wanted = {name: tuple(tensor.shape) for name, tensor in vae.state_dict().items()}
        if {_renamed(name): shape for name, shape in shapes.items()} != wanted:
            raise UserError(other)
        tensors, header = checkpoint.read(folder / "weights.safetensors")
        if header.get("id", "") != saved.id:  # another model has been saved meanwhile
            return load(path)
        vae.load_state_dict({_renamed(name): value for name, value in tensors.items()})
        if name := not_finite(dict(vae.named_parameters())):
            raise UserError(
                f"{folder / 'model.json'} is damaged (the weights {name} are not finite): {checkpoint.RESTORE}"
            )
        model = Model(vae, schema, saved.recipe, saved.rates, context, saved.trained)
        schema.data_kind.check_usable(schema)
        description.as_text(model)
    return model


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
    parsed = loaded.schema.data_kind.parse_condition(condition, loaded.schema)
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
    values = {"format": FORMAT, "id": _hash(tensors, values), **values}
    checkpoint.write(folder / "weights.safetensors", tensors, values)
    checkpoint.write_bytes(folder / "model.json", (json.dumps(values, indent=1) + "\n").encode())


def _hash(tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> str:
    content = blake2b(json.dumps([list(tensors), values]).encode(), digest_size=16)
    for tensor in tensors.values():
        content.update(tensor_bytes(tensor))
    return content.hexdigest()


def tensor_bytes(tensor: Tensor) -> memoryview:
    """The bytes of a tensor's elements in order, whatever its memory format and type."""
    values = tensor.detach().cpu().reshape(-1).clone(memory_format=torch.contiguous_format)
    return values.view(torch.uint8).numpy().data


def find_folder(path: Path) -> Path:
    """The folder of the model at `path`: its own, or `model/` in it if that holds one."""
    return path / "model" if holds_model(path / "model") else path


def holds_model(folder: Path) -> bool:
    """Whether the folder has a file of a model."""
    return any(is_file(folder / name) for name in ("model.json", "weights.safetensors"))


def read_folder(path: Path) -> tuple[Path, dict[str, tuple[int, ...]], dict[str, Any]]:
    """The folder that holds the model (`path`, or `model/` in it), the shapes of its weights, and its values.

    Raises `UserError` if there is no such folder, it is damaged, or it was written in another format.
    """
    folder = find_folder(path)
    if not holds_model(folder):
        raise UserError(f"{path} is not a nelbo model: give a folder that holds model.json, such as results/mnist")
    shapes, header = checkpoint.read_header(folder / "weights.safetensors")
    values, where = header, folder / "model.json"
    if "id" not in header or is_file(where):
        values = json_of(where)
    with damaged(where, "is damaged", checkpoint.RESTORE):
        values = header if values.get("id") != header.get("id") else values
        written = values["format"]
    if written != FORMAT:
        raise UserError(
            f"{folder} has format {short(written)}, and this nelbo reads {FORMAT}: install the nelbo that wrote it"
        )
    return folder, shapes, values
