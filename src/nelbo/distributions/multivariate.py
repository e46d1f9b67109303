"""Normal distributions over vectors with correlated elements: of full covariance, and of low rank plus diagonal.

    full       z = mu + L eps,                 Sigma = L L'            (L lower triangular, the Cholesky factor)
    low rank   z = mu + D eps_1 + U eps_2,     Sigma = D^2 + U U'      (U of r columns, D diagonal)

By Woodbury's identity and the determinant lemma the second needs an r x r factor only:

    M = I + U' D^-2 U,  log |Sigma| = log |M| + 2 sum_i log D_i,
    v' Sigma^-1 v = |D^-1 v|^2 - |C^-1 U' D^-2 v|^2,  M = C C'

Source: Rezende, Mohamed, Wierstra (2014), Stochastic Backpropagation and Approximate Inference in Deep Generative
Models, section 4.3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from nelbo.distributions import noise
from nelbo.distributions.base import Distribution, detach, detached, on_shell, temper, typical
from nelbo.distributions.kl import register_kl
from nelbo.distributions.normal import LOG_2PI, StandardNormal


class FullNormal(Distribution):
    """N(loc, L L'): `loc` is `(*batch, d)`, `scale_tril` L is `(*batch, d, d)`, lower triangular, positive diagonal.

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
    """N(loc, D^2 + U U'): `loc` and `log_scale` log D are `(*batch, d)`, `factor` U is `(*batch, d, r)`.

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
typical.register(FullNormal, on_shell)
typical.register(LowRankNormal, on_shell)
