"""The learned metric of the latent space: a posterior that moves along it, and the prior that it gives."""

from __future__ import annotations

from dataclasses import dataclass, field

from nelbo import conditionals
from nelbo.errors import UserError
from nelbo.registry import register
from nelbo.spec.flows import HamiltonianPosterior
from nelbo.spec.learned_priors import DataPrior
from nelbo.spec.nets import MLP, Net
from nelbo.spec.posteriors import Posterior
from nelbo.spec.priors import Prior


@register(Posterior, "riemannian")
@dataclass(frozen=True)
class RiemannianPosterior(Posterior):
    """A diagonal Normal moved by leapfrog steps in the metric that the net `metric` learns of `rows` training rows.

    `steps`, `step` and `temper` are as without a metric; `temperature` is the width T around each row's code, `floor`
    the lambda far from all, `rounds` the fixed-point iterations of an implicit line.
    """

    steps: int = 3
    step: float = 0.01
    temper: float = 0.3
    metric: Net = field(default_factory=lambda: MLP((100,)))
    rows: int = 100
    temperature: float = 1.5
    floor: float = 0.01
    rounds: int = 3

    def __post_init__(self) -> None:
        self._flat()
        if min(self.rows, self.rounds) < 1:
            raise UserError(f"rows={self.rows}, rounds={self.rounds}: give 1 or more")
        if min(self.temperature, self.floor) <= 0:
            raise UserError(f"temperature={self.temperature}, floor={self.floor}: give numbers above 0")

    def _flat(self) -> HamiltonianPosterior:
        return HamiltonianPosterior(self.steps, self.step, self.temper)

    def build(self, net: Net, shape: tuple[int, ...], dim: int, context: int = 0) -> conditionals.Conditional:
        flat = self._flat().build(net, shape, dim, context)
        assert isinstance(flat, conditionals.HamiltonianPosterior)
        roots = self.metric.encoder(shape, conditionals.RiemannianPosterior.features(dim))
        rows = (self.rows, *shape)
        return conditionals.RiemannianPosterior(flat, roots, rows, context, self.temperature, self.floor, self.rounds)


@register(Prior, "metric")
@dataclass(frozen=True)
class MetricPrior(DataPrior):
    """Where the metric of a Riemannian posterior has little volume; it draws and has no density, so fit it last."""

    moves: int = 100

    def __post_init__(self) -> None:
        if self.moves < 1:
            raise UserError(f"moves={self.moves}: give 1 or more")

    def build_over(self, shape: tuple[int, ...], context: int = 0) -> conditionals.Conditional:
        return conditionals.MetricPrior(self.moves)
