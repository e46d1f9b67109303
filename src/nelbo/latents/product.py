"""Latents of several kinds side by side, independent given x: a Normal part and a categorical one, say.

    q(z | x) = prod_j q_j(z_j | x),   p(z) = prod_j p_j(z_j),   rate = sum_j KL(q_j || p_j)

Source: Dupont (2018), Learning Disentangled Joint Continuous and Discrete Representations.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nelbo.latents.flat import Latent
from nelbo.latents.level import Level


class Product(Latent):
    """The parts' h joined in their order, and the levels of all of them."""

    def __init__(self, parts: Sequence[Latent]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def infer(self, x: Tensor, c: Tensor | None = None, shape: Sequence[int] = ()) -> tuple[Tensor, tuple[Level, ...]]:
        drawn = [part.infer(x, c, shape) for part in self.parts]  # type: ignore[operator]
        return torch.cat([h for h, _ in drawn], -1), tuple(level for _, levels in drawn for level in levels)

    def generate(self, n: int, c: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        return torch.cat([part.generate(n, c, temperature) for part in self.parts], -1)  # type: ignore[operator]

    def embed(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        return torch.cat([part.embed(x, c) for part in self.parts], -1)  # type: ignore[operator]

    def typical(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        return torch.cat([part.typical(x, c) for part in self.parts], -1)  # type: ignore[operator]
