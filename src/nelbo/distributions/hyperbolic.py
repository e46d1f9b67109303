"""The wrapped Normal on the Poincare ball, the hyperbolic space of curvature -c as the ball of radius 1 / sqrt(c).

A Normal in the tangent space at the origin, in orthonormal coordinates e, is wrapped on the ball and translated:

    z = mu + exp_0(e),  e ~ N(0, diag(sigma^2)),   exp_0(e) = tanh(sqrt(c) |e| / 2) e / (sqrt(c) |e|)

where + is Möbius addition, an isometry of the ball; |e| is the distance of z from mu. Against the Riemannian volume

    log q(z) = log N(e; 0, sigma^2) - (d - 1) log( sinh(sqrt(c) |e|) / (sqrt(c) |e|) )

All densities on the ball are against that volume, so q / p is right, and a KL is estimated by Monte Carlo.

Source: Nagano, Yamaguchi, Fujita, Koyama (2019), A Wrapped Normal Distribution on Hyperbolic Space for
Gradient-Based Learning; Mathieu, Le Lan, Maddison, Tomioka, Teh (2019), Continuous Hierarchical Representations with
Poincaré Variational Auto-Encoders.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import constraints

from nelbo.distributions import noise
from nelbo.distributions.base import Distribution, detach, detached, sample_and_log_prob, scaled, temper
from nelbo.distributions.gaussian import LOG_2PI


class Ball(constraints.Constraint):
    """Vectors shorter than 1 / sqrt(curvature)."""

    event_dim = 1

    def __init__(self, curvature: float) -> None:
        self.curvature = curvature

    def check(self, value: Tensor) -> Tensor:
        return self.curvature * value.square().sum(-1) < 1


def add(x: Tensor, y: Tensor, c: float) -> Tensor:
    """Möbius addition x + y: the translation that takes 0 to x, applied to y.

    >>> add(torch.tensor([0.5]), torch.tensor([0.5]), 1.0)  # as velocities add in special relativity
    tensor([0.8000])
    """
    inner, xx, yy = ((a * b).sum(-1, keepdim=True) for a, b in ((x, y), (x, x), (y, y)))
    return ((1 + 2 * c * inner + c * yy) * x + (1 - c * xx) * y) / (1 + 2 * c * inner + c**2 * xx * yy)


def _scaled_length(v: Tensor, c: float) -> Tensor:
    """sqrt(c) |v|, never 0: every quotient by it here has the limit 1."""
    return (math.sqrt(c) * torch.linalg.vector_norm(v, dim=-1, keepdim=True)).clamp_min(1e-6)


def _inside(z: Tensor, c: float) -> Tensor:
    """z, or the nearest point whose distance from 0 its dtype can represent."""
    limit = 1 - 100 * torch.finfo(z.dtype).eps
    return z * (limit / _scaled_length(z, c)).clamp_max(1)


def exponential(e: Tensor, c: float) -> Tensor:
    """The point of the ball at distance |e| from 0 in the direction of e.

    Rounding near the rim limits distances to 12 / sqrt(c) in float32 and 32 / sqrt(c) in float64.
    """
    length = _scaled_length(e, c)
    return _inside(e / length * torch.tanh(length / 2), c)


def logarithm(z: Tensor, c: float) -> Tensor:
    """The inverse of `exponential`: orthonormal coordinates of z in the tangent space at 0."""
    z = _inside(z, c)
    length = _scaled_length(z, c)
    return z * (2 * torch.atanh(length) / length)


class WrappedNormal(Distribution):
    """The wrapped Normal on the Poincaré ball.

    `mean` is mu, the Fréchet mean; `variance` is sigma^2, that of the tangent coordinates e.

    Args:
        loc: mu, a point of the ball, `(*batch, d)`.
        log_scale: log sigma of the tangent coordinates; broadcasts to `loc`.
        curvature: c > 0; the space has curvature -c and the ball radius 1 / sqrt(c).
    """

    def __init__(self, loc: Tensor, log_scale: Tensor, curvature: float = 1.0) -> None:
        self.loc, self.log_scale, self.curvature = loc, log_scale, curvature
        self.support = Ball(curvature)
        super().__init__(loc.shape, 1)

    @property
    def variance(self) -> Tensor:
        return torch.exp(2 * self.log_scale).expand_as(self.loc)

    def tangent(self, value: Tensor) -> Tensor:
        """The tangent coordinates e of points of the ball."""
        return logarithm(add(-self.loc, value, self.curvature), self.curvature)

    def _draw(self, sample_shape: Sequence[int]) -> tuple[Tensor, Tensor]:
        eps = noise.normal(torch.Size(sample_shape), self.batch_shape, self.event_shape, self.loc)
        e = self.log_scale.exp() * eps
        return _inside(add(self.loc, exponential(e, self.curvature), self.curvature), self.curvature), e

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:  # type: ignore[override]
        return self._draw(sample_shape)[0]

    def log_prob(self, value: Tensor) -> Tensor:
        return self._log_prob_at(self.tangent(value))

    def _log_prob_at(self, e: Tensor) -> Tensor:
        normal = -0.5 * ((e * torch.exp(-self.log_scale)).square() + LOG_2PI) - self.log_scale
        length = _scaled_length(e, self.curvature)
        log_sinh_ratio = length + torch.log(-torch.expm1(-2 * length) / (2 * length))
        return self.sum_event(normal) - (self.loc.shape[-1] - 1) * log_sinh_ratio.squeeze(-1)


@sample_and_log_prob.register
def _(d: WrappedNormal, shape: Sequence[int] = ()) -> tuple[Tensor, Tensor]:
    """Evaluate the density at the coordinates e of the draw: inverting a point near the rim would lose precision."""
    z, e = d._draw(shape)
    return z, d._log_prob_at(e)


temper.register(WrappedNormal, scaled)
detach.register(WrappedNormal, detached)
