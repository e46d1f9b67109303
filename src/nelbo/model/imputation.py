"""Imputation: missing cells of a table's rows, or elements of series, given the observed ones.

    p(x_m | x_o) = integral of p(x_m | x_o, z) p(z | x_o) dz,

where z ~ p(z | x_o) is one of K draws of q(z | x_o), taken with probability in proportion to its importance weight

    w_k = p(x_o | z_k) p(z_k) / q(z_k | x_o)

Source: Rubin (1987), The Calculation of Posterior Distributions by Data Augmentation: Comment (sampling importance
resampling); Mattei, Frellsen (2019), MIWAE: Deep Generative Modelling and Imputation of Incomplete Data Sets.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from nelbo.data import Schema, tables
from nelbo.distributions import noise
from nelbo.distributions.autoregressive_table import Bins
from nelbo.vae import VAE, Trace

DRAWS = 16
"""Draws of q(z | x_o) for each row, K above."""

POINTS = (np.arange(32) + 0.5) / 32
"""Where in a bin its mean in the data's units, and its spread, are taken at."""


def sample_missing(vae: VAE, x: Tensor, c: Tensor | None = None, gaps: bool = False) -> Tensor:
    """Rows `(batch, *shape)` with each missing element (NaN) drawn from the model given the others.

    With `gaps`, as in whole samples, a table's cell may be drawn to be missing.
    """
    d, log_weight = _weighed(vae, x, c)
    u = noise.uniform(torch.Size(), torch.Size([len(x)]), torch.Size(), log_weight)
    chosen = noise.categorical(log_weight.softmax(0).t(), u)
    return d.fill(x, chosen, gaps)


def expected_values(vae: VAE, x: Tensor, schema: Schema, c: Tensor | None = None) -> Tensor:
    """Mean and uncertainty of what rows `(batch, *shape)` lack: `(batch, 2, *shape)`.

    For a table, first x filled, with the mean of numbers (in the data's units) and the likeliest category; then the
    standard deviation of numbers in the data's units (days for a date, seconds for a duration or a time of day), and
    for a category the probability that the likeliest is wrong; 0 for an observed cell. For series, the mean and the
    standard deviation, in the data's units.
    """
    d, log_weight = _weighed(vae, x, c)
    weight = log_weight.softmax(0).unsqueeze(-1)
    if (marginals := d.marginals(x)) is None:
        weight = weight.unsqueeze(-1)
        mean = (weight * d.mean).sum(0)
        variance = (weight * (d.variance + (d.mean - mean).square())).sum(0)
        spread = (torch.tensor(schema.scale).to(x) * variance.sqrt()).masked_fill(~x.isnan(), 0.0)
        return torch.stack([schema.decode(torch.where(x.isnan(), mean, x)), spread], 1)
    filled, uncertainty = _moments([(weight * masses).sum(0) for masses in marginals], d.net.cells, schema)
    missing, x = x.isnan().cpu().numpy(), x.cpu()
    both = np.stack([np.where(missing, filled, x.numpy()), np.where(missing, uncertainty, 0.0)], 1)
    return torch.from_numpy(both.astype(np.float32))


def expected_cells(vae: VAE, h: Tensor, schema: Schema) -> Tensor:
    """Expected values of all cells given h `(batch, features)` alone, `(batch, columns)`; see `expected_values`."""
    d: Any = vae.decode(h)
    d, nothing = d.without_gaps(), h.new_full((len(h), *schema.shape), torch.nan)
    return torch.from_numpy(_moments(d.marginals(nothing), d.net.cells, schema)[0].astype(np.float32))


def _moments(marginals: list[Tensor], cells: Bins, schema: Schema) -> tuple[np.ndarray, np.ndarray]:
    """Mean and uncertainty of each column, `(batch, columns)` each, from the masses of its codes."""
    filled, uncertainty = np.empty((2, len(marginals[0]), len(marginals)))
    for j, masses in enumerate(marginals):
        mass = masses.double().cpu().numpy()
        if j not in cells.numbers:
            filled[:, j], uncertainty[:, j] = mass.argmax(-1), 1 - mass.max(-1)
            continue
        column, is_open = schema.feature_columns[j], cells.low[j, : mass.shape[1]].isfinite()
        low, high = (ends[j, : mass.shape[1]][is_open].double().cpu().numpy() for ends in (cells.low, cells.high))
        mass = mass[:, is_open.cpu().numpy()]
        points = tables.inverse_transform(column, low + POINTS[:, None] * (high - low))
        middle, within = points.mean(0), points.var(0)
        mean = mass @ middle
        own = tables.UNITS["D" if column.kind == "datetime" else "s"]
        size = tables.UNITS[column.unit] / own if column.unit else 1.0
        uncertainty[:, j] = size * np.sqrt((mass * (within + (middle - mean[:, None]) ** 2)).sum(-1))
        filled[:, j] = tables.transform(column, mean)
    return filled, uncertainty


def _weighed(vae: VAE, x: Tensor, c: Tensor | None) -> tuple[Any, Tensor]:
    """p(x | z) under `DRAWS` draws of z for each row, and their log importance weights `(draws, batch)`."""
    trace = vae(x, c, (DRAWS,))
    d: Any = trace.likelihood
    d = d.without_gaps()
    return d, Trace(x, d, trace.levels).log_weight
