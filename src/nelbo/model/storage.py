"""Files of a saved model: `weights.safetensors` beside `model.json`, never a pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from nelbo.errors import UserError
from nelbo.training import checkpoint

FORMAT = 1


def write(folder: Path, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
    """Write the weights and the other values of a model into a folder."""
    checkpoint.write(folder / "weights.safetensors", tensors, {"format": FORMAT})
    text = json.dumps({"format": FORMAT, **values}, indent=1)
    checkpoint.write_bytes(folder / "model.json", (text + "\n").encode())


def read(path: Path) -> tuple[Path, dict[str, Tensor], dict[str, Any]]:
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
