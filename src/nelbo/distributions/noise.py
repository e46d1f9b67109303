"""The noise of all reparameterised samples.

A distribution written as `z = g(eps)` draws `eps` here and nowhere else. That lets several processes share a batch:
inside `shard(start, stop, total)` each process draws the noise of the whole batch from the same generator state and
keeps its own rows, so that two processes compute the same as one. Inside `shared_noise()` all data of a batch have the
same noise, so that the result for one datum does not depend on the others in its batch. Inside `truncated(bound)`
Normal noise stays within bounds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

_rows: ContextVar[tuple[int, int, int] | None] = ContextVar("rows", default=None)
_common: ContextVar[bool] = ContextVar("common", default=False)
_bound: ContextVar[float | None] = ContextVar("bound", default=None)


@contextmanager
def shard(start: int, stop: int, total: int) -> Iterator[None]:
    """Within it, noise for a batch (its last dimension) is rows `start:stop` of the noise for a batch of `total`."""
    token = _rows.set((start, stop, total))
    try:
        yield
    finally:
        _rows.reset(token)


@contextmanager
def no_sharding() -> Iterator[None]:
    """Within it, no shard: the last batch dimension does not run over data."""
    token = _rows.set(None)
    try:
        yield
    finally:
        _rows.reset(token)


@contextmanager
def shared_noise() -> Iterator[None]:
    """Within it, noise is the same for all data of a batch (its last dimension).

    >>> with shared_noise():
    ...     eps = normal(torch.Size((5,)), torch.Size((3,)), torch.Size((2,)), torch.zeros(()))
    >>> torch.equal(eps[:, 0], eps[:, 2])
    True
    """
    token = _common.set(True)
    try:
        yield
    finally:
        _common.reset(token)


@contextmanager
def truncated(bound: float | None) -> Iterator[None]:
    """Within it, standard Normal noise is conditioned on lying between -bound and bound.

    Args:
        bound: the largest absolute value; None for no bound.

    Source: Brock, Donahue, Simonyan (2019), Large Scale GAN Training for High Fidelity Natural Image Synthesis.

    >>> with truncated(0.5):
    ...     eps = normal(torch.Size((1000,)), torch.Size(), torch.Size(), torch.zeros(()))
    >>> bool(eps.abs().max() <= 0.5)
    True
    """
    token = _bound.set(bound)
    try:
        yield
    finally:
        _bound.reset(token)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Within it, torch's generators start from `seed`; after it, they are as before."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def normal(sample_shape: torch.Size, batch_shape: torch.Size, event_shape: torch.Size, like: Tensor) -> Tensor:
    """Standard Normal noise of shape `(*sample_shape, *batch_shape, *event_shape)`, on the device of `like`.

    >>> normal(torch.Size((5,)), torch.Size((3,)), torch.Size((2,)), torch.zeros(())).shape
    torch.Size([5, 3, 2])
    """
    return _draw(_normal, sample_shape, batch_shape, event_shape, like)


def uniform(sample_shape: torch.Size, batch_shape: torch.Size, event_shape: torch.Size, like: Tensor) -> Tensor:
    """Uniform noise on [0, 1) of shape `(*sample_shape, *batch_shape, *event_shape)`, on the device of `like`."""
    return _draw(torch.rand, sample_shape, batch_shape, event_shape, like)


def categorical(masses: Tensor, u: Tensor, normalized: bool = False) -> Tensor:
    """Draw categories from uniform noise, by inversion of the distribution function.

    Args:
        masses: non-negative masses `(K,)`, or `(*batch, K)` whose batch broadcasts to `lead`.
        u: uniform noise on [0, 1), `(*lead,)`.
        normalized: whether the masses sum to 1; if False they may have any sum.

    Returns:
        whole numbers below K, `(*lead,)`.

    >>> categorical(torch.tensor([1.0, 0.0, 3.0]), torch.tensor([0.0, 0.2, 0.25, 0.9])).tolist()
    [0, 0, 2, 2]
    """
    sums = masses.cumsum(-1)
    u = u if normalized else u * sums[..., -1]
    if masses.dim() == 1:
        indices = torch.searchsorted(sums, u, right=True)
    else:
        sums = sums.expand(*u.shape, -1).contiguous()
        indices = torch.searchsorted(sums, u.unsqueeze(-1).contiguous(), right=True).squeeze(-1)
    return indices.clamp_max(masses.shape[-1] - 1)


def _normal(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """With a bound b, by inversion: Phi^-1 of a number between Phi(-b) and Phi(b)."""
    bound = _bound.get()
    if bound is None:
        return torch.randn(shape, dtype=dtype, device=device)
    u = torch.rand(shape, dtype=dtype, device=device)
    tail = 0.5 * math.erfc(bound / math.sqrt(2))
    return torch.special.ndtri(tail + (1 - 2 * tail) * u).clamp(-bound, bound)


def _draw(draw, sample_shape, batch_shape, event_shape, like: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
    if _common.get() and batch_shape:
        one = draw((*sample_shape, *batch_shape[:-1], 1, *event_shape), dtype=like.dtype, device=like.device)
        return one.expand(*sample_shape, *batch_shape, *event_shape)
    rows = _rows.get()
    if rows is None or not batch_shape:
        return draw((*sample_shape, *batch_shape, *event_shape), dtype=like.dtype, device=like.device)
    start, stop, total = rows
    lead = (*sample_shape, *batch_shape[:-1])
    whole = draw((*lead, total, *event_shape), dtype=like.dtype, device=like.device)
    return whole.narrow(len(lead), start, stop - start)
