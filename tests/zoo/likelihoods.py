"""Likelihoods of real numbers, pixels, counts and classes; losses that are not densities; data with gaps."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

from nelbo.likelihoods import Likelihood, MissingDataLikelihood
from nelbo.nets import MLP, Net
from zoo.rows import LATENT, SHAPE, Row, Shape, table

DECODER = MLP((12, 16))


@dataclass(frozen=True)
class LikelihoodRow(Row):
    """A likelihood.

    Args:
        pictures: whether it takes pictures alone: it compares them and has no draws.
        missing: whether elements of the data may be missing.
    """

    family: ClassVar[str] = "likelihood"

    _: KW_ONLY
    pictures: bool = False
    missing: bool = False

    def build(self, shape: Shape = SHAPE, context: int = 0, decoder: Net = DECODER) -> Likelihood:
        """The likelihood on a decoder with as many outputs as it takes."""
        outputs = self.entry.make.n_outputs(**self.component.options)  # type: ignore[attr-defined]
        net = decoder.decoder(LATENT, shape, outputs, context)
        likelihood: Likelihood = self.component.build(decoder=net, event_dims=len(shape), shape=shape)
        return MissingDataLikelihood(likelihood) if self.missing else likelihood


LIKELIHOODS = table(
    LikelihoodRow("bernoulli"),
    LikelihoodRow("bernoulli", {"allow_soft_targets": True}, "grey"),
    LikelihoodRow("bernoulli", {}, "observed", missing=True),
    LikelihoodRow("continuous-bernoulli"),
    LikelihoodRow("normal"),
    LikelihoodRow("normal", {"sigma": "learned"}, "learned sigma"),
    LikelihoodRow("normal", {"sigma": 0.7}, "fixed sigma"),
    LikelihoodRow("normal", {}, "observed", missing=True),
    LikelihoodRow("normal", {"sigma": "learned"}, "learned sigma, observed", missing=True),
    LikelihoodRow("laplace"),
    LikelihoodRow("laplace", {"sigma": 0.7}, "fixed sigma"),
    LikelihoodRow("student-t"),
    LikelihoodRow("student-t", {"sigma": 0.7, "df": 6.0}, "fixed"),
    LikelihoodRow("log-cosh"),
    LikelihoodRow("log-cosh", {"sharpness": 1.0, "sigma": 0.7}, "fixed"),
    LikelihoodRow("discretized-logistic"),
    LikelihoodRow("discretized-logistic-mixture", {"components": 3}),
    LikelihoodRow("categorical-256"),
    LikelihoodRow("beta"),
    LikelihoodRow("beta", {"margin": 0.0}, "no margin"),
    LikelihoodRow("poisson"),
    LikelihoodRow("negative-binomial"),
    LikelihoodRow("negative-binomial", {"zero_inflated": True}, "zero-inflated"),
    LikelihoodRow("one-hot"),
    LikelihoodRow("one-hot", {"along": "channels"}, "along channels", elsewhere="test_likelihoods"),
    LikelihoodRow("ssim", {"weight": 30.0, "scales": 2}, pictures=True),
    LikelihoodRow("perceptual", {"widths": (4, 6), "weight": 30.0, "pixel_weight": 0.5, "seed": 3}, pictures=True),
    LikelihoodRow("perceptual", {"weights": "a.safetensors"}, "weights of a file", elsewhere="test_likelihoods"),
    LikelihoodRow("table", elsewhere="test_cells"),
    LikelihoodRow("text", elsewhere="test_text"),
)
