"""Lines that a model of text makes up: draws of it that are not among those already known.

    names = new_lines(nelbo.load("results/names"), 20, known=open("names.txt"), temperature=0.6)

A model of a long list draws many lines that are on the list, the more so the lower the temperature; what is wanted of
it are the others. Leaving the known ones out draws from p(x | x is not known), exactly; a line drawn again is left out,
too.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from nelbo.errors import UserError
from nelbo.model import Model

AT_ONCE = 100  # lines drawn at least
FRUITLESS = 20  # rounds without a new line, after which none is expected


def sample_novel_lines(
    model: Model, n: int, known: Iterable[str], seed: int = 0, temperature: float = 1.0
) -> list[str]:
    """`n` different lines drawn from the model, none of them in `known`; spaces around a line do not count.

    The temperature is that of `Model.sample`. Raises `UserError` for a model of other data than text, for `n` below 1,
    and where the model has no `n` such lines to draw.
    """
    if n < 1:
        raise UserError(f"n={n}: give 1 line or more")
    model.schema.require_kind("new lines", "text")
    rng, left_out = np.random.default_rng(seed), {"", *(line.strip() for line in known)}
    found: dict[str, None] = {}
    fruitless = 0
    while len(found) < n and fruitless < FRUITLESS:
        before = len(found)
        drawn = model.sample(max(n, AT_ONCE), int(rng.integers(2**62)), temperature)
        found |= dict.fromkeys(line for line in map(str.strip, drawn) if line not in left_out)
        fruitless = 0 if len(found) > before else fruitless + 1
    if len(found) < n:
        raise UserError(
            f"n={n}: the model drew {len(found)} lines that are new, and then {FRUITLESS * max(n, AT_ONCE)} that are "
            "not: ask for fewer, or raise the temperature"
        )
    return [*found][:n]
