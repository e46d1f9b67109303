"""Ways through a latent space, for whatever can embed data and decode codes."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from nelbo import geometry
from nelbo.data import Schema
from nelbo.errors import UserError


class Explorer(ABC):
    """What is done with codes `(n, features)` alone; `rates` `(features,)` is what each number of a code carries."""

    schema: Schema
    rates: Sequence[float]

    @abstractmethod
    def embed(self, data: Any) -> np.ndarray:
        """The code of each datum."""

    def stand_in(self, data: Any) -> np.ndarray:
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
        codes = [self.stand_in(self.one(item))[0] for item in items]
        return self.decode(geometry.way(codes, steps))

    def traverse(self, origin: Any = None, steps: int = 9, reach: float = 3.0) -> tuple[np.ndarray, list[int]]:
        """Each latent moved from -reach to reach, the others held at `origin`'s mean (None: at 0).

        Returns decoded data `(latents, steps, *shape)` and the latents' numbers, the one of highest rate first.
        """
        if steps < 2 or not 0 < reach < math.inf:
            raise UserError(f"steps={steps}, reach={reach}: give steps of 2 or more and a reach above 0")
        if held := {"table": "a table", "text": "text"}.get(self.schema.kind):
            raise UserError(f"traverse draws curves and pictures, and the model is of {held}: use map or interpolate")
        order = np.argsort(self.rates)[::-1].tolist()
        centre = np.zeros(len(order), np.float32) if origin is None else self.embed(self.one(origin))[0]
        points = geometry.along_axes(centre, order, steps, reach)
        return self.decode(points.reshape(-1, len(order))).reshape(len(order), steps, *self.schema.shape), order

    def grid(self, side: int = 20) -> Any:
        """A model of 2 latents decoded at `side` x `side` quantiles of its Normal prior, `(side * side, *shape)`.

        Source: Kingma, Welling (2014), Auto-Encoding Variational Bayes, figure 4.
        """
        if side < 1 or len(self.rates) != 2:
            raise UserError(
                f"side={side}, {len(self.rates)} latents: a grid takes side >= 1 and 2 latents; use project()"
            )
        return self.decode(geometry.quantiles(side))

    def project(self, data: Any) -> tuple[np.ndarray, float]:
        """The posterior means on their first two principal components, `(n, 2)`, and their share of the variance."""
        return geometry.principal_plane(self.embed(data))

    def one(self, item: Any) -> Any:
        """A single datum, given without its batch dimension, as a batch of one."""
        if isinstance(item, np.ndarray | Tensor) and tuple(item.shape) in (self.schema.shape, self.schema.shape[1:]):
            return item[None]
        return item
