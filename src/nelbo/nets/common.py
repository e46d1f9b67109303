"""Shared parts of networks: the base class of architectures, the scale of the input, and appending a context."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from nelbo.distributions import noise
from nelbo.errors import UserError


class Net(ABC):
    """An architecture: it builds an encoder or a decoder for data of any size. Subclasses are frozen dataclasses."""

    family: ClassVar[str] = "net"

    @abstractmethod
    def encoder(self, shape: tuple[int, ...], features: int, context: int = 0) -> nn.Module:
        """Build a network `(batch, *shape)` and context -> `(batch, features)`.

        Args:
            shape: shape of a datum.
            features: length of the output vector.
            context: length of the context vector; 0 for none.
        """

    @abstractmethod
    def decoder(self, features: int, shape: tuple[int, ...], outputs: int, context: int = 0) -> nn.Module:
        """Build a network `(batch, features)` and context -> `(batch, outputs, *shape)`.

        Args:
            features: length of the input vector.
            shape: shape of a datum.
            outputs: numbers for each element of a datum.
            context: length of the context vector; 0 for none.
        """

    def places(self, shape: tuple[int, ...]) -> int | None:
        """The number of grid positions among which the features are divided; None if they are one vector."""
        return None


class InitializedFromData(ABC):
    """A module that is initialized from data before training."""

    @abstractmethod
    def init_from_data(self, x: Tensor) -> None:
        """Initialize the module from random training rows `(n, *shape)`."""


def require_dims(shape: Sequence[int], dims: int, data: str, part: str, instead: str = "mlp") -> None:
    """Check that the shape of a datum has `dims` dimensions.

    Args:
        shape: the shape.
        dims: the number of dimensions that the network needs.
        data: the kind of data that it needs, for the message.
        part: the network, for the message.
        instead: the network that the message recommends.

    Raises:
        UserError: if it has another number of dimensions.
    """
    if len(shape) != dims:
        raise UserError(f'{part} takes {data}, and the data has shape {tuple(shape)}: use kind = "{instead}"')


class Rescale(nn.Module):
    """x -> (x - shift) * scale with fixed, saved `shift` and `scale`; the identity until they are set."""

    shift: Tensor
    scale: Tensor

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("shift", torch.zeros(tuple(shape)))
        self.register_buffer("scale", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.shift).mul_(self.scale)


class Dropout(nn.Module):
    """In training, each element is 0 with probability p, and divided by 1 - p otherwise.

    `nn.Dropout` draws from torch's global generator; this one draws as all noise does (`nelbo.distributions.noise`).
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        return noise.dropout(x, self.p) if self.training and self.p else x


def rescales(module: nn.Module) -> list[Rescale]:
    """Every `Rescale` in a module."""
    return [part for part in module.modules() if isinstance(part, Rescale)]


def join(x: Tensor, *context: Tensor) -> Tensor:
    """Append context vectors `(batch, n)` to the channels (dimension 1) of x, as constant planes if x is a picture.

    >>> join(torch.zeros(2, 3, 8, 8), torch.ones(2, 5)).shape
    torch.Size([2, 8, 8, 8])
    """
    if not context:
        return x
    planes = [c.view(*c.shape, *[1] * (x.dim() - 2)).expand(*c.shape, *x.shape[2:]) for c in context]
    return torch.cat([x, *planes], 1)
