"""Posteriors over bits and one-hot vectors.

In training a posterior is relaxed, with a fixed or scheduled temperature; in eval() mode it is the
discrete distribution itself, so that KL divergences and importance weights are exact. The prior is always discrete.

Source: Maddison, Mnih, Teh (2017), The Concrete Distribution; Jang, Gu, Poole (2017), Categorical Reparameterization
with Gumbel-Softmax.
"""

from __future__ import annotations

from torch import Tensor, nn

from nelbo import distributions
from nelbo.distributions.base import apply_over_sample_dims
from nelbo.posteriors.base import Posterior
from nelbo.schedules import Schedule, ScheduledValue


class _Logits(nn.Module):
    """Logits of a net, and the current temperature of their relaxation."""

    def __init__(self, net: nn.Module, event_dims: int, temperature: float | Schedule) -> None:
        super().__init__()
        self.net, self.event_dims = net, event_dims
        self.temperature = ScheduledValue(temperature)

    def forward(self, x: Tensor | None, *context: Tensor | None) -> Tensor:
        assert x is not None
        return apply_over_sample_dims(self.net, x, *context, event_dims=self.event_dims)


class RelaxedBernoulli(Posterior):
    """q(z | x, c) = prod_i Bernoulli(z_i; sigmoid(l_i(x, c))), in training a binary concrete.

    Args:
        encoder: maps x `(batch, *shape)` and a context to logits.
        event_dims: number of dimensions of a datum.
        temperature: temperature of the relaxation that is used in training.
    """

    def __init__(self, encoder: nn.Module, event_dims: int, temperature: float | Schedule = 2 / 3) -> None:
        nn.Module.__init__(self)  # the net belongs to the logits, and is saved once
        self.logits = _Logits(encoder, event_dims, temperature)

    def forward(self, *context: Tensor | None) -> distributions.RelaxedBernoulli | distributions.Bernoulli:
        logits = self.logits(*context)
        if self.training:
            return distributions.RelaxedBernoulli(logits, self.logits.temperature.value)
        return distributions.Bernoulli(logits)


class RelaxedOneHot(Posterior):
    """q(z | x, c) over one-hot vectors with the net's logits; in training, concrete distributions.

    Args:
        encoder: maps x `(batch, *shape)` and a context to logits.
        event_dims: number of dimensions of a datum.
        classes: entries of each one-hot vector.
        temperature: temperature of the relaxation that is used in training.
    """

    def __init__(
        self, encoder: nn.Module, event_dims: int, classes: int, temperature: float | Schedule = 2 / 3
    ) -> None:
        nn.Module.__init__(self)  # the net belongs to the logits, and is saved once
        self.logits = _Logits(encoder, event_dims, temperature)
        self.classes = classes

    def forward(self, *context: Tensor | None) -> distributions.RelaxedOneHot | distributions.OneHot:
        logits = self.logits(*context)
        if self.training:
            return distributions.RelaxedOneHot(logits, self.classes, self.logits.temperature.value)
        return distributions.OneHot(logits, self.classes)
