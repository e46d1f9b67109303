"""Perceptual distances of two pictures in [0, 1]: modules that map two tensors `(n, *shape)` to `(n,)`.

The structural similarity of two pictures in [0, 1] compares local means, variances and the covariance under a
Gaussian window (11 pixels, 1.5 wide), and at M scales, each of half the size of the one before:

    l = (2 mx my + C1) / (mx^2 + my^2 + C1),  cs = (2 sxy + C2) / (sx^2 + sy^2 + C2),  C1 = 0.01^2, C2 = 0.03^2
    SSIM = mean(l cs)    MS-SSIM = mean(l_M cs_M)^w_M prod_{j<M} mean(cs_j)^w_j

The means run over positions, per channel; the result is averaged over channels. Where fewer than M scales have a
shorter side of at least 8, only those are used, and their weights w are rescaled to sum to one.

A fixed net has 3 x 3 convolutions of stride 2 with a ReLU, and is never trained. Its weights are random, drawn from a
seed with the variance 2 / fan-in, or come from a file. Even random features compare textures and edges rather than
pixels.

Source: Wang, Bovik, Sheikh, Simoncelli (2004), Image Quality Assessment: From Error Visibility to Structural
Similarity; Wang, Simoncelli, Bovik (2003), Multiscale structural similarity for image quality assessment; Hou, Shen,
Sun, Qiu (2017), Deep Feature Consistent Variational Autoencoder; Saxe et al. (2011), On Random Weights and Unsupervised
Feature Learning; He, Zhang, Ren, Sun (2015), Delving Deep into Rectifiers.
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
from torch.nn.functional import avg_pool2d, conv2d

from nelbo.errors import UserError

SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
WINDOW, WIDTH, SMALLEST = 11, 1.5, 8
C1, C2 = 0.01**2, 0.03**2


def ssim_maps(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """l and cs at each position where the window fits, for x and y of shape `(n, 1, height, width)`."""
    side = min(WINDOW, *x.shape[-2:])
    side -= 1 - side % 2
    bell = torch.exp(-0.5 * ((torch.arange(side, dtype=x.dtype, device=x.device) - side // 2) / WIDTH).square())
    window = torch.outer(bell, bell)[None, None] / bell.sum() ** 2
    mx, my, xx, yy, xy = (conv2d(p, window) for p in (x, y, x * x, y * y, x * y))
    structure = (2 * (xy - mx * my) + C2) / (xx - mx * mx + yy - my * my + C2)
    return (2 * mx * my + C1) / (mx * mx + my * my + C1), structure


def ms_ssim(x: Tensor, y: Tensor, scales: int = len(SCALES)) -> Tensor:
    """MS-SSIM of pictures `(n, channels, height, width)` in [0, 1], `(n,)`.

    Args:
        x: pictures in [0, 1].
        y: pictures in [0, 1].
        scales: largest number of scales; 1 is SSIM, as for pictures with room for one scale only.

    >>> x = torch.rand(2, 1, 28, 28)
    >>> [round(value, 5) for value in ms_ssim(x, x).tolist()]
    [1.0, 1.0]
    """
    shape = x.shape
    x, y = x.flatten(0, 1).unsqueeze(1), y.flatten(0, 1).unsqueeze(1)
    fits = sum(min(shape[-2:]) >> scale >= SMALLEST for scale in range(scales))
    weights = [w / sum(SCALES[: max(fits, 1)]) for w in SCALES[: max(fits, 1)]]
    result = torch.ones((), dtype=x.dtype, device=x.device)
    for i, weight in enumerate(weights):
        last = i == len(weights) - 1
        luminance, structure = ssim_maps(x, y)
        similarity = (luminance * structure if last else structure).mean((1, 2, 3))
        result = result * (similarity if len(weights) == 1 else similarity.clamp_min(1e-4) ** weight)
        x, y = (x, y) if last else (avg_pool2d(x, 2), avg_pool2d(y, 2))
    return result.view(shape[:2]).mean(1)


class StructuralLoss(nn.Module):
    """weight (1 - MS-SSIM(x, y)).

    Args:
        weight: factor of the loss.
        scales: largest number of scales.
    """

    def __init__(self, weight: float = 100.0, scales: int = len(SCALES)) -> None:
        super().__init__()
        self.weight = weight
        self.scales = scales

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.weight * (1 - ms_ssim(x, y, self.scales))


class FixedFeatures(nn.Module):
    """`(n, channels, height, width)` -> the activations of each layer, for layers of the given widths.

    Weights are buffers: they are saved with the model and are not parameters. `load` replaces them by the tensors
    "0.weight" `(width, channels, 3, 3)`, "0.bias" `(width,)`, "1.weight", ...

    Args:
        channels: channels of the pictures.
        widths: channels of each layer.
        seed: seed of the random weights.
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
        """Copy the weights from a safetensors file.

        If the file is missing, the weights stay unknown, and the net raises an error when it runs until the state of a
        saved model, which contains them, is loaded.

        Raises:
            UserError: if the file is damaged or belongs to another net.
        """
        if not Path(path).is_file():
            self.missing = path
            for layer in self.layers:
                layer.weight.fill_(math.nan)  # type: ignore[operator, union-attr]
            return
        try:
            tensors = load_file(path)
        except (SafetensorError, OSError) as error:
            raise UserError(f"weights={path!r} is not a complete safetensors file ({error}): give another") from None
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


class FeatureLoss(nn.Module):
    """weight sum_l mean(f_l(x) - f_l(y))^2 / 2 + pixel_weight |x - y|^2 / 2, f_l the layers of a fixed net.

    The mean is over a layer's activations.

    Args:
        features: the fixed net.
        weight: factor of the feature loss.
        pixel_weight: factor of the squared pixel error.

    Source: Hou, Shen, Sun, Qiu (2017), Deep Feature Consistent Variational Autoencoder.
    """

    def __init__(self, features: FixedFeatures, weight: float = 100.0, pixel_weight: float = 1.0) -> None:
        super().__init__()
        self.features = features
        self.weight = weight
        self.pixel_weight = pixel_weight

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        total = 0.5 * self.pixel_weight * (x - y).square().flatten(1).sum(1)
        for fx, fy in zip(self.features(x), self.features(y), strict=True):
            total = total + 0.5 * self.weight * (fx - fy).square().flatten(1).mean(1)
        return total
