"""Paths and planes through a latent space, for any model that can embed data and decode embeddings."""

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

MOST_STEPS = 10_000


class LatentSpaceMixin(ABC):
    """Operations on embeddings `(n, features)` alone; `kl_per_latent` `(features,)` is the mean KL of each feature."""

    schema: Schema
    kl_per_latent: Sequence[float]

    @abstractmethod
    def embed(self, data: Any) -> np.ndarray:
        """Embed each datum: `(n, features)`."""

    def encode(self, data: Any) -> np.ndarray:
        """The embedding from which each datum is reconstructed: `embed`, unless a subclass overrides it."""
        return self.embed(data)

    @abstractmethod
    def decode(self, h: np.ndarray | Tensor) -> Any:
        """Decode embeddings `(n, features)`, in the data's units."""

    def interpolate(self, *items: Any, steps: int = 10) -> Any:
        """Decode points between data: `(points, *shape)`.

        The path follows the great circle between two embeddings, at the radius in between, since most of a Normal
        prior's mass lies near a sphere (White, 2016, Sampling Generative Networks).

        Args:
            items: two or more data, each without or with a batch dimension of 1.
            steps: the number of points from each example to the next, including both; at least 2.
        """
        if not 2 <= steps <= MOST_STEPS or len(items) < 2:
            raise UserError(f"{len(items)} items, steps={steps}: give at least 2 items and 2 to {MOST_STEPS:,} steps")
        codes = [self.encode(self._as_batch(item))[0] for item in items]
        return self.decode(way(codes, steps))

    def traverse(self, origin: Any = None, steps: int = 9, span: float = 3.0) -> tuple[np.ndarray, list[int]]:
        """Move each latent from -span to span, with the others fixed.

        Args:
            origin: the datum whose posterior mean fixes the other latents; None fixes them at 0.
            steps: the number of values of each latent; at least 2.
            span: the largest absolute value, in standard deviations of a Normal prior; above 0.

        Returns:
            Decoded data `(latents, steps, *shape)`, and the indices of the latents, the one of highest KL first.
        """
        if not 2 <= steps <= MOST_STEPS or not 0 < span < math.inf:
            raise UserError(f"steps={steps}, span={span}: give 2 to {MOST_STEPS:,} steps and a span above 0")
        if not (kind := self.schema.data_kind).is_array:
            raise UserError(
                f"traverse supports curves and pictures, and the model is of {kind.noun}: "
                "use plot-latent or interpolate"
            )
        order = np.argsort(self.kl_per_latent)[::-1].tolist()
        centre = np.zeros(len(order), np.float32) if origin is None else self.embed(self._as_batch(origin))[0]
        points = along_axes(centre, order, steps, span)
        return self.decode(points.reshape(-1, len(order))).reshape(len(order), steps, *self.schema.shape), order

    def decode_manifold(self, n_per_axis: int = 20) -> Any:
        """Decode a model of 2 latents at a grid of quantiles of its Normal prior: `(n_per_axis * n_per_axis, *shape)`.

        Source: Kingma, Welling (2014), Auto-Encoding Variational Bayes, figure 4.

        Args:
            n_per_axis: the number of quantiles of each latent; at least 1.
        """
        if n_per_axis < 1 or len(self.kl_per_latent) != 2:
            raise UserError(
                f"n_per_axis={n_per_axis}, {len(self.kl_per_latent)} latents: decode_manifold needs n_per_axis of 1 or "
                "more and 2 latents; for more latents use pca_projection()"
            )
        return self.decode(quantiles(n_per_axis))

    def pca_projection(self, data: Any) -> tuple[np.ndarray, float]:
        """Project posterior means on two principal components, `(n, 2)`, and return their share of the variance."""
        return principal_plane(self.embed(data))

    def _as_batch(self, item: Any) -> Any:
        """Add a batch dimension to a single datum that has none."""
        shape = self.schema.shape
        single = (shape, shape[1:], (*shape[1:], shape[0]))  # of a picture, without channels, or with channels last
        if isinstance(item, np.ndarray | Tensor) and tuple(item.shape) in single:
            return item[None]
        return item


LEG_PARTS = 256  # segments that approximate the length of a path between two embeddings


def slerp(a: np.ndarray, b: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Spherical interpolation at fractions t from a to b: directions on the great circle, lengths linear between.

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
    """`steps` points by `slerp` between successive embeddings, all embeddings included once: `(points, features)`."""
    fractions = np.arange(steps - 1) / (steps - 1)
    legs = [slerp(a, b, fractions) for a, b in itertools.pairwise(codes)]
    return np.concatenate([*legs, codes[-1][None]])


def chain(values: np.ndarray, steps: int) -> np.ndarray:
    """Linear interpolation in `steps` values between successive values of any shape, all included once.

    >>> chain(np.array([0.0, 1.0, 3.0]), 3).tolist()
    [0.0, 0.5, 1.0, 2.0, 3.0]
    """
    at = np.arange((len(values) - 1) * (steps - 1) + 1) / (steps - 1)
    leg = np.minimum(at.astype(int), len(values) - 2)
    part = (at - leg).reshape(-1, *[1] * (values.ndim - 1)).astype(values.dtype)
    joined: np.ndarray = (1 - part) * values[leg] + part * values[leg + 1]
    return joined


def tour(codes: Sequence[np.ndarray], points: int, closed: bool = False) -> np.ndarray:
    """Points `(points, features)` at equal distances on the path by `slerp` through all embeddings.

    Closed, the path returns to the first embedding, which is not repeated: all steps have the same length.

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
    """Copies of the centre with one feature each moved from -span to span: `(len(order), steps, features)`."""
    points = np.tile(centre, (len(order), steps, 1))
    for row, number in enumerate(order):
        points[row, :, number] = np.linspace(-span, span, steps)
    return points


def principal_plane(codes: np.ndarray) -> tuple[np.ndarray, float]:
    """Project embeddings `(n, features)` on two principal components, `(n, 2)`; also their share of the variance.

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
    """A grid of quantiles of N(0, I) in two dimensions, `(n_per_axis * n_per_axis, 2)`, row by row from the top left.

    The first coordinate grows to the right, the second upwards.

    >>> np.sign(quantiles(2)).tolist()
    [[-1.0, 1.0], [1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]]
    """
    line = torch.special.ndtri((torch.arange(n_per_axis) + 0.5) / n_per_axis)
    down, right = torch.meshgrid(-line, line, indexing="ij")
    return torch.stack([right.flatten(), down.flatten()], 1).numpy()
