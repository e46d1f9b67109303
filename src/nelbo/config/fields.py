"""Every field of a recipe with its type, default and help, for `nelbo train --help-all` and the documentation."""

from __future__ import annotations

import inspect
import json
import re
import textwrap
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Union

from nelbo.config.build import Input, ModelSpec
from nelbo.config.recipe import Recipe
from nelbo.config.registry import Entry, Range, dump, entries, families, family_of
from nelbo.data import DataOptions
from nelbo.errors import UserError, nearest
from nelbo.training import TrainingConfig

TABLES = {"": Recipe, "data": DataOptions, "training": TrainingConfig, "model": ModelSpec, "model.input": Input}
"""The sections of a recipe by path, without the families of parts."""
TYPES = {int: "integer", float: "number", str: "text", bool: "true or false"}
WIDTH = 100  # columns of the text


def listing(family: str | None = None) -> dict[str, dict[str, Any]]:
    """The fields by section: the tables of a recipe by path, then each part as "family.kind".

    A section is `{"summary": text, "fields": {name: {"type": text, "default": value, "help": text}}}`; a field without
    a default has no such key.

    Args:
        family: only the parts of this family; None for all, and the recipe itself.

    Raises:
        UserError: for an unknown family.
    """
    if family is not None and family not in families():
        raise UserError(f"unknown part type {family!r}: {nearest(family, families())}")
    found = {path or "recipe": Entry(table, (), {}, None) for path, table in TABLES.items() if family is None}
    for name in families() if family is None else [family]:
        found |= {f"{name}.{kind}": entry for kind, entry in entries(name).items()}
    return {section: _described(entry) for section, entry in found.items()}


def _described(entry: Entry) -> dict[str, Any]:
    summary = (inspect.getdoc(entry.make) or "").partition("\n\n")[0].replace("\n", " ")
    fields = {}
    for name, (kind, default) in entry.fields.items():
        known = {} if default is inspect.Parameter.empty else {"default": dump(default)}
        fields[name] = {"type": type_text(kind), **known, "help": entry.help.get(name, "")}
    return {"summary": summary, "fields": fields}


def type_text(kind: Any) -> str:
    """An annotated type in words.

    >>> from nelbo.config.registry import Range
    >>> type_text(float | None), type_text(Literal["learned"] | Annotated[int, Range(1)]), type_text(tuple[int, ...])
    ('number or none', '"learned" or integer >= 1', 'list of integers')
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        text = type_text(arguments[0])
        for allowed in arguments[1:]:
            text = f"{text} {allowed.signs}" if isinstance(allowed, Range) else f"non-empty {text}"
        return text
    if origin in (Union, types.UnionType):
        return " or ".join("none" if argument is type(None) else type_text(argument) for argument in arguments)
    if origin is Literal:
        return ", ".join(json.dumps(argument) for argument in arguments)
    if origin is tuple:
        return "list of " + re.sub("^(integer|number|text)", r"\1s", type_text(arguments[0]))
    if origin is dict:
        return "TOML table"
    if family := family_of(kind):
        return family
    return TYPES.get(kind, "section")


def to_text(sections: Mapping[str, Mapping[str, Any]]) -> str:
    """The listing as text of 100 columns."""
    return "\n".join(line for section, content in sections.items() for line in _lines(section, content))


def _lines(section: str, content: Mapping[str, Any]) -> Iterator[str]:
    yield from textwrap.wrap(f"{section}: {content['summary']}", WIDTH, subsequent_indent="  ")
    for name, field in content["fields"].items():
        default = f"  [default: {_value(field['default'])}]" if "default" in field else "  [required]"
        default = "" if field["type"] in ("section", "TOML table") else default  # it has fields of its own
        text = f"{name} ({field['type']}): {field['help']}{default}"
        yield from textwrap.wrap(text, WIDTH, initial_indent="    ", subsequent_indent="        ")
    yield ""


def _value(value: Any) -> str:
    """A default in short form: a part with default options by its kind."""
    if isinstance(value, dict) and "kind" in value:
        return str(value["kind"])
    return "none" if value is None else json.dumps(value)
