"""The rules of the house that a program can read: its tree, the order of imports, sizes, and what is never used."""

from __future__ import annotations

import ast
import functools
from collections import Counter
from collections.abc import Iterator, Sequence
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

SRC = Path(__file__).parent.parent / "src" / "nelbo"
MODULES = {"__init__", "__main__", "errors", "reading", "vae", "schedules"}
LEAVES = {
    "errors",
    "reading",
    "schedules",
    "config.registry",
    "config.aliases",
    "training.progress",
    "distributions.noise",
}
"""Modules that import nothing of nelbo but one another, and that any layer may import."""
LAYERS = [
    LEAVES,
    {"distributions", "nets", "data"},
    {"priors", "posteriors", "likelihoods"},
    {"latents"},
    {"vae"},
    {"objectives"},
    {"training"},
    {"config"},
    {"model"},
    {"metrics", "plotting"},
    {"apps", "experiment"},
    {"estimators", "cli"},
    {"__main__"},
]
UPWARDS = {"priors.two_stage": {"latents", "vae"}}  # a prior that is a VAE: it imports that when it is built
INDEPENDENT = ("distributions", "nets", "data")  # of one another
INTERFACES = {"ConditionalDistribution", "InitializedFromData"}  # abstract, without state: not counted in depth
FUNCTION_LINES, ARGUMENTS, DEPTH = 40, 8, 2
FILES = sorted(SRC.rglob("*.py"))
IDS = [str(path.relative_to(SRC)) for path in FILES]
TREES = {path: ast.parse(path.read_text("utf-8")) for path in FILES}
Function = ast.FunctionDef | ast.AsyncFunctionDef


def module_of(path: Path) -> str:
    """The dotted name of a file under nelbo: "priors.vamp", or "priors" for the package itself."""
    parts = path.relative_to(SRC).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


MODULE_NAMES = {module_of(path): path for path in FILES}
CLASSES = {
    (module_of(path), node.name): node
    for path, tree in TREES.items()
    for node in ast.walk(tree)
    if isinstance(node, ast.ClassDef)
}


def part(module: str) -> str:
    """The layer's name for a module: itself if it is a leaf, else its package."""
    return module if module in LEAVES else module.split(".")[0]


def imports(path: Path, nodes: Sequence[ast.AST] | None = None) -> Iterator[tuple[str, str]]:
    """(module, name) of all that a file imports of nelbo; of these nodes alone, if they are given."""
    for node in ast.walk(TREES[path]) if nodes is None else nodes:
        if isinstance(node, ast.Import):
            yield from ((a.name.removeprefix("nelbo."), "") for a in node.names if a.name.startswith("nelbo."))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "nelbo":
            home = (node.module or "").removeprefix("nelbo").removeprefix(".")
            for alias in node.names:
                inner = f"{home}.{alias.name}".removeprefix(".")
                if inner in MODULE_NAMES:
                    yield inner, ""
                elif home:
                    yield home, alias.name


def at_import(path: Path) -> list[ast.AST]:
    """The import statements that run when a file is imported: not those in a function or for types only."""
    return [node for node in TREES[path].body if isinstance(node, ast.Import | ast.ImportFrom)]


def outside(path: Path) -> set[str]:
    """Other packages that importing a file imports."""
    found: set[str] = set()
    for node in at_import(path):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").split(".")[0])
    return found


def functions(tree: ast.AST) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def is_command(path: Path, function: Function) -> bool:
    """Whether a function's arguments are the options of a command."""
    return part(module_of(path)) == "cli" and any(w in ast.dump(function.args) for w in ("Annotated", "ModelPath"))


def is_decorated(node: ast.ClassDef, name: str) -> bool:
    return any(name in ast.dump(decorator) for decorator in node.decorator_list)


@functools.cache
def home_of(module: str, name: str) -> tuple[str, str] | None:
    """Where a class that a module calls `name` is defined."""
    if (module, name) in CLASSES:
        return module, name
    for home, imported in imports(MODULE_NAMES[module]):
        if imported == name:
            return home_of(home, name)
    return None


def depth(module: str, name: str) -> int:
    """How many of the ancestors of a class are nelbo's own; interfaces do not count."""
    found = 0
    for base in CLASSES[module, name].bases:
        named = base.value if isinstance(base, ast.Subscript) else base
        owner, attribute = (named.value, named.attr) if isinstance(named, ast.Attribute) else (None, "")
        if isinstance(owner, ast.Name):  # distributions.Normal
            homes = [home for home, imported in imports(MODULE_NAMES[module]) if home == owner.id and not imported]
            above = home_of(homes[0], attribute) if homes else None
        else:
            above = home_of(module, named.id) if isinstance(named, ast.Name) else None
        if above is not None and above != (module, name):
            found = max(found, depth(*above) + (above[1] not in INTERFACES))
    return found


def test_the_tree_is_the_designs() -> None:
    tops = {module.split(".")[0] for module in MODULE_NAMES}
    assert tops - MODULES == set.union(*({p.split(".")[0] for p in layer} for layer in LAYERS)) - MODULES
    assert {path.stem for path in SRC.glob("*.py")} == MODULES


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_imports_run_one_way(path: Path) -> None:
    own, found = part(module_of(path)), {part(home) for home, _ in imports(path)} - {""}
    if own == "__init__":
        assert not list(imports(path, at_import(path))), "import nelbo costs nothing"
        return
    level = next(i for i, layer in enumerate(LAYERS) if own in layer)
    allowed = set.union(*LAYERS[: level + 1])
    if own in INDEPENDENT:
        allowed -= set(INDEPENDENT) - {own}
    assert sorted(found - allowed - UPWARDS.get(module_of(path), set())) == []


def test_commands_print_only_messages_data_and_json() -> None:
    """What may hold a user's texts goes through `nelbo.errors.say` or `nelbo.cli.io.print_text`, which escape them."""
    loose = []
    for path in (path for path in FILES if part(module_of(path)) == "cli" and path.name != "io.py"):
        for node in ast.walk(TREES[path]):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "print":
                said = ast.unparse(node.args[0])
                if not said.startswith(("json.dumps(", "'", "f'nelbo {__version__}'", "fields.to_text(")):
                    loose.append(f"{path.name}: print({said})")
    assert loose == []


def test_no_module_imports_itself_by_a_detour() -> None:
    graph = {
        module: {home for home, _ in imports(path, at_import(path)) if home != module}
        for module, path in MODULE_NAMES.items()
        if path.name != "__init__.py"
    }
    list(TopologicalSorter(graph).static_order())  # raises CycleError


def test_the_one_model_class_knows_no_concrete_part() -> None:
    names = {name for _, name in imports(SRC / "vae.py")}
    assert names <= {"UserError", "Latent", "LatentLevel", "Likelihood"}


def test_questions_of_kind_are_asked_within_data() -> None:
    reads = [
        f"{path.relative_to(SRC)}:{node.lineno}"
        for path in FILES
        if part(module_of(path)) != "data"
        for node in ast.walk(TREES[path])
        if isinstance(node, ast.Attribute) and node.attr == "kind" and ast.unparse(node.value).endswith("schema")
    ]
    assert len(reads) <= 3, reads


@pytest.mark.parametrize("path", [p for p in FILES if part(module_of(p)) in ("cli", "__init__", "errors")], ids=str)
def test_the_command_line_imports_nothing_heavy_until_a_command_runs(path: Path) -> None:
    assert outside(path).isdisjoint({"torch", "numpy", "matplotlib", "PIL", "safetensors", "rich"})
    homes = {part(home) for home, _ in imports(path, at_import(path))}
    assert homes <= {"cli", "errors", "training.progress", ""}


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_functions_are_short(path: Path) -> None:
    for function in functions(TREES[path]):
        # The arguments of a command are its options with their help, one a line, and a docstring has its `Args:`: only
        # the rest of the body is counted.
        body = function.body[1:] if ast.get_docstring(function) else function.body
        lines = (function.end_lineno or 0) - body[0].lineno + 1 if body else 0
        assert lines <= FUNCTION_LINES, f"{function.name}: {lines} lines"


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_constructors_have_few_arguments(path: Path) -> None:
    for node in ast.walk(TREES[path]):
        if not isinstance(node, ast.ClassDef) or is_decorated(node, "dataclass"):
            continue
        for function in functions(node):
            if function.name == "__init__":
                a = function.args  # the keyword-only arguments of a registered part are the recipe's fields
                counted = [*a.posonlyargs, *a.args, *([] if is_decorated(node, "register") else a.kwonlyargs)]
                flat = path.parent.name == "estimators"  # scikit-learn's parameters are never objects of several
                assert len(counted) - 1 <= ARGUMENTS + flat, node.name


@pytest.mark.parametrize("module, name", sorted(CLASSES), ids=".".join)
def test_inheritance_is_shallow(module: str, name: str) -> None:
    assert depth(module, name) <= DEPTH


def test_an_idea_is_one_class() -> None:
    names = Counter(name for module, name in CLASSES if part(module) != "distributions" and not name.startswith("_"))
    assert [name for name, count in names.items() if count > 1] == []


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_nothing_is_pickled_and_nothing_probed(path: Path) -> None:
    assert outside(path).isdisjoint({"pickle", "cPickle", "dill", "cloudpickle", "joblib"})
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Import | ast.ImportFrom):
            assert "pickle" not in [alias.name for alias in node.names]
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            assert name not in ("hasattr", "torch.load", "torch.save", "pickle.load", "pickle.dump", "eval", "exec")
            for keyword in node.keywords:
                if keyword.arg == "allow_pickle":
                    assert ast.unparse(keyword.value) == "False"


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_everything_is_annotated_and_modules_have_a_docstring(path: Path) -> None:
    assert ast.get_docstring(TREES[path]) or not TREES[path].body or path.name == "__main__.py"
    for function in functions(TREES[path]):
        named = [a for a in (*function.args.args, *function.args.kwonlyargs) if a.arg not in ("self", "cls")]
        passes_on = function.name == "_draw" or (named and named[0].arg == "ctx")  # as autograd's functions do
        if not passes_on:
            assert function.returns is not None, function.name
            assert [a.arg for a in named if a.annotation is None] == [], function.name


def test_values_of_recipes_are_frozen() -> None:
    for path in FILES:
        for node in ast.walk(TREES[path]):
            if isinstance(node, ast.ClassDef) and is_decorated(node, "register") and is_decorated(node, "dataclass"):
                assert "frozen=True" in ast.unparse(node.decorator_list[-1]), node.name


def test_the_tests_of_a_package_are_in_the_folder_of_its_name() -> None:
    tests = Path(__file__).parent
    packages = {module.split(".")[0] for module in MODULE_NAMES} - MODULES
    folders = {path.parent.name for path in tests.glob("*/test_*.py")}
    assert packages <= folders
    assert {path.name for path in tests.glob("test_*.py")} == {"test_architecture.py", "test_docstrings.py"}


RANDOM = {"rand", "randn", "randint", "randperm", "multinomial", "bernoulli", "normal", "rand_like", "randn_like"}
GLOBAL = {"manual_seed", "seed", "set_rng_state", "fork_rng", "set_default_dtype", "dropout", "Dropout"}
PARAMETERS = {"Parameter", "register_buffer"}  # initial values, which `noise.building` draws from its own generator


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_nothing_draws_from_or_sets_a_global_generator(path: Path) -> None:
    """A draw has a generator of its own, or is in `distributions.noise`; torch's global state is left alone."""
    calls = [node for node in ast.walk(TREES[path]) if isinstance(node, ast.Call)]
    initial = {
        id(inner)
        for node in calls
        if isinstance(node.func, ast.Attribute) and node.func.attr in PARAMETERS
        for inner in ast.walk(node)
    }
    for node in calls:
        function = node.func
        if not isinstance(function, ast.Attribute) or id(node) in initial:
            continue
        owner = ast.unparse(function.value)
        assert owner not in ("random", "np.random") or function.attr in {"default_rng", "SeedSequence", "RandomState"}
        if owner in ("torch", "torch.random", "nn", "F"):
            assert function.attr not in GLOBAL, ast.unparse(node)
            own = any(keyword.arg == "generator" for keyword in node.keywords)
            assert function.attr not in RANDOM or own, ast.unparse(node)
