"""The logistic Normal on the simplex: proportions z = softmax(y), y ~ N(mu, diag(sigma^2)), of K parts.

softmax forgets the mean of y. That integrated out, with r = log z - mu, w = 1 / sigma^2, W = sum_i w_i,

    log p(z) = -(Q(r) + (K - 1) log 2 pi + log W) / 2 - sum_i (log sigma_i + log z_i)
    Q(r) = sum_i w_i r_i^2 - (sum_i w_i r_i)^2 / W

against the Lebesgue measure of the first K - 1 parts, as a Dirichlet's density is. As Q is blind to shifts of r,
the KL between two of them is a sum over parts; it is at most that of the two Normals.

The prior Dirichlet(a, ..., a) becomes, by Laplace's approximation in the softmax basis, mu = 0 and
sigma^2 = (1 - 1/K) / a.

Source: Aitchison, Shen (1980), Logistic-Normal Distributions; Srivastava, Sutton (2017), Autoencoding Variational
Inference for Topic Models.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nelbo.distributions import noise
from nelbo.distributions.base import Distribution, detach, detached, scaled, temper
from nelbo.distributions.gaussian import LOG_2PI
from nelbo.distributions.kl import register_kl


class LogisticNormal(Distribution):
    """softmax of N(loc, exp(log_scale)^2): both `(*batch, K)`, K >= 2.

    `mean` is softmax(loc), the Fréchet mean in Aitchison's geometry: the logarithms of the parts, centred, have the
    mean of its own, and `variance` is theirs.

    >>> LogisticNormal(torch.zeros(4), torch.zeros(4)).mean.tolist()
    [0.25, 0.25, 0.25, 0.25]
    """

    support = torch.distributions.constraints.simplex

    def __init__(self, loc: Tensor, log_scale: Tensor) -> None:
        self.loc, self.log_scale = loc, log_scale
        super().__init__(loc.shape, 1)

    @property
    def mean(self) -> Tensor:
        return self.loc.softmax(-1)

    @property
    def variance(self) -> Tensor:
        variance, parts = torch.exp(2 * self.log_scale).expand_as(self.loc), self.loc.shape[-1]
        return (1 - 2 / parts) * variance + variance.sum(-1, keepdim=True) / parts**2

    @property
    def log_norm(self) -> Tensor:
        """((K - 1) log 2 pi + log W) / 2 + sum_i log sigma_i."""
        total = torch.logsumexp(-2 * self.log_scale, -1)
        return 0.5 * ((self.loc.shape[-1] - 1) * LOG_2PI + total) + self.log_scale.sum(-1)

    def quadratic(self, r: Tensor) -> Tensor:
        """Q(r)."""
        w = torch.exp(-2 * self.log_scale)
        return (w * (r - (w * r).sum(-1, keepdim=True) / w.sum(-1, keepdim=True)).square()).sum(-1)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:  # type: ignore[override]
        eps = noise.normal(torch.Size(sample_shape), self.batch_shape, self.event_shape, self.loc)
        return (self.loc + self.log_scale.exp() * eps).softmax(-1).clamp_min(torch.finfo(eps.dtype).tiny)

    def log_prob(self, value: Tensor) -> Tensor:
        log_value = value.log()
        return -0.5 * self.quadratic(log_value - self.loc) - self.log_norm - log_value.sum(-1)


@register_kl(LogisticNormal, LogisticNormal)
def _(q: LogisticNormal, p: LogisticNormal) -> Tensor:
    weight = torch.exp(-2 * p.log_scale)
    spread = torch.exp(2 * q.log_scale) * weight * (1 - weight / weight.sum(-1, keepdim=True))
    mean = p.quadratic(q.loc - p.loc) + spread.sum(-1)
    return 0.5 * (mean - (q.loc.shape[-1] - 1)) + p.log_norm - q.log_norm


temper.register(LogisticNormal, scaled)
detach.register(LogisticNormal, detached)
