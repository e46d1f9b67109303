"""A fixed convolutional net whose activations say how alike two pictures are, and which is never trained.

Each layer is a 3 x 3 convolution of stride 2 with a ReLU. Its weights are random, drawn from a seed with the
variance 2 / fan-in, or come from a file. Even random features compare textures and edges rather than pixels.

Source: Hou, Shen, Sun, Qiu (2017), Deep Feature Consistent Variational Autoencoder; Saxe et al. (2011), On Random
Weights and Unsupervised Feature Learning; He, Zhang, Ren, Sun (2015), Delving Deep into Rectifiers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from nelbo.errors import UserError


class FixedFeatures(nn.Module):
    """`(n, channels, height, width)` -> the activations of each layer, for layers of the given widths.

    Weights are buffers: saved with the model and not among its parameters. `load` replaces them by the tensors
    "0.weight" `(width, channels, 3, 3)`, "0.bias" `(width,)`, "1.weight", ...
    """

    def __init__(self, channels: int, widths: Sequence[int], seed: int = 0) -> None:
        super().__init__()
        self.missing = ""
        draw = torch.Generator().manual_seed(seed)
        self.layers = nn.ModuleList()
        for before, width in itertools.pairwise([channels, *widths]):
            layer = nn.Module()
            weight = torch.randn(width, before, 3, 3, generator=draw) * math.sqrt(2 / (9 * before))
            layer.register_buffer("weight", weight)
            layer.register_buffer("bias", torch.zeros(width))
            self.layers.append(layer)

    def load(self, path: str) -> None:
        """Copy the weights in from a safetensors file; `UserError` if it is damaged or not of this net.

        Where the file is missing the weights stay unknown, and the net refuses to run until a saved model's state,
        which holds them, is loaded.
        """
        if not Path(path).is_file():
            self.missing = path
            for layer in self.layers:
                layer.weight.fill_(math.nan)  # type: ignore[operator, union-attr]
            return
        try:
            tensors = load_file(path)
        except (SafetensorError, OSError) as error:
            raise UserError(f"weights={path!r} is no whole safetensors file ({error}): give another") from None
        shapes = {key: tuple(value.shape) for key, value in self.layers.state_dict().items()}
        if {key: tuple(value.shape) for key, value in tensors.items()} != shapes:
            wanted = ", ".join(f"{key} {shape}" for key, shape in shapes.items())
            raise UserError(f"weights={path!r} holds other tensors than this feature net: give {wanted}")
        self.layers.load_state_dict(tensors)

    def forward(self, x: Tensor) -> Iterator[Tensor]:
        if self.missing and self.layers[0].weight.isnan().any():  # type: ignore[operator, union-attr]
            raise UserError(f"weights={self.missing!r}: no such file; give a safetensors file of the features' weights")
        for layer in self.layers:
            x = F.relu(F.conv2d(x, layer.weight, layer.bias, stride=2, padding=1))  # type: ignore[arg-type]
            yield x
