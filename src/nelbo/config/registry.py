"""Parts by family and kind, and plain tables (TOML, JSON) to recipes and back.

A part is a class or a function entered by `register`. Its keyword-only parameters are the fields of a recipe, with
their types and defaults, and with the help in its `Args:`. Its positional parameters (networks, sizes) are supplied by
the code that builds it. A part without them that is a value (a schedule, a network's architecture) is a frozen
dataclass: its fields are those of the recipe, and the recipe holds the object itself.

    @register("likelihood", "student-t", cite="takahashi2018student")
    class StudentT(Likelihood):
        def __init__(self, decoder: nn.Module, event_dims: int, *, sigma: Positive | Learned = "learned"): ...

    Component("likelihood", "student-t", sigma=0.1).build(decoder=net, event_dims=1)

In a table a part is `{kind = "student-t", sigma = 0.1}`, or its kind alone. Every value is checked against the
annotated type, so that the error for a mistake is one line with the place, the value and a remedy.

Packages outside nelbo add parts by the entry point group `nelbo.parts`: each entry point names a module to import. A
file `references.bib` beside that module has the entries that its parts cite.

pydantic is not used: its discriminated unions need the classes of a family listed at the field, and its messages are
longer than one line.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import importlib.metadata
import inspect
import math
import pkgutil
import re
import sys
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, TypeVar, Union

from nelbo.config.aliases import FIELDS, KINDS
from nelbo.errors import UserError, nearest

T = TypeVar("T")
P = TypeVar("P", bound=Callable[..., Any])

PACKAGES = ("nets", "priors", "posteriors", "likelihoods", "latents", "objectives", "schedules", "training.optim")
"""The packages with nelbo's own parts: their modules are imported before a kind is looked up."""


@dataclass(frozen=True)
class Range:
    """A range of numbers, for annotations such as `Annotated[float, Range(0)]`.

    Args:
        low: smallest number.
        high: largest number.
        above: an exclusive lower bound.
        below: an exclusive upper bound.
    """

    low: float = -math.inf
    high: float = math.inf
    above: float = -math.inf
    below: float = math.inf

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high and self.above < value < self.below

    def __str__(self) -> str:
        ends = []
        if self.above > -math.inf:
            ends.append(f"a number above {self.above:g}")
        elif self.low > -math.inf:
            ends.append(f"{self.low:g} or more")
        if self.below < math.inf:
            ends.append(f"below {self.below:g}")
        elif self._highest < math.inf:
            ends.append(f"at most {self.high:g}")
        return " and ".join(ends)

    @property
    def _highest(self) -> float:
        """`high`, unless it is beyond what anyone sets."""
        return math.inf if self.high in (MOST, DEEPEST) else self.high

    @property
    def signs(self) -> str:
        """The range in signs, such as ">= 0 and < 1"."""
        ends = ((">=", self.low), (">", self.above), ("<=", self._highest), ("<", self.below))
        return " and ".join(f"{sign} {end:g}" for sign, end in ends if math.isfinite(end))


@dataclass(frozen=True)
class AnyNumber:
    """Numbers that may be infinite or NaN: results and not settings. For annotations, see `Result`."""

    def __contains__(self, value: float) -> bool:
        return True


@dataclass(frozen=True)
class NotEmpty:
    """Lists with at least one item, for annotations such as `Annotated[tuple[int, ...], NotEmpty()]`."""

    def __contains__(self, value: Sized) -> bool:
        return len(value) > 0

    def __str__(self) -> str:
        return "one number or more"


MOST = 10**7
"""The highest count: no real network, batch or sample has more, and products of two do not overflow."""
DEEPEST = 1000
"""The most layers, blocks and steps: each takes a module of its own."""

Count = Annotated[int, Range(1, MOST)]
Depth = Annotated[int, Range(1, DEEPEST)]
Counts = Annotated[tuple[Count, ...], NotEmpty()]
Depths = Annotated[tuple[Depth, ...], NotEmpty()]
Positive = Annotated[float, Range(above=0)]
NonNegative = Annotated[float, Range(0)]
Share = Annotated[float, Range(0, below=1)]
Result = Annotated[float, AnyNumber()]
Learned = Literal["learned"]


@dataclass(frozen=True)
class Entry:
    """A registered part.

    Args:
        make: the class or function.
        cite: bibliography keys of the part.
        cite_if: further keys, each with the condition on the options under which it applies.
        check: checks the options together; None for no check.
    """

    make: Callable[..., Any]
    cite: tuple[str, ...]
    cite_if: Mapping[str, Callable[[Mapping[str, Any]], bool]]
    check: Callable[[Mapping[str, Any]], None] | None

    @functools.cached_property
    def fields(self) -> dict[str, tuple[Any, Any]]:
        """The recipe's fields: name -> (annotated type, default)."""
        if dataclasses.is_dataclass(self.make):
            return _dataclass_fields(self.make)
        function = self.make.__init__ if inspect.isclass(self.make) else self.make  # type: ignore[misc]
        hints = typing.get_type_hints(function, include_extras=True)
        parameters = inspect.signature(function).parameters.values()
        return {p.name: (hints[p.name], p.default) for p in parameters if p.kind is p.KEYWORD_ONLY}

    @functools.cached_property
    def positional(self) -> list[str]:
        """The names of the parameters that the builder supplies."""
        parameters = inspect.signature(self.make).parameters.values()
        return [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD and p.name not in self.fields]

    @functools.cached_property
    def help(self) -> dict[str, str]:
        """The description of each field, from the `Args:` of the docstring."""
        return arguments(inspect.getdoc(self.make) or "")

    def complete(self, options: Mapping[str, Any], path: str) -> dict[str, Any]:
        """All fields with their values, checked.

        Raises:
            UserError: for an unknown field, a wrong type, a value out of range, or options that do not go together.
        """
        values = _parse_values(self.fields, options, path)
        if self.check is not None:
            with _prefixed(path):
                self.check(values)
        return values


_ENTRIES: dict[str, dict[str, Entry]] = {}


def register(
    family: str,
    kind: str,
    *,
    cite: str | tuple[str, ...] = (),
    cite_if: Mapping[str, Callable[[Mapping[str, Any]], bool]] | None = None,
    check: Callable[[Mapping[str, Any]], None] | None = None,
) -> Callable[[P], P]:
    """Register a class or a function as the part `kind` of `family`.

    Args:
        family: "latent", "prior", "posterior", "likelihood", "objective", "net", "transform", "schedule" or
            "optimizer".
        kind: the name that recipes use.
        cite: keys of the bibliography (`references.bib`) to cite for the part.
        cite_if: further keys, each with a function of the options that returns whether it applies.
        check: a function of all options that raises `UserError` for invalid combinations; None for no check.
    """

    def enter(make: P) -> P:
        keys = (cite,) if isinstance(cite, str) else tuple(cite)
        _ENTRIES.setdefault(family, {})[kind] = Entry(make, keys, cite_if or {}, check)
        return make

    return enter


@functools.cache
def _import_parts() -> None:
    for name in PACKAGES:
        package = importlib.import_module(f"nelbo.{name}")
        for module in pkgutil.iter_modules(getattr(package, "__path__", [])):
            importlib.import_module(f"nelbo.{name}.{module.name}")
    plugins()


@functools.cache
def plugins() -> tuple[types.ModuleType, ...]:
    """The modules of packages outside nelbo that add parts, imported."""
    points = importlib.metadata.entry_points(group="nelbo.parts")
    return tuple(importlib.import_module(entry_point.module) for entry_point in points)


def entries(family: str) -> Mapping[str, Entry]:
    """The parts of a family by kind."""
    _import_parts()
    return _ENTRIES[family]


def families() -> list[str]:
    """The names of all families."""
    _import_parts()
    return sorted(_ENTRIES)


def find(family: str, kind: str, path: str = "") -> Entry:
    """The part of that family and kind.

    Args:
        family: the family.
        kind: the kind.
        path: place in the recipe, for the message; "" for the family.

    Raises:
        UserError: for an unknown kind, with the nearest known one.
    """
    known = entries(family)
    if kind not in known:
        raise UserError(f"{path or family}.kind = {kind!r}: {nearest(kind, known)}")
    return known[kind]


def _registered(value: object) -> tuple[str, Entry] | None:
    """The kind and the entry of a part that is a value; None for any other object."""
    pairs = ((kind, entry) for known in _ENTRIES.values() for kind, entry in known.items())
    return next((pair for pair in pairs if pair[1].make is type(value)), None)


def kind_of(value: object) -> str:
    """The kind of a component, or of a part that is a value."""
    if isinstance(value, Component):
        return value.kind
    registered = _registered(value)
    assert registered is not None, type(value).__name__
    return registered[0]


@dataclass(frozen=True, init=False, repr=False)
class Component(Generic[T]):
    """A part in a recipe, not built yet: its family, kind and options.

    Args:
        family: the family, such as "prior".
        kind: the kind within it.
        options: values of the part's fields; the others have their defaults. The kind alone may stand for a component
            with default options.

    >>> Component("posterior", "diagonal-normal")
    Component('posterior', 'diagonal-normal', initial_logvar=None)
    """

    family: str
    kind: str
    _options: Mapping[str, Any] = dataclasses.field(compare=False)

    def __init__(self, family: str, kind: str, /, **options: Any) -> None:
        for name, value in (("family", family), ("kind", kind), ("_options", options)):
            object.__setattr__(self, name, value)

    @functools.cached_property
    def options(self) -> dict[str, Any]:
        """All options, checked; see `Entry.complete`."""
        return self.entry.complete(self._options, "")

    @property
    def entry(self) -> Entry:
        """The registered part."""
        return find(self.family, self.kind)

    def build(self, **positional: Any) -> T:
        """Build the part, with those of the positional arguments for which it has a parameter."""
        entry = self.entry
        return entry.make(*(positional[name] for name in entry.positional if name in positional), **self.options)  # type: ignore[no-any-return]

    def replace(self, **changes: Any) -> Component[T]:
        """The same component with some options replaced."""
        return Component(self.family, self.kind, **{**self._options, **changes})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Component) and (self.family, self.kind, self.options) == (
            other.family,
            other.kind,
            other.options,
        )

    def __repr__(self) -> str:
        options = "".join(f", {name}={value!r}" for name, value in self.options.items())
        return f"Component({self.family!r}, {self.kind!r}{options})"


def short(value: object) -> str:
    """The `repr` of a value for a message; of a long one, its start and end.

    >>> short([1.5, "a"]), len(short("x" * 1000))
    ("[1.5, 'a']", 100)
    """
    try:
        text = repr(value)
    except ValueError:  # Python does not write a whole number of thousands of digits
        return f"a {type(value).__name__} beyond all numbers"
    return text if len(text) <= 100 else f"{text[:48]}...{text[-49:]}"


def parse(kind: Any, value: Any, path: str) -> Any:
    """Parse a plain table or scalar as a value of an annotated type.

    Args:
        kind: the annotated type: a scalar, a union, a literal, a tuple, a dict, a dataclass, the base class of
            a family, or `Component[Base]`.
        value: the value in the recipe, or an object of the type itself.
        path: place in the recipe, for messages.

    Raises:
        UserError: for an unknown key, a wrong type or an invalid value, with the path.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if origin is Annotated:
        if AnyNumber() in kind.__metadata__ and isinstance(value, float):
            return value
        parsed = value if type(value) is int else parse(arguments[0], value, path)
        for allowed in kind.__metadata__:
            if parsed not in allowed:
                above = isinstance(allowed, Range) and parsed > allowed.high
                remedy = f"at most {allowed.high:,.10g}" if above else allowed
                raise UserError(f"{path} = {short(value)}: give {remedy}")
        return parse(arguments[0], value, path)
    if origin in (Union, types.UnionType):
        return _parse_union(arguments, value, path)
    if origin is Literal:
        if value not in arguments:
            choice = ", ".join(map(repr, arguments))
            raise UserError(f"{path} = {short(value)}: give {'one of ' if len(arguments) > 1 else ''}{choice}")
        return value
    if origin in (tuple, list):
        if not isinstance(value, list | tuple):
            raise UserError(f"{path} = {short(value)}: give a list, such as [400]")
        return origin(parse(arguments[0], item, f"{path}[{i}]") for i, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            raise UserError(f"{path} = {short(value)}: give a table")
        return {str(k): parse(arguments[1], v, f"{path}.{k}") for k, v in value.items()}
    if family := family_of(kind):
        return _parse_part(family, value, path)
    if dataclasses.is_dataclass(kind):
        return _parse_dataclass(kind, value, path)
    return _parse_scalar(kind, value, path)


def family_of(kind: Any) -> str | None:
    """The family of a base class or of `Component[Base]`, else None."""
    base = typing.get_args(kind)[0] if typing.get_origin(kind) is Component else kind
    return vars(base).get("family") if inspect.isclass(base) else None


def _parse_union(arguments: tuple[Any, ...], value: Any, path: str) -> Any:
    if value is None and type(None) in arguments:
        return None
    messages = []
    for argument in arguments:
        if argument is not type(None):
            try:
                return parse(argument, value, path)
            except UserError as error:
                messages.append(str(error))
    start = f"{path} = {short(value)}: give "
    for message in messages:
        if not message.startswith(start):  # the value has this type, and the mistake is inside it
            raise UserError(message)
    raise UserError(start + ", or ".join(message.removeprefix(start) for message in messages))


def _parse_part(family: str, value: Any, path: str) -> Any:
    known = entries(family)
    if isinstance(value, Component):
        value = {"kind": value.kind, **value._options}
    elif kinds := [kind for kind, entry in known.items() if entry.make is type(value)]:
        value = {"kind": kinds[0], **{field.name: getattr(value, field.name) for field in dataclasses.fields(value)}}
    table: Any = {"kind": value} if isinstance(value, str) else value
    written = table.get("kind") if isinstance(table, dict) else None
    if not isinstance(written, str):
        raise UserError(f'{path} = {short(value)}: give a table with a kind, such as {{kind = "{next(iter(known))}"}}')
    kind = KINDS.get(family, {}).get(written, written)
    entry = find(family, kind, path)
    old_names = FIELDS.get(f"{family}.{kind}", {})
    options = {old_names.get(name, name): item for name, item in table.items() if name != "kind"}
    values = entry.complete(options, path)
    if dataclasses.is_dataclass(entry.make):
        return _construct(entry.make, values, path)
    component: Component[Any] = Component(family, kind, **values)
    component.__dict__["options"] = values  # checked above
    return component


def _parse_dataclass(cls: Any, value: Any, path: str) -> Any:
    if isinstance(value, cls):
        return value
    if not isinstance(value, dict):
        raise UserError(f"{path} = {short(value)}: give a table of {', '.join(hints(cls)) or 'nothing'}")
    old_names: dict[str, str] = FIELDS.get(cls.__name__, {})
    table = {old_names.get(str(name), str(name)): item for name, item in value.items()}
    return _construct(cls, _parse_values(_dataclass_fields(cls), table, path), path)


def _parse_values(fields: Mapping[str, tuple[Any, Any]], table: Mapping[str, Any], path: str) -> dict[str, Any]:
    where = f"{path}." if path else ""
    for name in table:
        if name not in fields:
            raise UserError(f"unknown setting {where}{name}: {nearest(name, fields)}")
    values = {}
    for name, (kind, default) in fields.items():
        if name not in table and default is inspect.Parameter.empty:
            raise UserError(f"{where}{name} is missing")
        values[name] = parse(kind, table[name], f"{where}{name}") if name in table else default
    return values


def _construct(cls: Any, values: Mapping[str, Any], path: str) -> Any:
    with _prefixed(path):
        return cls(**values)


class _prefixed:
    """Prefix the message of a `UserError`, which begins with a field's name, with the path."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ValueError) and self.path:
            raise UserError(f"{self.path}.{error}") from None


@functools.cache
def hints(cls: type) -> dict[str, Any]:
    """The fields of a dataclass and their types."""
    return {name: kind for name, (kind, _) in _dataclass_fields(cls).items()}


@functools.cache
def _dataclass_fields(cls: Any) -> dict[str, tuple[Any, Any]]:
    annotated = typing.get_type_hints(cls, include_extras=True)

    def default(field: dataclasses.Field[Any]) -> Any:
        if field.default_factory is not dataclasses.MISSING:
            return field.default_factory()
        return inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default

    return {field.name: (annotated[field.name], default(field)) for field in dataclasses.fields(cls)}


WHOLE = 2**53
"""The largest whole number of a setting: up to it, every one is a float too."""


def _parse_scalar(kind: type, value: Any, path: str) -> Any:
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        if abs(value) <= sys.float_info.max:
            return float(value)
        raise UserError(f"{path} = {short(value)}: give a finite number")
    if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        if isinstance(value, int) and abs(value) > WHOLE:
            raise UserError(f"{path} = {short(value)}: give a whole number of up to {WHOLE:,}")
        return value
    names = {int: "a whole number", float: "a number", str: "a text in quotes", bool: "true or false"}
    raise UserError(f"{path} = {short(value)}: give {names.get(kind, kind.__name__)}")


def dump(value: Any) -> Any:
    """The plain table of a recipe or a part of it: the inverse of `parse`. Fields that are None are left out."""
    if isinstance(value, Component):
        return {"kind": value.kind} | _dump_fields(value.options)
    if dataclasses.is_dataclass(value):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        registered = _registered(value)
        return ({"kind": registered[0]} if registered else {}) | _dump_fields(fields)
    if isinstance(value, tuple):
        return [dump(item) for item in value]
    if isinstance(value, dict):
        return {name: dump(item) for name, item in value.items()}
    return value


def _dump_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: dump(item) for name, item in fields.items() if item is not None}


def walk(value: Any) -> Iterator[tuple[Any, Entry | None, Mapping[str, Any]]]:
    """Each component, registered value and dataclass within a recipe, from the outside in: (it, its entry, fields)."""
    if isinstance(value, Component):
        yield value, value.entry, value.options
        items: Iterable[Any] = value.options.values()
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        registered = _registered(value)
        yield value, registered[1] if registered else None, fields
        items = fields.values()
    elif isinstance(value, dict | tuple):
        items = value.values() if isinstance(value, dict) else value
    else:
        return
    for item in items:
        yield from walk(item)


def arguments(docstring: str) -> dict[str, str]:
    """The `Args:` of a docstring: name -> text on one line.

    >>> arguments("Sum.\\n\\nArgs:\\n    a: first\\n        number.\\n    b: second.\\n\\nReturns:\\n    it.")
    {'a': 'first number.', 'b': 'second.'}
    """
    section = re.search(r"^Args:\n((?:[ ]{4,}.*\n?|\n(?=[ ]{4}))*)", docstring, re.MULTILINE)
    texts: dict[str, str] = {}
    for line in section[1].splitlines() if section else ():
        if start := re.match(r" {4}(\w+)(?: \([^)]*\))?: (.*)", line):
            texts[start[1]] = start[2].strip()
        elif texts and line.strip():
            texts[next(reversed(texts))] += " " + line.strip()
    return texts
