"""The documents are true: names and commands exist, and the two languages have the same mathematics and commands."""

from __future__ import annotations

import importlib
import re
import shlex
from collections import Counter
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
import typer

from nelbo.cli import app
from nelbo.config import fields
from nelbo.config.presets import PRESETS
from nelbo.config.recipe import short_names
from test_architecture import LAYERS

ROOT = Path(__file__).parents[2]
PAGES = [
    page
    for page in [*sorted((ROOT / "docs").rglob("*.md")), *sorted(ROOT.glob("*.md"))]
    if page.name != "CHANGELOG.md"  # which has the old names, too
]
TWINS = [(page, page.with_name(f"{page.stem}.zh-CN.md")) for page in PAGES]
TWINS = [(english, chinese) for english, chinese in TWINS if chinese in PAGES]
THEORY = [ROOT / "docs" / "theory.md", ROOT / "docs" / "theory.zh-CN.md"]

SRC = ROOT / "src" / "nelbo"
WORD = re.compile(r"[A-Za-z_]\w*(?:-\w+)*")
FIELDS = {"kind"} | {name for section in fields.listing().values() for name in section["fields"]}
FENCE = re.compile(r"^(```+|~~~+).*?^\1[`~]*[ \t]*$", re.MULTILINE | re.DOTALL)
DISPLAY = re.compile(r"\$\$(.*?)\$\$", re.DOTALL)
COMMAND = re.compile(r"(?:^|&& |--no-python |bin/)nelbo (.*?)(?= && |$)", re.MULTILINE)
SPAN = re.compile(r"`nelbo ([a-z][^`\n]*)`")
LINK = re.compile(r"\]\(([^)#:\s]+)(?:#([^)\s]*))?\)")
NAME = re.compile(r"`(nelbo(?:\.[A-Za-z_]\w*)+)(?:\([^`]*\))?`")
FILE_ENDINGS = {"json", "md", "npz", "png", "py", "safetensors", "toml", "txt", "yaml", "yml"}


def prose(page: Path) -> str:
    """The page without its fenced code."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def names(page: Path) -> list[str]:
    """The dotted names under `nelbo` that stand in backticks; without names of files."""
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


def test_resolve_finds_what_exists() -> None:
    assert callable(resolve("nelbo.vae.VAE.generate"))
    with pytest.raises(AttributeError):
        resolve("nelbo.vae.VAE.no_such_name")
    with pytest.raises(AttributeError):
        resolve("nelbo.no_such_module.VAE")


@pytest.mark.parametrize("page", ["architecture.md", "architecture.zh-CN.md"])
def test_the_order_of_imports_is_the_tested_one(page: str) -> None:
    rows = re.findall(r"^\| (`[a-z_.]+`(?:(?:, |、)`[a-z_.]+`)*) \| ", prose(ROOT / "docs" / page), re.MULTILINE)
    layers = [
        set(re.findall(r"`([a-z_.]+)`", row)) for row in rows if not re.search(r"\.(?:toml|jsonl|html|png)`", row)
    ]
    assert [*layers, {"__main__"}] == LAYERS


def test_the_gallery_has_each_preset() -> None:
    page = ROOT / "docs" / "gallery.md"
    assert sorted(re.findall(r"^## (.*)$", prose(page), re.MULTILINE)) == sorted(PRESETS)
    assert {path.stem for path in (ROOT / "docs" / "gallery").glob("*.png")} == set(PRESETS)


def test_theory_names_code() -> None:
    assert len(names(THEORY[0])) > 20


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
    character that is not a letter; its Markdown also removes a backslash before punctuation."""
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


def commands(text: str) -> list[list[str]]:
    """The arguments of each `nelbo ...` at the start of a line, without comments."""
    return [shlex.split(arguments, comments=True) for arguments in COMMAND.findall(text)]


def code(page: Path) -> str:
    """The fenced code of a page."""
    return "\n".join(match.group() for match in FENCE.finditer(page.read_text(encoding="utf-8")))


def find(arguments: list[str]) -> tuple[Any, list[str]]:
    """The command that the arguments name, and those that remain."""
    command: Any = typer.main.get_command(app)
    while (below := getattr(command, "commands", {})) and arguments and not arguments[0].startswith("-"):
        assert arguments[0] in below, f"no command {arguments[0]}"
        command, arguments = below[arguments[0]], arguments[1:]
    return command, arguments


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_parse(page: Path) -> None:
    for arguments in commands(code(page)):
        command, rest = find(arguments)
        with command.make_context(command.name, rest) as context:
            settings = [setting.partition("=")[0] for setting in context.params.get("setting") or []]
        for name in settings:
            assert name in short_names() or name.rpartition(".")[2] in FIELDS, name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_in_the_text_exist(page: Path) -> None:
    for span in SPAN.findall(prose(page)):
        command, rest = find(shlex.split(span))
        options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        options |= {"--help", "-h"}
        if command.name == "train":
            options |= {f"--{name.replace('_', '-')}" for name in short_names()}
        used = {word.partition("=")[0] for word in rest if word.startswith("-")}
        assert used <= options, f"{span}: {used - options}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in LINK.findall(prose(page)):
        assert (page.parent / target).exists(), target
        if anchor and target.endswith(".md"):
            titles = re.findall(r"^#+ (.*)$", prose(page.parent / target), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles], anchor


@pytest.mark.parametrize("english, chinese", TWINS, ids=lambda page: page.name)
def test_both_languages_have_the_same_commands(english: Path, chinese: Path) -> None:
    assert commands(code(english)) == commands(code(chinese))
    assert headings(english) == headings(chinese)
    assert set(names(english)) == set(names(chinese))


def test_new_names_of_the_changelog_exist() -> None:
    """Each identifier in the second column of its tables stands somewhere in the code."""
    sources = [path.read_text(encoding="utf-8") for path in SRC.rglob("*.py")]
    paths = [str(path.relative_to(SRC)) for path in SRC.rglob("*.py")]
    words = {word.replace("-", "_") for text in [*sources, *paths] for word in WORD.findall(text)} | {"nelbo"}
    rows = re.findall(r"^\| `.* \| (`.*) \|$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(rows) > 60
    for row in rows:
        for word in WORD.findall(" ".join(re.findall(r"`([^`]*)`", row))):
            assert re.sub(r"\d+$", "", word.replace("-", "_")) in words, f"{word} in {row}"
