"""-log p(x) by importance sampling, at the speed of the decoder.

    -log p(x) <= -E log (1/K) sum_k w_k,   w_k = p(x | z_k) p(z_k) / q(z_k | x),   z_k ~ q(z | x)

The bound falls to -log p(x) as K grows. A few data with many draws each are decoded at a time, so that what is made of
a draw is still in the processor's cache when it is scored; data are taken in a random order, so that the mean of those
done is an estimate of the mean of all, with a standard error, at any time.

Source: Burda, Grosse, Salakhutdinov (2016), Importance Weighted Autoencoders.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from nelbo.data import Dataset, batches
from nelbo.training.tape import Taped
from nelbo.vae import VAE
from nelbo.watch import watched

ROWS = 1000  # decoded at once
DRAWS = 100  # of one datum at once
REPORT_SECONDS = 0.25


@dataclass(frozen=True)
class Estimate:
    """The mean of the scores of `done` of `total` data, nats, and its standard error."""

    mean: float
    error: float
    done: int
    total: int


def scores(
    vae: VAE, rows: Dataset, c: Tensor | None, samples: int, report: Callable[[Estimate], None] | None = None
) -> Tensor:
    """The bound of each datum from `samples` draws, `(n,)` nats; `report` hears of the estimate as it grows."""
    draws = [min(DRAWS, samples - first) for first in range(0, samples, DRAWS)]
    device = next(vae.parameters()).device
    order = torch.arange(len(rows)) if samples == 1 else torch.randperm(len(rows))
    found, done, told = torch.empty(len(rows)), 0, time.monotonic()
    weigh = Taped(lambda x, c, k: [vae(x, c, (k,)).log_weight.logsumexp(0)])
    pieces = order.split(max(1, ROWS // draws[0]))
    with torch.no_grad():
        parts = zip(pieces, batches(rows, pieces), strict=True)
        for index, x in parts if report else watched(parts, "scoring", len(pieces)):
            given = None if c is None else c[index].to(device)
            sums = [weigh(x.to(device), given, k)[0] for k in draws]
            found[index] = (math.log(samples) - torch.stack(sums).logsumexp(0)).cpu()  # type: ignore[arg-type]
            done += len(index)
            if report and (done == len(rows) or time.monotonic() - told > REPORT_SECONDS):
                told = time.monotonic()
                report(estimate(found[order[:done]], len(rows)))
    return found


def estimate(values: Tensor, total: int) -> Estimate:
    """Mean and standard error of the scores found so far.

    >>> estimate(torch.tensor([1.0, 3.0]), 10)
    Estimate(mean=2.0, error=1.0, done=2, total=10)
    """
    values = values.double()
    error = values.std().item() / math.sqrt(len(values)) if len(values) > 1 else math.inf
    return Estimate(values.mean().item(), error, len(values), total)
