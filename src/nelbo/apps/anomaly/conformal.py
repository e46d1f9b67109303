"""How odd is odd: scores turned into p-values by ranking them among those of rows known to be usual.

    p = (1 + #{calibration scores >= s}) / (n + 1)

Where the datum is exchangeable with the n calibration rows, P(p <= a) <= a for every a, whatever the model and the
score: a bad model finds fewer odd data, but raises no more false alarms. That rate is over draws of the calibration
rows too: with a given set of them, it varies about a with a standard deviation of about sqrt(a (1 - a) / n).

Libraries of conformal prediction were weighed; this is one formula.

Source: Vovk, Gammerman, Shafer (2005), Algorithmic Learning in a Random World; Bates, Candès, Lei, Romano, Sesia
(2023), Testing for Outliers with Conformal p-values.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from nelbo.errors import UserError


def p_values(calibration: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The conformal p-value of each score, `(k,)`, from calibration scores `(n,)`; the higher the score, the lower.

    >>> p_values(np.array([1.0, 2.0, 3.0]), np.array([0.0, 2.5, 9.0])).tolist()
    [1.0, 0.5, 0.25]
    """
    below = np.searchsorted(np.sort(calibration), scores, side="left")
    return (1 + len(calibration) - below) / (1 + len(calibration))


def allowed_rank(n: int, alpha: float) -> int:
    """How many ranks among n calibration rows and a datum are odd at this rate: floor(a (n + 1)), 1 or more.

    Raises `UserError` for a rate outside (0, 1), and for one that so few rows cannot tell.

    >>> alarms(99, 0.29)
    29
    """
    if not 0 < alpha < 1:
        raise UserError(f"alpha={alpha}: give a rate above 0 and below 1, such as 0.01")
    rate = Fraction(str(float(alpha)))  # 0.29 is 29/100, which no float is
    if rate * (n + 1) < 1:
        raise UserError(
            f"alpha={alpha}: {n} calibration rows cannot tell so small a rate: give "
            f"{math.ceil(1 / rate) - 1} or more, or a rate of {math.ceil(1e4 / (n + 1)) / 1e4:g} or more"
        )
    return math.floor(rate * (n + 1))


def threshold(calibration: np.ndarray, alpha: float) -> float:
    """The score above which, and only there, p <= `alpha`: the ceil((1 - a)(n + 1))-th least of `(n,)`.

    Raises `UserError` as `allowed_rank` does.

    >>> threshold(np.arange(1.0, 20.0), 0.1)
    18.0
    """
    return float(np.sort(calibration)[len(calibration) - allowed_rank(len(calibration), alpha)])
