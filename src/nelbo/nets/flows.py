"""Invertible maps for normalizing flows, and the masked networks inside them.

Masked autoregressive networks: output i depends only on the inputs of lower degree.

    degree(input j) = order(j),   a hidden unit of degree h depends on inputs of degree <= h,
    output i depends on hidden units of degree < order(i)

so that the outputs' Jacobian is strictly triangular in that order, and all outputs are computed in one pass. With as
many degrees as inputs this is MADE; with two degrees it is a coupling layer's conditioner.

Invertible maps y = f(z; h) with log |det df/dz|: the layers of normalizing flows.

    log p(y) = log p(z) - log |det df/dz|,   z = f^-1(y)

`forward(z, h)` returns y and its log-determinant, `inverse(y, h)` returns z and the log-determinant of f^-1 at y, both
in nats and of shape `(*lead)` for z of shape `(*lead, dim)`. The context h, `(*, context)` or None, broadcasts.

The zuko library is available as the transform `zuko`. It does not replace the others: it has no planar, Sylvester or
inverse autoregressive flow amortised on a context, and it changes a global setting of torch when it is imported.

Source: Germain, Gregor, Murray, Larochelle (2015), MADE: Masked Autoencoder for Distribution Estimation; Rezende,
Mohamed (2015), Variational Inference with Normalizing Flows; Kingma et al. (2016), Improved Variational Inference with
Inverse Autoregressive Flow; Papamakarios, Pavlakou, Murray (2017), Masked Autoregressive Flow for Density Estimation;
Dinh, Sohl-Dickstein, Bengio (2017), Density Estimation Using Real NVP; van den Berg, Hasenclever, Tomczak, Welling
(2018), Sylvester Normalizing Flows for Variational Inference.
"""

from __future__ import annotations

import importlib
import itertools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nelbo.config.registry import Count, Counts, Depth, register
from nelbo.errors import UserError


class MaskedLinear(nn.Linear):
    """A linear layer whose weight is multiplied by a fixed 0/1 `mask` of shape `(outputs, inputs)`."""

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask.to(self.weight.dtype), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.mask, self.bias)


class MADE(nn.Module):
    """`(*lead, dim)` and context `(*, context)` -> `(*lead, outputs, dim)`; all outputs are zero at the start.

    Output i depends on the inputs of lower degree and on the context.

    Args:
        order: degree of each input, from 0.
        hidden: sizes of the hidden layers.
        outputs: numbers for each input.
        context: length of the context vector; 0 for none.
    """

    def __init__(self, order: Sequence[int], hidden: Sequence[int], outputs: int, context: int = 0) -> None:
        super().__init__()
        degrees, lowest = torch.tensor(order), -1 if context else 0  # a unit of degree -1 depends on the context alone
        span = max(max(order) - lowest, 1)
        levels = [degrees, *(lowest + torch.arange(size) % span for size in hidden)]
        masks = [after.unsqueeze(1) >= before for before, after in itertools.pairwise(levels)]
        self.shape = (outputs, len(order))
        self.layers = nn.ModuleList(MaskedLinear(mask) for mask in masks)
        self.head = MaskedLinear((degrees.unsqueeze(1) > levels[-1]).repeat(outputs, 1))
        self.context = nn.Linear(context, hidden[0], bias=False) if context else None
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        for i, layer in enumerate(self.layers):
            z = layer(z)
            if i == 0 and self.context is not None and context is not None:
                z = z + self.context(context)
            z = torch.relu(z)
        return self.head(z).unflatten(-1, self.shape)


LIMIT = 3.0  # of |log scale| of an autoregressive step, so that one step cannot overflow
HALVINGS = 80


class Transform(nn.Module, ABC):
    """An invertible map of vectors that may depend on a context."""

    family: ClassVar[str] = "transform"

    @abstractmethod
    def forward(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Compute y = f(z; context) and log |det df/dz|.

        Args:
            z: vectors `(*lead, dim)`.
            context: vectors `(*, context)` that broadcast to `lead`; None for none.

        Returns:
            y `(*lead, dim)` and the log-determinant, nats `(*lead,)`.
        """

    @abstractmethod
    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Compute z with f(z; context) = y, and log |det df^-1/dy|.

        Args:
            y: vectors `(*lead, dim)`.
            context: vectors `(*, context)` that broadcast to `lead`; None for none.

        Returns:
            z `(*lead, dim)` and the log-determinant, nats `(*lead,)`.
        """


class Chain(Transform):
    """A composition of transforms; the first one is applied first."""

    def __init__(self, transforms: Sequence[Transform]) -> None:
        super().__init__()
        self.transforms = nn.ModuleList(transforms)

    def forward(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        total = z.new_zeros(z.shape[:-1])
        for transform in self.transforms:
            z, log_det = transform(z, context)
            total = total + log_det
        return z, total

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        total = y.new_zeros(y.shape[:-1])
        for transform in reversed(self.transforms):
            y, log_det = transform.inverse(y, context)  # type: ignore[operator]
            total = total + log_det
        return y, total


class Inverse(Transform):
    """The inverse of a transform: an inverse autoregressive step becomes a masked autoregressive one."""

    def __init__(self, transform: Transform) -> None:
        super().__init__()
        self.transform = transform

    def forward(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.transform.inverse(z, context)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.transform(y, context)


class ElementwiseAffine(Transform):
    """y = loc + exp(log_scale) * z for each number; the identity until it is set or learned."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(dim))
        self.log_scale = nn.Parameter(torch.zeros(dim))

    def forward(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return torch.addcmul(self.loc, self.log_scale.exp(), z), self.log_scale.sum().expand(z.shape[:-1])

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return (y - self.loc) * torch.exp(-self.log_scale), -self.log_scale.sum().expand(y.shape[:-1])


class Autoregressive(Transform):
    """y_i = m_i + exp(s_i) z_i, where m_i and s_i are functions of the z_j of lower degree: one parallel pass.

    It starts as the identity. The inverse takes `passes` passes.

    Args:
        dim: length of the vectors.
        hidden: sizes of the hidden layers of its net.
        passes: number of degrees: `dim` for an inverse autoregressive step (IAF), 2 for an affine coupling (RealNVP,
            whose half of lower degree is scaled and shifted by constants).
        flip: reverse the order.
        context: length of the context vector; 0 for none.
    """

    def __init__(self, dim: int, hidden: Sequence[int], passes: int, flip: bool = False, context: int = 0) -> None:
        super().__init__()
        order = [i * passes // dim for i in range(dim)]
        self.passes = passes
        self.net = MADE(order[::-1] if flip else order, hidden, 2, context)

    def _parameters_at(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        shift, raw = self.net(z, context).unbind(-2)
        return shift, LIMIT * torch.tanh(raw / LIMIT)

    def forward(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        shift, log_scale = self._parameters_at(z, context)
        return torch.addcmul(shift, log_scale.exp(), z), log_scale.sum(-1)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z = torch.zeros_like(y)
        for _ in range(self.passes):  # each pass computes the numbers of one more degree
            shift, log_scale = self._parameters_at(z, context)
            z = (y - shift) * torch.exp(-log_scale)
        return z, -log_scale.sum(-1)


class ContextConditioner(nn.Module):
    """The parameters of a transform, of sizes `sizes`: a constant plus a linear function of the context."""

    def __init__(self, sizes: Sequence[int], context: int) -> None:
        super().__init__()
        self.sizes = list(sizes)
        self.bias = nn.Parameter(0.1 * torch.randn(sum(sizes)))
        self.weight = nn.Parameter(0.01 * torch.randn(sum(sizes), context)) if context else None

    def forward(self, context: Tensor | None) -> tuple[Tensor, ...]:
        if self.weight is None or context is None:
            return self.bias.split(self.sizes, -1)
        return F.linear(context, self.weight, self.bias).split(self.sizes, -1)


def _root(target: Tensor, slope: Tensor, inner: Tensor, bias: Tensor) -> Tensor:
    """The a with a + slope * tanh(inner * a + bias) = target, where slope * inner > -1: a rising function of a.

    It is computed by bisection; a last Newton step adds the gradients of the implicit function.
    """
    with torch.no_grad():
        low, high = target - slope.abs(), target + slope.abs()
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            below = middle + slope * torch.tanh(inner * middle + bias) < target
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        a = (low + high) / 2
        rise = 1 + slope * inner * (1 - torch.tanh(inner * a + bias).square())
    return a - (a + slope * torch.tanh(inner * a + bias) - target) / rise


class PlanarStep(Transform):
    """y = z + u tanh(w.z + b), with w.u > -1 enforced, so that it can be inverted.

        log |det| = log(1 + tanh'(w.z + b) w.u),   u = v + (softplus(w.v) - 1 - w.v) w / |w|^2

    Its parameters v, w, b are a function of the context (amortised). The inverse is a one-dimensional root search.

    Args:
        dim: length of the vectors.
        context: length of the context vector; 0 for none.
    """

    def __init__(self, dim: int, context: int = 0) -> None:
        super().__init__()
        self.parameters_of = ContextConditioner([dim, dim, 1], context)

    def _parameters_at(self, context: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        v, w, b = self.parameters_of(context)
        dot = (w * v).sum(-1, keepdim=True)
        bent = F.softplus(dot) - 1
        return v + (bent - dot) * w / w.square().sum(-1, keepdim=True).clamp_min(1e-12), w, b, bent

    def forward(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        u, w, b, dot = self._parameters_at(context)
        bend = torch.tanh((w * z).sum(-1, keepdim=True) + b)
        return z + u * bend, torch.log1p((1 - bend.square()) * dot).squeeze(-1)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        u, w, b, dot = self._parameters_at(context)
        a = _root((w * y).sum(-1, keepdim=True), dot, torch.ones_like(dot), b)
        bend = torch.tanh(a + b)
        return y - u * bend, -torch.log1p((1 - bend.square()) * dot).squeeze(-1)


class SylvesterStep(Transform):
    """y = z + Q R tanh(S Q'z + b), where Q is a product of Householder reflections and R, S are upper triangular.

        log |det| = sum_i log(1 + tanh'(.)_i R_ii S_ii),   R_ii, S_ii in (-1, 1), so that it can be inverted

    All parameters are functions of the context (amortised). The inverse solves the triangle from below by a
    one-dimensional root search for each row.

    Args:
        dim: length of the vectors.
        reflections: number of Householder reflections in Q.
        context: length of the context vector; 0 for none.
    """

    def __init__(self, dim: int, reflections: int = 4, context: int = 0) -> None:
        super().__init__()
        self.shape = (reflections, dim)
        self.parameters_of = ContextConditioner([dim * dim, dim, dim, dim, reflections * dim], context)

    def _parameters_at(self, context: Tensor | None) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, ...]]:
        square, r, s, b, normals = self.parameters_of(context)
        square = square.unflatten(-1, (self.shape[1], self.shape[1]))
        upper = square.triu(1) + torch.diag_embed(torch.tanh(r))
        other = square.tril(-1).transpose(-1, -2) + torch.diag_embed(torch.tanh(s))
        return upper, other, b, F.normalize(normals.unflatten(-1, self.shape), dim=-1).unbind(-2)

    def forward(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        r, s, b, normals = self._parameters_at(context)
        bend = torch.tanh(_times(s, _reflect(z, normals)) + b)
        slopes = (1 - bend.square()) * r.diagonal(dim1=-2, dim2=-1) * s.diagonal(dim1=-2, dim2=-1)
        return z + _reflect(_times(r, bend), normals[::-1]), torch.log1p(slopes).sum(-1)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        r, s, b, normals = self._parameters_at(context)
        target = _reflect(y, normals)
        found: list[Tensor] = []
        bends: list[Tensor] = []
        for i in reversed(range(self.shape[1])):
            t, inside = target[..., i], b[..., i].expand(target.shape[:-1])
            for j, a, bend in zip(reversed(range(i + 1, self.shape[1])), found, bends, strict=True):
                t, inside = t - r[..., i, j] * bend, inside + s[..., i, j] * a
            found.append(_root(t, r[..., i, i], s[..., i, i], inside))
            bends.append(torch.tanh(s[..., i, i] * found[-1] + inside))
        z = _reflect(torch.stack(found[::-1], -1), normals[::-1])
        return z, -self(z, context)[1]


def _times(matrix: Tensor, z: Tensor) -> Tensor:
    return (matrix @ z.unsqueeze(-1)).squeeze(-1)


def _reflect(z: Tensor, normals: Sequence[Tensor]) -> Tensor:
    """z reflected in the plane orthogonal to each unit vector, one after another."""
    for normal in normals:
        z = z - 2 * (z * normal).sum(-1, keepdim=True) * normal
    return z


class ZukoTransform(Transform):
    """A flow of the zuko library; `forward` is its direction to the base.

    Args:
        flow: name of the flow in zuko, such as "NSF".
        dim: length of the vectors.
        transforms: number of transforms.
        hidden: sizes of the hidden layers of each transform's net.
        context: length of the context vector; 0 for none.

    Raises:
        UserError: if zuko is not installed.
    """

    def __init__(self, flow: str, dim: int, transforms: int, hidden: Sequence[int], context: int = 0) -> None:
        super().__init__()
        checked = torch.distributions.Distribution._validate_args  # type: ignore[attr-defined]
        try:
            zuko: Any = importlib.import_module("zuko")
        except ImportError:
            raise UserError("the zuko transforms need the package zuko: pip install 'nelbo[flows]'") from None
        finally:  # zuko switches validation off for the whole process
            torch.distributions.Distribution.set_default_validate_args(checked)
        made = getattr(zuko.flows, flow)(dim, context, transforms=transforms, hidden_features=list(hidden))
        self.transform = made.transform

    def forward(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._at(context).call_and_ladj(z)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._at(context).inv.call_and_ladj(y)

    def _at(self, context: Tensor | None) -> Any:
        return self.transform(context)


def autoregressive_steps(dim: int, count: int, hidden: Sequence[int], passes: int, context: int = 0) -> list[Transform]:
    """`count` autoregressive steps of alternating order."""
    return [Autoregressive(dim, hidden, min(passes, dim), bool(i % 2), context) for i in range(count)]


@register("transform", "iaf", cite=("kingma2016improved", "germain2015made"))
def iaf(dim: int, context: int = 0, *, steps: Depth = 2, hidden: Counts = (64, 64)) -> Transform:
    """Inverse autoregressive flow: samples in one pass, which suits a posterior.

    Args:
        dim: length of the vectors.
        context: length of the context vector; 0 for none.
        steps: autoregressive steps.
        hidden: hidden layers of each step's net.
    """
    return Chain(autoregressive_steps(dim, steps, hidden, dim, context))


@register("transform", "maf", cite=("papamakarios2017masked", "germain2015made"))
def maf(dim: int, context: int = 0, *, steps: Depth = 4, hidden: Counts = (64, 64)) -> Transform:
    """Masked autoregressive flow: the density in one pass, which suits a prior.

    Args:
        dim: length of the vectors.
        context: length of the context vector; 0 for none.
        steps: autoregressive steps.
        hidden: hidden layers of each step's net.
    """
    return Chain([*map(Inverse, autoregressive_steps(dim, steps, hidden, dim, context))])


@register("transform", "realnvp", cite="dinh2017density")
def realnvp(dim: int, context: int = 0, *, steps: Depth = 6, hidden: Counts = (64, 64)) -> Transform:
    """Affine coupling flow: a sample, or its density, in two passes.

    Args:
        dim: length of the vectors.
        context: length of the context vector; 0 for none.
        steps: coupling steps.
        hidden: hidden layers of each step's net.
    """
    return Chain(autoregressive_steps(dim, steps, hidden, 2, context))


@register("transform", "planar", cite="rezende2015variational")
def planar(dim: int, context: int = 0, *, steps: Depth = 4) -> Transform:
    """Planar flow, steps z + u tanh(w.z + b).

    Args:
        dim: length of the vectors.
        context: length of the context vector; 0 for none.
        steps: number of steps.
    """
    return Chain([PlanarStep(dim, context) for _ in range(steps)])


@register("transform", "sylvester", cite="berg2018sylvester")
def sylvester(dim: int, context: int = 0, *, steps: Depth = 4, reflections: Count = 4) -> Transform:
    """Sylvester flow with Householder reflections.

    Args:
        dim: length of the vectors.
        context: length of the context vector; 0 for none.
        steps: number of steps.
        reflections: reflections of each step.
    """
    return Chain([SylvesterStep(dim, reflections, context) for _ in range(steps)])


@register(
    "transform",
    "zuko",
    cite="rozet2022zuko",
    cite_if={
        "papamakarios2017masked": lambda options: options["flow"] == "MAF",
        "durkan2019neural": lambda options: options["flow"] == "NSF",
        "dinh2015nice": lambda options: options["flow"] == "NICE",
    },
)
def zuko(
    dim: int,
    context: int = 0,
    *,
    flow: Literal["MAF", "NSF", "NICE"] = "NSF",
    steps: Depth = 3,
    hidden: Counts = (64, 64),
    inverse: bool = False,
) -> Transform:
    """A flow of the zuko library with an exact inverse.

    Args:
        dim: length of the vectors.
        context: length of the context vector; 0 for none.
        flow: the flow's name in zuko.
        steps: transforms of the flow.
        hidden: hidden layers of each transform's net.
        inverse: make the density fast instead of sampling, as suits a prior.
    """
    transform = ZukoTransform(flow, dim, steps, hidden, context)
    return Inverse(transform) if inverse else transform
