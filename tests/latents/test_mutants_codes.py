"""Bugs that others shipped, or nearly, planted in a copy: each is rejected by the law that is there for it."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import test_codes as laws
import torch
from torch import Tensor
from torch.distributions import constraints

from nelbo import distributions, nets, posteriors
from nelbo.config.registry import Component
from nelbo.distributions import RelaxedBernoulli, RelaxedOneHot
from nelbo.distributions.base import ConditionalDistribution
from nelbo.latents import FSQ, QuantizedLatent, QuantizerOutput, ResidualVectorQuantizer, VectorQuantizer, quantized
from nelbo.latents.quantizers import straight_through
from nelbo.nets.transformer import CausalConv, CausalTransformer


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


class EveryStageStraight(ResidualVectorQuantizer):
    """Sums stages that are each straight-through: the gradient is multiplied by their number."""

    def forward(self, e: Tensor) -> QuantizerOutput:
        rest, values = e, []
        for stage in self.stages:
            values.append(stage(rest).values)
            rest = rest - values[-1].detach()
        return super().forward(e)._replace(values=torch.stack(values).sum(0))


class NoGradient(VectorQuantizer):
    """Gives the code without the straight-through gradient."""

    def forward(self, e: Tensor) -> QuantizerOutput:
        return super().forward(e)._replace(values=self.table[super().forward(e).indices[:, 0]] + 0 * e)


class TangentShift(FSQ):
    """Shifts even levels by tan where the inverse of tanh is meant."""

    def bound(self, e: Tensor) -> Tensor:
        half = (self.levels.to(e.dtype) - 1) * (1 + 1e-3) / 2
        offset = (self.levels % 2 == 0).to(e.dtype) / 2
        return torch.tanh(e + torch.tan(offset / half)) * half - offset


class SharedDigits(FSQ):
    """A basis of the levels themselves, in which two codes have one index."""

    def __init__(self, levels: tuple[int, ...]) -> None:
        super().__init__(levels)
        self.basis = torch.tensor([1, *levels[1:]])


class DotProduct(VectorQuantizer):
    """The code of the largest dot product: the nearest only where all codes are of one length."""

    def forward(self, e: Tensor) -> QuantizerOutput:
        nearest = (e @ self.table.T).argmax(-1)
        return QuantizerOutput(straight_through(e, self.table[nearest]), nearest.unsqueeze(-1), e.new_zeros(len(e)))


class SwappedDecay(VectorQuantizer):
    """Weighs the batch by the decay, and the past by the rest."""

    def __init__(self, codebook_size: int, dim: int, decay: float, restart_threshold: float) -> None:
        super().__init__(codebook_size, dim, 1 - decay, restart_threshold=restart_threshold)


class NeverDivided(VectorQuantizer):
    """Takes the average of sums for the code, undivided by how many chose it."""

    def _learn(self, e: Tensor, nearest: Tensor) -> None:
        super()._learn(e, nearest)
        self.table.copy_(self.sums)


class NoFactorial(RelaxedOneHot):
    """Leaves (n - 1)! out of the density."""

    def log_prob_logs(self, log_y: Tensor) -> Tensor:
        return super().log_prob_logs(log_y) - math.lgamma(self.classes)


class OneTemperatureShort(RelaxedOneHot):
    """log T once, where it is n - 1 times."""

    def log_prob_logs(self, log_y: Tensor) -> Tensor:
        return super().log_prob_logs(log_y) - (self.classes - 2) * math.log(self.temperature)


class SaysItIsDiscrete(RelaxedBernoulli):
    """A relaxed draw that would be weighed under a discrete prior."""

    support = constraints.boolean


class Disguised(posteriors.RelaxedBernoulli):
    def forward(self, *context: Tensor | None) -> RelaxedBernoulli | distributions.Bernoulli:
        q = super().forward(*context)
        return SaysItIsDiscrete(q.logits, q.temperature) if isinstance(q, RelaxedBernoulli) else q


class RelaxedInEval(posteriors.RelaxedBernoulli):
    """Draws relaxed at evaluation, too."""

    def forward(self, *context: Tensor | None) -> RelaxedBernoulli:
        return RelaxedBernoulli(self.logits(*context), self.logits.temperature.value)


class Unshifted(CausalTransformer):
    """Gives position i its own code."""

    def forward(self, codes: Tensor, *context: Tensor) -> Tensor:
        return self.head(self.blocks(self.place + self.embed(codes)))


def seeing_centre() -> CausalConv:
    """A PixelCNN whose first mask lets the centre through."""
    net = CausalConv((2, 2), laws.CODES, 6, 2)
    net.stem.mask[3, 3] = 1
    return net


def blind() -> CausalTransformer:
    """A transformer that reads nothing: every position is independent."""
    net = CausalTransformer(laws.POSITIONS, laws.CODES, 8, 1, 2)
    net.embed = torch.nn.Embedding(laws.CODES, 8, _weight=torch.zeros(laws.CODES, 8))
    net.embed.forward = lambda codes: torch.zeros(*codes.shape, 8)  # type: ignore[method-assign]
    return net


class CommitmentAsRate(QuantizedLatent):
    """Adds the commitment loss to the KL."""

    def infer(self, x, c=None, shape=()):  # type: ignore[no-untyped-def]
        h, (level,) = super().infer(x, c, shape)
        level.log_q = level.log_q + level.penalty
        return h, (level,)


Law = Callable[[], None]
MUTANTS: dict[str, Law] = {
    "each stage straight-through": lambda: laws.law_straight_through(
        EveryStageStraight([VectorQuantizer(6, 3), VectorQuantizer(6, 3)])
    ),
    "no straight-through": lambda: laws.law_straight_through(NoGradient(6, 3)),
    "fsq: tan for atanh": lambda: laws.law_fsq(TangentShift((8, 6, 3))),
    "fsq: indices collide": lambda: laws.law_fsq(SharedDigits((8, 6, 3))),
    "dot product for distance": lambda: laws.law_nearest(DotProduct(laws.K, laws.DIM)),
    "decay swapped": lambda: laws.law_moving_average(SwappedDecay(laws.K, laws.DIM, 0.9, 0.0), 0.9),
    "average not divided": lambda: laws.law_moving_average(
        NeverDivided(laws.K, laws.DIM, 0.9, restart_threshold=0.0), 0.9
    ),
    "concrete without (n - 1)!": lambda: laws.law_density_integrates(lambda lo, t: NoFactorial(lo, 3, t)),
    "concrete with log T once": lambda: laws.law_density_integrates(lambda lo, t: OneTemperatureShort(lo, 3, t)),
    "relaxed says it is discrete": lambda: laws.law_relaxed_is_not_weighed(_encoded(Disguised)),
    "relaxed in eval": lambda: laws.law_relaxed_is_not_weighed(_encoded(RelaxedInEval)),
    "transformer sees itself": lambda: laws.law_causal(Unshifted(laws.POSITIONS, laws.CODES, 8, 1, 2)),
    "transformer sees nothing": lambda: laws.law_causal(blind()),
    "pixelcnn sees its centre": lambda: laws.law_causal(seeing_centre()),
}


def _encoded(cls: type[posteriors.RelaxedBernoulli]) -> Callable[[], ConditionalDistribution]:
    return lambda: cls(nets.MLPEncoder((7,), 4, []), 1)


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_rejected(name: str) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        MUTANTS[name]()


def test_a_commitment_loss_is_no_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantized, "QuantizedLatent", CommitmentAsRate)
    with pytest.raises(AssertionError):
        laws.law_rate_is_log_k(Component("latent", "vq", groups=3, codebook_size=5, dim=2), 3, 5)
