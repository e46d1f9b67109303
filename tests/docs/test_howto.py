"""The how-to of new parts runs as it stands, section by section; its package, too."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from nelbo.config import registry
from nelbo.distributions import StudentT

PAGE = Path(__file__).parents[2] / "docs" / "howto-extend.md"
CODE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
SECTIONS = {
    text.partition("\n")[0]: CODE.findall(text)
    for text in PAGE.read_text(encoding="utf-8").split("\n## ")[1:]
    if CODE.search(text)
}


@pytest.fixture(autouse=True)
def _registry() -> Iterator[None]:
    """What the page registers is forgotten."""
    before = {family: set(registry.entries(family)) for family in registry.families()}
    yield
    for family, kinds in before.items():
        for kind in set(registry.entries(family)) - kinds:
            del registry._ENTRIES[family][kind]


def test_there_is_an_objective_a_prior_and_a_package() -> None:
    assert list(SECTIONS) == ["A new objective", "A new prior", "A package of your own"]


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


def test_the_package_adds_its_part(tmp_path: Path) -> None:
    """The files of the page are installed as a folder of packages, and its commands run."""
    section = PAGE.read_text(encoding="utf-8").partition("\n## A package of your own\n")[2]
    blocks = {kind: text for kind, text in re.findall(r"^```(\w+)\n(.*?)^```", section, re.MULTILINE | re.DOTALL)}
    project = tomllib.loads(blocks["toml"])["project"]
    package, info = tmp_path / "my_package", tmp_path / f"my_package-{project['version']}.dist-info"
    package.mkdir()
    info.mkdir()
    (package / "__init__.py").touch()
    (package / "parts.py").write_text(blocks["python"], "utf-8")
    (package / "references.bib").write_text(blocks["bibtex"], "utf-8")
    lines = [f"{name} = {module}" for name, module in project["entry-points"]["nelbo.parts"].items()]
    (info / "entry_points.txt").write_text("\n".join(["[nelbo.parts]", *lines]), "utf-8")
    (info / "METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n", "utf-8")
    np.save(tmp_path / "data.npy", np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])}
    for command in blocks["sh"].splitlines():
        arguments = [sys.executable, "-m", *command.split(), *(["--epochs=1"] if "train" in command else [])]
        done = subprocess.run(arguments, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
    assert "alemi2018fixing" in done.stdout
