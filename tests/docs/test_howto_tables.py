"""The how-tos of tables and pictures run as they stand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sklearn")

DOCS = Path(__file__).parents[2] / "docs"
CODE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
PAGES = ["howto-art.md", "howto-augment.md", "howto-embed.md", "howto-impute.md"]


@pytest.mark.usefixtures("quiet")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("page", PAGES)
def test_the_code_runs(page: str) -> None:
    """Each block's lines are counted in the page, so that an error names the line there."""
    text = (DOCS / page).read_text("utf-8")
    names: dict[str, Any] = {"__name__": "howto"}
    for block in CODE.findall(text):
        above = text[: text.index(f"```python\n{block}")].count("\n") + 1
        exec(compile("\n" * above + block, page, "exec", dont_inherit=True), names)
