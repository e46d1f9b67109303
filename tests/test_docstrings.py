"""Every argument that a caller may leave out or must name is explained in the `Args:` of the docstring."""

import functools
import importlib
import inspect
import pkgutil
import typing
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

import nelbo
from nelbo.config.presets import PRESETS
from nelbo.config.registry import arguments, entries, families

PACKAGES = [module.name for module in pkgutil.iter_modules(nelbo.__path__) if module.name != "__main__"]


def exported(module: ModuleType) -> dict[str, Any]:
    """The public functions and classes of nelbo in the namespace of a package, including those imported lazily."""
    names = {name for name in vars(module) if not name.startswith("_")} | set(getattr(module, "__all__", ()))
    values = {name: getattr(module, name) for name in sorted(names)}
    return {name: value for name, value in values.items() if str(getattr(value, "__module__", "")).startswith("nelbo")}


@functools.cache
def registered() -> dict[str, Any]:
    """The parts and the presets by name."""
    parts = {f"{family} {kind}": entry.make for family in families() for kind, entry in entries(family).items()}
    return parts | {f"preset {name}": entry.make for name, entry in PRESETS.items()}


def needs_explanation(function: Any) -> list[str]:
    """The names of the parameters that are keyword-only or have a default."""
    parameters = inspect.signature(function).parameters.values()
    return [
        p.name
        for p in parameters
        if not p.name.startswith("_") and (p.kind is p.KEYWORD_ONLY or (p.default is not p.empty and p.name != "self"))
    ]


def options_with_help(command: Any) -> list[str]:
    """The parameters of a command whose help is in the annotation."""
    annotated = typing.get_type_hints(command, include_extras=True).items()
    return [name for name, kind in annotated if any(getattr(m, "help", "") for m in getattr(kind, "__metadata__", ()))]


def unexplained(name: str, value: Any) -> Iterator[str]:
    """The arguments of a function, or of a class's constructor and public methods, that no `Args:` explains.

    A constructor is explained by the docstring of its class. An inherited argument may be explained by the base class,
    and the arguments of a method of another library's interface by that library.
    """
    if not inspect.isclass(value):
        explained = {*arguments(inspect.getdoc(value) or ""), *options_with_help(value)}
        yield from (f"{name}({p})" for p in needs_explanation(value) if p not in explained)
        return
    classes = [base for base in value.__mro__ if base.__module__.startswith("nelbo")]
    explained = {p for base in classes for p in arguments(inspect.cleandoc(base.__doc__ or ""))}
    if any("__init__" in vars(base) for base in classes):
        yield from (f"{name}({p})" for p in needs_explanation(value) if p not in explained)
    for method, item in vars(value).items():
        function = getattr(item, "__func__", item)  # of a class method or a static method
        if method.startswith("_") or not inspect.isfunction(function):
            continue
        outside = [base for base in value.__mro__ if base not in classes and method in vars(base)]
        if outside and set(needs_explanation(function)) <= set(inspect.signature(vars(outside[0])[method]).parameters):
            continue
        versions = [vars(base)[method] for base in classes if method in vars(base)]
        explained = {p for version in versions for p in arguments(inspect.cleandoc(version.__doc__ or ""))}
        yield from (f"{name}.{method}({p})" for p in needs_explanation(function) if p not in explained)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_keyword_argument_is_explained(package: str) -> None:
    module = importlib.import_module(f"nelbo.{package}")
    parts = {k: v for k, v in registered().items() if v.__module__.split(".")[1] == package}
    unique = {id(value): (name, value) for name, value in (parts | exported(module)).items()}
    missing = [line for name, value in unique.values() if callable(value) for line in unexplained(name, value)]
    assert not missing, f"{len(missing)} arguments without a line in Args: {', '.join(missing)}"
