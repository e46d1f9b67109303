"""The how-to of pictures runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "howto-pictures.md"
CODE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def test_the_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each block's lines are counted in the page, so that an error names the line there."""
    monkeypatch.chdir(tmp_path)
    text = PAGE.read_text("utf-8")
    names: dict[str, Any] = {"__name__": "howto"}
    for block in CODE.findall(text):
        if "import datasets" in block:
            pytest.importorskip("datasets")
        above = text[: text.index(f"```python\n{block}")].count("\n") + 1
        exec(compile("\n" * above + block, str(PAGE), "exec", dont_inherit=True), names)
