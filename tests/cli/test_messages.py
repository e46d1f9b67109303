"""What is printed: one line of at most 300 characters, and nothing that commands a terminal."""

from __future__ import annotations

import logging
import sys
import unicodedata
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import nelbo
from conftest import Run
from nelbo.errors import LONGEST, one_line
from nelbo.experiment.status_line import messages_on

HOSTILE = "a\x1b[2J\x1b]0;x\x07b\x9bm\u202ec\u2028d"


def assert_harmless(text: str) -> None:
    marks = [c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") and c != "\n"]
    assert not marks and all(len(line) <= LONGEST for line in text.split("\n")), text


@pytest.mark.parametrize(
    "text", ["", "plain", HOSTILE, "x" * 5000, "\n" * 400, "\udcff.csv", "日本 👩‍🔬"], ids=lambda text: ascii(text[:9])
)
def test_a_message_is_one_harmless_line(text: str) -> None:
    line = one_line(text)
    assert_harmless(line.replace("\u200d", ""))
    assert "\n" not in line and one_line(line) == line
    line.encode()
    if len(text) <= LONGEST and text.isprintable():
        assert line == text


def test_the_start_and_the_remedy_of_a_long_message_are_kept() -> None:
    line = one_line(f"column 'a': {'x' * 5000}: rename it")
    assert line.startswith("column 'a': xxx") and line.endswith("xxx: rename it") and len(line) == LONGEST


@pytest.mark.usefixtures("quiet")
def test_names_of_files_and_columns_do_not_reach_the_terminal(run: Run) -> None:
    name = f"{HOSTILE}.csv".replace("/", "")
    numbers = np.random.default_rng(0).normal(size=30)
    pd.DataFrame({HOSTILE: ["a", "b", HOSTILE] * 10, "n": numbers, f"c{HOSTILE}": "constant"}).to_csv(name)
    for arguments in (
        ("data", "describe", name),
        ("train", name, "--epochs", "1", "--out", "out", "--set", "training.replay=false"),
        ("train", name, "--out", "out"),
        ("train", HOSTILE),
        ("info", "out"),
        ("info", HOSTILE),
        ("sample", "out", "-n", HOSTILE),
        ("sample", "out", "--condition", f"{HOSTILE}=3"),
        ("sample", "out", "--out", f"{HOSTILE}.csv"),
        (HOSTILE,),
    ):
        said = run(*arguments)
        assert_harmless(said.out + said.err)
        assert said.code in (0, 2) and (said.code == 0 or len(said.err.splitlines()) == 1)


def test_notices_and_warnings_are_cleaned() -> None:
    file = StringIO()
    with messages_on(file):
        logging.getLogger("nelbo.any").info("Data: %s", HOSTILE)
    assert file.getvalue().startswith(r"Data: a\x1b[2J") and file.getvalue().count("\n") == 1
    assert_harmless(file.getvalue())


def test_a_line_of_text_is_escaped_on_a_terminal_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from nelbo.cli.io import print_text

    print_text("a\x1bb\n" + "x" * 400)
    assert capsys.readouterr().out == "a\x1bb\n" + "x" * 400 + "\n"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    print_text("a\x1bb\n" + "x" * 400)
    assert capsys.readouterr().out == r"a\x1bb" + "\n" + "x" * 400 + "\n"


def test_a_recipe_and_a_description_hold_no_control_characters(tmp_path: Path) -> None:
    from nelbo.config import recipe

    written = recipe.dumps(recipe.Recipe(description=HOSTILE))
    assert_harmless(written)
    (tmp_path / "r.toml").write_text(written, "utf-8")
    assert recipe.load(str(tmp_path / "r.toml")).description == HOSTILE
    assert nelbo.UserError.__mro__[1] is ValueError
