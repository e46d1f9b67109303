"""Frozen dataclasses to plain tables (TOML, JSON) and back.

A component is a frozen dataclass registered under a name within its family (a base class). In a table it is
`{kind = "name", field = value, ...}`; fields at their annotation's types are checked one by one, so that every
mistake in a recipe is one line: where, what, and what to write instead.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
import types
import typing
from collections.abc import Callable, Iterable
from typing import Any, Literal, TypeVar, Union

from nelbo.errors import UserError

T = TypeVar("T")
FAMILIES: dict[type, dict[str, type]] = {}


def register(family: type, kind: str) -> Callable[[type[T]], type[T]]:
    """Enter a frozen dataclass in a family under the name `kind`."""

    def enter(component: type[T]) -> type[T]:
        FAMILIES.setdefault(family, {})[kind] = component
        return component

    return enter


def kind_of(component: object) -> str:
    """The name a component is registered under."""
    return next(k for table in FAMILIES.values() for k, cls in table.items() if cls is type(component))


def nearest(name: str, names: Iterable[str]) -> str:
    """A remedy for an unknown name: the nearest known one, or all of them.

    >>> nearest("epoch", ["epochs", "seed"])
    'did you mean epochs?'
    """
    known = sorted(names)
    close = difflib.get_close_matches(name, known, 1)
    return f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"


def parse(kind: Any, value: Any, path: str) -> Any:
    """The value of the annotated type `kind` that `value`, a plain table or scalar, stands for.

    Raises `UserError` naming `path` for an unknown key, a wrong type, or an impossible value.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        return _parse_union(arguments, value, path)
    if origin is Literal:
        if value not in arguments:
            raise UserError(f"{path} = {value!r}: give one of {', '.join(map(repr, arguments))}")
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise UserError(f"{path} = {value!r}: give a list, such as [400]")
        return tuple(parse(arguments[0], item, f"{path}[{i}]") for i, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            raise UserError(f"{path} = {value!r}: give a table")
        return {str(k): parse(arguments[1], v, f"{path}.{k}") for k, v in value.items()}
    if kind in FAMILIES:
        return _parse_component(kind, value, path)
    if dataclasses.is_dataclass(kind):
        return _parse_fields(kind, value, path)
    return _parse_scalar(kind, value, path)


def _parse_union(arguments: tuple[Any, ...], value: Any, path: str) -> Any:
    if value is None and type(None) in arguments:
        return None
    messages = []
    for argument in sorted(arguments, key=lambda a: (a in FAMILIES) != isinstance(value, dict)):
        if argument is not type(None):
            try:
                return parse(argument, value, path)
            except UserError as error:
                messages.append(str(error))
    raise UserError(messages[-1] if isinstance(value, str) else messages[0])


def _parse_component(family: type, value: Any, path: str) -> Any:
    known = FAMILIES[family]
    table = {"kind": value} if isinstance(value, str) else value
    if not isinstance(table, dict) or not isinstance(table.get("kind"), str):
        raise UserError(f'{path} = {value!r}: give a table with a kind, such as {{kind = "{next(iter(known))}"}}')
    if table["kind"] not in known:
        raise UserError(f"{path}.kind = {table['kind']!r}: {nearest(table['kind'], known)}")
    return _parse_fields(known[table["kind"]], {k: v for k, v in table.items() if k != "kind"}, path)


def _parse_fields(cls: Any, value: Any, path: str) -> Any:
    if not isinstance(value, dict):
        raise UserError(f"{path} = {value!r}: give a table of {', '.join(hints(cls)) or 'nothing'}")
    where = f"{path}." if path else ""
    for name in value:
        if name not in hints(cls):
            raise UserError(f"{where}{name} is no setting: {nearest(name, hints(cls))}")
    fields = {name: parse(hints(cls)[name], item, f"{where}{name}") for name, item in value.items()}
    try:
        return cls(**fields)
    except TypeError:
        missing = next(f.name for f in dataclasses.fields(cls) if f.name not in fields)
        raise UserError(f"{where}{missing} is missing") from None
    except ValueError as error:
        raise UserError(f"{where}{error}") from None  # a constructor's message begins with the field's name


@functools.cache
def hints(cls: type) -> dict[str, Any]:
    """The fields of a dataclass and their types."""
    annotated = typing.get_type_hints(cls)
    return {field.name: annotated[field.name] for field in dataclasses.fields(cls)}


def _parse_scalar(kind: type, value: Any, path: str) -> Any:
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        if math.isfinite(value):
            return float(value)
        raise UserError(f"{path} = {value!r}: give a finite number")
    if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    names = {int: "a whole number", float: "a number", str: "a text in quotes", bool: "true or false"}
    raise UserError(f"{path} = {value!r}: give {names.get(kind, kind.__name__)}")


def dump(component: Any) -> Any:
    """The plain table of a component: the inverse of `parse`. Fields that are None are left out."""
    if dataclasses.is_dataclass(component):
        table = {f.name: dump(getattr(component, f.name)) for f in dataclasses.fields(component)}
        known = any(type(component) in family.values() for family in FAMILIES.values())
        head = {"kind": kind_of(component)} if known else {}
        return head | {name: value for name, value in table.items() if value is not None}
    if isinstance(component, tuple):
        return [dump(item) for item in component]
    if isinstance(component, dict):
        return {name: dump(item) for name, item in component.items()}
    return component
