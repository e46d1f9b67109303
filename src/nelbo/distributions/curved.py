"""Distributions on curved spaces: the unit sphere, and the Poincaré ball.

On the unit sphere S^(d-1) in d dimensions: uniform, von Mises-Fisher, power spherical. The last two depend on the angle
theta between z and a mean direction mu alone. With a concentration k,

    log q(z) = k l(theta) - log Z(k) - log |S^(d-2)|        against the area of the sphere, in nats
    Z(k) = integral over [0, pi] of exp(f),   f(theta) = k l(theta) + (d - 2) log sin theta

    von Mises-Fisher   l = cos(theta) - 1              Z(k) ~ k^-v I_v(k) exp(-k),  v = d/2 - 1 (Poisson's integral)
    power spherical    l = log((1 + cos(theta)) / 2)   Z(k) ~ a Beta function

Instead of Bessel functions, everything here is an integral of exp(f) by Gauss-Legendre over the angles within `NATS`
of its maximum: log Z, its derivatives by autograd, E[l], E[1 - cos theta], at every d >= 2 and k >= 0, without overflow
or cancellation in float32 either (on a circle, a power spherical of k < 1 to about 10^-6 only). So is the gradient of a
draw, by implicit differentiation of its angle's distribution function H: d theta / dk = -(dH/dk) / exp(f - log Z),
which is unbiased for any sampler of theta.

The Poincaré ball is the hyperbolic space of curvature -c as the ball of radius 1 / sqrt(c). A Normal in the tangent
space at the origin, in orthonormal coordinates e, is wrapped on the ball and translated:

    z = mu + exp_0(e),  e ~ N(0, diag(sigma^2)),   exp_0(e) = tanh(sqrt(c) |e| / 2) e / (sqrt(c) |e|)

where + is Möbius addition, an isometry of the ball; |e| is the distance of z from mu. Against the Riemannian volume

    log q(z) = log N(e; 0, sigma^2) - (d - 1) log( sinh(sqrt(c) |e|) / (sqrt(c) |e|) )

All densities on the ball are against that volume, so q / p is right, and a KL is estimated by Monte Carlo.

Source: Davidson, Falorsi, De Cao, Kipf, Tomczak (2018), Hyperspherical Variational Auto-Encoders; Ulrich (1984) and
Wood (1994), Simulation of the von Mises Fisher Distribution; De Cao, Aziz (2020), The Power Spherical distribution;
Figurnov, Mohamed, Mnih (2018), Implicit Reparameterization Gradients; Nagano, Yamaguchi, Fujita, Koyama (2019), A
Wrapped Normal Distribution on Hyperbolic Space for Gradient-Based Learning; Mathieu, Le Lan, Maddison, Tomioka, Teh
(2019), Continuous Hierarchical Representations with Poincaré Variational Auto-Encoders.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.distributions import constraints
from torch.nn.functional import normalize, pad

from nelbo.distributions import noise
from nelbo.distributions.base import Distribution, detach, detached, register_kl, sample_and_log_prob, scaled, temper
from nelbo.distributions.gamma import first_accepted, standard_gamma
from nelbo.distributions.gaussian import LOG_2PI

NODES, WEIGHTS = (torch.from_numpy(values) for values in np.polynomial.legendre.leggauss(96))
NATS = 36.0
PROPOSALS = 20  # each is accepted with probability 0.65 or more: all fail once in 10^9 draws


class _Sphere(constraints.Constraint):
    """Vectors of length 1."""

    event_dim = 1

    def check(self, value: Tensor) -> Tensor:
        return (torch.linalg.vector_norm(value, dim=-1) - 1).abs() < 1e-5


sphere = _Sphere()


def log_area(dim: int) -> float:
    """log of the area of the unit sphere in `dim` dimensions: 2 pi^(d/2) / Gamma(d/2).

    >>> round(math.exp(log_area(2)) / math.pi, 6)
    2.0
    """
    return math.log(2) + dim / 2 * math.log(math.pi) - math.lgamma(dim / 2)


def _below_two(versine: Tensor) -> Tensor:
    """1 - cos(theta), clamped just below 2, where the logarithms of the sine and of 1 + cos(theta) are finite."""
    return versine.clamp_max(2 - 2 * torch.finfo(versine.dtype).eps)


class UniformSphere(Distribution):
    """The uniform distribution on the unit sphere.

    Args:
        dim: number of dimensions d of the space around the sphere.
        like: a tensor with the dtype and device of draws.
    """

    support = sphere

    def __init__(self, dim: int, like: Tensor) -> None:
        self.like, self.loc = like, like.new_zeros(dim)
        super().__init__(self.loc.shape, 1)

    @property
    def variance(self) -> Tensor:
        return self.like.new_full(self.event_shape, 1 / self.event_shape[0])

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:  # type: ignore[override]
        return normalize(noise.normal(torch.Size(sample_shape), self.batch_shape, self.event_shape, self.like), dim=-1)

    def log_prob(self, value: Tensor) -> Tensor:
        return torch.zeros_like(value[..., 0]) - log_area(self.event_shape[0])


class _Rotational(Distribution, ABC):
    """A density of the angle to a mean direction alone.

    Args:
        loc: any non-zero vector along the mean direction mu, `(*batch, d)`, d >= 2.
        concentration: k >= 0, `(*batch, 1)`; 0 is uniform.
    """

    support = sphere

    def __init__(self, loc: Tensor, concentration: Tensor) -> None:
        self.loc, self.concentration = loc, concentration
        super().__init__(loc.shape, 1)

    @abstractmethod
    def _height(self, versine: Tensor) -> Tensor:
        """l, as a function of 1 - cos(theta) in [0, 2]."""

    @abstractmethod
    def _peak(self) -> tuple[Tensor, Tensor]:
        """The angle of the maximum of f, and a lower bound on -f'' around it."""

    @abstractmethod
    def _versine(self, sample_shape: torch.Size) -> Tensor:
        """A draw of 1 - cos(theta), `(*sample, *batch, 1)`."""

    @property
    def direction(self) -> Tensor:
        """mu, of length 1."""
        return normalize(self.loc, dim=-1)

    @property
    def mean(self) -> Tensor:
        return (1 - self._expect(lambda versine: versine)) * self.direction

    @property
    def variance(self) -> Tensor:
        square = self._expect(lambda versine: versine * (2 - versine))  # of the sine
        across = square / (self.loc.shape[-1] - 1)
        return across + (1 - square - across) * self.direction.square() - self.mean.square()

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:  # type: ignore[override]
        shape, (dim,) = torch.Size(sample_shape), self.event_shape
        v = normalize(noise.normal(shape, self.batch_shape, torch.Size((dim - 1,)), self.loc), dim=-1)
        with torch.no_grad():
            versine = _below_two(self._versine(shape).clamp_min(torch.finfo(v.dtype).tiny))
            theta = 2 * torch.asin((versine / 2).sqrt())
        if self.concentration.requires_grad and torch.is_grad_enabled():
            theta = theta + (self.concentration - self.concentration.detach()) * self._slope(theta)
        mu = self.direction  # now reflect -e_1 or e_1, whichever is farther from mu, on mu, and with it v
        first = mu[..., :1]
        from_pole = pad(torch.where(first < 0, -1.0, 1.0).to(mu.dtype), (0, dim - 1)) + mu
        v = pad(v, (1, 0))
        v = v - (mu * v).sum(-1, keepdim=True) / (1 + first.abs()) * from_pole
        return theta.cos() * mu + theta.sin() * v

    def log_prob(self, value: Tensor) -> Tensor:
        versine = 0.5 * (value - self.direction).square().sum(-1, keepdim=True)  # 1 - mu'z without cancellation
        log_density = self.concentration * self._height(versine) - self._log_z()
        return log_density.squeeze(-1) - log_area(self.loc.shape[-1] - 1)

    def entropy(self) -> Tensor:
        """-E[log q(z)] = log Z - k E[l] + log |S^(d-2)|, nats."""
        entropy = self._log_z() - self.concentration * self._expect(self._height)
        return entropy.squeeze(-1) + log_area(self.loc.shape[-1] - 1)

    def _log_density(self, versine: Tensor) -> Tensor:
        """f, and so the log-density of the angle up to log Z."""
        log_sine = 0.5 * (versine * (2 - versine)).log()
        return self.concentration * self._height(versine) + (self.loc.shape[-1] - 2) * log_sine

    def _nodes(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """1 - cos(theta) at the nodes of a quadrature rule over [low, high], and the logarithms of its weights."""
        nodes, weights = NODES.to(low), WEIGHTS.to(low)
        half = (high - low) / 2
        theta = low + half * (1 + nodes)
        return _below_two(2 * torch.sin(theta / 2).square()), (half * weights).log()

    def _everywhere(self) -> tuple[Tensor, Tensor]:
        """The nodes of a rule over all angles, and log(weight) + f at each: `(*batch, nodes)`."""
        with torch.no_grad():
            centre, reach = self._peak()[0], self._reach()
            versine, log_weight = self._nodes((centre - reach).clamp_min(0), (centre + reach).clamp_max(math.pi))
        return versine, log_weight + self._log_density(versine)

    def _reach(self) -> Tensor:
        """An upper bound on the distance from the peak at which f has fallen by NATS.

        A cosine falls at pi^2 / 4 the pace of its parabola.
        """
        return (math.pi / 2 * (2 * NATS / self._peak()[1]).sqrt()).clamp_max(math.pi)

    def _log_z(self) -> Tensor:
        return self._everywhere()[1].logsumexp(-1, keepdim=True)

    def _expect(self, function: Callable[[Tensor], Tensor]) -> Tensor:
        """E of a function of 1 - cos(theta), `(*batch, 1)`."""
        versine, log_weight = self._everywhere()
        return (log_weight.softmax(-1) * function(versine)).sum(-1, keepdim=True)

    @torch.no_grad()
    def _slope(self, theta: Tensor) -> Tensor:
        """d theta / dk at a fixed H(theta): an integral over the side of theta where l - E[l] has one sign.

        integral over [0, theta] of (E[l] - l(s)) exp(f(s) - f(theta)) ds, or of its negative over [theta, pi].
        """
        versine, excess, reach = 2 * torch.sin(theta / 2).square(), self._expect(self._height), self._reach()
        below = self._height(versine) > excess
        low = torch.where(below, (theta - reach).clamp_min(0), theta)
        high = torch.where(below, theta, (theta + reach).clamp_max(math.pi))
        nodes, log_weight = self._nodes(low, high)
        ratio = torch.exp(log_weight + self._log_density(nodes) - self._log_density(versine))
        return -((self._height(nodes) - excess).abs() * ratio).sum(-1, keepdim=True)


class VonMisesFisher(_Rotational):
    """q(z) proportional to exp(k mu'z), the analogue of the Normal on the sphere.

    Args:
        loc: any non-zero vector along mu, `(*batch, d)`, d >= 2.
        concentration: k >= 0, `(*batch, 1)`.

    >>> q = VonMisesFisher(torch.tensor([0.0, 0.0, 1.0]), torch.tensor([10.0]))
    >>> round(q.mean[2].item(), 4)  # coth(k) - 1 / k in three dimensions
    0.9
    """

    def _height(self, versine: Tensor) -> Tensor:
        return -versine

    def _peak(self) -> tuple[Tensor, Tensor]:
        k, free = self.concentration, self.loc.shape[-1] - 2
        total = free + (free**2 + 4 * k.square()).sqrt()
        return torch.atan2((2 * free * total).sqrt(), 2 * k), 2 * k.square() / total.clamp_min(1e-30) + free

    def _versine(self, sample_shape: torch.Size) -> Tensor:
        k, (dim,) = self.concentration, self.event_shape
        normals = noise.normal(sample_shape, self.batch_shape, torch.Size((PROPOSALS, dim)), self.loc)
        u = noise.uniform(sample_shape, self.batch_shape, torch.Size((PROPOSALS,)), self.loc)
        line = normals[..., 0] / torch.linalg.vector_norm(normals, dim=-1)  # (1 + line) / 2 is Beta((d-1)/2, (d-1)/2)
        b = (dim - 1) / (2 * k + (4 * k.square() + (dim - 1) ** 2).sqrt())
        versine = 2 * b * (1 + line) / (1 - line + b * (1 + line))
        log_ratio = k * (2 * b / (1 + b) - versine)
        log_ratio = log_ratio + (dim - 1) * torch.log((1 + b) / 2 * (1 + (1 - b) * versine / (2 * b)))
        return first_accepted(versine, u.log() <= log_ratio)


class PowerSpherical(_Rotational):
    """q(z) proportional to (1 + mu'z)^k: (1 + mu'z) / 2 is Beta((d - 1) / 2 + k, (d - 1) / 2).

    Args:
        loc: any non-zero vector along mu, `(*batch, d)`, d >= 2.
        concentration: k >= 0, `(*batch, 1)`.
    """

    def _height(self, versine: Tensor) -> Tensor:
        return torch.log1p(-_below_two(versine) / 2)

    def _peak(self) -> tuple[Tensor, Tensor]:
        k, free = self.concentration, self.loc.shape[-1] - 2
        return torch.atan2((free * (2 * k + free)).sqrt(), k), k / 2 + free

    def _versine(self, sample_shape: torch.Size) -> Tensor:
        half = (self.event_shape[0] - 1) / 2
        towards = standard_gamma(self.concentration + half, sample_shape, self.batch_shape, torch.Size((1,)))
        away = standard_gamma(torch.full_like(towards, half), sample_shape, self.batch_shape, torch.Size((1,)))
        return 2 * away / (towards + away)


@register_kl(VonMisesFisher, UniformSphere)
@register_kl(PowerSpherical, UniformSphere)
def _(q: _Rotational, p: UniformSphere) -> Tensor:
    return log_area(q.event_shape[0]) - q.entropy()


@register_kl(UniformSphere, UniformSphere)
def _(q: UniformSphere, p: UniformSphere) -> Tensor:
    return q.like.new_zeros(())


detach.register(_Rotational, detached)


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
