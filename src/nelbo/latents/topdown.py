"""Latents in a hierarchy, z = (z_L, ..., z_1), drawn from the top down.

    p(z) = prod_l p(z_l | z_>l),   q(z | x) = prod_l q(z_l | z_>l, x),   rate = sum_l KL(q_l || p_l)

A deterministic bottom-up pass over x gives features for each rung; the state that comes down through the rungs
carries the z drawn so far, to the prior and the posterior alike. Each KL is in closed form given the z above it, so
that its mean over draws is the level's rate.

There is one walk down the rungs. To infer, to generate, to replay and to edit differ in how a level's z is chosen.

Source: Sønderby, Raiko, Maaløe, Sønderby, Winther (2016), Ladder Variational Autoencoders; Child (2021), Very Deep
VAEs Generalize Autoregressive Models and Can Outperform Them on Images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from nelbo.distributions import temper
from nelbo.latents.flat import Latent
from nelbo.latents.level import Level
from nelbo.latents.rungs import Rung

Choose = Callable[[int, Distribution, Distribution | None], Tensor]
"""(rung, prior, posterior or None) -> z: how a level's latents are had. Rung 0 is the top."""


class TopDown(Latent):
    """A hierarchy; `bottom_up(x, c)` gives the features of each rung, `rungs[0]` is the top.

    `start` is the shape of the state at the top, a learned constant. h is the state below the last rung, flat:
    `(*sample, batch, features)`. Levels are recorded top first.
    """

    def __init__(self, bottom_up: nn.Module, rungs: Sequence[Rung], start: Sequence[int]) -> None:
        super().__init__()
        self.bottom_up = bottom_up
        self.rungs = nn.ModuleList(rungs)
        self.start = nn.Parameter(torch.zeros(tuple(start)))

    def walk(
        self, choose: Choose, n: int, features: Sequence[Tensor] | None = None, c: Tensor | None = None
    ) -> tuple[Tensor, tuple[Level, ...]]:
        """Go down for `n` data, choosing each z given the ones above; without features there is no posterior."""
        state = self.start.expand(n, *self.start.shape)
        levels = []
        for i, rung in enumerate(self.rungs):
            p, q = rung(state, None if features is None else features[i], c)
            z = choose(i, p, q)
            levels.append(Level(z, p if q is None else q, p))
            state = rung.absorb(state, z)  # type: ignore[operator]
        return state.flatten(-self.start.dim()), tuple(levels)

    def infer(self, x: Tensor, c: Tensor | None = None, shape: Sequence[int] = ()) -> tuple[Tensor, tuple[Level, ...]]:
        return self.edit({}, x, c, shape=shape)

    @torch.no_grad()
    def generate(self, n: int, c: Tensor | None = None, temperature: float | Sequence[float] = 1.0) -> Tensor:
        """h of `n` draws from the model's own prior, `(n, features)`; one temperature, or one a level, top first."""
        return self.walk(self._chooser({}, (), temperature), n, None, c)[0]

    @torch.no_grad()
    def draw(self, n: int, c: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        return _joined(self.walk(self._chooser({}, (), temperature), n, None, c)[1])

    def embed(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """The posterior's means, each level's given the means above it, `(batch, sum of the levels' sizes)`."""
        _, levels = self.walk(lambda i, p, q: q.mean, len(x), self._features(x, c), c)  # type: ignore[union-attr]
        return _joined(levels)

    def expand(self, code: Tensor, c: Tensor | None = None) -> Tensor:
        return self.replay(self.split(code), c)

    def split(self, code: Tensor) -> list[Tensor]:
        """The code that `embed` gives as each level's z, `(*batch, *shape)`: `replay(split(code))` is its h."""
        parts = code.split([math.prod(shape) for shape in self.shapes], -1)
        return [part.unflatten(-1, shape) for part, shape in zip(parts, self.shapes, strict=True)]

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """The shape of each level's z, top first."""
        return [rung.shape for rung in self.rungs]  # type: ignore[misc]

    def replay(self, z: Sequence[Tensor], c: Tensor | None = None) -> Tensor:
        """The h, `(*sample, batch, features)`, that this z of every level, top first, leads to."""
        if len(z) != len(self.rungs):
            raise ValueError(f"{len(z)} levels given: give all {len(self.rungs)}, or use edit()")
        return self.edit(dict(enumerate(z)), None, c)[0]

    def edit(
        self,
        given: Mapping[int, Tensor],
        x: Tensor | None = None,
        c: Tensor | None = None,
        temperature: float | Sequence[float] = 1.0,
        shape: Sequence[int] = (),
    ) -> tuple[Tensor, tuple[Level, ...]]:
        """Keep the levels in `given` (0 is the top) and draw the others: from the posterior given x, or the prior.

        Temperature scales the spread of what is drawn; `shape` draws are had of each datum.
        Raises `ValueError` for a level that is not there, or where neither x nor any level tells the batch size.
        """
        if (x is None and not given) or not set(given) <= set(range(len(self.rungs))):
            raise ValueError(f"levels {sorted(given)} given: give some of 0 to {len(self.rungs) - 1}, or x")
        first = next(iter(given), 0)
        n = len(x) if x is not None else given[first].shape[-1 - len(self.shapes[first])]
        return self.walk(self._chooser(given, shape, temperature), n, self._features(x, c), c)

    def _features(self, x: Tensor | None, c: Tensor | None) -> list[Tensor] | None:
        if x is None:
            return None
        return self.bottom_up(x) if c is None else self.bottom_up(x, c)

    def _chooser(
        self, given: Mapping[int, Tensor], shape: Sequence[int], temperature: float | Sequence[float]
    ) -> Choose:
        """The given z where there is one, else a draw from the posterior if there is one, else from the prior."""
        rungs = len(self.rungs)
        each = [temperature] * rungs if isinstance(temperature, int | float) else list(temperature)
        if len(each) != rungs:
            raise ValueError(f"{len(each)} temperatures for {rungs} levels: give one, or one each, top first")

        def choose(i: int, p: Distribution, q: Distribution | None) -> Tensor:
            d = p if q is None else q
            if i in given:  # of fewer dimensions than the draws above it, it is the same for all of them
                return given[i].expand(torch.broadcast_shapes(given[i].shape, d.batch_shape + d.event_shape))
            d = temper(d, each[i]) if each[i] != 1 else d
            # The draws of the level above are in the batch of this one: each datum's first draw has the sample shape.
            return d.rsample(torch.Size(shape[: max(len(shape) + 1 - len(d.batch_shape), 0)]))

        return choose


def _joined(levels: Sequence[Level]) -> Tensor:
    """Each level's z, side by side, `(batch, sum of the levels' sizes)`."""
    return torch.cat([level.z.flatten(1) for level in levels], 1)
