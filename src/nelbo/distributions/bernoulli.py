"""Distributions on {0, 1} and on [0, 1]: Bernoulli, continuous Bernoulli, Beta.

Bernoulli and continuous Bernoulli: likelihoods of values in [0, 1], in terms of logits l.

    Bernoulli             log p(x) = sum_i [ x_i l_i - softplus(l_i) ],            x_i in {0, 1}
    continuous Bernoulli  log p(x) = sum_i [ x_i l_i - log((exp(l_i) - 1) / l_i) ], x_i in [0, 1]

The first is a probability mass only on {0, 1}. On grey values it is a cross-entropy: useful as a loss (the
usual "BCE"), but it is not a density, as its integral over [0, 1] is not one; `normalized` is then False. The
second is the same exponential family, normalized to a density on [0, 1] by its own constant.

The Beta density on (0, 1), with a margin for data at 0 and 1.

    log p(x) = sum_i [ (a_i - 1) log x_i + (b_i - 1) log(1 - x_i) - log B(a_i, b_i) ]

At 0 and 1 the density is 0 or infinite. With a `margin` m > 0 the data are therefore drawn inwards,
x' = m + (1 - 2m) x, and scored as p(x') (1 - 2m): m = 1/512 puts byte k at (k + 1/2) / 256, the middle of its bin.
That integrates over [0, 1] to P(m < x' < 1 - m), less than one, so `normalized` is False.

Source: Loaiza-Ganem, Cunningham (2019), The continuous Bernoulli: fixing a pervasive error in variational autoencoders;
Smithson, Verkuilen (2006), A better lemon squeezer? Maximum-likelihood regression with beta-distributed dependent
variables.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import softplus

from nelbo.distributions import noise
from nelbo.distributions.base import Distribution, log_pochhammer
from nelbo.distributions.gamma import standard_gamma

HALVINGS = 3  # 2^3 factors of at least 1/2 each are multiplied before a logarithm is taken: none underflows


class _CrossEntropy(torch.autograd.Function):
    """sum_i [x_i l_i - softplus(l_i)] in few passes over the values; its derivative in l is x - sigmoid(l).

    softplus(l) = max(l, 0) - log sigmoid(|l|), and the logarithm of a product costs less than those of its factors.
    """

    @staticmethod
    def forward(ctx, logits: Tensor, x: Tensor, event_dims: int) -> Tensor:  # type: ignore[no-untyped-def, override]
        ctx.save_for_backward(logits, x)
        ctx.event_dims = event_dims
        if not event_dims:
            return (x * logits).sub_(softplus(logits))
        linear, spare = x * logits, logits.clamp_min(0)
        linear.sub_(spare)
        factors = torch.abs(logits, out=spare).sigmoid_().flatten(-event_dims)
        for _ in range(HALVINGS):
            half, odd = divmod(factors.shape[-1], 2)
            if odd:
                break
            factors = factors[..., :half] * factors[..., half:]
        return linear.flatten(-event_dims).sum(-1).add_(factors.log_().sum(-1))

    @staticmethod
    def backward(ctx, grad: Tensor):  # type: ignore[no-untyped-def, override]
        logits, x = ctx.saved_tensors
        grad = grad[(...,) + (None,) * ctx.event_dims]
        d_logits = d_x = None
        if ctx.needs_input_grad[0]:
            d_logits = ((x - logits.sigmoid()) * grad).sum_to_size(logits.shape)
        if ctx.needs_input_grad[1]:
            d_x = (logits * grad).sum_to_size(x.shape)
        return d_logits, d_x, None


class Bernoulli(Distribution):
    """Independent Bernoullis.

    Args:
        logits: log(p / (1 - p)), `(*batch, *event)`.
        event_dims: number of last dimensions that form one event, over which `log_prob` sums.
        allow_soft_targets: accept values between 0 and 1 in `log_prob`, which is then a cross-entropy and not a
            density.

    >>> Bernoulli(torch.zeros(4, 3)).log_prob(torch.ones(4, 3)).exp()[0].item()
    0.125
    """

    support = torch.distributions.constraints.boolean

    def __init__(self, logits: Tensor, event_dims: int = 1, allow_soft_targets: bool = False) -> None:
        self.logits = logits
        self.normalized = not allow_soft_targets
        super().__init__(logits.shape, event_dims)

    @property
    def mean(self) -> Tensor:
        return self.logits.sigmoid()

    @property
    def variance(self) -> Tensor:
        return self.mean * (1 - self.mean)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:  # type: ignore[override]
        with torch.no_grad():
            u = noise.uniform(torch.Size(sample_shape), self.batch_shape, self.event_shape, self.logits)
            return (u < self.mean).to(u.dtype)

    def element_log_prob(self, value: Tensor) -> Tensor:
        return self._cross_entropy(value, 0)

    def log_prob(self, value: Tensor) -> Tensor:
        return self._cross_entropy(value, len(self.event_shape))

    def _cross_entropy(self, value: Tensor, event_dims: int) -> Tensor:
        """The cross-entropy, summed over the last `event_dims` dimensions."""
        value = value.to(self.logits.dtype) if value.dtype == torch.bool else value
        logits = self.logits.to(torch.promote_types(self.logits.dtype, value.dtype))
        return _CrossEntropy.apply(logits, value, event_dims)


class ContinuousBernoulli(Distribution):
    """Independent continuous Bernoullis: a density on [0, 1].

    Args:
        logits: l of each element, `(*batch, *event)`.
        event_dims: number of last dimensions that form one event, over which `log_prob` sums.

    >>> round(ContinuousBernoulli(torch.zeros(1)).log_prob(torch.rand(1)).item(), 6)
    0.0
    """

    support = torch.distributions.constraints.unit_interval

    def __init__(self, logits: Tensor, event_dims: int = 1) -> None:
        self.logits = logits
        super().__init__(logits.shape, event_dims)

    def _away_from_zero(self, within: float) -> tuple[Tensor, Tensor]:
        """A mask of |l| < within, and logits that are safe to divide by."""
        near = self.logits.abs() < within
        return near, torch.where(near, torch.ones_like(self.logits), self.logits)

    @property
    def mean(self) -> Tensor:
        near, safe = self._away_from_zero(0.05)
        a = safe.abs()
        edge = 1 / a + torch.exp(-a) / torch.expm1(-a)  # the mean's distance from the nearer end of [0, 1]
        series = 0.5 + self.logits / 12 - self.logits**3 / 720
        return torch.where(near, series, torch.where(safe < 0, edge, 1 - edge))

    @property
    def variance(self) -> Tensor:
        near, safe = self._away_from_zero(0.3)
        a = safe.abs()
        series = 1 / 12 - self.logits**2 / 240 + self.logits**4 / 6048
        return torch.where(near, series, 1 / a**2 - torch.exp(-a) / torch.expm1(-a) ** 2)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:  # type: ignore[override]
        u = noise.uniform(torch.Size(sample_shape), self.batch_shape, self.event_shape, self.logits)
        u = u.clamp_min(torch.finfo(u.dtype).eps)  # at u = 0 and a large |l| the logarithm below is of zero
        near, safe = self._away_from_zero(1e-3)
        a = safe.abs()  # x at -l is distributed as 1 - x at l, and exp(-|l|) cannot overflow
        edge = -torch.log1p((1 - u) * torch.expm1(-a)) / a
        series = u + self.logits / 2 * u * (1 - u)  # keeps the gradient in l, which is not zero at l = 0
        return torch.where(near, series, torch.where(safe < 0, edge, 1 - edge))

    def element_log_prob(self, value: Tensor) -> Tensor:
        near, safe = self._away_from_zero(0.05)
        a = safe.abs()
        exact = torch.relu(safe) + torch.log(-torch.expm1(-a) / a)
        series = self.logits / 2 + self.logits**2 / 24 - self.logits**4 / 2880
        return value * self.logits - torch.where(near, series, exact)


class Beta(Distribution):
    """Independent Betas.

    With a margin, draws and the mean are those of x', mapped back and clipped to [0, 1].

    Args:
        alpha: a > 0, `(*batch, *event)`.
        beta: b > 0, `(*batch, *event)`.
        event_dims: number of last dimensions that form one event, over which `log_prob` sums.
        margin: m in [0, 1/2): data are mapped into [m, 1 - m] before they are scored; 0 for data inside (0, 1).

    >>> one = torch.ones(2)
    >>> Beta(one, one).log_prob(torch.rand(2)).item()
    0.0
    """

    support = torch.distributions.constraints.unit_interval

    def __init__(self, alpha: Tensor, beta: Tensor, event_dims: int = 1, margin: float = 0.0) -> None:
        self.alpha, self.beta, self.margin = alpha, beta, margin
        self.normalized = margin == 0
        super().__init__(alpha.shape, event_dims)

    @property
    def mean(self) -> Tensor:
        return self._outwards(self.alpha / (self.alpha + self.beta))

    @property
    def variance(self) -> Tensor:
        total = self.alpha + self.beta
        return self.alpha * self.beta / (total.square() * (total + 1)) / (1 - 2 * self.margin) ** 2

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:  # type: ignore[override]
        shapes = torch.Size(sample_shape), self.batch_shape, self.event_shape
        a, b = standard_gamma(self.alpha, *shapes), standard_gamma(self.beta, *shapes)
        return self._outwards(a / (a + b))

    def element_log_prob(self, value: Tensor) -> Tensor:
        x = self.margin + (1 - 2 * self.margin) * value
        norm = log_pochhammer(self.beta, self.alpha) - torch.lgamma(self.alpha) + math.log1p(-2 * self.margin)
        return (self.alpha - 1) * x.log() + (self.beta - 1) * torch.log1p(-x) + norm

    def _outwards(self, x: Tensor) -> Tensor:
        return ((x - self.margin) / (1 - 2 * self.margin)).clamp(0, 1)
