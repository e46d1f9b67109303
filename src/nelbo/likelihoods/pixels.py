"""Likelihoods of pixels in [0, 1]: masses on their grey levels, and the Beta density.

Source: Kingma et al. (2016), Improved Variational Inference with Inverse Autoregressive Flow; Salimans, Karpathy, Chen,
Kingma (2017), PixelCNN++; van den Oord, Kalchbrenner, Kavukcuoglu (2016), Pixel Recurrent Neural Networks.
"""

from __future__ import annotations

import math
from abc import ABC
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.distributions import constraints

from nelbo import distributions
from nelbo.config.registry import Count, Range, register
from nelbo.likelihoods.base import UNIT, Likelihood
from nelbo.likelihoods.bernoulli import logit, slope

START = 0.1  # scale of a logistic before training, in units of the data
PRECISION = 10.0  # alpha + beta before training
LEVELS = 256  # of a byte


def logistic_location(mean: Tensor) -> Tensor:
    """The location at which a logistic of scale START, clipped to [0, 1], has about this mean."""
    near, far = mean.clamp(1e-3, 0.999), 1 - mean.clamp(1e-3, 0.999)
    low, high = (START * torch.log(torch.expm1(m / START)) for m in (near, far))
    return torch.where(mean < 0.5, low, 1 - high)


class GreyLevelLikelihood(Likelihood, ABC):
    """A mass on each grey level.

    Args:
        decoder: maps h `(batch, features)` and a context to `(batch, n_outputs, *shape)`.
        event_dims: number of dimensions of a datum.
        levels: number of grey levels.
    """

    accepts = UNIT

    def __init__(self, decoder: nn.Module, event_dims: int, levels: int = LEVELS) -> None:
        super().__init__(decoder, event_dims)
        self.levels, self.support = levels, distributions.Levels(levels)


@register("likelihood", "discretized-logistic", cite="kingma2016improved")
class DiscretizedLogistic(GreyLevelLikelihood):
    """p(x | h) = prod_i the logistic of location mu_i(h) and one learned scale, in bins around the grey levels.

    Args:
        decoder: maps h `(batch, features)` and a context to `(batch, n_outputs, *shape)`.
        event_dims: number of dimensions of a datum.
        levels: number of grey levels.
    """

    zero: Tensor
    link = staticmethod(logistic_location)

    def __init__(self, decoder: nn.Module, event_dims: int, levels: int = LEVELS) -> None:
        super().__init__(decoder, event_dims, levels)
        self.log_scale = nn.Parameter(torch.tensor(math.log(START)))
        self.register_buffer("zero", torch.zeros(1), persistent=False)

    def forward(self, *context: Tensor | None) -> distributions.DiscretizedLogistic:
        (loc,) = self.outputs(*context)
        return distributions.DiscretizedLogistic(
            self.zero, loc.unsqueeze(-1), self.log_scale, self.event_dims, self.levels
        )


@register("likelihood", "discretized-logistic-mixture", cite="salimans2017pixelcnn")
class DiscretizedLogisticMixture(GreyLevelLikelihood):
    """p(x | h) = prod_i a mixture of discretized logistics, with weights, locations and scales from the decoder.

    Channels are independent given h. Scale 1 from the decoder means 0.1 of the data's range.

    Args:
        decoder: maps h `(batch, features)` and a context to `(batch, n_outputs, *shape)`.
        event_dims: number of dimensions of a datum.
        levels: number of grey levels.
        components: number of logistics for each pixel and channel.
    """

    def __init__(self, decoder: nn.Module, event_dims: int, levels: int = LEVELS, *, components: Count = 5) -> None:
        super().__init__(decoder, event_dims, levels)
        self.components = components

    @classmethod
    def n_outputs(cls, **options: Any) -> int:
        return int(3 * options["components"])

    def forward(self, *context: Tensor | None) -> distributions.DiscretizedLogistic:
        logits, loc, log_scale = torch.stack(self.outputs(*context), -1).split(self.components, -1)
        return distributions.DiscretizedLogistic(logits, loc, log_scale + math.log(START), self.event_dims, self.levels)

    def init_output_bias(self, mean: Tensor) -> None:
        for component in range(self.components):
            self.set_bias(self.components + component, mean, logistic_location)


@register("likelihood", "categorical-256", cite="oord2016pixel")
class PixelCategorical(GreyLevelLikelihood):
    """p(x | h) = prod_i softmax(l_i(h)) at the grey level of x_i: one output of the decoder for each level.

    Args:
        decoder: maps h `(batch, features)` and a context to `(batch, n_outputs, *shape)`.
        event_dims: number of dimensions of a datum.
        levels: number of grey levels.
    """

    @classmethod
    def n_outputs(cls, **options: Any) -> int:
        return LEVELS

    def forward(self, *context: Tensor | None) -> distributions.PixelCategorical:
        return distributions.PixelCategorical(torch.stack(self.outputs(*context), -1), self.event_dims)

    def init_output_bias(self, mean: Tensor) -> None:
        for level in range(self.levels):
            self.set_bias(level, mean, lambda m, x=level / (self.levels - 1): slope(m) * x)  # type: ignore[misc]


@register("likelihood", "beta", cite="smithson2006better")
class Beta(Likelihood):
    """p(x | h) = prod_i Beta(x_i) of mean sigmoid(l_i(h)) and precision alpha + beta = exp(r_i(h)).

    The precision is clamped to [0.1, 10^4].

    Args:
        margin: m; data are mapped into [m, 1 - m], and the likelihood is then not a density. 0 keeps the density, and
            needs data strictly inside (0, 1). See `distributions.Beta`.
    """

    support = constraints.unit_interval
    accepts = UNIT

    def __init__(
        self, decoder: nn.Module, event_dims: int, *, margin: Annotated[float, Range(0, below=0.5)] = 1 / 512
    ) -> None:
        super().__init__(decoder, event_dims)
        self.margin = margin
        self.normalized = margin == 0

    @classmethod
    def n_outputs(cls, **options: Any) -> int:
        return 2

    def forward(self, *context: Tensor | None) -> distributions.Beta:
        logit, log_precision = self.outputs(*context)
        precision = torch.exp((log_precision + math.log(PRECISION)).clamp(math.log(0.1), math.log(1e4)))
        alpha, beta = (precision * torch.sigmoid(side) for side in (logit, -logit))
        return distributions.Beta(alpha, beta, self.event_dims, self.margin)

    def init_output_bias(self, mean: Tensor) -> None:
        self.set_bias(0, self.margin + (1 - 2 * self.margin) * mean, logit)
