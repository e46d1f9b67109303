"""The missing cells of a table's rows, given those that are there.

    p(x_m | x_o) = integral of p(x_m | x_o, z) p(z | x_o) dz,

where z ~ p(z | x_o) is one of K draws of q(z | x_o), taken with probability in proportion to its importance weight

    w_k = p(x_o | z_k) p(z_k) / q(z_k | x_o)

Source: Rubin (1987), The Calculation of Posterior Distributions by Data Augmentation: Comment (sampling importance
resampling); Mattei, Frellsen (2019), MIWAE: Deep Generative Modelling and Imputation of Incomplete Data Sets.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from nelbo.data import Schema, tables
from nelbo.distributions import CellByCell, noise
from nelbo.distributions.cells import Bins
from nelbo.vae import VAE

DRAWS = 16
"""Draws of q(z | x_o) for each row, K above."""


def complete(vae: VAE, x: Tensor) -> Tensor:
    """Rows `(batch, columns)` with each missing cell (NaN) drawn from the model given the other cells."""
    d, log_weight = _weighed(vae, x)
    sums = log_weight.softmax(0).cumsum(0).t().contiguous()
    u = noise.uniform(torch.Size(), torch.Size([len(x)]), torch.Size([1]), sums)
    chosen = torch.searchsorted(sums, u * sums[:, -1:], right=True).squeeze(1).clamp_max(len(log_weight) - 1)
    begun = d.begun[chosen, torch.arange(len(x), device=x.device)]
    return CellByCell(d.net, begun, subset=False).complete(x)


def expect(vae: VAE, x: Tensor, schema: Schema) -> Tensor:
    """What to expect in missing cells of rows `(batch, columns)`, and how unsure that is: `(batch, 2, columns)`.

    First x filled, with the mean (in the data's units) of numbers and the likeliest of categories; then the standard
    deviation of numbers in the data's units, and the probability of another category; 0 for a cell that is there.
    """
    d, log_weight = _weighed(vae, x)
    weight = log_weight.softmax(0).unsqueeze(-1)
    filled, unsure = _moments([(weight * masses).sum(0) for masses in d.marginals(x)], d.net.cells, schema)
    missing, x = x.isnan().cpu().numpy(), x.cpu()
    both = np.stack([np.where(missing, filled, x.numpy()), np.where(missing, unsure, 0.0)], 1)
    return torch.from_numpy(both.astype(np.float32))


def expect_given(vae: VAE, h: Tensor, schema: Schema) -> Tensor:
    """What to expect in each cell given h `(batch, features)` alone, `(batch, columns)`; see `expect`."""
    d = vae.decode(h)
    assert isinstance(d, CellByCell)
    nothing = h.new_full((len(h), *schema.shape), torch.nan)
    return torch.from_numpy(_moments(d.marginals(nothing), d.net.cells, schema)[0].astype(np.float32))


def _moments(marginals: list[Tensor], cells: Bins, schema: Schema) -> tuple[np.ndarray, np.ndarray]:
    """What to expect in each column and how unsure that is, `(batch, columns)` each, from the masses of its codes."""
    filled, unsure = np.empty((2, len(marginals[0]), len(marginals)))
    for j, masses in enumerate(marginals):
        mass = masses.double().cpu().numpy()
        if j not in cells.numbers:
            filled[:, j], unsure[:, j] = mass.argmax(-1), 1 - mass.max(-1)
            continue
        column, is_open = schema.modelled[j], cells.low[j, : mass.shape[1]].isfinite()
        low, high = (ends[j, : mass.shape[1]][is_open].double().cpu().numpy() for ends in (cells.low, cells.high))
        mass = mass[:, is_open.cpu().numpy()]
        points = tables.natural(column, np.stack([low, (low + high) / 2, high]))
        middle, within = points.mean(0), points.var(0)
        mean = mass @ middle
        unsure[:, j] = np.sqrt(np.maximum(mass @ (middle**2 + within) - mean**2, 0))
        filled[:, j] = tables.standard(column, mean)
    return filled, unsure


def _weighed(vae: VAE, x: Tensor) -> tuple[CellByCell, Tensor]:
    """p(x | z) under `DRAWS` draws of z for each row, and their log importance weights `(draws, batch)`."""
    trace = vae(x, None, (DRAWS,))
    assert isinstance(trace.likelihood, CellByCell)
    return trace.likelihood, trace.log_weight
