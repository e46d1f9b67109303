"""Latents that are codes: the posterior is a point mass on the codes nearest to what the encoder says.

    -ELBO = E[-log p(x | e_k)] - log p(k),   log q(k | x) = 0,   uniform: log p(k) = -positions * log(codes)

The quantiser's penalty, which is no part of the bound, is kept apart in `Level.penalty`.

Source: van den Oord, Vinyals, Kavukcuoglu (2017), Neural Discrete Representation Learning.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nelbo.conditionals import Conditional
from nelbo.conditionals.base import through
from nelbo.distributions import CodePoint, temper
from nelbo.latents.flat import Latent
from nelbo.latents.level import Level
from nelbo.latents.quantisers import Choice, Quantiser


class Quantised(Latent):
    """The encoder's features as `groups` vectors, each quantised: h is their values, z their `groups * depth` codes.

    `prior` is over z; `encoder` maps `(batch, *shape)`, of `event_dims` dimensions a datum, to `groups * dim` features.
    """

    def __init__(
        self, prior: Conditional, encoder: nn.Module, event_dims: int, quantiser: Quantiser, groups: int
    ) -> None:
        super().__init__()
        self.prior, self.encoder, self.event_dims = prior, encoder, event_dims
        self.quantiser, self.groups = quantiser, groups

    def choose(self, x: Tensor, c: Tensor | None = None) -> Choice:
        """values `(batch, groups * dim)`, indices `(batch, groups * depth)`, penalty `(batch,)`."""
        e = through(self.encoder, x, c, event_dims=self.event_dims)
        lead = e.shape[:-1]
        values, indices, penalty = self.quantiser(e.reshape(-1, self.quantiser.dim))
        return Choice(values.view(*lead, -1), indices.view(*lead, -1), penalty.view(*lead, -1).sum(-1))

    def infer(self, x: Tensor, c: Tensor | None = None, shape: Sequence[int] = ()) -> tuple[Tensor, tuple[Level, ...]]:
        values, indices, penalty = self.choose(x, c)
        h, z, penalty = (t.expand(*shape, *t.shape) for t in (values, indices, penalty))
        return h, (Level(z, CodePoint(indices, values), self.prior(c), torch.zeros_like(penalty), penalty),)

    def codes(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """The codes of each datum, `(batch, groups * depth)`."""
        return self.choose(x, c).indices

    def decode(self, z: Tensor) -> Tensor:
        """h of codes z: `(*lead, groups * depth)` -> `(*lead, groups * dim)`."""
        return self.quantiser.lookup(z.unflatten(-1, (self.groups, self.quantiser.depth))).flatten(-2)

    def generate(self, n: int, c: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        p = temper(self.prior(c), temperature)
        return self.decode(p.sample(torch.Size(() if p.batch_shape else (n,))))

    def embed(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        return self.choose(x, c).values
