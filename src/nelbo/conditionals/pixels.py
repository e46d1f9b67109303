"""Likelihoods of pixels in [0, 1]: masses on their grey levels, and the Beta density."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.distributions import constraints

from nelbo import distributions
from nelbo.conditionals.base import Likelihood
from nelbo.conditionals.likelihoods import logit, slope

START = 0.1  # the scale of a logistic before training, in units of the data
PRECISION = 10.0  # alpha + beta before training


def logistic_location(mean: Tensor) -> Tensor:
    """The location at which a logistic of scale START, clipped to [0, 1], has about this mean."""
    near, far = mean.clamp(1e-3, 0.999), 1 - mean.clamp(1e-3, 0.999)
    low, high = (START * torch.log(torch.expm1(m / START)) for m in (near, far))
    return torch.where(mean < 0.5, low, 1 - high)


class DiscretisedLogistic(Likelihood):
    """p(x | h) = prod_i the logistic of location mu_i(h) and one learned scale, in bins around the grey levels.

    Source: Kingma et al. (2016), Improved Variational Inference with Inverse Autoregressive Flow.
    """

    zero: Tensor
    link = staticmethod(logistic_location)

    def __init__(self, net: nn.Module, event_dims: int, levels: int = 256) -> None:
        super().__init__(net, event_dims)
        self.levels = levels
        self.support = distributions.Levels(levels)
        self.log_scale = nn.Parameter(torch.tensor(math.log(START)))
        self.register_buffer("zero", torch.zeros(1), persistent=False)

    def forward(self, *context: Tensor | None) -> distributions.DiscretisedLogistic:
        (loc,) = self.outputs(*context)
        return distributions.DiscretisedLogistic(
            self.zero, loc.unsqueeze(-1), self.log_scale, self.event_dims, self.levels
        )


class DiscretisedLogisticMixture(Likelihood):
    """p(x | h) = prod_i a mixture of discretised logistics, its 3 x `components` numbers given by the net.

    Channels are independent given h. The net's scales are relative to 0.1 of the data's range.

    Source: Salimans, Karpathy, Chen, Kingma (2017), PixelCNN++.
    """

    def __init__(self, net: nn.Module, event_dims: int, components: int = 5, levels: int = 256) -> None:
        super().__init__(net, event_dims)
        self.levels = levels
        self.support = distributions.Levels(levels)
        self.components = components

    def forward(self, *context: Tensor | None) -> distributions.DiscretisedLogistic:
        logits, loc, log_scale = torch.stack(self.outputs(*context), -1).split(self.components, -1)
        return distributions.DiscretisedLogistic(logits, loc, log_scale + math.log(START), self.event_dims, self.levels)

    def start_at(self, mean: Tensor) -> None:
        for component in range(self.components):
            self.set_bias(self.components + component, mean, logistic_location)


class LevelCategorical(Likelihood):
    """p(x | h) = prod_i softmax(l_i(h)) at the grey level of x_i: one output of the net for each level.

    Source: van den Oord, Kalchbrenner, Kavukcuoglu (2016), Pixel Recurrent Neural Networks.
    """

    def __init__(self, net: nn.Module, event_dims: int, levels: int = 256) -> None:
        super().__init__(net, event_dims)
        self.levels = levels
        self.support = distributions.Levels(levels)

    def forward(self, *context: Tensor | None) -> distributions.LevelCategorical:
        return distributions.LevelCategorical(torch.stack(self.outputs(*context), -1), self.event_dims)

    def start_at(self, mean: Tensor) -> None:
        for level in range(self.levels):
            self.set_bias(level, mean, lambda m, x=level / (self.levels - 1): slope(m) * x)  # type: ignore[misc]


class Beta(Likelihood):
    """p(x | h) = prod_i Beta(x_i) of mean sigmoid(l_i(h)) and precision alpha + beta = exp(r_i(h)).

    With a `margin` the data may touch 0 and 1, and the likelihood is no density; see `distributions.Beta`. The
    precision is held between 0.1 and 10^4.
    """

    support = constraints.unit_interval

    def __init__(self, net: nn.Module, event_dims: int, margin: float = 1 / 512) -> None:
        super().__init__(net, event_dims)
        self.margin = margin
        self.normalized = margin == 0

    def forward(self, *context: Tensor | None) -> distributions.Beta:
        logit, log_precision = self.outputs(*context)
        precision = torch.exp((log_precision + math.log(PRECISION)).clamp(math.log(0.1), math.log(1e4)))
        alpha, beta = (precision * torch.sigmoid(side) for side in (logit, -logit))
        return distributions.Beta(alpha, beta, self.event_dims, self.margin)

    def start_at(self, mean: Tensor) -> None:
        self.set_bias(0, self.margin + (1 - 2 * self.margin) * mean, logit)
