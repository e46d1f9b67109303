"""Bugs that others shipped, planted in a copy of the part: the law that ours passes must reject each.

The laws are the functions of test_bounds.py and test_objectives.py themselves.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from test_bounds import has_the_gradient_of_iwae, is_the_expected_log_ratio, obeys_the_order
from test_objectives import equals_the_aggregate, is_unbiased
from torch import Tensor

from nelbo import objectives
from nelbo.distributions import kl_divergence
from nelbo.objectives import Losses, WeightedTerms, distortion, rate
from nelbo.objectives.bounds import Bound, iwae
from nelbo.objectives.terms import Weights, minibatch_stratified_sampling
from nelbo.vae import VAE, Trace
from zoo import data, single_level_vae


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def assert_law_fails(law: Callable[[], None]) -> None:
    with pytest.raises(AssertionError):
        law()


def weighted_mean_of_logs(trace: Trace) -> Tensor:
    """pythae: sum_i s_i log w_i, which tends to log p(x) + KL(p(z | x) || q), above log p(x)."""
    return (trace.log_weight.softmax(-2) * trace.log_weight).sum(-2)


def worst_sample(trace: Trace) -> Tensor:
    """PyTorch-VAE: shares from the negated log-weights, so that the worst draw counts most."""
    return ((-trace.log_weight).softmax(-2) * trace.log_weight).sum(-2)


def wrong_sign(trace: Trace) -> Tensor:
    return -iwae(trace)


def sum_for_mean(trace: Trace) -> Tensor:
    """The log of the sum of the weights, without 1/k."""
    return trace.log_weight.logsumexp(-2)


def of_log_ratios(trace: Trace) -> Tensor:
    """q and p exchanged in the weight."""
    return (trace.log_weight + 2 * (trace.levels[0].log_q - trace.levels[0].log_p)).logsumexp(-2)


@pytest.mark.parametrize("bound", [weighted_mean_of_logs, worst_sample, wrong_sign, sum_for_mean, of_log_ratios])
def test_order_of_bounds(bound: Bound) -> None:
    assert_law_fails(lambda: obeys_the_order(bound))


def undetached(trace: Trace) -> Tensor:
    """DReG with the score left in: shares at fixed value on the whole log-weight, squared for all parameters."""
    share = trace.log_weight.detach().softmax(-2)
    return (share.square() * trace.log_weight).sum(-2)


@pytest.mark.parametrize("bound", [undetached, objectives.stl, weighted_mean_of_logs, worst_sample])
def test_gradient_of_bounds(bound: Bound) -> None:
    assert_law_fails(lambda: has_the_gradient_of_iwae(bound))


def half_lost(trace: Trace) -> Tensor:
    """The ladder's KL of two Normals without the factor 1/2 on its quadratic terms, below the first level."""
    total = trace.levels[0].kl
    for level in trace.levels[1:]:
        q, p = level.q, level.p
        ratio, shift = (q.stddev / p.stddev).square(), ((q.mean - p.mean) / p.stddev).square()
        total = total + (ratio + shift - 1 - 0.5 * ratio.log()).sum(-1)
    return total


def half_kept(trace: Trace) -> Tensor:
    """The same expression, right."""
    total = trace.levels[0].kl
    for level in trace.levels[1:]:
        q, p = level.q, level.p
        ratio, shift = (q.stddev / p.stddev).square(), ((q.mean - p.mean) / p.stddev).square()
        total = total + 0.5 * (ratio + shift - 1 - ratio.log()).sum(-1)
    return total


def clamped(trace: Trace) -> Tensor:
    """PyOD: the KL held at 0."""
    return trace.rate.clamp(max=0)


def clamped_draws(trace: Trace) -> Tensor:
    """Each draw's log-ratio held above 0, which it need not be."""
    return torch.stack([(level.log_q - level.log_p).clamp_min(0) for level in trace.levels]).sum(0)


def first_level_only(trace: Trace) -> Tensor:
    return trace.levels[0].kl


def reversed_divergence(trace: Trace) -> Tensor:
    last = trace.levels[-1]
    ours = trace.rate - last.kl
    return ours + (kl_divergence(last.p, last.q) if len(trace.levels) > 1 else last.kl)


@pytest.mark.parametrize("wrong", [half_lost, clamped, clamped_draws, first_level_only, reversed_divergence])
def test_rate(wrong: Callable[[Trace], Tensor]) -> None:
    is_the_expected_log_ratio(half_kept)
    assert_law_fails(lambda: is_the_expected_log_ratio(wrong))


def wrong_column(batch: int, n: int, like: Tensor) -> Tensor:
    """The reference code's matrix: flat strides of the batch's size put 1/n beside the diagonal, not on it."""
    others = batch - 1
    w = like.new_full((batch, batch), 1 / others)
    w.view(-1)[:: others + 1] = 1 / n
    w.view(-1)[1 :: others + 1] = (n - others) / (n * others)
    w[others - 1, 0] = (n - others) / (n * others)
    return w.log()


def as_published(batch: int, n: int, like: Tensor) -> Tensor:
    """Appendix C.2 of the paper as it stands: 1/n on the diagonal, the last of the others to the side of it."""
    others = batch - 1
    w = like.new_full((batch, batch), 1 / others)
    rows = torch.arange(batch)
    w[rows, rows] = 1 / n
    w[rows, (rows + 1) % batch] = (n - others) / (n * others)
    return w.log()


def without_own(batch: int, n: int, like: Tensor) -> Tensor:
    """All data of the batch alike, as if the draw's own datum were there by chance."""
    return like.new_full((batch, batch), 1 / batch).log()


def mean_mass(weights: Weights, batch: int = 4, n: int = 10) -> float:
    """E[q^ / q] where all posteriors are equal: the sum of a row's weights, over rows."""
    return weights(batch, n, torch.zeros((), dtype=torch.float64)).exp().sum(1).mean().item()


def test_stratified_weights() -> None:
    """1 for ours and for the published formula; the code that everyone copied has another sum or another place."""
    assert mean_mass(minibatch_stratified_sampling) == pytest.approx(1) == mean_mass(as_published)
    assert abs(mean_mass(wrong_column) - 1) > 0.01
    assert_law_fails(lambda: is_unbiased(wrong_column))
    assert_law_fails(lambda: is_unbiased(without_own))
    assert_law_fails(lambda: equals_the_aggregate(wrong_column))


class OtherBetaInEvaluation(WeightedTerms):
    """PyTorch-VAE: validation weighs the KL otherwise than training."""

    def weight(self, term: objectives.Term) -> float:
        return super().weight(term) if self.training or term is not rate else 1.0


def has_one_loss(make: Callable[[], WeightedTerms]) -> None:
    """With the same draws, the loss in evaluation is the loss of training at its end."""
    objective, vae = make(), single_level_vae().double()
    x, seen = data(vae.likelihood.support, 6, (1, 4, 4)), []
    for mode in (True, False):
        torch.manual_seed(4)
        losses: Losses = objective.train(mode)(vae, x)
        seen.append(losses.losses["vae"])
    torch.testing.assert_close(seen[0], seen[1])


def test_evaluation_weighs_as_training_does() -> None:
    terms = {distortion: 1.0, rate: 4.0}
    has_one_loss(lambda: WeightedTerms(terms))
    assert_law_fails(lambda: has_one_loss(lambda: OtherBetaInEvaluation(terms)))
    assert isinstance(single_level_vae(), VAE)
