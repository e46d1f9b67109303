"""Laws of the KL table: each closed form is E_q[log q - log p], never negative, and zero from p to p."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.distributions import Distribution
from torch.distributions import kl_divergence as torch_kl

import zoo_codes
import zoo_geometry
from nelbo.distributions import (
    KL_TABLE,
    Bernoulli,
    DiagonalNormal,
    StandardNormal,
    has_kl,
    kl_divergence,
    register_kl,
    sample_and_log_prob,
)
from zoo import assert_mean

Pair = tuple[Distribution, Distribution]


def _normal(seed: int, *shape: int, scale: tuple[int, ...] | None = None) -> DiagonalNormal:
    draw = torch.Generator().manual_seed(seed)
    loc = torch.randn(*shape, generator=draw, dtype=torch.float64)
    return DiagonalNormal(loc, 0.5 * torch.randn(scale or shape, generator=draw, dtype=torch.float64))


def _standard(dim: int) -> StandardNormal:
    return StandardNormal(dim, torch.zeros((), dtype=torch.float64))


# name -> (q, p): each row of the table at least once; batches and broadcasts, too.
PAIRS: dict[str, Callable[[], Pair]] = {
    "diagonal, standard": lambda: (_normal(0, 4, 3), _standard(3)),
    "diagonal of one scale, standard": lambda: (_normal(1, 4, 3, scale=(1,)), _standard(3)),
    "diagonal without batch, standard": lambda: (_normal(2, 3), _standard(3)),
    "standard, standard": lambda: (_standard(3), _standard(3)),
    "diagonal, diagonal": lambda: (_normal(3, 4, 3), _normal(4, 4, 3)),
    "diagonal, one diagonal for all": lambda: (_normal(5, 4, 3), _normal(6, 3)),
    "diagonals of one scale": lambda: (_normal(7, 4, 3, scale=(1,)), _normal(8, 4, 3, scale=(1,))),
    **zoo_codes.PAIRS,
    **zoo_geometry.PAIRS,
}
NAMES = ["loc", "log_scale", "logits", "scale_tril", "factor", "concentration", "rate"]
over_pairs = pytest.mark.parametrize("name", PAIRS)


@over_pairs
def test_closed_form_is_monte_carlo(name: str) -> None:
    torch.manual_seed(0)
    q, p = PAIRS[name]()
    z, log_q = sample_and_log_prob(q, (100_000,))
    closed = kl_divergence(q, p)
    assert closed.shape == torch.broadcast_shapes(q.batch_shape, p.batch_shape)
    gap = log_q - p.log_prob(z)
    assert (gap.std(0) / len(gap) ** 0.5).max() < 0.05
    assert_mean(gap, closed)


@over_pairs
def test_never_negative_and_zero_only_to_itself(name: str) -> None:
    q, p = PAIRS[name]()
    closed = kl_divergence(q, p)
    assert (closed >= 0).all()
    if type(q) is not type(p) or q is not p:
        same = type(q) is type(p) and type(q) in zoo_geometry.UNIFORM
        assert same == bool((closed == 0).all())
    for d in (d for d in (q, p) if has_kl(d, d)):
        torch.testing.assert_close(kl_divergence(d, d), torch.zeros(d.batch_shape, dtype=torch.float64))


@over_pairs
def test_agrees_with_torch(name: str) -> None:
    q, p = PAIRS[name]()
    if name in zoo_codes.PAIRS:
        torch.testing.assert_close(kl_divergence(q, p), zoo_codes.oracle_kl(q, p))
        return
    if name in zoo_geometry.PAIRS:
        torch.testing.assert_close(kl_divergence(q, p), zoo_geometry.oracle_kl(q, p))
        return
    theirs = torch_kl(*(torch.distributions.Normal(d.mean, d.stddev) for d in (q, p))).sum(-1)
    torch.testing.assert_close(kl_divergence(q, p), theirs)


@over_pairs
def test_gradient_is_that_of_the_difference_quotient(name: str) -> None:
    q, p = PAIRS[name]()
    leaves = [d.__dict__[n].requires_grad_() for d in (q, p) for n in NAMES if n in d.__dict__]
    if leaves:
        assert torch.autograd.gradcheck(lambda *_: kl_divergence(q, p), tuple(leaves))


def test_every_row_of_the_table_is_tried() -> None:
    tried = {(type(q), type(p)) for q, p in (make() for make in PAIRS.values())}
    assert tried | zoo_codes.RELAXED == {row for row in KL_TABLE if row[1] is not Distribution}, (
        "a new row of the table needs a pair here"
    )


def test_unknown_pair_is_refused_by_name() -> None:
    q, p = Bernoulli(torch.zeros(2)), _standard(2)
    assert not has_kl(q, p)
    with pytest.raises(NotImplementedError, match=r"Bernoulli \|\| StandardNormal"):
        kl_divergence(q, p)


def test_a_family_is_not_taken_for_its_parent() -> None:
    """The table goes by exact type: a subclass may have another density."""

    class Shifted(DiagonalNormal):
        pass

    q = Shifted(torch.zeros(2), torch.zeros(2))
    assert not has_kl(q, _standard(2))
    try:
        register_kl(Shifted, StandardNormal)(lambda q, p: q.loc.sum(-1))
        assert has_kl(q, _standard(2)) and kl_divergence(q, _standard(2)) == 0
    finally:
        KL_TABLE.pop((Shifted, StandardNormal), None)
