"""A small table of people: numbers, categories, an identifier, a constant, missing cells; some depend on others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

TINY: dict[str, Any] = {
    "epochs": 6,
    "epoch_size": 2000,
    "batch_size": 64,
    "learning_rate": 5e-3,
    "seed": 1,
    "model__latent__dim": 2,
    "model__encoder__width": 32,
    "model__decoder__width": 32,
}
HEADER = "id;age;sex;income;note"


def lines(n: int = 400, seed: int = 0) -> list[str]:
    """The lines of a file parted by semicolons; every seventh age has spaces around it and a point."""
    rng = np.random.default_rng(seed)
    found = [HEADER]
    for i in range(n):
        rich = rng.random() < 0.25
        years = int(rng.normal(60 if rich else 30, 5))
        sex = "Female" if rng.random() < (0.1 if rich else 0.9) else "Male"
        age = "?" if rng.random() < 0.1 else f" {years}.0 " if i % 7 == 0 else str(years)
        sex = "" if rng.random() < 0.1 else sex
        found.append(f'{i + 1};{age};{sex};{">50K" if rich else "<=50K"};"a;b"')
    return found


def write(path: Path, n: int = 400, seed: int = 0) -> Path:
    """The table as a file."""
    path.write_text("\n".join(lines(n, seed)) + "\n", "utf-8")
    return path
