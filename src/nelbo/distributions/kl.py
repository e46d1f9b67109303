"""The table of closed-form Kullback-Leibler divergences: one row per pair of families.

    KL(q || p) = E_q[log q(z) - log p(z)], in nats, of the broadcast batch shape

A pair without a row is estimated by Monte Carlo where it is used. A new family adds its row with
`@register_kl(Q, P)`; a test compares every row with Monte Carlo. A row with `Distribution` as P applies to every p.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.distributions import Distribution

KL_TABLE: dict[tuple[type, type], Callable[[Any, Any], Tensor]] = {}


def register_kl(q: type, p: type) -> Callable[[Callable[[Any, Any], Tensor]], Callable[[Any, Any], Tensor]]:
    """Enter the decorated function in the table as KL(q || p)."""

    def enter(function: Callable[[Any, Any], Tensor]) -> Callable[[Any, Any], Tensor]:
        KL_TABLE[q, p] = function
        return function

    return enter


def _row(q: Distribution, p: Distribution) -> Callable[[Any, Any], Tensor] | None:
    return KL_TABLE.get((type(q), type(p))) or KL_TABLE.get((type(q), Distribution))


def has_kl(q: Distribution, p: Distribution) -> bool:
    """Whether KL(q || p) has a closed form here."""
    return _row(q, p) is not None


def kl_divergence(q: Distribution, p: Distribution) -> Tensor:
    """KL(q || p) in closed form, nats of the broadcast batch shape.

    Raises:
        NotImplementedError: if the table has no row for the pair.

    >>> import torch
    >>> from nelbo.distributions import DiagonalNormal, StandardNormal
    >>> q = DiagonalNormal(torch.zeros(3, 2), torch.zeros(3, 2))
    >>> kl_divergence(q, StandardNormal(2, torch.zeros(()))).tolist()
    [0.0, 0.0, 0.0]
    """
    row = _row(q, p)
    if row is None:
        raise NotImplementedError(
            f"no closed-form KL({type(q).__name__} || {type(p).__name__}): estimate it as the mean of log q - log p"
        )
    return row(q, p)
