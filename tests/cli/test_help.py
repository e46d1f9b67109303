"""The command line's help, its errors of usage, and the remedies that error messages name."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

import nelbo
from conftest import Run
from nelbo.cli import app
from nelbo.config import registry
from nelbo.config.fields import listing
from nelbo.config.recipe import short_names

SRC = Path(nelbo.__file__).parent
ROOT: Any = typer.main.get_command(app)
SEEDED = {"evaluate", "sample", "augment", "impute", "detect", "art grid", "prior fit", "train"}
SEEDLESS = {"reconstruct", "embed", "interpolate", "traverse", "plot-latent", "info", "art contact-sheet", "art morph"}


def commands(command: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Each command with its name; groups too."""
    yield name, command
    for child, below in getattr(command, "commands", {}).items():
        yield from commands(below, f"{name} {child}".strip())


COMMANDS = dict(commands(ROOT))
OPTIONS = {name: {o for p in c.params for o in (*p.opts, *p.secondary_opts)} for name, c in COMMANDS.items()}


def test_commands_are_in_groups(run: Run) -> None:
    sections = re.findall(r"^([A-Z][\w ]+):\n((?:  .*\n)+)", run("--help").out, re.MULTILINE)
    listed = {title: re.findall(r"^  ([a-z-]+)", lines, re.MULTILINE) for title, lines in sections[1:]}
    assert [*listed] == ["Train", "Use a model", "Applications", "Art", "Information"]
    assert sorted(name for names in listed.values() for name in names) == sorted(ROOT.commands)


@pytest.mark.parametrize("name", [name for name, command in COMMANDS.items() if "commands" in vars(command)])
def test_no_summary_is_cut_off_or_wrapped(run: Run, name: str) -> None:
    code, out, _ = run(*name.split(), "--help")
    assert code == 0 and "..." not in out.partition("COMMAND [ARGS]...")[2]
    for child, command in COMMANDS[name].commands.items():
        lines = [line for line in out.splitlines() if line.split()[:1] == [child]]
        assert len(lines) == 1 and lines[0].endswith(command.get_short_help_str(200)) and len(lines[0]) <= 80


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_examples_and_one_default_for_each_option(run: Run, name: str) -> None:
    code, out, _ = run(*name.split(), "--help")
    assert code == 0 and (name == "" or "Examples:" in out)
    for parameter in COMMANDS[name].params:
        help = parameter.get_help_record(typer.Context(COMMANDS[name]))[1]
        assert help and help.count("[default:") <= 1, parameter.name
        assert "; " not in help.partition("[")[2], help


@pytest.mark.parametrize("name", [name for name, command in COMMANDS.items() if "commands" not in vars(command)])
def test_every_command_prints_json(name: str) -> None:
    assert "--json" in OPTIONS[name]


def test_only_commands_that_draw_have_a_seed() -> None:
    assert all("--seed" in OPTIONS[name] for name in SEEDED)
    assert not any("--seed" in OPTIONS[name] for name in SEEDLESS)


def test_the_version(run: Run) -> None:
    assert run("--version") == (0, f"nelbo {nelbo.__version__}\n", "")


@pytest.mark.parametrize(
    ("words", "expected"), [("nelbo ev", "evaluate"), ("nelbo train --ep", "--epochs"), ("nelbo art gr", "grid")]
)
def test_the_shell_completes(words: str, expected: str) -> None:
    program = Path(sys.executable).with_name("nelbo")
    variables = {"_NELBO_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    done = subprocess.run([program], env={**os.environ, **variables}, capture_output=True, text=True, timeout=60)
    assert expected in done.stdout.split()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "No such command 'trian'. Did you mean 'train'?"),
        (["art", "gird"], "No such command 'gird'. Did you mean 'grid'?"),
        (["sample", "x", "--sed", 1], "--seed"),
        (["train", "mnist", "--quite"], "--quiet"),
        (["train", "mnist", "--epoch", 3], "unknown setting epoch: did you mean epochs?"),
        (["train", "mnist", "--model.latent.dimm", 3], "unknown setting model.latent.dimm: did you mean dim?"),
        (["train", "mnist", "--precision", 16], "16"),
        (["sample", "x", "-n", "few"], "'few'"),
        (["sample"], "nelbo sample --help"),
    ],
)
def test_a_mistake_is_one_line(run: Run, arguments: list[Any], message: str) -> None:
    code, out, err = run(*arguments)
    last = err.splitlines()[-1]
    assert (code, out) == (2, "") and last.startswith("Error: ") and message in last
    assert "Traceback" not in err and "Usage" not in err


def test_ctrl_c_ends_in_a_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("nelbo.model.io.load", interrupt)
    assert run("info", "anything") == (130, "", "Interrupted\n")


def test_a_closed_pipe_ends_without_a_traceback() -> None:
    program = [sys.executable, "-c", "from nelbo.cli import main; main()", "recipes", "fields"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()


def test_every_field_of_a_recipe_is_an_option_of_train(run: Run, picture_file: Path, tmp_path: Path) -> None:
    net = ["--model.encoder", "mlp", "--model.encoder.hidden", "[8]"]
    options = [
        "--max-grad-norm=3",
        "--schedule",
        "cosine",
        "--precision",
        "32",
        "--val-fraction",
        0.2,
        "--latent-dim",
        2,
    ]
    code, _, err = run("train", picture_file, "--out", tmp_path / "r", "--epochs", 1, "-q", *net, *options)
    assert (code, err) == (0, "")
    recipe = nelbo.load(tmp_path / "r").recipe
    assert (recipe.training.max_grad_norm, recipe.training.precision, recipe.data.val_fraction) == (3, "32", 0.2)
    assert recipe.model.latent.options["dim"] == 2 and registry.dump(recipe.model.encoder)["hidden"] == [8]


def test_help_all_shows_every_field_with_its_help(run: Run) -> None:
    page = run("train", "--help-all").out
    sections = json.loads(run("recipes", "fields", "--json").out)
    for section, content in sections.items():
        for name, field in content["fields"].items():
            assert field["help"], f"{section}.{name} has no Args: entry"
    for family in registry.families():
        for kind, entry in registry.entries(family).items():
            fields = sections[f"{family}.{kind}"]["fields"]
            assert f"{family}.{kind}:" in page and fields.keys() == entry.fields.keys()
            for name, field in fields.items():
                assert field["type"] and f"    {name} ({field['type']}"[:70] in page
    assert all(name.startswith("prior.") for name in json.loads(run("recipes", "fields", "prior", "--json").out))
    assert "did you mean prior?" in run("recipes", "fields", "priors").err


def texts() -> Iterator[tuple[str, str]]:
    """All strings of the sources that are not docstrings, with where they are; an expression within is {}."""
    for path in sorted(SRC.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call | ast.Raise):
                for child in ast.iter_child_nodes(node):
                    if isinstance(child, ast.JoinedStr):
                        parts = [str(p.value) if isinstance(p, ast.Constant) else "{}" for p in child.values]
                        yield f"{path.name}:{child.lineno}", "".join(parts)
                    elif isinstance(child, ast.Constant) and isinstance(child.value, str):
                        yield f"{path.name}:{child.lineno}", child.value


def test_the_remedies_that_messages_name_exist() -> None:
    options = set.union(*OPTIONS.values()) | {f"--{name.replace('_', '-')}" for name in short_names()}
    verbs, seen = {name.split()[0] for name in COMMANDS if name}, 0
    for where, text in texts():
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", text):
            seen += 1
            assert option in options, f"{where}: {option} is not an option"
        for verb in re.findall(r"(?<!this )\bnelbo ([a-z]+)(?= [A-Z{]|`| mnist| data|$)", text):
            seen += 1
            assert verb in verbs, f"{where}: nelbo {verb} is not a command"
    assert seen > 40


def test_every_option_in_the_sources_exists() -> None:
    """Also in docstrings and in the examples of help."""
    options = set.union(*OPTIONS.values())
    options |= {f"--{name.replace('_', '-')}" for section in listing().values() for name in section["fields"]}
    sources = "".join(path.read_text("utf-8") for path in SRC.rglob("*.py"))
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+[a-z]", sources))
    assert len(named) > 40
    assert not named - options - {"--help", "--no-python", "--nproc"}  # the last two are torchrun's


def test_info(run: Run, picture_run: Path) -> None:
    model = nelbo.load(picture_run)
    assert json.loads(run("info", picture_run, "--json").out) == json.loads(json.dumps(model.info()))
    assert run("info", picture_run).out == f"{model!r}\n"
