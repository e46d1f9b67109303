"""Laws of the KL table: each closed form is E_q[log q - log p], never negative, and zero from p to p."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Distribution

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
from zoo import PAIRS, assert_mean, over
from zoo.divergences import RELAXED, Pair, oracle_kl
from zoo.spaces import UNIFORM

STANDARD = StandardNormal(2, torch.zeros((), dtype=torch.float64))
NAMES = ["loc", "log_scale", "logits", "scale_tril", "factor", "concentration", "rate"]
over_pairs = over(PAIRS.values(), "pair")


@over_pairs
def test_closed_form_is_monte_carlo(pair: Pair) -> None:
    torch.manual_seed(0)
    q, p = pair.make()
    z, log_q = sample_and_log_prob(q, (100_000,))
    closed = kl_divergence(q, p)
    assert closed.shape == torch.broadcast_shapes(q.batch_shape, p.batch_shape)
    gap = log_q - p.log_prob(z)
    assert (gap.std(0) / len(gap) ** 0.5).max() < 0.05
    assert_mean(gap, closed)


@over_pairs
def test_never_negative_and_zero_only_to_itself(pair: Pair) -> None:
    q, p = pair.make()
    closed = kl_divergence(q, p)
    assert (closed >= 0).all()
    if type(q) is not type(p) or q is not p:
        same = type(q) is type(p) and type(q) in UNIFORM
        assert same == bool((closed == 0).all())
    for d in (d for d in (q, p) if has_kl(d, d)):
        torch.testing.assert_close(kl_divergence(d, d), torch.zeros(d.batch_shape, dtype=torch.float64))


@over_pairs
def test_agrees_with_torch(pair: Pair) -> None:
    q, p = pair.make()
    torch.testing.assert_close(kl_divergence(q, p), oracle_kl(q, p))


@over_pairs
def test_gradient_is_that_of_the_difference_quotient(pair: Pair) -> None:
    q, p = pair.make()
    leaves = [d.__dict__[n].requires_grad_() for d in (q, p) for n in NAMES if n in d.__dict__]
    if leaves:
        assert torch.autograd.gradcheck(lambda *_: kl_divergence(q, p), tuple(leaves))


def test_every_row_of_the_table_is_tried() -> None:
    tried = {(type(q), type(p)) for q, p in (pair.make() for pair in PAIRS.values())}
    assert tried | RELAXED == {row for row in KL_TABLE if row[1] is not Distribution}, (
        "a new row of the table needs a pair here"
    )


def test_unknown_pair_is_refused_by_name() -> None:
    q, p = Bernoulli(torch.zeros(2)), STANDARD
    assert not has_kl(q, p)
    with pytest.raises(NotImplementedError, match=r"Bernoulli \|\| StandardNormal"):
        kl_divergence(q, p)


def test_a_family_is_not_taken_for_its_parent() -> None:
    """The table goes by exact type: a subclass may have another density."""

    class Shifted(DiagonalNormal):
        pass

    q = Shifted(torch.zeros(2), torch.zeros(2))
    assert not has_kl(q, STANDARD)
    try:
        register_kl(Shifted, StandardNormal)(lambda q, p: q.loc.sum(-1))
        assert has_kl(q, STANDARD) and kl_divergence(q, STANDARD) == 0
    finally:
        KL_TABLE.pop((Shifted, StandardNormal), None)
