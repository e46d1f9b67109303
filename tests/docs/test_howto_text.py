"""The how-to of text runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "howto-text.md"
CODE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def test_the_code_runs() -> None:
    (block,) = CODE.findall(PAGE.read_text(encoding="utf-8"))
    exec(compile(block, PAGE, "exec", dont_inherit=True), {})
