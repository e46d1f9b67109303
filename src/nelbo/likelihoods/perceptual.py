"""Losses on pictures that replace a density: structural similarity, and the features of a fixed net.

Source: Hou, Shen, Sun, Qiu (2017), Deep Feature Consistent Variational Autoencoder; Snell et al. (2017), Learning to
Generate Images with Perceptual Similarity Metrics.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from torch import Tensor, nn
from torch.distributions import constraints

from nelbo import distributions
from nelbo.config.registry import Counts, NonNegative, Positive, Range, register
from nelbo.errors import UserError
from nelbo.likelihoods.base import UNIT, Likelihood
from nelbo.likelihoods.bernoulli import logit
from nelbo.nets import FeatureLoss, FixedFeatures, StructuralLoss


class PerceptualLikelihood(Likelihood):
    """exp(-energy(x, y(h))) up to an unknown constant, y = sigmoid(l).

    Args:
        decoder: maps h `(batch, features)` and a context to `(batch, n_outputs, *shape)`.
        event_dims: number of dimensions of a datum.
        energy: maps two tensors `(n, *shape)` to losses in nats, `(n,)`.

    Raises:
        UserError: for data that are not pictures.
    """

    support = constraints.unit_interval
    accepts = UNIT
    normalized = False
    link = staticmethod(logit)

    def __init__(self, decoder: nn.Module, event_dims: int, energy: nn.Module) -> None:
        super().__init__(decoder, event_dims)
        self.energy = energy
        if event_dims != 3:
            raise UserError(f"this likelihood compares pictures, and the data have {event_dims} dimension: use normal")

    def forward(self, *context: Tensor | None) -> distributions.UnnormalizedEnergy:
        (logits,) = self.outputs(*context)
        return distributions.UnnormalizedEnergy(logits.sigmoid(), self.energy, self.event_dims)


@register(
    "likelihood", "ssim", cite="wang2004image", cite_if={"wang2003multiscale": lambda options: options["scales"] > 1}
)
class SSIM(PerceptualLikelihood):
    """Structural similarity of pictures.

    Args:
        weight: the loss, in nats, of two pictures of similarity 0.
        scales: largest number of scales; 1 is SSIM, more are MS-SSIM.
    """

    def __init__(
        self, decoder: nn.Module, event_dims: int, *, weight: Positive = 100.0, scales: Annotated[int, Range(1, 5)] = 5
    ) -> None:
        super().__init__(decoder, event_dims, StructuralLoss(weight, scales))


@register(
    "likelihood",
    "perceptual",
    cite="hou2017deep",
    cite_if={"saxe2011random": lambda options: options["weights"] is None},
)
class Perceptual(PerceptualLikelihood):
    """Distance between the activations of a fixed convolutional net, and between pixels.

    The net has 3 x 3 convolutions of stride 2; its weights are saved with the model.

    Args:
        weight: weight of the distance of activations.
        pixel_weight: weight of the distance of pixels.
        widths: channels of each layer of the net.
        seed: seed of the net's random weights.
        weights: path of a safetensors file with "0.weight", "0.bias", "1.weight", ...; None for random weights.
    """

    def __init__(
        self,
        decoder: nn.Module,
        event_dims: int,
        shape: Sequence[int],
        *,
        weight: Positive = 100.0,
        pixel_weight: NonNegative = 1.0,
        widths: Counts = (32, 64, 128),
        seed: int = 0,
        weights: str | None = None,
    ) -> None:
        features = FixedFeatures(shape[0], widths, seed)
        if weights is not None:
            features.load(weights)
        super().__init__(decoder, event_dims, FeatureLoss(features, weight, pixel_weight))
