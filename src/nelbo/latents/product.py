"""Latents of several kinds side by side, independent given x, such as a Normal and a categorical part.

    q(z | x) = prod_j q_j(z_j | x),   p(z) = prod_j p_j(z_j),   rate = sum_j KL(q_j || p_j)

Source: Dupont (2018), Learning Disentangled Joint Continuous and Discrete Representations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nelbo.config.registry import Component, register
from nelbo.errors import UserError
from nelbo.latents.single_level import Latent, LatentLevel
from nelbo.nets import Net


class ProductLatent(Latent):
    """Several latents: h is the concatenation of theirs, and the levels are those of all.

    Args:
        parts: the latents, in order.
    """

    def __init__(self, parts: Sequence[Latent]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.features = sum(part.features for part in parts)

    def infer(
        self, x: Tensor, c: Tensor | None = None, shape: Sequence[int] = ()
    ) -> tuple[Tensor, tuple[LatentLevel, ...]]:
        drawn = [part.infer(x, c, shape) for part in self.parts]  # type: ignore[operator]
        return torch.cat([h for h, _ in drawn], -1), tuple(level for _, levels in drawn for level in levels)

    def sample_prior(self, n: int, c: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        return torch.cat([part.sample_prior(n, c, temperature) for part in self.parts], -1)  # type: ignore[operator]

    def embed(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        return torch.cat([part.embed(x, c) for part in self.parts], -1)  # type: ignore[operator]

    def typical_embedding(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        return torch.cat([part.typical_embedding(x, c) for part in self.parts], -1)  # type: ignore[operator]


def _check_parts(options: Mapping[str, Any]) -> None:
    if not options["parts"]:
        raise UserError('parts = {}: give one latent or more, such as {style = {kind = "flat"}}')


JOINT = {
    "continuous": Component[Latent]("latent", "flat", dim=10),
    "discrete": Component[Latent]("latent", "categorical", variables=1),
}


@register("latent", "product", cite="dupont2018learning", check=_check_parts)
def product(
    net: Net, shape: tuple[int, ...], context: int = 0, *, parts: dict[str, Component[Latent]] = JOINT
) -> ProductLatent:
    """Named latents side by side, each with its own encoder.

    Args:
        net: architecture of the encoders.
        shape: shape of a datum.
        context: length of the context vector; 0 for none.
        parts: the latents by name.
    """
    return ProductLatent([part.build(net=net, shape=shape, context=context) for part in parts.values()])
