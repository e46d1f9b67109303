"""What a row of the zoo is: one registered part in one configuration, or one family of distributions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, ClassVar, Protocol, TypeVar

import pytest

from nelbo.config.registry import Component, Entry, find

Shape = tuple[int, ...]
LATENT, CONTEXT = 3, 2
SHAPE: Shape = (1, 4, 4)
HIDDEN = (16,)


@dataclass(frozen=True)
class Row:
    """A part in one configuration; its sizes are tiny.

    Args:
        kind: the kind that recipes use.
        options: the fields of the recipe that are not its defaults, as a recipe would have them.
        note: tells the rows of one kind apart.
        elsewhere: the test module whose laws are tried in place of those of the family, which do not fit the part.
    """

    family: ClassVar[str]

    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""
    _: KW_ONLY
    elsewhere: str = ""

    @property
    def name(self) -> str:
        """The kind, and the note if there is one."""
        return f"{self.kind}, {self.note}" if self.note else self.kind

    @property
    def entry(self) -> Entry:
        """The registered part."""
        return find(self.family, self.kind)

    @property
    def component(self) -> Component[Any]:
        """The part, not built yet."""
        return Component(self.family, self.kind, **self.options)


class Named(Protocol):
    """What a table holds."""

    @property
    def name(self) -> str: ...


R = TypeVar("R", bound=Named)


def table(*rows: R) -> dict[str, R]:
    """The rows by name.

    Raises:
        ValueError: for two rows of one name.
    """
    names = [row.name for row in rows]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"two rows are called {sorted(twice)}: give one a note")
    return dict(zip(names, rows, strict=True))


def over(rows: Iterable[Named], argument: str = "row") -> pytest.MarkDecorator:
    """Try a law on each row whose laws are not elsewhere."""
    tried = [row for row in rows if not getattr(row, "elsewhere", "")]
    return pytest.mark.parametrize(argument, [pytest.param(row, id=row.name) for row in tried])
