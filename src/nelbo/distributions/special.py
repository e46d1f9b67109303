"""Special functions that float32 would lose to cancellation."""

from __future__ import annotations

import torch
from torch import Tensor


def log_rising(a: Tensor, x: Tensor) -> Tensor:
    """log Gamma(a + x) - log Gamma(a) for a > 0, x >= 0: by Stirling's series where a is large.

        (a - 1/2) log(1 + x/a) + x log(a + x) - x + c(a + x) - c(a),   c(a) = 1 / (12 a) - 1 / (360 a^3)

    >>> round(log_rising(torch.tensor(1e6), torch.tensor(2.0)).item(), 3)  # log(1e6) + log(1e6 + 1)
    27.631
    """
    small = a < 50
    near, far = torch.where(small, a, torch.ones_like(a)), torch.where(small, torch.full_like(a, 50), a)
    total = far + x
    series = (
        (far - 0.5) * torch.log1p(x / far)
        + x * total.log()
        - x
        + (1 / total - 1 / far) / 12
        - (total**-3 - far**-3) / 360
    )
    return torch.where(small, torch.lgamma(near + x) - torch.lgamma(near), series)
