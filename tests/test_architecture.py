"""The house's rules that a program can read: which way imports run, how long things are, what is never used."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

SRC = Path(__file__).parent.parent / "src" / "nelbo"
LAYERS = [
    {"errors", "training.progress", "schedules"},  # any layer may import these
    {"distributions", "nets", "data"},
    {"conditionals"},
    {"latents"},
    {"vae"},
    {"objectives"},
    {"training"},
    {"registry"},
    {"spec"},
    {"priors"},
    {"recipes"},
    {"presets"},
    {"citations", "model"},
    {"refit", "metrics", "plotting"},
    {"experiment"},
    {"apps"},
    {"estimators"},
    {"cli"},
    {"__main__"},
]
ALONE = {
    "training.progress": set[str](),
    "data": {"errors", "training.progress"},
    "nets": {"errors"},
    "distributions": {"errors", "training.progress"},
}
FUNCTION_LINES, ARGUMENTS, DEPTH = 40, 8, 2
FILES = sorted(SRC.rglob("*.py"))
IDS = [str(path.relative_to(SRC)) for path in FILES]
TREES = {path: ast.parse(path.read_text("utf-8")) for path in FILES}
CLASSES = {node.name: node for tree in TREES.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
Function = ast.FunctionDef | ast.AsyncFunctionDef


def part(path: Path) -> str:
    """The package or module under nelbo that a file belongs to."""
    return _part(path.relative_to(SRC).with_suffix("").parts)


def _part(names: Sequence[str]) -> str:
    leaf = ".".join(names[:2])
    return leaf if leaf in LAYERS[0] else names[0]


def imported(tree: ast.AST) -> Iterator[str]:
    """The parts of nelbo that a file imports, anywhere in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "nelbo":
            names = [f"nelbo.{alias.name}" for alias in node.names]
        else:
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        yield from (_part(name.split(".")[1:]) for name in names if name.startswith("nelbo."))


def outside(tree: ast.AST) -> set[str]:
    """Other packages that importing a file imports: not those imported in a function or for types only."""
    found: set[str] = set()
    for node in getattr(tree, "body", []):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").split(".")[0])
    return found


def functions(tree: ast.AST) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def is_command(path: Path, function: Function) -> bool:
    """Whether a function's arguments are the options of a verb."""
    return part(path) == "cli" and any(word in ast.dump(function.args) for word in ("Annotated", "ModelPath"))


def is_settings(node: ast.ClassDef) -> bool:
    """Whether a class is a dataclass."""
    return any("dataclass" in ast.dump(decorator) for decorator in node.decorator_list)


def depth(name: str) -> int:
    """How many of the ancestors of a class are nelbo's own."""
    bases = [base.id for base in CLASSES[name].bases if isinstance(base, ast.Name)]
    return max((1 + depth(base) for base in bases if base in CLASSES and base != name), default=0)


def test_every_part_has_its_layer() -> None:
    assert {part(path) for path in FILES} - {"__init__"} == set.union(*LAYERS)


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_imports_run_one_way(path: Path) -> None:
    own = part(path)
    if own == "__init__":
        assert not list(imported(TREES[path])), "import nelbo costs nothing"
        return
    level = next(i for i, layer in enumerate(LAYERS) if own in layer)
    below = ALONE.get(own, set.union(set(), *LAYERS[:level])) | {"__version__", own}
    assert sorted(set(imported(TREES[path])) - below) == []


LIGHT = ("cli", "__init__", "errors", "training.progress")


@pytest.mark.parametrize("path", [p for p in FILES if part(p) in LIGHT], ids=str)
def test_the_command_line_imports_nothing_heavy_until_a_command_runs(path: Path) -> None:
    assert outside(TREES[path]).isdisjoint({"torch", "numpy", "matplotlib", "PIL", "safetensors", "rich"})
    tops = ast.Module([node for node in TREES[path].body if isinstance(node, ast.Import | ast.ImportFrom)], [])
    assert set(imported(tops)) <= {"cli", "errors", "training.progress", "__version__"}


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_functions_are_short(path: Path) -> None:
    for function in functions(TREES[path]):
        # The arguments of a verb are its options with their help, one a line: only its body is counted.
        first = function.body[0].lineno if is_command(path, function) else function.lineno
        assert (function.end_lineno or 0) - first + 1 <= FUNCTION_LINES, function.name


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_constructors_have_few_arguments(path: Path) -> None:
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.ClassDef) and not is_settings(node):
            for function in functions(node):
                a = function.args
                if function.name == "__init__":
                    assert len([*a.posonlyargs, *a.args, *a.kwonlyargs]) - 1 <= ARGUMENTS, node.name


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_inheritance_is_shallow(name: str) -> None:
    assert depth(name) <= DEPTH


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_nothing_is_pickled_and_nothing_probed(path: Path) -> None:
    tree = TREES[path]
    assert outside(tree).isdisjoint({"pickle", "cPickle", "dill", "cloudpickle", "joblib"})
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            assert "pickle" not in [alias.name for alias in node.names]
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            assert name not in ("hasattr", "torch.load", "torch.save", "pickle.load", "pickle.dump", "eval", "exec")
            for keyword in node.keywords:
                if keyword.arg == "allow_pickle":
                    assert ast.unparse(keyword.value) == "False"


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_everything_is_annotated_and_modules_say_what_they_are(path: Path) -> None:
    assert ast.get_docstring(TREES[path]) or not TREES[path].body or path.name == "__main__.py"
    for function in functions(TREES[path]):
        named = [a for a in (*function.args.args, *function.args.kwonlyargs) if a.arg not in ("self", "cls")]
        passes_on = function.name == "_draw" or (named and named[0].arg == "ctx")  # as autograd's functions do
        if not passes_on:
            assert function.returns is not None, function.name
            assert [a.arg for a in named if a.annotation is None] == [], function.name


def test_specs_are_frozen() -> None:
    of_specs = [p for p in FILES if part(p) in ("spec", "schedules", "recipes") or p.name == "config.py"]
    assert of_specs
    for path in of_specs:
        for node in ast.walk(TREES[path]):
            if isinstance(node, ast.ClassDef) and is_settings(node):
                assert "frozen=True" in ast.unparse(node.decorator_list[-1]), node.name
