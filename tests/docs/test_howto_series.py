"""The how-to of series runs as it stands, its blocks one after the other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "howto-series.md"
CODE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
NET = ", model__encoder__width=8, model__decoder__width=8, training__samples_per_epoch=1280"


def test_the_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = CODE.findall(PAGE.read_text(encoding="utf-8"))
    assert len(blocks) == 3
    code = "".join(blocks).replace("epochs=10)", f"epochs=5{NET})")
    exec(compile(code, PAGE, "exec", dont_inherit=True), {})
