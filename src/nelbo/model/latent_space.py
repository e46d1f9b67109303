"""Ways and planes through a latent space, for whatever can embed data and decode codes."""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nelbo.data import Schema
from nelbo.errors import UserError


class LatentSpaceMixin(ABC):
    """What is done with codes `(n, features)` alone; `kl_per_latent` `(features,)` is what each number of a code carries."""

    schema: Schema
    kl_per_latent: Sequence[float]

    @abstractmethod
    def embed(self, data: Any) -> np.ndarray:
        """The code of each datum."""

    def encode(self, data: Any) -> np.ndarray:
        """The code that each datum is rebuilt from; unless a model says otherwise, `embed`."""
        return self.embed(data)

    @abstractmethod
    def decode(self, h: np.ndarray | Tensor) -> Any:
        """Data given codes, in the data's units."""

    def interpolate(self, *items: Any, steps: int = 10) -> Any:
        """`steps` decoded points from each datum to the next, all data included once: `(points, *shape)`.

        The way is along the great circle between two codes, at the radius in between, since most of a Normal
        prior's mass lies near a sphere (White, 2016, Sampling Generative Networks).
        """
        if steps < 2 or len(items) < 2:
            raise UserError(f"{len(items)} items, steps={steps}: give 2 items and 2 steps or more")
        codes = [self.encode(self._as_batch(item))[0] for item in items]
        return self.decode(way(codes, steps))

    def traverse(self, origin: Any = None, steps: int = 9, span: float = 3.0) -> tuple[np.ndarray, list[int]]:
        """Each latent moved from -reach to reach, the others held at `origin`'s mean (None: at 0).

        Returns decoded data `(latents, steps, *shape)` and the latents' numbers, the one of highest rate first.
        """
        if steps < 2 or not 0 < span < math.inf:
            raise UserError(f"steps={steps}, span={span}: give steps of 2 or more and a reach above 0")
        if not (kind := self.schema.data_kind).is_array:
            raise UserError(
                f"traverse draws curves and pictures, and the model is of {kind.noun}: use map or interpolate"
            )
        order = np.argsort(self.kl_per_latent)[::-1].tolist()
        centre = np.zeros(len(order), np.float32) if origin is None else self.embed(self._as_batch(origin))[0]
        points = along_axes(centre, order, steps, span)
        return self.decode(points.reshape(-1, len(order))).reshape(len(order), steps, *self.schema.shape), order

    def decode_manifold(self, n_per_axis: int = 20) -> Any:
        """A model of 2 latents decoded at `n_per_axis` x `n_per_axis` quantiles of its Normal prior, `(n_per_axis * n_per_axis, *shape)`.

        Source: Kingma, Welling (2014), Auto-Encoding Variational Bayes, figure 4.
        """
        if n_per_axis < 1 or len(self.kl_per_latent) != 2:
            raise UserError(
                f"n_per_axis={n_per_axis}, {len(self.kl_per_latent)} latents: a grid takes side >= 1 and 2 latents; use project()"
            )
        return self.decode(quantiles(n_per_axis))

    def pca_projection(self, data: Any) -> tuple[np.ndarray, float]:
        """The posterior means on their first two principal components, `(n, 2)`, and their share of the variance."""
        return principal_plane(self.embed(data))

    def _as_batch(self, item: Any) -> Any:
        """A single datum, given without its batch dimension, as a batch of one."""
        if isinstance(item, np.ndarray | Tensor) and tuple(item.shape) in (self.schema.shape, self.schema.shape[1:]):
            return item[None]
        return item


LEG_PARTS = 256  # in which the length of a leg is measured


def slerp(a: np.ndarray, b: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Points at fractions t of the way from a to b: directions along the great circle, lengths in between.

    Source: Shoemake (1985), Animating Rotation with Quaternion Curves.

    >>> slerp(np.array([2.0, 0.0]), np.array([0.0, 2.0]), np.array([0.0, 0.5])).round(3).tolist()
    [[2.0, 0.0], [1.414, 1.414]]
    """
    lengths = np.linalg.norm(a), np.linalg.norm(b)
    t = np.asarray(t)[:, None]
    cosine = np.clip(a @ b / max(lengths[0] * lengths[1], 1e-12), -1, 1)
    angle = np.arccos(cosine)
    if min(lengths) < 1e-6 or angle < 1e-3 or angle > np.pi - 1e-3:
        return (a + t * (b - a)).astype(a.dtype)
    direction = (np.sin((1 - t) * angle) * a / lengths[0] + np.sin(t * angle) * b / lengths[1]) / np.sin(angle)
    return (direction * (lengths[0] + t * (lengths[1] - lengths[0]))).astype(a.dtype)


def way(codes: Sequence[np.ndarray], steps: int) -> np.ndarray:
    """`steps` points from each code to the next by `slerp`, all codes included once: `(points, features)`."""
    fractions = np.arange(steps - 1) / (steps - 1)
    legs = [slerp(a, b, fractions) for a, b in itertools.pairwise(codes)]
    return np.concatenate([*legs, codes[-1][None]])


def chain(values: np.ndarray, steps: int) -> np.ndarray:
    """`steps` values from each to the next in straight lines, all included once; the values are of any shape.

    >>> chain(np.array([0.0, 1.0, 3.0]), 3).tolist()
    [0.0, 0.5, 1.0, 2.0, 3.0]
    """
    at = np.arange((len(values) - 1) * (steps - 1) + 1) / (steps - 1)
    leg = np.minimum(at.astype(int), len(values) - 2)
    part = (at - leg).reshape(-1, *[1] * (values.ndim - 1)).astype(values.dtype)
    joined: np.ndarray = (1 - part) * values[leg] + part * values[leg + 1]
    return joined


def tour(codes: Sequence[np.ndarray], points: int, closed: bool = False) -> np.ndarray:
    """Points `(points, features)` at equal distances along the way by `slerp` through all codes, from first to last.

    Closed, it goes on to the first, which is not said twice: the step from the last point to the first is as any other.

    >>> corners = [np.array([1.0, 0.0]), np.array([0.0, 1.0]), np.array([-1.0, 0.0])]
    >>> tour(corners, 5).round(3).tolist()
    [[1.0, 0.0], [0.707, 0.707], [0.0, 1.0], [-0.707, 0.707], [-1.0, 0.0]]
    """
    legs = list(itertools.pairwise([*codes, codes[0]] if closed else codes))
    parts = np.linspace(0, 1, LEG_PARTS + 1)
    lengths = [np.linalg.norm(np.diff(slerp(*leg, parts), axis=0), axis=1) for leg in legs]
    done = np.concatenate([[0.0], np.cumsum(lengths)])
    wanted = np.linspace(0, done[-1], points, endpoint=not closed)
    at = np.interp(wanted, done, np.linspace(0, len(legs), len(done)))  # leg and fraction
    of = np.minimum(at.astype(int), len(legs) - 1)
    return np.concatenate([slerp(*leg, at[of == i] - i) for i, leg in enumerate(legs)])


def along_axes(centre: np.ndarray, order: Sequence[int], steps: int, span: float) -> np.ndarray:
    """The centre with each number in turn moved from -reach to reach: `(len(order), steps, features)`."""
    points = np.tile(centre, (len(order), steps, 1))
    for row, number in enumerate(order):
        points[row, :, number] = np.linspace(-span, span, steps)
    return points


def principal_plane(codes: np.ndarray) -> tuple[np.ndarray, float]:
    """Codes `(n, features)` on their first two principal components, `(n, 2)`, and these' share of the variance.

    Source: Pearson (1901), On Lines and Planes of Closest Fit to Systems of Points in Space.

    >>> principal_plane(np.array([[0.0, 1.0], [0.0, 3.0]]))[1]
    1.0
    """
    codes = codes - codes.mean(0)
    _, spread, axes = np.linalg.svd(codes, full_matrices=False)
    points = np.zeros((len(codes), 2), np.float32)
    along = (codes @ axes.T)[:, :2]
    points[:, : along.shape[1]] = along
    return points, float((spread[:2] ** 2).sum() / (spread**2).sum().clip(1e-12))


def quantiles(n_per_axis: int) -> np.ndarray:
    """`n_per_axis` x `n_per_axis` quantiles of N(0, I) in two dimensions, `(n_per_axis * n_per_axis, 2)`, as a picture is read.

    The first coordinate grows to the right, the second upwards.

    >>> np.sign(quantiles(2)).tolist()
    [[-1.0, 1.0], [1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]]
    """
    line = torch.special.ndtri((torch.arange(n_per_axis) + 0.5) / n_per_axis)
    down, right = torch.meshgrid(-line, line, indexing="ij")
    return torch.stack([right.flatten(), down.flatten()], 1).numpy()
