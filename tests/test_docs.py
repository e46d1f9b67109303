"""What the documents promise: every name they mention exists, and the two languages say the same mathematics."""

from __future__ import annotations

import importlib
import re
from collections import Counter
from functools import reduce
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [
    page
    for page in [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md", ROOT / "README.zh-CN.md"]
    if page.exists()
]
THEORY = [ROOT / "docs" / "theory.md", ROOT / "docs" / "theory.zh-CN.md"]

FENCE = re.compile(r"^(```+|~~~+).*?^\1[`~]*[ \t]*$", re.MULTILINE | re.DOTALL)
DISPLAY = re.compile(r"\$\$(.*?)\$\$", re.DOTALL)
NAME = re.compile(r"`(nelbo(?:\.[A-Za-z_]\w*)+)(?:\([^`]*\))?`")
FILE_ENDINGS = {"json", "md", "npz", "png", "py", "safetensors", "toml", "txt", "yaml", "yml"}


def prose(page: Path) -> str:
    """The page without its fenced code."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def names(page: Path) -> list[str]:
    """The dotted names under `nelbo` that stand in backticks; names of files are none."""
    return sorted({name for name in NAME.findall(prose(page)) if name.rpartition(".")[2] not in FILE_ENDINGS})


def resolve(name: str) -> object:
    """Import the longest prefix that is a module, then take attributes."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        prefix = ".".join(parts[:end])
        try:
            module = importlib.import_module(prefix)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{prefix}.".startswith(f"{error.name}."):
                raise  # the module exists, but something that it imports does not
            continue
        return reduce(getattr, parts[end:], module)
    raise ModuleNotFoundError(name)


def headings(page: Path) -> Counter[int]:
    """How many headings each level has."""
    return Counter(len(marks) for marks in re.findall(r"^(#{1,6}) ", prose(page), re.MULTILINE))


def formulas(page: Path) -> list[str]:
    """The display formulas in order, with white space made even."""
    return [" ".join(formula.split()) for formula in DISPLAY.findall(prose(page))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_names_resolve(page: Path) -> None:
    missing = []
    for name in names(page):
        try:
            resolve(name)
        except (ModuleNotFoundError, AttributeError) as error:
            missing.append(f"{name}: {error}")
    assert not missing, f"{page.name} names what does not exist:\n" + "\n".join(missing)


def test_resolve_tells_what_exists() -> None:
    assert callable(resolve("nelbo.vae.VAE.generate"))
    with pytest.raises(AttributeError):
        resolve("nelbo.vae.VAE.no_such_name")
    with pytest.raises(AttributeError):
        resolve("nelbo.no_such_module.VAE")


def test_theory_names_code() -> None:
    english, chinese = (set(names(page)) for page in THEORY)
    assert len(english) > 20
    assert english == chinese


def test_theory_pages_have_the_same_headings() -> None:
    english, chinese = (headings(page) for page in THEORY)
    assert english == chinese
    assert english[1] == 1


def test_theory_pages_have_the_same_formulas() -> None:
    english, chinese = (formulas(page) for page in THEORY)
    assert len(english) > 20
    assert english == chinese


def test_theory_pages_have_the_same_code() -> None:
    english, chinese = ([m.group() for m in FENCE.finditer(page.read_text(encoding="utf-8"))] for page in THEORY)
    assert english == chinese


@pytest.mark.parametrize("page", THEORY, ids=lambda page: page.name)
def test_github_renders_the_mathematics(page: Path) -> None:
    """GitHub opens inline mathematics only after a space, a line start or `(`, and closes it only before a
    character that is no letter; its Markdown also eats a backslash before punctuation."""
    text = re.sub(r"`[^`\n]*`", "code", prose(page))
    assert text.count("$$") % 2 == 0
    inline = DISPLAY.sub("", text)
    bad = [m.group() for m in re.finditer(r"(.?)\$([^$\n]+)\$(.?)", inline) if not fits(*m.groups())]
    assert not bad
    for formula in [*formulas(page), *re.findall(r"\$([^$\n]+)\$", inline)]:
        assert not re.search(r"\\[^A-Za-z]|\}_|\*|\|", formula), formula


def fits(before: str, formula: str, after: str) -> bool:
    """Whether an inline formula is recognised between these neighbours."""
    return before in ("", " ", "(") and formula == formula.strip() and not re.match(r"\w", after)
