"""The how-to of anomaly detection runs as it stands, on a model that was trained for one epoch."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import nelbo

PAGE = Path(__file__).parents[2] / "docs" / "howto-detect.md"
CODE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def test_the_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    nelbo.fit("mnist", out="results/mnist", epochs=1, training__samples_per_epoch=5000)
    (block,) = CODE.findall(PAGE.read_text(encoding="utf-8"))
    exec(compile(block.replace("Detector(model)", "Detector(model, samples=2)"), PAGE, "exec", dont_inherit=True), {})
