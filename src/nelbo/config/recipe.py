"""A recipe: all settings of a training run, as a TOML file.

Shipped recipes are in the package and are loaded by name; a path of a file in the same form works too. Unset fields
have a default or are chosen from the data, and any field can be overridden by its dotted path.
"""

from __future__ import annotations

import platform
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import torch

from nelbo import __version__
from nelbo.config.aliases import FIELDS
from nelbo.config.build import ModelSpec
from nelbo.config.registry import Component, NonNegative, dump, hints, parse
from nelbo.data import DataOptions
from nelbo.errors import UserError, nearest
from nelbo.objectives import Objective
from nelbo.reading import TOML_BYTES, exists, text_of, toml_of, toml_text
from nelbo.training import TrainingConfig

FITTED = (
    *("normal", "gmm", "flow-maf", "flow-iaf", "flow-realnvp", "two-stage"),  # over vectors
    *("transformer", "pixelcnn"),  # over a codebook's entries
    *("metric", "auto"),
)
"""The kinds of prior that can be fitted after training; see `nelbo.model.post_hoc`."""

ALIASES = {"latent_dim": "model.latent.dim", "beta": "objective.beta"}
"""Short names of fields, on the command line and in Python: `nelbo.fit(x, latent_dim=8, beta=4)`.

The fields of the recipe itself, of `training` and of `data` are short names too; see `short_names`.
"""

OWN = ("minutes", "post_hoc_prior")  # fields of the recipe itself that are options of `fit` and of `nelbo train`


@dataclass(frozen=True)
class Recipe:
    """All settings of a training run.

    Args:
        description: one line on the purpose of the recipe.
        preset: name of the published variant whose parts replaced those of the recipe; "" for none.
        minutes: time for training, in minutes; the number of epochs is chosen to fit. 0 for `training.epochs`.
        post_hoc_prior: kind of prior that is fitted to the embeddings after training, such as "gmm"; "" for none.
        data: the training data; see section `data`.
        model: the parts of the VAE; see section `model`.
        objective: the loss.
        training: settings of the training loop; see section `training`.
        versions: versions of the software of a finished run.
    """

    description: str = ""
    preset: str = ""
    minutes: NonNegative = 0.0
    post_hoc_prior: str = ""
    data: DataOptions = field(default_factory=DataOptions)
    model: ModelSpec = field(default_factory=ModelSpec)
    objective: Component[Objective] = field(default_factory=lambda: Component("objective", "elbo"))
    training: TrainingConfig = field(default_factory=TrainingConfig)
    versions: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.post_hoc_prior and self.post_hoc_prior not in FITTED:
            raise UserError(f"post_hoc_prior={self.post_hoc_prior!r}: {nearest(self.post_hoc_prior, FITTED)}")


def names() -> list[str]:
    """The shipped recipes.

    >>> names()
    ['codec', 'digits', 'fast', 'mnist', 'pictures', 'series', 'table', 'text', 'tutorial']
    """
    return sorted(f.name.removesuffix(".toml") for f in _folder().iterdir() if f.name.endswith(".toml"))


def text(name: str) -> str:
    """The TOML text of a shipped recipe, or of a file.

    Raises:
        UserError: if it is neither.
    """
    if name in names():
        return (_folder() / f"{name}.toml").read_text("utf-8")
    path = Path(name)
    if path.suffix == ".toml" or exists(path):
        return text_of(path, TOML_BYTES)
    raise UserError(f"no recipe {name!r}: {nearest(name, names())} A file's name must end in .toml")


def load(name: str | None, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Load a recipe and replace fields of it.

    Args:
        name: name of a shipped recipe, or path of a file; None for all defaults.
        overrides: values by dotted path or short name, such as `{"epochs": 3, "model.latent.dim": 8}`; None for none.

    Raises:
        UserError: for an unknown field or a wrong value, with the field, the value and a remedy.
    """
    recipe = loads(text(name), f"recipe {name}") if name else Recipe()
    return override(recipe, overrides or {})


def loads(content: str, name: str) -> Recipe:
    """The recipe of a TOML text; `name` is what messages call it. Raises as `load` does."""
    recipe: Recipe = parse(Recipe, toml_of(content, name), "")
    return recipe


def override(recipe: Recipe, overrides: Mapping[str, Any]) -> Recipe:
    """The recipe with fields replaced by dotted path; see `load`."""
    # Everything is written out first, so that a path can refer to a component that the recipe's file does not contain.
    table = dump(recipe)
    for path, value in sorted(dotted(overrides).items(), key=_outer_first):
        _override(table, path, value)
    return parse(Recipe, table, "")


def short_names() -> dict[str, str]:
    """The short names of settings, on the command line and in Python, and their dotted paths.

    >>> short_names()["beta"], short_names()["epochs"], short_names()["window"]
    ('objective.beta', 'training.epochs', 'data.window')
    """
    fields = {"data": hints(DataOptions), "training": hints(TrainingConfig)}
    paths = {name: f"{part}.{name}" for part, names in fields.items() for name in names}
    return {**paths, **ALIASES, **{name: name for name in OWN}}


def chosen(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a function, by name, that are settings and not None."""
    return {name: arguments[name] for name in short_names() if arguments.get(name) is not None}


def dotted(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The overrides with dotted paths in place of short names.

    Raises:
        UserError: for a name without a dot that is neither a short name nor a field of the recipe.
    """
    old_names = FIELDS["Recipe"] | FIELDS["TrainingConfig"] | FIELDS["DataOptions"]
    overrides = {old_names.get(name, name): value for name, value in overrides.items()}
    known = {**{name: name for name in hints(Recipe)}, **short_names()}
    if unknown := [name for name in overrides if "." not in name and name not in known]:
        raise UserError(f"unknown setting {unknown[0]}: {nearest(unknown[0], known)}")
    return {known.get(name, name): value for name, value in overrides.items()}


def _outer_first(item: tuple[str, Any]) -> tuple[int, str]:
    """Sort key: a component (or its kind) comes before its fields, in any order of the input."""
    return item[0].removesuffix(".kind").count("."), item[0]


def _override(table: dict[str, Any], path: str, value: Any) -> None:
    *above, last = path.split(".")
    for key in above:
        child = table.get(key, {})
        table[key] = child = {"kind": child} if isinstance(child, str) else child
        if not isinstance(child, dict):
            raise UserError(f"{path} = {value!r}: {key} is the value {child!r}, not a table; set {key} itself")
        table = child
    if last == "kind" and table.get("kind") != value:
        table.clear()  # the settings of one kind are not those of another
    table[last] = dump(value)  # a copy, which other overrides may change


def loads_value(value: str) -> Any:
    """Parse a text as a TOML value; a text that is not one is returned as it is.

    >>> loads_value("3"), loads_value("[400, 200]"), loads_value("conv")
    (3, [400, 200], 'conv')
    """
    try:
        return tomllib.loads(f"v = {value}")["v"]
    except tomllib.TOMLDecodeError:
        return value


def dumps(recipe: Recipe) -> str:
    """The TOML of a recipe: `load` reads it back."""
    return "\n".join(_lines(dump(recipe), ())) + "\n"


def _lines(table: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    plain = {k: v for k, v in table.items() if not isinstance(v, dict)}
    lines = [f"{_key(key)} = {_value(value)}" for key, value in plain.items()]
    for key, value in table.items():
        if isinstance(value, dict) and value:
            lines += ["", f"[{'.'.join(map(_key, (*path, key)))}]", *_lines(value, (*path, key))]
    return lines


def _value(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return toml_text(value) if isinstance(value, str) else repr(value)


def _key(name: str) -> str:
    return name if name.replace("-", "_").isidentifier() and name.isascii() else _value(name)


def versions() -> dict[str, str]:
    """The versions of the software that determine a model."""
    return {"nelbo": __version__, "torch": torch.__version__, "python": platform.python_version()}


def _folder() -> Any:
    return resources.files("nelbo.config") / "files" / "recipes"
