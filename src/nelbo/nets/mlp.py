"""Multi-layer perceptrons over data of any shape, flattened.

The first layer of an encoder may first shift and scale its input, x -> (x - shift) * scale: centred inputs
train faster (LeCun, Bottou, Orr, Müller, 1998, Efficient BackProp).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from nelbo.config.registry import Count, register
from nelbo.nets.common import Net, Rescale, join


def perceptron(sizes: Sequence[int]) -> nn.Sequential:
    """Linear layers of the given sizes, with a ReLU between each two.

    >>> import torch
    >>> perceptron([4, 8, 2])(torch.zeros(3, 4)).shape
    torch.Size([3, 2])
    """
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes):
        layers += [nn.ReLU(), nn.Linear(before, after)]
    return nn.Sequential(*layers[1:])


class MLPEncoder(nn.Module):
    """`(batch, *shape)` and context `(batch, context)` -> `(batch, features)`.

    Args:
        shape: shape of a datum.
        features: length of the output vector.
        hidden: sizes of the hidden layers, from the input to the output.
        context: length of the context vector; 0 for none.
    """

    def __init__(self, shape: Sequence[int], features: int, hidden: Sequence[int], context: int = 0) -> None:
        super().__init__()
        self.rescale = Rescale(shape)
        self.layers = perceptron([math.prod(shape) + context, *hidden, features])

    @property
    def output_bias(self) -> Tensor:
        """The bias of the features."""
        return self.layers[-1].bias  # type: ignore[return-value]

    def forward(self, x: Tensor, *context: Tensor) -> Tensor:
        return self.layers(join(self.rescale(x).flatten(1), *context))


class MLPDecoder(nn.Module):
    """`(batch, features)` and context `(batch, context)` -> `(batch, outputs, *shape)`.

    Args:
        features: length of the input vector.
        shape: shape of a datum.
        hidden: sizes of the hidden layers, from the input to the output.
        outputs: numbers for each element of a datum.
        context: length of the context vector; 0 for none.
    """

    def __init__(
        self, features: int, shape: Sequence[int], hidden: Sequence[int], outputs: int = 1, context: int = 0
    ) -> None:
        super().__init__()
        self.output_shape = (outputs, *shape)
        self.layers = perceptron([features + context, *hidden, math.prod(self.output_shape)])

    @property
    def output_bias(self) -> Tensor:
        """The bias of the outputs, viewed as `(outputs, *shape)`."""
        bias: Tensor = self.layers[-1].bias  # type: ignore[assignment]
        return bias.view(self.output_shape)

    def forward(self, h: Tensor, *context: Tensor) -> Tensor:
        return self.layers(join(h, *context)).unflatten(-1, self.output_shape)


@register("net", "mlp")
@dataclass(frozen=True)
class MLP(Net):
    """A multi-layer perceptron.

    Args:
        hidden: sizes of the hidden layers, from the input to the output, of the encoder and of the decoder.
    """

    hidden: tuple[Count, ...] = (400,)

    def encoder(self, shape: tuple[int, ...], features: int, context: int = 0) -> nn.Module:
        return MLPEncoder(shape, features, self.hidden, context)

    def decoder(self, features: int, shape: tuple[int, ...], outputs: int, context: int = 0) -> nn.Module:
        return MLPDecoder(features, shape, self.hidden, outputs, context)
