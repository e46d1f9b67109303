"""Likelihoods of pixels in [0, 1], and losses on pictures that are no densities."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from nelbo import conditionals, nets
from nelbo.errors import UserError
from nelbo.registry import register
from nelbo.spec.likelihoods import Likelihood


@register(Likelihood, "discretised-logistic")
@dataclass(frozen=True)
class DiscretisedLogistic(Likelihood):
    """A logistic of one learned scale, in 256 bins around the levels of a byte."""

    def build(self, net: nn.Module, event_dims: int) -> conditionals.Likelihood:
        return conditionals.DiscretisedLogistic(net, event_dims)


@register(Likelihood, "discretised-logistic-mixture")
@dataclass(frozen=True)
class DiscretisedLogisticMixture(Likelihood):
    """A mixture of discretised logistics for each pixel and channel, its weights and scales given by the decoder."""

    components: int = 5

    def __post_init__(self) -> None:
        if self.components < 1:
            raise UserError(f"components={self.components}: give 1 or more")

    @property
    def outputs(self) -> int:
        return 3 * self.components

    def build(self, net: nn.Module, event_dims: int) -> conditionals.Likelihood:
        return conditionals.DiscretisedLogisticMixture(net, event_dims, self.components)


@register(Likelihood, "categorical-256")
@dataclass(frozen=True)
class Categorical256(Likelihood):
    """Any mass on the 256 levels of a byte: 256 outputs of the decoder for each pixel and channel."""

    @property
    def outputs(self) -> int:
        return 256

    def build(self, net: nn.Module, event_dims: int) -> conditionals.Likelihood:
        return conditionals.LevelCategorical(net, event_dims, self.outputs)


@register(Likelihood, "beta")
@dataclass(frozen=True)
class Beta(Likelihood):
    """Beta; data are drawn inwards by `margin`, which must be above 0 (and the model no density) if any are 0 or 1."""

    margin: float = 1 / 512

    def __post_init__(self) -> None:
        if not 0 <= self.margin < 0.5:
            raise UserError(f"margin={self.margin}: give 0 for data inside (0, 1), or a small number such as 0.002")

    @property
    def outputs(self) -> int:
        return 2

    def build(self, net: nn.Module, event_dims: int) -> conditionals.Likelihood:
        return conditionals.Beta(net, event_dims, self.margin)


@register(Likelihood, "ssim")
@dataclass(frozen=True)
class SSIM(Likelihood):
    """Structural similarity at up to `scales` scales (1: plain SSIM): a loss of `weight` nats for unlike pictures."""

    weight: float = 100.0
    scales: int = 5

    def __post_init__(self) -> None:
        if self.weight <= 0 or not 1 <= self.scales <= 5:
            raise UserError(f"weight={self.weight}, scales={self.scales}: give a weight above 0 and 1 to 5 scales")

    def build(self, net: nn.Module, event_dims: int) -> conditionals.Likelihood:
        return conditionals.PictureLoss(net, event_dims, nets.StructuralLoss(self.weight, self.scales))


@register(Likelihood, "perceptual")
@dataclass(frozen=True)
class Perceptual(Likelihood):
    """Distance between the activations of a fixed convolutional net, and between pixels.

    The net has 3 x 3 convolutions of stride 2 with these `widths`; its weights are random by `seed`, or come from
    `weights`, a safetensors file of "0.weight", "0.bias", "1.weight", ... They are saved with the model.
    """

    weight: float = 100.0
    pixel_weight: float = 1.0
    widths: tuple[int, ...] = (32, 64, 128)
    seed: int = 0
    weights: str | None = None

    def __post_init__(self) -> None:
        if self.weight <= 0 or self.pixel_weight < 0:
            raise UserError(
                f"weight={self.weight}, pixel_weight={self.pixel_weight}: give weight > 0, pixel_weight >= 0"
            )
        if not self.widths or min(self.widths) < 1:
            raise UserError(f"widths={list(self.widths)}: give 1 layer or more, of 1 channel or more")

    def build(self, net: nn.Module, event_dims: int) -> conditionals.Likelihood:
        bias: Tensor = net.output_bias  # type: ignore[assignment]
        features = nets.FixedFeatures(bias.shape[1], self.widths, self.seed)
        if self.weights is not None:
            features.load(self.weights)
        return conditionals.PictureLoss(net, event_dims, nets.FeatureLoss(features, self.weight, self.pixel_weight))
