"""Normal distributions, and the logistic Normal on the simplex.

Normal distributions: the usual prior and posterior, and the likelihood of real-valued data.

    diagonal   log N(x; mu, sigma) = sum_i [ -(x_i - mu_i)^2 / (2 sigma_i^2) - log sigma_i - log(2 pi) / 2 ]
    full       z = mu + L eps,                 Sigma = L L'            (L lower triangular, the Cholesky factor)
    low rank   z = mu + D eps_1 + U eps_2,     Sigma = D^2 + U U'      (U of r columns, D diagonal)

All are reparameterised; the diagonal one as x = mu + sigma * eps, eps ~ N(0, I). By Woodbury's identity and the
determinant lemma, the low-rank one needs an r x r factor only:

    M = I + U' D^-2 U,  log |Sigma| = log |M| + 2 sum_i log D_i,
    v' Sigma^-1 v = |D^-1 v|^2 - |C^-1 U' D^-2 v|^2,  M = C C'

The logistic Normal on the simplex: proportions z = softmax(y), y ~ N(mu, diag(sigma^2)), of K parts.

softmax forgets the mean of y. That integrated out, with r = log z - mu, w = 1 / sigma^2, W = sum_i w_i,

    log p(z) = -(Q(r) + (K - 1) log 2 pi + log W) / 2 - sum_i (log sigma_i + log z_i)
    Q(r) = sum_i w_i r_i^2 - (sum_i w_i r_i)^2 / W

against the Lebesgue measure of the first K - 1 parts, as a Dirichlet's density is. As Q is blind to shifts of r,
the KL between two of them is a sum over parts; it is at most that of the two Normals.

The prior Dirichlet(a, ..., a) becomes, by Laplace's approximation in the softmax basis, mu = 0 and
sigma^2 = (1 - 1/K) / a.

Source: Rezende, Mohamed, Wierstra (2014), Stochastic Backpropagation and Approximate Inference in Deep Generative
Models, section 4.3; Aitchison, Shen (1980), Logistic-Normal Distributions; Srivastava, Sutton (2017), Autoencoding
Variational Inference for Topic Models.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from nelbo.distributions import noise
from nelbo.distributions.base import (
    Distribution,
    detach,
    detached,
    project_to_shell,
    register_kl,
    scaled,
    temper,
    typical_point,
)

LOG_2PI = math.log(2 * math.pi)


class DiagonalNormal(Distribution):
    """Independent Normals.

    Args:
        loc: mean mu, `(*batch, *event)`.
        log_scale: log sigma; broadcasts to `loc`.
        event_dims: number of last dimensions that form one event, over which `log_prob` sums.

    >>> d = DiagonalNormal(torch.zeros(3, 2), torch.zeros(()))
    >>> round(d.log_prob(torch.zeros(3, 2))[0].item() + LOG_2PI, 5)
    0.0
    """

    def __init__(self, loc: Tensor, log_scale: Tensor, event_dims: int = 1) -> None:
        self.loc, self.log_scale = loc, log_scale
        super().__init__(loc.shape, event_dims)

    @property
    def stddev(self) -> Tensor:
        return self.log_scale.exp().expand_as(self.loc)

    @property
    def variance(self) -> Tensor:
        return self.stddev.square()

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:  # type: ignore[override]
        eps = noise.normal(torch.Size(sample_shape), self.batch_shape, self.event_shape, self.loc)
        return torch.addcmul(self.loc, self.log_scale.exp(), eps)

    def element_log_prob(self, value: Tensor) -> Tensor:
        standard = (value - self.loc) * torch.exp(-self.log_scale)
        return -0.5 * (standard.square() + LOG_2PI) - self.log_scale

    def entropy(self) -> Tensor:
        return self.sum_event((self.log_scale + 0.5 * (LOG_2PI + 1)).expand_as(self.loc))


class StandardNormal(Distribution):
    """N(0, I) over vectors, with an empty batch shape.

    Args:
        dim: length of the vectors.
        like: a tensor with the dtype and device of draws.

    >>> StandardNormal(2, torch.zeros(())).log_prob(torch.zeros(5, 2)).shape
    torch.Size([5])
    """

    def __init__(self, dim: int, like: Tensor) -> None:
        self.like = like
        self.loc = like.new_zeros(dim)
        super().__init__(self.loc.shape, 1)

    @property
    def variance(self) -> Tensor:
        return torch.ones_like(self.loc)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:  # type: ignore[override]
        return noise.normal(torch.Size(sample_shape), self.batch_shape, self.event_shape, self.like)

    def element_log_prob(self, value: Tensor) -> Tensor:
        return -0.5 * (value.square() + LOG_2PI)


class OptimalNormal(Distribution):
    """A Normal likelihood with a single variance: in training, the optimal one for the batch.

        sigma^2 = mean over batch and elements of (x - mu)^2

    By the envelope theorem its gradient in mu is that of the profile likelihood, so sigma is a constant in
    the backward pass.

    Args:
        loc: mean mu, `(*batch, *event)`.
        event_dims: number of last dimensions that form one event, over which `log_prob` sums.
        observe: maps the squared residuals and their number to sigma^2.

    Source: Rybkin, Daniilidis, Levine (2021), Simple and Effective VAE Training with Calibrated Decoders.
    """

    def __init__(self, loc: Tensor, event_dims: int, observe: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.loc, self.observe = loc, observe
        super().__init__(loc.shape, event_dims)

    def element_log_prob(self, value: Tensor) -> Tensor:
        squares = (value - self.loc).detach().square()
        return self._fitted(squares, squares.new_tensor(squares.numel())).element_log_prob(value)

    def observed_log_prob(self, value: Tensor, gaps: Tensor) -> Tensor:
        """`element_log_prob` with sigma^2 estimated from observed values only; `gaps` is True where one is missing."""
        squares = (value - self.loc).detach().square().masked_fill(gaps, 0.0)
        return self._fitted(squares, (~gaps).expand_as(squares).sum().to(squares)).element_log_prob(value)

    def _fitted(self, squares: Tensor, count: Tensor) -> DiagonalNormal:
        return DiagonalNormal(self.loc, 0.5 * self.observe(squares, count).log(), len(self.event_shape))


@temper.register
def _(d: StandardNormal, temperature: float) -> DiagonalNormal:
    return DiagonalNormal(d.mean, d.mean + math.log(temperature))


@register_kl(DiagonalNormal, StandardNormal)
def _(q: DiagonalNormal, p: StandardNormal) -> Tensor:
    return q.sum_event(0.5 * (q.loc.square() + torch.exp(2 * q.log_scale) - 1) - q.log_scale)


@register_kl(StandardNormal, StandardNormal)
def _(q: StandardNormal, p: StandardNormal) -> Tensor:
    return q.like.new_zeros(())


@register_kl(DiagonalNormal, DiagonalNormal)
def _(q: DiagonalNormal, p: DiagonalNormal) -> Tensor:
    spread = q.log_scale - p.log_scale
    shift = (q.loc - p.loc) * torch.exp(-p.log_scale)
    return q.sum_event(0.5 * (shift.square() + torch.exp(2 * spread) - 1) - spread)


temper.register(DiagonalNormal, scaled)
detach.register(DiagonalNormal, detached)
typical_point.register(DiagonalNormal, project_to_shell)


class FullNormal(Distribution):
    """N(loc, L L').

    Args:
        loc: mean, `(*batch, d)`.
        scale_tril: L, `(*batch, d, d)`, lower triangular with a positive diagonal.

    >>> d = FullNormal(torch.zeros(2), 2 * torch.eye(2))
    >>> d.variance.tolist()
    [4.0, 4.0]
    """

    def __init__(self, loc: Tensor, scale_tril: Tensor) -> None:
        self.loc, self.scale_tril = loc, scale_tril
        super().__init__(loc.shape, 1)

    @property
    def variance(self) -> Tensor:
        return self.scale_tril.square().sum(-1).expand_as(self.loc)

    @property
    def log_volume(self) -> Tensor:
        """log |L| = log |Sigma| / 2."""
        return self.scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:  # type: ignore[override]
        eps = noise.normal(torch.Size(sample_shape), self.batch_shape, self.event_shape, self.loc)
        return self.loc + (self.scale_tril @ eps.unsqueeze(-1)).squeeze(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        off = (value - self.loc).unsqueeze(-1)
        standard = torch.linalg.solve_triangular(self.scale_tril, off, upper=False).squeeze(-1)
        return -0.5 * self.sum_event(standard.square() + LOG_2PI) - self.log_volume


class LowRankNormal(Distribution):
    """N(loc, D^2 + U U').

    Args:
        loc: mean, `(*batch, d)`.
        log_scale: log of the diagonal D, `(*batch, d)`.
        factor: U, `(*batch, d, r)`.

    >>> LowRankNormal(torch.zeros(2), torch.zeros(2), torch.ones(2, 1)).variance.tolist()
    [2.0, 2.0]
    """

    def __init__(self, loc: Tensor, log_scale: Tensor, factor: Tensor) -> None:
        self.loc, self.log_scale, self.factor = loc, log_scale, factor
        super().__init__(loc.shape, 1)

    @property
    def variance(self) -> Tensor:
        return (torch.exp(2 * self.log_scale) + self.factor.square().sum(-1)).expand_as(self.loc)

    @property
    def log_volume(self) -> Tensor:
        """log |Sigma| / 2."""
        return self._capacitance().diagonal(dim1=-2, dim2=-1).log().sum(-1) + self.log_scale.sum(-1)

    def _whitened(self) -> Tensor:
        return self.factor * torch.exp(-self.log_scale).unsqueeze(-1)

    def _capacitance(self) -> Tensor:
        """C, lower triangular, with C C' = I + U' D^-2 U."""
        u = self._whitened()
        return torch.linalg.cholesky(u.mT @ u + torch.eye(u.shape[-1], dtype=u.dtype, device=u.device))

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:  # type: ignore[override]
        sizes = [self.loc.shape[-1], self.factor.shape[-1]]
        eps = noise.normal(torch.Size(sample_shape), self.batch_shape, torch.Size((sum(sizes),)), self.loc)
        own, shared = eps.split(sizes, -1)
        return self.loc + self.log_scale.exp() * own + (self.factor @ shared.unsqueeze(-1)).squeeze(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        standard = (value - self.loc) * torch.exp(-self.log_scale)
        within = self._whitened().mT @ standard.unsqueeze(-1)
        explained = torch.linalg.solve_triangular(self._capacitance(), within, upper=False).squeeze(-1)
        return 0.5 * (explained.square().sum(-1) - self.sum_event(standard.square() + LOG_2PI)) - self.log_volume


@register_kl(FullNormal, StandardNormal)
@register_kl(LowRankNormal, StandardNormal)
def _(q: FullNormal | LowRankNormal, p: StandardNormal) -> Tensor:
    return 0.5 * q.sum_event(q.variance + q.loc.square() - 1) - q.log_volume


@temper.register
def _(d: FullNormal, temperature: float) -> FullNormal:
    return FullNormal(d.loc, d.scale_tril * temperature)


@temper.register
def _(d: LowRankNormal, temperature: float) -> LowRankNormal:
    return LowRankNormal(d.loc, d.log_scale + math.log(temperature), d.factor * temperature)


detach.register(FullNormal, detached)
detach.register(LowRankNormal, detached)
typical_point.register(FullNormal, project_to_shell)
typical_point.register(LowRankNormal, project_to_shell)


class LogisticNormal(Distribution):
    """softmax of N(loc, exp(log_scale)^2).

    `mean` is softmax(loc), the Fréchet mean in Aitchison's geometry: its centred log-ratios are the means of those of
    the draws. `variance` is the variance of the centred log-ratios.

    Args:
        loc: mean mu of the Normal, `(*batch, K)`, K >= 2.
        log_scale: log sigma of the Normal, `(*batch, K)`.

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
