"""The how-to of new parts runs as it stands, section by section, and its parts are as short as it says."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from nelbo.config import registry
from nelbo.distributions import StudentT

PAGE = Path(__file__).parents[1] / "docs" / "howto-extend.md"
CODE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
SECTIONS = {
    text.partition("\n")[0]: CODE.findall(text)
    for text in PAGE.read_text(encoding="utf-8").split("\n## ")[1:]
    if CODE.search(text)
}
LINES = 10


@pytest.fixture(autouse=True)
def _registry() -> Iterator[None]:
    """What the page registers is forgotten."""
    before = {family: set(registry.entries(family)) for family in registry.families()}
    yield
    for family, kinds in before.items():
        for kind in set(registry.entries(family)) - kinds:
            del registry._ENTRIES[family][kind]


def test_there_is_an_objective_and_a_prior() -> None:
    assert list(SECTIONS) == ["A new objective", "A new prior"]


@pytest.mark.parametrize("title", SECTIONS)
def test_the_part_is_ten_lines(title: str) -> None:
    """The first block of a section is imports and one definition."""
    block = SECTIONS[title][0]
    (part,) = (n for n in ast.parse(block).body if isinstance(n, ast.FunctionDef | ast.ClassDef))
    lines = block.splitlines()[part.lineno - 1 : part.end_lineno]
    assert len([line for line in lines if line.strip()]) <= LINES
    assert ast.get_docstring(part)


def run(source: str, names: dict[str, Any]) -> None:
    """As a script would: without this file's own `from __future__`."""
    exec(compile(source, PAGE, "exec", dont_inherit=True), names)


@pytest.mark.parametrize("title", SECTIONS)
def test_the_code_runs(title: str) -> None:
    """Each block's lines are counted in the page, so that an error names the line there."""
    page = PAGE.read_text(encoding="utf-8")
    names: dict[str, Any] = {"__name__": "howto"}
    for block in SECTIONS[title]:
        above = page[: page.index(f"```python\n{block}")].count("\n") + 1
        run("\n" * above + block, names)


MUTANTS = {
    "weights that sum to 2": ("A new objective", "(k - 1) * without", "(k - 2) * without"),
    "a sum for a mean": ("A new objective", "log_mean_exp(rest)", "rest.logsumexp(0)"),
    "no draw left out": ("A new objective", "torch.arange(k) != i", "torch.arange(k) >= 0"),
    "half the extrapolation": ("A new objective", "k * iwae(trace) - (k - 1) * without", "2 * iwae(trace) - without"),
    "a scale forgotten": (
        "A new prior",
        "from nelbo.distributions import StudentT",
        "from test_howto import ForgetsTheScale as StudentT",
    ),
}


class ForgetsTheScale(StudentT):
    """log p without - log sigma."""

    def log_prob(self, value: Tensor) -> Tensor:
        return super().log_prob(value) + self.sum_event(self.log_scale)


@pytest.mark.parametrize("mutant", MUTANTS)
def test_its_law_rejects_a_wrong_part(mutant: str) -> None:
    title, right, wrong = MUTANTS[mutant]
    part, law, *_ = SECTIONS[title]
    assert part.count(right) == 1
    names: dict[str, Any] = {"__name__": "howto"}
    run(part.replace(right, wrong), names)
    with pytest.raises(AssertionError):
        run(law, names)
